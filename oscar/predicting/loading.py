"""Opens an export or an official checkpoint as the predictor of its task."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from oscar import caption_settings, checkpoint_tasks, checkpoints, modeling, serving
from oscar.config import TASKS, OscarConfig
from oscar.datasets import records, tags, vqa
from oscar.input.layouts import ATTENDS_TO
from oscar.predicting.captions import CaptionPredictor
from oscar.predicting.detectors import Detector, open_detector
from oscar.predicting.images import FeatureFolder, ImageReader
from oscar.predicting.predictor import PREDICTORS as _WITH_TEXT
from oscar.predicting.predictor import InputSettings, Predictor
from oscar.tokenization import Tokenizer
from tpu_utils import files
from tpu_utils.names import check_name
from tpu_utils.weights import torch_files

# {task: its predictor}.
PREDICTORS: Mapping[str, type[Predictor]] = {**_WITH_TEXT, 'captioning': CaptionPredictor}
# {flag of the training that changes the network: kind of its value in `OscarConfig`}.
_OF_THE_NETWORK = {
  'img_feature_dim': int, 'use_img_layernorm': bool, 'img_layer_norm_eps': float,
  'use_pair': bool,
}  # fmt: skip
# {part of the names of weights: the task that they are of; None for one of several}.
_HEADS = {
  'cls.seq_relationship.': 'pretrain', 'classifier.': None, 'cls.predictions.': 'captioning',
}  # fmt: skip
_WITH_ANSWERS = ('vqa', 'gqa')


def load(
  folder: str | os.PathLike[str],
  *,
  detector: str | Detector | None = None,
  features: str | None = None,
  answers: Sequence[str] | str | None = None,
  task: str | None = None,
  settings: Mapping[str, Any] | None = None,
  dtype_policy: str | None = None,
) -> Predictor:
  """Opens an export or an official checkpoint as the predictor of its task.

  Lengths, tags and lower-casing are those of its training, from `task.json` or `training_args.bin`.

  Args:
    folder: an export of this project, or an official folder with config.json, vocab.txt,
      pytorch_model.bin and training_args.bin.
    detector: for pictures: a folder of scenes, or a `Detector`; None to take only features.
    features: folder with features.tsv and predictions.tsv, for images by id.
    answers: texts of the labels of VQA or GQA, or the official label2ans or ans2label file; None
      for those in `task.json`.
    task: the task of a checkpoint that does not say it.
    settings: {flag of the training: value} of a checkpoint that does not say them.
    dtype_policy: as for `oscar.build_model`.

  Returns:
    A predictor with `answer` (vqa, gqa), `score` (retrieval), `compare` (nlvr2) or `caption`
    (captioning), and the same for lists: `answer_all` and so on.

  Raises:
    ValueError: a checkpoint of a task without answers, such as pre-training; one that does not say
      its task, lengths or answers; or one that is damaged.
    OSError: a file cannot be read.
  """
  place = os.fspath(folder)
  if not files.exists(place):
    raise FileNotFoundError(f'{place} does not exist; give the folder of an export or checkpoint.')
  place = checkpoint_tasks.folder_of(place) or '.'
  files.check_finished(place)
  if not files.is_file(os.path.join(place, 'config.json')):
    raise FileNotFoundError(
      f'{place} has no config.json; expected the folder of an export or an official checkpoint.'
    )
  task = _task(place, task)
  stored = {**checkpoint_tasks.settings_of(place), **(settings or {})}
  if task == 'captioning':
    stored = caption_settings.as_trained(stored)
  read = _input_settings(task, stored, place)
  config = _config(place, stored, task)
  lower_case = _typed(stored, 'do_lower_case', bool, place)
  tokenizer = Tokenizer.from_folder(place, lower_case)
  tokenizer.check_vocab_size(config.vocab_size)
  texts = _answers(place, task, answers, config.num_labels) if task in _WITH_ANSWERS else []
  if isinstance(detector, str):
    detector = open_detector(detector)
  images = ImageReader(
    config.img_feature_dim,
    read.with_tags,
    task in _WITH_ANSWERS,  # As their input: in the others' tags ';' is a word.
    detector,
    FeatureFolder(features, config.img_feature_dim) if features else None,
  )
  model = modeling.build_model(config, task, dtype_policy=dtype_policy)
  checkpoints.restore(model, place)
  return PREDICTORS[task](model, tokenizer, read, images, place, texts)


def _task(folder, given):
  """Returns the task of a checkpoint.

  Raises:
    ValueError: it has no predictor, or is unknown.
  """
  found = checkpoint_tasks.task_of(folder) or _task_of_head(folder)
  if given is not None:
    check_name('task', given, TASKS)
    if found not in (None, given):
      raise ValueError(f'{folder} was trained for the task {found!r}, not {given!r}.')
    found = given
  if found is None:
    raise ValueError(
      f'{folder} does not say its task: config.json has no finetuning_task; give task= (--task), '
      f'one of {", ".join(PREDICTORS)}.'
    )
  if found == 'pretrain':
    raise ValueError(
      f'{folder} holds a model of pre-training, which has learnt no task yet. Fine-tune it, for '
      f'example with python -m oscar.run_vqa --init_checkpoint={folder}, and load the export of '
      'that run.'
    )
  if found not in PREDICTORS:
    raise ValueError(
      f'{folder} was trained for the task {found!r}; oscar.load takes models of '
      f'{", ".join(PREDICTORS)}.'
    )
  return found


def _task_of_head(folder):
  """Returns the task that the names of the weights tell: 'pretrain', 'captioning', or None."""
  if not torch_files.matches(folder):
    return None
  names = list(torch_files.read(folder))
  for part, task in _HEADS.items():
    if any(part in name for name in names):
      return task
  return 'pretrain'  # A text encoder alone.


def _input_settings(task, stored, folder):
  needed = ['max_seq_length', 'max_img_seq_length']
  needed += {
    'retrieval': ['add_od_labels'],
    'nlvr2': ['use_pair', 'use_label_seq'],
    'captioning': ['add_od_labels', 'max_seq_a_length'],
  }.get(task, [])
  missing = [name for name in needed if stored.get(name) is None]
  if missing:
    raise ValueError(
      f'{folder} does not say {", ".join(missing)} of its training: it has no '
      f'{checkpoint_tasks.TASK_FILE} and no training_args.bin with them; give settings= '
      f'(--settings), such as {{"{missing[0]}": ...}}.'
    )
  lengths = {
    name: _typed(stored, name, int, folder) for name in ('max_seq_length', 'max_img_seq_length')
  }
  with_tags = {
    'vqa': stored.get('task_name', 'vqa_text') != 'vqa_text_a',
    'retrieval': _typed(stored, 'add_od_labels', bool, folder),
    'nlvr2': _typed(stored, 'use_label_seq', bool, folder),
    'captioning': _typed(stored, 'add_od_labels', bool, folder),
  }.get(task, True)
  attention = 'CLR'
  if task == 'retrieval':
    attention = stored.get('att_mask_type') or 'CLR'
    check_name(f'att_mask_type in {folder}', attention, ATTENDS_TO)
  if task == 'captioning':
    lengths['max_seq_a_length'] = _typed(stored, 'max_seq_a_length', int, folder)
    given = _typed(stored, 'max_gen_length', int, folder)
    lengths['max_gen_length'] = given or caption_settings.CaptioningData().max_gen_length
  return InputSettings(
    **lengths,
    with_tags=bool(with_tags) and stored.get('tags') != tags.NONE,
    attention=attention,
    sigmoid=serving.uses_sigmoid(task, stored),
    mask_regions=bool(_typed(stored, 'mask_regions', bool, folder)),
  )


def _typed(stored, name, kind, folder):
  value = stored.get(name)
  if value is None:
    return None
  admitted = {bool: (bool, int), float: (float, int)}.get(kind, (kind,))
  if type(value) not in admitted or (kind is int and value < 1):
    raise ValueError(
      f'{folder}: {name} is {value!r:.40} in the settings of its training, expected '
      f'{"a whole number above 0" if kind is int else kind.__name__}.'
    )
  return kind(value)


def _config(folder, stored, task):
  overrides = {
    name: _typed(stored, name, kind, folder)
    for name, kind in _OF_THE_NETWORK.items()
    if stored.get(name) is not None and (name != 'use_pair' or task == 'nlvr2')
  }
  return OscarConfig.from_json(folder, output_attentions=True, **overrides)


def _answers(folder, task, given, num_labels):
  """Returns the texts of the labels.

  Raises:
    ValueError: they are unknown, or not as many as labels.
  """
  source = f'{folder}/{checkpoint_tasks.TASK_FILE}'
  if isinstance(given, (str, os.PathLike)):
    source = os.fspath(given)
    found = records.read_plain(source)
    found = vqa.read_labels(source)[0] if isinstance(found, dict) else found
  elif given is not None:
    source, found = 'answers', list(given)
  else:
    found = checkpoint_tasks.entries_of(folder).get('answers')
  if found is None:
    raise ValueError(
      f'{folder} does not hold the answers of its {num_labels} labels; give answers= '
      f'(--label2ans_file), the official {task} file label2ans or ans2label.'
    )
  if not isinstance(found, list) or not all(isinstance(answer, str) for answer in found):
    raise ValueError(f'{source}: expected the list of answers, found {str(found)[:60]}.')
  if len(found) != num_labels:
    raise ValueError(
      f'{source} has {len(found)} answers, but the model of {folder} has {num_labels} labels; give '
      'the file that it was trained with.'
    )
  return found

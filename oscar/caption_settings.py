"""Flags of `oscar.run_captioning`, as frozen dataclasses without TensorFlow.

Names, defaults and meanings are those of microsoft/Oscar, oscar/run_captioning.py, unless the help
says otherwise.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from oscar import task_settings
from oscar.datasets import tags
from tpu_utils import files
from tpu_utils.command_line.settings import setting

_CACHED_TOKENS = 'coco-train-words.p'
FREQUENCIES_FILE = 'cider_document_frequencies.json'

_CaptioningData = task_settings.without(
  task_settings.TaskData,
  # No classifier; and attention masks with a row for each query are not cut.
  ('classifier', 'cls_hidden_scale', 'trim_padding'),
  'The images and captions.',
)


@dataclasses.dataclass(frozen=True)
class CaptioningData(_CaptioningData):  # type: ignore[misc, valid-type]  # Made by `subset`.
  """The images and captions, masked words, the loss, and how captions are written.

  Attributes:
    steps_per_epoch: updates of an epoch, set when the training data are known.
    forward_passes: parts of a batch, whose gradients are accumulated; set by the script.
  """

  steps_per_epoch: ClassVar[int] = 1
  forward_passes: ClassVar[int] = 1

  train_yaml: str = setting('train.yaml', 'Files of the split train; a name in --data_dir.')
  val_yaml: str = setting('val.yaml', 'Files of val, for evaluation while training.')
  test_yaml: str = setting('test.yaml', 'Files of test, for --do_test and --do_eval.')
  max_seq_length: int = setting(
    70,
    'Maximum word pieces of a caption and its tags, with special ones, in training. In generation '
    '--max_gen_length takes the place of --max_seq_a_length, with as many pieces for tags.',
    at_least=4,
  )
  max_seq_a_length: int = setting(
    40, 'Maximum word pieces of a caption in training; tags begin there.', at_least=3
  )
  max_img_seq_length: int = setting(50, 'Maximum regions of an image.', at_least=1)
  img_feature_type: str = setting(
    'frcnn', 'No effect, as officially: the YAML file names the features.',
    choices=('frcnn', 'faster_r-cnn', 'mask_r-cnn'),
  )
  per_gpu_train_batch_size: int = setting(
    64, 'Captions per device and forward pass.', at_least=1
  )
  per_gpu_eval_batch_size: int = setting(64, 'Images per device in evaluation.', at_least=1)
  add_od_labels: bool = setting(False, 'Give the model the tags.')
  mask_prob: float = setting(
    0.15, "Share of a caption's word pieces to mask in training.", at_least=0, below=1
  )
  max_masked_tokens: int = setting(3, 'Most word pieces of a caption to mask.', at_least=1)
  tie_weights: bool = setting(False, 'Predict words with their embeddings, as in pre-training.')
  freeze_embedding: bool = setting(False, 'Do not train the embeddings of words.')
  label_smoothing: float = setting(
    0.0, 'Probability that the loss spreads over all words.', at_least=0, below=1
  )
  drop_worst_ratio: float = setting(
    0.0, 'Share of masked words with the largest losses to leave out.', at_least=0, below=1
  )
  drop_worst_after: int = setting(0, 'Forward passes before words are left out.', at_least=0)
  max_gen_length: int = setting(
    20, 'Maximum word pieces of a written caption, with special ones.', at_least=2
  )
  num_beams: int = setting(1, 'Beams of the search; 1 is greedy.', at_least=1)
  num_keep_best: int = setting(
    1, 'Captions to write for an image, with beams; the first is scored.', at_least=1
  )
  repetition_penalty: float = setting(
    1.0, 'Above 1: words that a caption has become less probable.', at_least=1
  )
  length_penalty: float = setting(
    1.0, 'Beams are compared by log-probability over length to this power.'
  )
  scst: bool = setting(
    False,
    'Self-critical sequence training, after training with cross-entropy: draw captions and make '
    'those more probable whose CIDEr-D is above a baseline. An epoch has each image once. The '
    'lengths and --add_od_labels of --model_name_or_path are the defaults. Nothing is masked, '
    'smoothed or dropped, and --drop_out has no effect.',
  )
  sc_train_sample_n: int = setting(
    5, '--scst: captions to draw for an image in each step.', at_least=1
  )
  sc_baseline_type: str = setting(
    'greedy',
    '--scst: the baseline, the score of the caption that the search finds, or the mean score of '
    'the other drawn captions of the image.',
    choices=('greedy', 'sample'),
  )
  sc_beam_size: int = setting(
    1,
    '--scst: beams of the search for the greedy baseline. Captions are always drawn without beams '
    '(the official script fails with more than 1).',
    at_least=1,
  )
  cider_cached_tokens: str = setting(
    _CACHED_TOKENS,
    '--scst: document frequencies for CIDEr-D, the official pickle or a .json of an earlier job; a '
    'name in --data_dir. Without the file of the default name, those of the training captions, '
    f'which {FREQUENCIES_FILE} in --model_dir keeps.',
  )
  temperature: float = setting(
    1.0, '--scst: divides the scores of words before captions are drawn.'
  )
  top_k: int = setting(
    0, '--scst: draw from this number of most probable words; 0: from all.', at_least=0
  )
  top_p: float = setting(
    1.0,
    '--scst: draw from the most probable words that have this probability together; 1: from all.',
    at_least=0,
  )
  use_cbs: bool = setting(
    False,
    'Constrained beam search for NoCaps: captions mention objects that a detector found. The YAML '
    'file of the evaluated split needs cbs_box, cbs_constraint, cbs_tokenforms and cbs_hierarchy.',
  )
  min_constraints_to_satisfy: int = setting(
    2, '--use_cbs: objects that a caption must mention, if as many were found.', at_least=0
  )
  suppress_general: bool = setting(
    False,
    '--use_cbs: of two classes on the same thing leave out the more general one (an animal that is '
    'a dog), as the paper describes. The official code means to but keeps both.',
  )


@dataclasses.dataclass(frozen=True)
class CaptioningJob(task_settings.SavingJob):
  """The mode and folders of the job."""

  mode: str = setting(
    None,
    'train; eval (scores captions of checkpoints of --model_dir); train_and_eval; predict (writes '
    'captions for --eval_split, and their scores); export; preflight (compiles the steps for '
    '--topology, without a TPU). By default as the --do flags say, '
    'without them train_and_eval. eval and predict take --init_checkpoint if --model_dir has no '
    'checkpoint.',
    choices=('train_and_eval', 'train', 'eval', 'predict', 'export', 'preflight'),
    type=str,
  )
  do_train: bool = setting(False, 'Train, and score captions of val; --mode=train only trains.')
  do_test: bool = setting(False, 'Write captions for test, and score them if it has captions.')


# {official flag that has no counterpart here: advice}.
ELSEWHERE = {
  'local_rank': '--strategy selects the devices',
  'no_cuda': '--strategy selects the devices',
  'num_workers': 'leave it out; the input uses all cores',
  'output_mode': 'leave it out, no official code reads it',
  'loss_type': 'leave it out, no official code reads it; see --label_smoothing',
  'num_labels': 'leave it out, no official code reads it',
  'output_hidden_states': 'leave it out; what was computed for earlier words is always reused',
  'num_return_sequences': (
    'leave it out, a search finds the same captions each time; --num_keep_best writes several'
  ),
}
# Flags of `CaptioningData` that configure `decoding.GenerationConfig`, with the same names.
OF_GENERATION = (
  'max_gen_length', 'num_beams', 'num_keep_best', 'repetition_penalty', 'length_penalty',
)  # fmt: skip
# Those that configure how captions are drawn, with --scst only.
OF_DRAWING = ('temperature', 'top_k', 'top_p')
# Flags of the cross-entropy training that self-critical training continues, as officially.
_CONTINUED = (
  'max_seq_length', 'max_seq_a_length', 'max_img_seq_length', 'add_od_labels', 'do_lower_case',
  'tags',
)  # fmt: skip
_SPLITS = ('train', 'val', 'test')


def yaml_of(data: CaptioningData, split: str) -> str:
  """Returns the path of the YAML file of a split; one without a flag is called SPLIT.yaml."""
  name = getattr(data, f'{split}_yaml') if split in _SPLITS else f'{split}.yaml'
  # As officially, a path of its own comes first.
  return name if files.is_file(name) else os.path.join(data.data_dir, name)


def text_length(data: CaptioningData) -> int:
  """Returns the word pieces of a caption and its tags in training, without mere padding."""
  return data.max_seq_length if data.add_od_labels else data.max_seq_a_length


def frequencies_file(data_dir: str, name: str) -> str | None:
  """Returns the path of the document frequencies; None if they are those of the training captions.

  Args:
    data_dir: --data_dir.
    name: --cider_cached_tokens.

  Raises:
    ValueError: a file of another name than the default one does not exist.
  """
  for path in (os.path.join(data_dir, name), name):
    if name and files.is_file(path):
      return path
  if name not in ('', _CACHED_TOKENS):
    raise ValueError(
      f'--cider_cached_tokens={name}: there is no such file, nor in --data_dir; leave it out to '
      'count document frequencies in the training captions.'
    )
  return None


def continued(given: Mapping[str, Any]) -> tuple[str, ...]:
  """Returns the flags that a training takes from the checkpoint that it starts from.

  Args:
    given: {flag: value}.
  """
  return _CONTINUED if given.get('scst') else ()


def as_trained(stored: Mapping[str, Any]) -> dict[str, Any]:
  """Returns stored flags with `max_seq_length` counted for captions of `max_seq_a_length`.

  The official self-critical training stores the length with captions of `max_gen_length` instead.
  Without tags, a length beyond the caption is padding.

  Args:
    stored: {flag of a training: value}.
  """
  found = dict(stored)
  names = ('max_seq_length', 'max_seq_a_length', 'max_gen_length')
  if found.get('scst') is True and all(type(found.get(name)) is int for name in names):
    found['max_seq_length'] += found['max_seq_a_length'] - found['max_gen_length']
  if 'max_seq_a_length' not in found:  # Old checkpoints; officially their length is not restored.
    found.pop('max_seq_length', None)
  if found.get('add_od_labels') is False and type(found.get('max_seq_a_length')) is int:
    found['max_seq_length'] = found['max_seq_a_length']
  return found


def results_name(data: CaptioningData) -> str:
  """Returns the official name of the file of captions for `data.eval_split`."""
  folder = os.path.basename(data.data_dir.rstrip('/'))
  split = os.path.splitext(os.path.basename(yaml_of(data, data.eval_split)))[0]
  parts = ['pred', folder, split, f'beam{data.num_beams}', f'max{data.max_gen_length}']
  parts += ['odlabels'] if data.add_od_labels else []
  parts += [f'best{data.num_keep_best}'] if data.num_keep_best != 1 else []
  parts += [f'cbs{data.min_constraints_to_satisfy}'] if data.use_cbs else []
  parts += ['specific'] if data.use_cbs and data.suppress_general else []
  parts += ['masked_regions'] if data.mask_regions else []
  parts += [] if data.tags == tags.GIVEN else [tags.name(data.tags)]
  return f'{".".join(parts)}.tsv'

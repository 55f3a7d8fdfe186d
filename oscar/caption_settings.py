"""Flags of `oscar.run_captioning`, as frozen dataclasses without TensorFlow.

Names, defaults and meanings are those of microsoft/Oscar, oscar/run_captioning.py, unless the help
says otherwise.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, ClassVar

from oscar import task_settings
from tpu_utils import files
from tpu_utils.command_line.settings import setting, subset

_CaptioningData = subset(
  task_settings.TaskData,
  [
    field.name
    for field in dataclasses.fields(task_settings.TaskData)
    # No classifier; and attention masks with a row for each query are not cut.
    if field.name not in ('classifier', 'cls_hidden_scale', 'trim_padding')
  ],
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


_CaptioningJob = subset(
  task_settings.JobConfig,
  [
    field.name
    for field in dataclasses.fields(task_settings.JobConfig)
    if field.name not in ('do_train_val', 'do_test_dev', 'logging_steps')
  ],
  'The mode and folders of the job.',
  seed=88,
)


@dataclasses.dataclass(frozen=True)
class CaptioningJob(_CaptioningJob):  # type: ignore[misc, valid-type]  # Made by `subset`.
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
  do_eval: bool = setting(False, 'The same.')
  evaluate_during_training: bool = setting(
    False, 'Evaluate every --save_steps, otherwise each epoch.'
  )
  save_steps: int = setting(-1, 'See --evaluate_during_training; -1: each epoch.')
  log_step_count_steps: int = setting(
    20,
    'Minimum number of steps between two log lines outside a terminal.',
    at_least=1,
    aliases=('logging_steps',),
  )


_SCST = 'self-critical training is not built yet; leave it out to train with cross-entropy'
_CONSTRAINED = 'constrained beam search is not built into the script yet; leave it out'
_SAMPLED = 'leave it out, it has no effect officially: captions are searched, not drawn'
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
  'temperature': _SAMPLED,
  'top_k': _SAMPLED,
  'top_p': _SAMPLED,
  'scst': _SCST,
  'sc_train_sample_n': _SCST,
  'sc_baseline_type': _SCST,
  'sc_beam_size': _SCST,
  'cider_cached_tokens': _SCST,
  'use_cbs': _CONSTRAINED,
  'min_constraints_to_satisfy': _CONSTRAINED,
}
# Flags of `CaptioningData` that configure `decoding.GenerationConfig`, with the same names.
OF_GENERATION = (
  'max_gen_length', 'num_beams', 'num_keep_best', 'repetition_penalty', 'length_penalty',
)  # fmt: skip
_SPLITS = ('train', 'val', 'test')


def yaml_of(data: CaptioningData, split: str) -> str:
  """Returns the path of the YAML file of a split; one without a flag is called SPLIT.yaml."""
  name = getattr(data, f'{split}_yaml') if split in _SPLITS else f'{split}.yaml'
  # As officially, a path of its own comes first.
  return name if files.is_file(name) else os.path.join(data.data_dir, name)


def as_trained(stored: Mapping[str, Any]) -> dict[str, Any]:
  """Returns stored flags with `max_seq_length` counted for captions of `max_seq_a_length`.

  The official self-critical training stores the length with captions of `max_gen_length` instead.

  Args:
    stored: {flag of a training: value}.
  """
  found = dict(stored)
  names = ('max_seq_length', 'max_seq_a_length', 'max_gen_length')
  if found.get('scst') is True and all(type(found.get(name)) is int for name in names):
    found['max_seq_length'] += found['max_seq_a_length'] - found['max_gen_length']
  return found


def results_name(data: CaptioningData) -> str:
  """Returns the official name of the file of captions for `data.eval_split`."""
  folder = os.path.basename(data.data_dir.rstrip('/'))
  split = os.path.splitext(os.path.basename(yaml_of(data, data.eval_split)))[0]
  parts = ['pred', folder, split, f'beam{data.num_beams}', f'max{data.max_gen_length}']
  parts += ['odlabels'] if data.add_od_labels else []
  parts += [f'best{data.num_keep_best}'] if data.num_keep_best != 1 else []
  parts += ['masked_regions'] if data.mask_regions else []
  return f'{".".join(parts)}.tsv'

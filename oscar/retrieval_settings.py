"""Flags of `oscar.run_retrieval`, as frozen dataclasses without TensorFlow.

Names, defaults and meanings are those of microsoft/Oscar, oscar/run_retrieval.py, unless the help
says otherwise.
"""

import dataclasses

from oscar import task_settings
from oscar.task_settings import SavingJob, TaskData, without
from tpu_utils.command_line.settings import setting

# {flag of the official script that has no counterpart here: advice}.
ELSEWHERE = {
  'no_cuda': task_settings.ELSEWHERE['no_cuda'],
  'num_workers': 'leave it out; the input uses all cores',
  'output_mode': 'leave it out, no official code reads it; use --num_labels',
}


@dataclasses.dataclass(frozen=True)
class RetrievalData(TaskData):
  """The images and captions, wrong pairs, the pairs to rank, and the loss."""

  img_feat_file: str = setting(
    '',
    'The features, with imageid2idx.json and predictions.tsv (tags) in the same folder; by default '
    'features.tsv in --data_dir.',
  )
  max_seq_length: int = setting(
    70, 'Maximum word pieces of a caption and its tags, with special ones.', at_least=4
  )
  max_img_seq_length: int = setting(50, 'Maximum regions of an image.', at_least=1)
  img_feature_type: str = setting(
    'frcnn', 'No effect, as officially: there is one file of features.',
    choices=('frcnn', 'faster_r-cnn', 'mask_r-cnn'),
  )
  per_gpu_train_batch_size: int = setting(
    32, 'Captions per device and forward pass, each with its image and a wrong pair.', at_least=1
  )
  per_gpu_eval_batch_size: int = setting(64, 'Pairs per device in evaluation.', at_least=1)
  eval_split: str = setting('minival', 'Split to evaluate while training.')
  test_split: str = setting('test', 'Split of --do_test and --do_eval.')
  num_captions_per_img_train: int = setting(
    5, 'Captions of a training image; all have at least as many.', at_least=1
  )
  num_captions_per_img_val: int = setting(
    5, 'Captions of an evaluated image, or its candidates of --eval_caption_index_file.', at_least=1
  )
  eval_img_keys_file: str = setting(
    '', 'Name of a file in --data_dir: the images to evaluate, a number a line; by default all.'
  )
  eval_caption_index_file: str = setting(
    '',
    'Name of a file in --data_dir with the captions to rank for each image '
    '(minival_caption_indexs_top20.pt).',
  )
  cross_image_eval: bool = setting(False, 'Rank all captions for each image, and all images.')
  num_eval_images: int = setting(
    0, 'Evaluate only the first so many images; 0: all.', at_least=0
  )
  eval_folds: int = setting(
    1,
    'With --cross_image_eval: so many equal parts of the images, ranked each on its own, as the '
    'five folds of 1K. (Ranking 5K gives these, too, from five times the pairs.)',
    at_least=1,
  )
  add_od_labels: bool = setting(False, 'Give the model the tags.')
  od_label_type: str = setting(
    'vg', 'Source of the tags, for the names of result files.', choices=('vg', 'gt', 'oid')
  )
  att_mask_type: str = setting(
    'CLR',
    'Of caption (C), tags (L) and regions (R), those that attend to each other.',
    choices=('CLR', 'CL', 'CR', 'LR'),
  )
  num_labels: int = setting(
    2, '2: the probability of a match; 1: a number near 1 for a match (squared error).',
    choices=(1, 2),
  )
  loss_type: str = setting(
    'sfmx',
    'Cross-entropy under either name; the official script fails with kl.',
    choices=('sfmx', 'kl'),
  )
  region_memory: float = setting(
    4.0,
    'GiB that the training regions may take in memory. If they fit, wrong images come from all '
    'images, otherwise from those read together.',
    at_least=0,
  )


_RetrievalJob = without(SavingJob, ('predict_file',), 'The mode and folders of the job.')


@dataclasses.dataclass(frozen=True)
class RetrievalJob(_RetrievalJob):  # type: ignore[misc, valid-type]  # Made by `subset`.
  """The mode and folders of the job."""

  mode: str = setting(
    None,
    'train; eval (follows the checkpoints of --model_dir); train_and_eval; predict (scores and '
    'ranks the pairs of --eval_split); export; preflight (compiles the steps for --topology, '
    'without a TPU). By default as the --do flags say, without them train_and_eval. eval and '
    'predict take --init_checkpoint if --model_dir has no checkpoint.',
    choices=('train_and_eval', 'train', 'eval', 'predict', 'export', 'preflight'),
    type=str,
  )
  do_train: bool = setting(False, 'Train, and evaluate if there are pairs to rank.')
  do_test: bool = setting(False, 'Score and rank the pairs of --test_split.')

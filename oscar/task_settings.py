"""Flags of the fine-tuning scripts, as frozen dataclasses without TensorFlow.

Names, defaults and meanings are those of the official scripts (microsoft/Oscar, `run_vqa.py`,
`run_gqa.py`, `run_nlvr.py`) unless the help says otherwise; `retrieval_settings` and
`caption_settings` have those of the other two.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from oscar import script_settings
from oscar.datasets import tags
from tpu_utils.command_line.settings import Checked, setting, subset


@dataclasses.dataclass(frozen=True)
class ModelConfig(script_settings.ModelConfig):
  """The network and its initial weights."""

  drop_out: float = setting(0.1, 'Dropout of hidden states.', at_least=0, below=1)


@dataclasses.dataclass(frozen=True)
class TaskData(Checked):
  """The data and batches of every task.

  Attributes:
    steps_per_epoch: updates of an epoch, set when the training data are known.
  """

  steps_per_epoch: ClassVar[int] = 1

  data_dir: str = setting(
    '',
    'Folder in the official layout. Empty: scenes of handwritten digits, generated once.',
  )
  max_seq_length: int = setting(
    128, 'Maximum word pieces of an example, with special ones.', at_least=4
  )
  max_img_seq_length: int = setting(30, 'Maximum regions of an image.', at_least=1)
  mask_regions: bool = setting(
    False,
    'Hide the regions from the model, in training and evaluation: how much do words and tags tell? '
    'mode=eval and predict do not replace the results and the best checkpoint with regions.',
  )
  tags: str = setting(
    tags.GIVEN,
    'Tags of the images, in training and evaluation: given, those of the data where the task reads '
    'tags; none; wrong, those of another image; or a file with others (a line for each image: key, '
    'tab, tags). mode=eval and predict with other tags than the training keep its results.',
  )
  img_feature_type: str = setting(
    'faster_r-cnn', 'Detector of the features.', choices=('faster_r-cnn', 'mask_r-cnn')
  )
  per_gpu_train_batch_size: int = setting(8, 'Examples per device and forward pass.', at_least=1)
  per_gpu_eval_batch_size: int = setting(8, 'Examples per device in evaluation.', at_least=1)
  train_batch_size: int = setting(
    None,
    'Global batch size of an update; by default --per_gpu_train_batch_size times devices times '
    '--gradient_accumulation_steps.',
    type=int,
    at_least=1,
  )
  eval_batch_size: int = setting(
    None,
    'Global batch size for evaluation; by default --per_gpu_eval_batch_size times devices.',
    type=int,
    at_least=1,
  )
  classifier: str = setting(
    'linear', 'The head: one layer, or two with a relu between.', choices=('linear', 'mlp')
  )
  cls_hidden_scale: int = setting(
    2, 'mlp: width between its layers, as a multiple of the hidden size.', at_least=1
  )
  trim_padding: bool = setting(
    True, 'Cut the padding that a whole batch shares; the same outputs, faster. Not on TPUs.'
  )
  train_split: str = setting(
    None, 'Split to train on; by default train, or train+val with --do_train_val.', type=str
  )
  eval_split: str = setting(
    None, 'Split to evaluate or predict; by default val, or the test split of --do_test.', type=str
  )


@dataclasses.dataclass(frozen=True)
class VqaData(TaskData):
  """The questions, their answers and features, and the loss."""

  txt_data_dir: str = setting(
    '', 'Folder of the questions of train and val; by default --data_dir.'
  )
  img_feat_dir: str = setting(
    '', 'tsv: folder of the features; by default --data_dir.'
  )
  img_feat_format: str = setting(
    'pt', 'Files of the features.', choices=('pt', 'tsv')
  )
  label_file: str = setting(
    '', 'Labels by answer, trainval_ans2label.pkl; by default in cache/ of the data folders.'
  )
  label2ans_file: str = setting(
    '', 'Answers by label, trainval_label2ans.pkl; by default the answers of --label_file.'
  )
  annotations_dir: str = setting(
    '',
    "Folder of VQA's raw annotations (v2_mscoco_val2014_annotations.json ...): evaluation adds the "
    'ten-choose-nine accuracy over all questions.',
  )
  label_source: str = setting(
    'file',
    'Labels and scores: of the question files, or made from --annotations_dir by the VQA rule '
    '(without a label file from the answers of nine questions or more).',
    choices=('file', 'annotations'),
  )
  task_name: str = setting(
    'vqa_text', 'vqa_text_a: without tags.', choices=('vqa_text', 'vqa_text_a')
  )
  data_label_type: str = setting(
    'faster', 'Detector of the tags; mask: the files ..._mrcnn.json.', choices=('faster', 'mask')
  )
  use_vg: bool = setting(False, 'mask: train on the questions of Visual Genome, too.')
  use_vg_dev: bool = setting(False, 'mask: evaluate on the questions of Visual Genome.')
  loss_type: str = setting(
    'kl',
    'kl, bce: of the scores of all answers; xe: cross-entropy of the first answer.',
    choices=('kl', 'bce', 'xe'),
  )
  adjust_loss: bool = setting(False, 'Change the loss to bce at --adjust_loss_epoch.')
  adjust_loss_epoch: int = setting(-1, 'First epoch, from 0, with bce; -1: from the start.')
  adjust_dp: bool = setting(
    False, 'Dropout of embeddings and pooled output becomes 0.3 in epoch 3, counted from 0.'
  )


@dataclasses.dataclass(frozen=True)
class GqaData(TaskData):
  """The questions and their answers, and the loss."""

  label_file: str = setting(
    '', 'Labels by answer, trainval_testdev_all_ans2label.pkl; by default in --data_dir.'
  )
  label2ans_file: str = setting(
    '', 'Answers by label, ..._label2ans.pkl; by default the answers of --label_file.'
  )
  data_label_type: str = setting(
    'bal', 'Questions of test-dev: balanced or all.', choices=('bal', 'all')
  )
  train_data_type: str = setting('bal', 'Questions to train on.', choices=('bal', 'all'))
  eval_data_type: str = setting('bal', 'Questions of val.', choices=('bal', 'all'))
  questions_file: str = setting(
    '',
    "GQA's own file of the evaluated questions (val_all_questions.json): evaluation adds accuracy "
    'by type, binary, open, consistency and distribution.',
  )
  choices_file: str = setting(
    '', "GQA's file of choices (val_choices.json): evaluation adds validity and plausibility."
  )
  loss_type: str = setting(
    'kl',
    'Cross-entropy of the answer under either name, as there is one answer; the official script '
    'fails with kl.',
    choices=('kl', 'xe'),
  )


@dataclasses.dataclass(frozen=True)
class Nlvr2Data(TaskData):
  """The statements about pairs of images, and the loss."""

  data_label_type: str = setting(
    'bal', 'Statements of test1, where all leaves the choice to --eval_data_type.',
    choices=('bal', 'all'),
  )
  train_data_type: str = setting(
    'bal', 'No effect, as officially: there is one training file.', choices=('bal', 'all')
  )
  eval_data_type: str = setting(
    'bal', 'Statements of val: the balanced ones, the others, or all.',
    choices=('bal', 'unbal', 'all'),
  )
  use_pair: bool = setting(
    False,
    'Encode the statement with each image and join both outputs, as the published runs; otherwise '
    'one sequence holds the regions of both images.',
  )
  use_label_seq: bool = setting(
    False, 'Give the model the tags, too; the published runs do without.'
  )
  num_choice: int = setting(2, 'Images of a statement.', choices=(2,))
  sentences_file: str = setting(
    '',
    "NLVR2's own file of the evaluated statements, whose identifiers the submission needs and "
    'consistency goes by; for several splits (dev.json,test1.json) with commas between. Not needed '
    'where the rows have `identifier`.',
  )
  loss_type: str = setting(
    'kl', 'Cross-entropy under either name, as officially with pairs.', choices=('kl', 'xe')
  )
  optim: str = setting('AdamW', 'The optimizer.', choices=('AdamW',))


_Optimization = subset(
  script_settings.OptimizationConfig,
  [field.name for field in dataclasses.fields(script_settings.OptimizationConfig)],
  'The optimizer.',
  schedule_order='scheduler_first',
  clip_each_part=True,
  weight_decay=0.0,
  max_grad_norm=1.0,
)


@dataclasses.dataclass(frozen=True)
class OptimizationConfig(_Optimization):  # type: ignore[misc, valid-type]  # Made by `subset`.
  """The optimizer, AdamW with linear warm-up and decay, and the length of training."""

  num_train_epochs: float = setting(
    3.0, 'Epochs to train, over which the learning rate falls.', at_least=0
  )
  max_steps: int = setting(
    -1,
    'Training steps, in place of --num_train_epochs, if above 0.',
    aliases=('train_steps', 'max_iters'),
  )


@dataclasses.dataclass(frozen=True)
class JobConfig(Checked):
  """The mode and folders of the job."""

  mode: str = setting(
    None,
    'train; eval; train_and_eval; predict (writes predictions for --eval_split, and a file of them '
    'in the form of a submission); export; preflight (compiles the steps for --topology, without a '
    'TPU). By default as the --do flags say, without them train_and_eval. eval and predict take '
    '--init_checkpoint if --model_dir has no checkpoint.',
    choices=('train_and_eval', 'train', 'eval', 'predict', 'export', 'preflight'),
    type=str,
  )
  do_train: bool = setting(False, 'Train, and evaluate after each epoch.')
  do_train_val: bool = setting(False, 'The same on train+val.')
  do_eval: bool = setting(False, 'Evaluate.')
  do_test: bool = setting(False, 'Predict the test split.')
  do_test_dev: bool = setting(False, 'Predict the test-dev split.')
  evaluate_during_training: bool = setting(
    False, 'Evaluate every --logging_steps, if that is more often than each epoch.'
  )
  logging_steps: int = setting(50, 'See --evaluate_during_training; -1: each epoch.')
  steps_per_eval: int = setting(
    None, 'Steps between evaluations; by default an epoch.', type=int, at_least=1
  )
  model_dir: str = setting(
    None,
    'Folder of checkpoints, summaries, predictions and the record of the run. A stopped job '
    'resumes from it.',
    type=str,
    aliases=('output_dir',),
  )
  export_dir: str = setting(
    None,
    'Folder for the model: config.json, vocab.txt, task.json and the weights under official names.',
    type=str,
  )
  export_file: str = setting(
    'model.safetensors',
    'Format of the exported weights; pytorch_model.bin needs torch.',
    choices=('model.safetensors', 'pytorch_model.bin'),
  )
  saved_model: bool = setting(
    None,
    'Export a SavedModel, too, to saved_model/ in --export_dir; by default only in mode=export.',
    type=bool,
  )
  predict_file: str = setting(
    None,
    'mode=predict: file for the JSON lines; by default SPLIT_predictions.jsonl in --model_dir.',
    type=str,
  )
  resume_step: int = setting(
    None, 'Go back to the checkpoint of this step in --model_dir.', type=int, at_least=1
  )
  iterations_per_loop: int = setting(
    100,
    'Steps the device runs before it returns to the host (progress, summaries, checkpoints).',
    at_least=1,
  )
  log_step_count_steps: int = setting(
    100, 'Minimum number of steps between two log lines outside a terminal.', at_least=1
  )
  save_checkpoints_steps: int = setting(
    None,
    'Steps between checkpoints; by default max(100, --iterations_per_loop), and each evaluation.',
    type=int,
    at_least=1,
  )
  keep_checkpoint_max: int = setting(5, 'Number of newest checkpoints to keep.', at_least=1)
  use_async_checkpointing: bool = setting(
    None, 'Write checkpoints while training continues; by default on accelerators.', type=bool
  )
  profile_steps: str = setting(
    None, 'Profile steps such as 10,20 for TensorBoard, in --model_dir.', type=str
  )
  eval_timeout: int = setting(
    None, 'mode=eval: stop if no new checkpoint appears for this many seconds.', type=int
  )
  eval_name: str = setting(
    None, 'Name of this evaluation; its summaries go to eval_<name>.', type=str
  )
  archive_ckpt: bool = setting(True, 'Keep the best checkpoint in archive/.')
  seed: int = setting(
    42, 'Seed of the initial weights, the order of the data and all randomness.', at_least=0
  )


def without(config_class: type, names: Collection[str], doc: str, **others: Any) -> Any:
  """Creates a class with all settings of `config_class` but some; see `subset`."""
  fields = dataclasses.fields(config_class)
  return subset(config_class, [f.name for f in fields if f.name not in names], doc, **others)


_SavingJob = without(
  JobConfig,
  ('do_train_val', 'do_test_dev', 'logging_steps'),
  'The mode and folders of the job.',
  seed=88,
)


@dataclasses.dataclass(frozen=True)
class SavingJob(_SavingJob):  # type: ignore[misc, valid-type]  # Made by `subset`.
  """The mode and folders of a job that is evaluated where the official script saves it."""

  do_eval: bool = setting(False, 'The same as --do_test.')
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


@dataclasses.dataclass(frozen=True)
class EvaluatedModel(ModelConfig):
  """The network and its weights, for the scripts that test with --eval_model_dir."""

  init_checkpoint: str = setting(
    None,
    'Weights to start from, or (--eval_model_dir) to test: an official checkpoint, a BERT, or an '
    'export of this project. Heads that it lacks are initialised for training.',
    type=str,
    aliases=('model_name_or_path', 'eval_model_dir'),
  )


_DEVICES = '--strategy selects the devices'
_CODES = 'leave it out; only region features are supported'
_CACHE = 'leave it out; nothing is cached'
_DEBUG = 'leave it out; there is no remote debugger'
_PRECISION = 'use --use_bfloat16'
_KEPT = (
  'leave it out; a checkpoint is saved at each evaluation and every --save_checkpoints_steps, and '
  'the best is kept in archive/'
)
# {flag of every official script that has no counterpart here: advice}.
ELSEWHERE = {
  'cache_dir': 'leave it out; nothing is downloaded',
  'code_level': _CODES,
  'code_voc': _CODES,
  'eval_all_checkpoints': 'use --mode=eval, which evaluates checkpoints as they appear',
  'fp16': _PRECISION,
  'fp16_opt_level': _PRECISION,
  'local_rank': _DEVICES,
  'model_type': 'leave it out; all models are of this kind',
  'no_cuda': _DEVICES,
  'overwrite_cache': _CACHE,
  'overwrite_output_dir': 'leave it out; a job resumes from its --output_dir',
  'philly': 'leave it out',
  'save_epoch': _KEPT,
  'save_steps': _KEPT,
  'server_ip': _DEBUG,
  'server_port': _DEBUG,
  'workers': 'leave it out; the input uses all cores',
}
_LOAD_FAST = 'leave it out; texts are tokenized once'
GQA_ELSEWHERE = {
  **ELSEWHERE,
  'load_fast': _LOAD_FAST,
  'max_label_pos_length': 'leave it out, no official code reads it',
  'spatial_dim': 'leave it out, no official code reads it',
  'task_name': 'leave it out; the script has one task',
}
NLVR2_ELSEWHERE = {
  **ELSEWHERE,
  'task_name': 'leave it out; the script has one task',
  'use_layernorm': 'leave it out, it has no effect officially; use --use_img_layernorm',
}
VQA_ELSEWHERE = {
  **ELSEWHERE,
  'load_fast': _LOAD_FAST,
  'save_after_epoch': _KEPT,
  'hard_label': 'leave it out, no official code reads it; --loss_type=xe has one label',
}
# Flags of a checkpoint's training that hold at test time, too.
OF_THE_MODEL = (
  'do_lower_case', 'img_feature_dim', 'img_feature_type', 'use_img_layernorm', 'img_layer_norm_eps',
  'max_seq_length', 'max_img_seq_length', 'task_name', 'loss_type', 'classifier',
  'cls_hidden_scale', 'use_pair', 'use_label_seq', 'num_choice', 'adjust_loss', 'add_od_labels',
  'od_label_type', 'att_mask_type', 'num_labels', 'mask_regions', 'max_seq_a_length',
  'max_gen_length', 'tie_weights', 'tags',
)  # fmt: skip


def info(data: TaskData, **more: Any) -> dict[str, Any]:
  """Returns the arguments of `checkpoint_tasks.write_settings` for the flags of a task.

  Args:
    data: the task's settings.
    **more: further entries, such as the texts of the answers.
  """
  own = {name: getattr(data, name) for name in OF_THE_MODEL if hasattr(data, name)}
  if own['tags'] != tags.NONE:
    del own['tags']  # Wrong ones, or those of a file, are of this data set alone.
  return {'settings': own, **more}


# {flag: its value for a model that reads no tags}; GQA has none.
_READS_NO_TAGS = {'task_name': 'vqa_text_a', 'use_label_seq': False, 'add_od_labels': False}


def with_tags_flag(data: Any) -> Any:
  """Returns the flags of a task with those that --tags=none overrides."""
  if data.tags != tags.NONE:
    return data
  names = {field.name for field in dataclasses.fields(data)}
  changed = {name: value for name, value in _READS_NO_TAGS.items() if name in names}
  return dataclasses.replace(data, **changed)


def check_tags(values: Mapping[str, Any]) -> None:
  """Checks --tags.

  Args:
    values: {flag: value}.

  Raises:
    ValueError: the value is unknown, or the model would read no tags.
  """
  tags.check(values['tags'])
  off = [name for name, value in _READS_NO_TAGS.items() if values.get(name) == value]
  if off and values['tags'] not in (tags.GIVEN, tags.NONE):
    raise ValueError(
      f'--tags={values["tags"]} has no effect with --{off[0]}={values[off[0]]}, with which the '
      'model reads no tags; change one of them.'
    )

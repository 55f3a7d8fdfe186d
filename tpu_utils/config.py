"""Settings shared by the training scripts; each class is a group of flags.

Names, defaults and meanings are those of the official flags (tensorflow/tpu,
models/official/efficientnet/main.py) unless the help says otherwise.
"""
import dataclasses

from tpu_utils import model_formats
from tpu_utils.command_line.settings import Checked, setting
from tpu_utils.images import spec
from tpu_utils.weights import READERS


@dataclasses.dataclass(frozen=True)
class HardwareConfig(Checked):
  """Devices and precision."""

  strategy: str = setting(
    'auto',
    'How the work is distributed. auto: the TPU if --tpu names one, the workers of TF_CONFIG if it '
    'is set, all GPUs if there are several, else one device.',
    choices=('auto', 'tpu', 'mirrored', 'multi_worker', 'one_device'),
  )
  use_tpu: bool = setting(True, 'Use the TPU that --tpu names; --nouse_tpu ignores it.')
  tpu: str = setting(
    None, 'The Cloud TPU: `local` on a TPU VM, a TPU name, or a grpc:// address.', type=str
  )
  tpu_zone: str = setting(None, 'GCE zone of the Cloud TPU.', type=str)
  gcp_project: str = setting(None, 'Project of the Cloud TPU.', type=str)
  tpu_job_name: str = setting(None, 'Name of the worker job of the TPU cluster.', type=str)
  use_bfloat16: bool = setting(True, 'Compute in bfloat16 (variables stay float32).')
  topology: str = setting(
    'v5e:2x2',
    'mode=preflight: the TPU to compile for, such as v5e:2x2, v3:2x2 or v5p:2x2x1, or an '
    'accelerator type such as v3-8.',
  )
  find_batch_size: bool = setting(
    False, 'mode=preflight: find the largest training batch that fits; minutes for each try.'
  )
  compare: str = setting(
    '', "mode=preflight: `keras` compares with the network of Keras' layers.", choices=('', 'keras')
  )
  preflight_cache: str = setting(
    '~/.cache/tpu_vision_reference/preflight',
    'mode=preflight: folder of results of the compiler; empty for none.',
  )
  preflight_python: str = setting(
    '', 'mode=preflight: a Python that has jax and libtpu; by default the one that runs.'
  )

  @property
  def dtype_policy(self) -> str | None:
    """The Keras policy of the model; None for float32."""
    return 'mixed_bfloat16' if self.use_bfloat16 else None


@dataclasses.dataclass(frozen=True)
class DataConfig(Checked):
  """Data, preprocessing and augmentation."""

  data_dir: str = setting(
    '',
    'Folder of ImageNet-format TFRecord shards (train-*, validation-*); or of images '
    '(train/CLASS/*.jpg and validation/CLASS/*.jpg; or CLASS/*.jpg, see --split_file); or of '
    "MNIST's files (train-images-idx3-ubyte.gz, ...); or "
    '`fake`: black images from memory, to measure the speed of the device. Empty: the embedded '
    'handwritten digits, with settings that learn them in about two minutes.',
  )
  dataset: str = setting(
    None,
    'An image classification data set of TensorFlow Datasets, in place of --data_dir: NAME, '
    'NAME/CONFIG or NAME:VERSION.',
    type=str,
  )
  tfds_data_dir: str = setting(
    None,
    'Folder where --dataset was prepared; by default ~/tensorflow_datasets. Nothing is downloaded.',
    type=str,
  )
  eval_split: str = setting(
    None, '--dataset: the split to evaluate on; by default validation, else test.', type=str
  )
  holdout_shards: int = setting(
    None,
    'Evaluate on the first N of 1024 training shards ("minival") and train on the rest.',
    type=int,
  )
  holdout_fraction: float = setting(
    None,
    'Image folders and --dataset: evaluate on this fraction of the training images and train on '
    'the rest.',
    type=float,
  )
  split_file: str = setting(
    None,
    'Image folders: JSON file {"validation": ["CLASS/FILE", ...]} of the training images to '
    'evaluate on. If a folder has none to evaluate on, train_and_eval holds out a fifth of each '
    'class, keeps pictures that look alike together, and writes split.json in --model_dir.',
    type=str,
  )
  num_train_images: int = setting(
    1281167, 'Size of the training set; if not given, as in the data.', at_least=1
  )
  num_eval_images: int = setting(
    50000, 'Size of the evaluation set; if not given, as in the data.', at_least=1
  )
  num_label_classes: int = setting(
    1000,
    'Number of classes, at least 2; if not given, as in the data, where known. 1001 keeps the '
    'background label 0.',
    at_least=2,
  )
  labels_map_file: str = setting(
    None,
    'JSON file of {"0": "name of the first class", ...}; by default the names in the data (class '
    'folders, the manifest of prepared shards, --dataset). Exports and predictions show them.',
    type=str,
  )
  train_batch_size: int = setting(2048, 'Global batch size for training.', at_least=1)
  eval_batch_size: int = setting(64, 'Global batch size for evaluation.', at_least=1)
  crop_rule: str = setting(
    None,
    'Central crop for evaluation. official: 0.875 of the shorter side. size_plus_32: '
    'size / (size + 32) of it, used for the published numbers of the larger models. whole: no '
    "crop. A number such as 0.95: that share (timm's crop_pct). Two such as 232/224: torchvision's "
    'sizes of resize and crop. By default the rule that the model was published with.',
    check=spec.check_crop,
    type=str,
  )
  interpolation: str = setting(
    None,
    'How images are resized; by default as the model was published.',
    choices=spec.INTERPOLATIONS,
    type=str,
  )
  advprop: bool = setting(
    False, 'Give the model 2 x / 255 - 1 for a value x, as the AdvProp checkpoints expect.'
  )
  random_crop_area: float = setting(
    None,
    "Least share of an image's area that the random crops of training keep; the greatest is 1. By "
    "default the data's: 0.08 for photographs, as in the official code.",
    type=float,
  )
  augment_name: str = setting(
    None, 'Augmentation policy.', choices=spec.AUGMENTATIONS, type=str
  )
  randaug_num_layers: int = setting(2, 'RandAugment: operations per image.', at_least=1)
  randaug_magnitude: int = setting(10, 'RandAugment: magnitude.', at_least=0)
  mixup_alpha: float = setting(
    0.0, 'Mixup: parameter of the Beta distribution; 0 disables it.', at_least=0
  )
  cutmix_alpha: float = setting(
    0.0, 'CutMix: parameter of the Beta distribution; 0 disables it.', at_least=0
  )
  random_erasing_prob: float = setting(
    0.0, 'Random erasing: fraction of the images; 0 disables it.', at_least=0
  )
  transpose_input: bool = setting(
    True,
    'Transfer images as [height, width, channels, batch], the layout that TPUs take without '
    'padding.',
  )
  use_cache: bool = setting(False, 'Keep the encoded training images in memory after reading them.')
  decoded_cache_gb: float = setting(
    0.0,
    'Gigabytes of memory for decoded training images, which save most of the work from the second '
    'epoch on; 0 disables it.',
    at_least=0,
  )
  max_bad_records: int = setting(
    0,
    'Number of unusable images that a run may skip, naming each, before it stops.',
    at_least=0,
  )
  tf_data_service: str = setting(
    None,
    'Let a tf.data service prepare the training images: grpc://host:port of its dispatcher (see '
    'tpu_utils/images/data_service.py), or `local` to try one worker in this process.',
    type=str,
  )
  num_parallel_calls: int = setting(
    64, 'Threads that decode and augment on each host.', at_least=1
  )

  def __post_init__(self):
    super().__post_init__()
    if self.holdout_fraction is not None and not 0 < self.holdout_fraction < 1:
      raise ValueError(f'--holdout_fraction={self.holdout_fraction} must lie between 0 and 1.')
    if self.random_crop_area is not None and not 0 < self.random_crop_area <= 1:
      raise ValueError(f'--random_crop_area={self.random_crop_area} must be above 0 and at most 1.')
    if self.random_erasing_prob > 1:
      raise ValueError(f'--random_erasing_prob={self.random_erasing_prob} must be at most 1.')
    self._check_service()

  def _check_service(self):
    for flag, off in (
      ('use_cache', '--nouse_cache'),
      ('decoded_cache_gb', '--decoded_cache_gb=0'),
      ('max_bad_records', '--max_bad_records=0'),
    ):
      if self.tf_data_service is not None and getattr(self, flag):
        raise ValueError(
          f'--{flag} works only where the images are prepared in this process, and '
          f'--tf_data_service prepares them in others: add {off}.'
        )

  @property
  def is_digits(self) -> bool:
    """Whether the embedded digits are used, as no data were named."""
    return not self.data_dir and not self.dataset

  @property
  def is_fake(self) -> bool:
    """Whether images come from memory and no data are read."""
    return self.data_dir in ('fake', 'null') and not self.dataset


@dataclasses.dataclass(frozen=True)
class OptimizationConfig(Checked):
  """Optimizer, learning rate and regularization."""

  optimizer: str = setting(
    'rmsprop', 'The optimizer.', choices=('rmsprop', 'momentum', 'sgd', 'lars')
  )
  momentum: float = setting(0.9, 'Momentum, for every optimizer but sgd.', at_least=0)
  nesterov: bool = setting(False, 'momentum: use Nesterov momentum.')
  base_learning_rate: float = setting(0.016, 'Learning rate at batch size 256.', at_least=0)
  lr_schedule: str = setting(
    'exponential',
    'Learning rate schedule.',
    choices=('exponential', 'cosine', 'constant', 'poly', 'step'),
  )
  lr_decay_epoch: float = setting(2.4, 'Epochs between the steps of the exponential schedule.')
  lr_decay_factor: float = setting(
    0.97, 'Factor at each step of the exponential and the step schedule.'
  )
  lr_step_epochs: str = setting(
    '30,60,90', 'Step schedule: epochs after which the learning rate drops; rising numbers.'
  )
  lr_warmup_epochs: float = setting(5.0, 'Epochs of linear warm-up.', at_least=0)
  moving_average_decay: float = setting(
    0.9999,
    'Decay of the moving average of the weights, which evaluation uses; 0 disables it.',
    at_least=0,
    below=1,
  )
  weight_decay: float = setting(
    1e-5,
    'L2 coefficient, on all variables but those of batch norm (see --decay_batch_norm).',
    at_least=0,
  )
  decay_batch_norm: bool = setting(
    False, 'Apply weight decay to batch-norm variables, too, as Torch does.'
  )
  label_smoothing: float = setting(0.1, 'Label smoothing.', at_least=0, below=1)
  lars_weight_decay: float = setting(1e-5, 'LARS: weight decay.', at_least=0)
  lars_epsilon: float = setting(0.0, 'LARS: epsilon.', at_least=0)
  batch_norm_batch_size: int = setting(
    128, 'LARS: number of examples that batch-norm statistics are computed over.', at_least=1
  )
  gradient_clip_norm: float = setting(
    0.0,
    'Clip the global norm of the gradient, after it is summed over replicas; 0 disables it.',
    at_least=0,
  )
  adaptive_gradient_clip: float = setting(
    None,
    "Clip the gradient of each unit (the weights of one output) to this share of its weights' "
    'norm, in all layers but the classifier (arXiv 2102.06171); 0 disables it. The default is 0.1 '
    'with --freeze=bn in networks whose activations have no upper end (not ReLU6), else 0.',
    type=float,
    at_least=0,
  )
  gradient_accumulation_steps: int = setting(
    1, "Split each replica's batch into this many parts and add up their gradients.", at_least=1
  )

  def __post_init__(self):
    super().__post_init__()
    if self.lr_schedule == 'exponential' and not self.lr_decay_epoch > 0:
      raise ValueError(f'--lr_decay_epoch={self.lr_decay_epoch} must be above 0.')
    _epochs(self.lr_step_epochs)

  @property
  def step_epochs(self) -> tuple[float, ...]:
    """`lr_step_epochs` as numbers."""
    return _epochs(self.lr_step_epochs)


def _epochs(text):
  try:
    epochs = tuple(float(epoch) for epoch in text.split(','))
  except ValueError:
    epochs = ()
  if not epochs or not all(a < b for a, b in zip((0, *epochs), epochs, strict=False)):
    raise ValueError(
      f'--lr_step_epochs={text!r} must be rising positive numbers with commas between them, such '
      'as 30,60,90.'
    )
  return epochs


@dataclasses.dataclass(frozen=True)
class LengthConfig(Checked):
  """Length of the training by the number of images."""

  train_epochs: float = setting(
    None,
    'Training epochs, in place of --train_steps: as many steps as show every training image so '
    'often.',
    type=float,
  )

  def __post_init__(self):
    super().__post_init__()
    if self.train_epochs is not None and not self.train_epochs > 0:
      raise ValueError(f'--train_epochs={self.train_epochs} must be above 0.')


@dataclasses.dataclass(frozen=True)
class FineTuningConfig(Checked):
  """Initial weights and fine-tuning."""

  init_checkpoint: str = setting(
    None,
    'Weights to start from: --model_dir of another job (its best checkpoint), a checkpoint of any '
    'program that tpu_utils.weights reads, or `pretrained` for ImageNet weights from a package. A '
    'classifier with another number of classes is initialised at random.',
    type=str,
  )
  init_source: str = setting(
    'auto',
    'The program that wrote --init_checkpoint; auto: detect it from the file.',
    choices=('auto', *READERS),
  )
  init_ema: bool = setting(
    True, 'Load the moving averages, if the checkpoint has both them and raw weights.'
  )
  freeze: str = setting(
    'none',
    'Weights that are not trained. bn: batch norm, including its statistics. backbone: all but the '
    'classifier.',
    choices=('none', 'bn', 'backbone'),
  )
  backbone_lr_factor: float = setting(
    1.0,
    "Learning rate of all but the classifier, as a multiple of the classifier's (discriminative "
    'fine-tuning).',
    at_least=0,
  )
  adapt_batch_norm: bool = setting(
    False,
    'Give batch norm the momentum max(1 - 10 / steps per epoch, 0.9), so that its statistics '
    'follow few images. --transfer does so, too.',
  )
  transfer: bool = setting(
    False,
    "Fill in the settings of the paper's Section 5.3, which are those of Kornblith et al. (arXiv "
    '1805.08974): Nesterov momentum, cosine schedule, 20,000 steps at batch size 256, batch norm '
    'with momentum max(1 - 10 / steps per epoch, 0.9). Without --init_checkpoint: the same from '
    'scratch.',
  )

  def __post_init__(self):
    super().__post_init__()
    if self.freeze != 'none' and self.init_checkpoint is None:
      raise ValueError(
        f'--freeze={self.freeze} keeps weights unchanged: it needs --init_checkpoint.'
      )


@dataclasses.dataclass(frozen=True)
class JobConfig(Checked):
  """Mode and length of the job, checkpoints and output."""

  mode: str = setting(
    'train_and_eval',
    'train; eval (follows --model_dir as checkpoints appear); train_and_eval; predict (writes the '
    'predictions of the best checkpoint in --model_dir, if the task has any); export (writes the '
    'best checkpoint in --model_dir as a SavedModel and a .keras file); preflight (compiles the '
    'steps of the training for --topology, without a TPU).',
    choices=('train_and_eval', 'train', 'eval', 'predict', 'export', 'preflight'),
  )
  model_dir: str = setting(
    None,
    'Folder for checkpoints, summaries and the record of the run. A stopped job resumes from it.',
    type=str,
  )
  resume_step: int = setting(
    None,
    'Go back to the checkpoint of this step in --model_dir, for example the last good one before '
    'training diverged. Newer checkpoints are moved to set_aside/. The same command again resumes '
    'from the newest.',
    type=int,
    at_least=1,
  )
  train_steps: int = setting(
    218949, 'Total number of training steps (350 epochs at batch size 2048).', at_least=1
  )
  steps_per_eval: int = setting(6255, 'Steps between evaluations in train_and_eval.', at_least=1)
  iterations_per_loop: int = setting(
    1251,
    'Steps the device runs before it returns to the host (progress, summaries, checkpoints).',
    at_least=1,
  )
  log_step_count_steps: int = setting(
    64, 'Least number of steps between two lines of a log that is not a terminal.', at_least=1
  )
  eval_timeout: int = setting(
    None, 'mode=eval: stop if no new checkpoint appears for this many seconds.', type=int
  )
  eval_name: str = setting(
    None, 'Name of this evaluation; its summaries go to eval_<name>.', type=str
  )
  archive_ckpt: bool = setting(
    True, 'Keep the checkpoint with the best top-1 accuracy in archive/.'
  )
  keep_checkpoint_max: int = setting(5, 'Number of newest checkpoints to keep.', at_least=1)
  save_checkpoints_steps: int = setting(
    None,
    'Steps between checkpoints; by default max(100, --iterations_per_loop).',
    type=int,
    at_least=1,
  )
  use_async_checkpointing: bool = setting(
    None,
    'Write checkpoints while training continues, with a copy of all variables in the memory of the '
    'host; by default on accelerators alone, as on CPUs the writer would slow training down '
    '(officially off).',
    type=bool,
  )
  skip_host_call: bool = setting(False, 'Write no training summaries.')
  profile_steps: str = setting(
    None,
    'Write a TensorBoard profile of the steps after the first number up to the second, such as '
    '10,20, to plugins/profile/ in --model_dir. The package tensorboard-plugin-profile shows it.',
    type=str,
  )
  predict_file: str = setting(
    None,
    'mode=predict: file for the JSON lines; by default predict.jsonl in --model_dir.',
    type=str,
  )
  export_dir: str = setting(None, 'Folder for the SavedModel and the .keras file.', type=str)
  export_to_tpu: bool = setting(
    False, 'Write a SavedModel for TPUs, too (tags serve and serve,tpu), to tpu/ in --export_dir.'
  )
  seed: int = setting(
    0, 'Seed of the initial weights, the order of the data and all randomness.', at_least=0
  )

  def __post_init__(self):
    super().__post_init__()
    if self.mode == 'export' and not self.export_dir:
      raise ValueError('--mode=export needs --export_dir, the folder to write to.')
    _profiled(self.profile_steps, self.train_steps)

  @property
  def profiled(self) -> tuple[int, int] | None:
    """`profile_steps` as numbers (first, last); None for no profile."""
    return _profiled(self.profile_steps, self.train_steps)


def _profiled(text, train_steps):
  if text is None:
    return None
  parts = text.split(',')
  if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
    raise ValueError(f'--profile_steps={text!r} must be two steps with a comma, such as 10,20.')
  first, last = map(int, parts)
  if first >= last:
    raise ValueError(f'--profile_steps={text}: the first step must come before the second.')
  if last > train_steps:
    raise ValueError(
      f'--profile_steps={text}: step {last} never comes; training ends at step {train_steps}.'
    )
  return first, last


@dataclasses.dataclass(frozen=True)
class ExportConfig(Checked):
  """Exported image models, the same for every script that exports them."""

  export_precision: str = setting(
    'float32',
    'Precision in which the exported model computes, whatever training used. bfloat16: as on TPUs, '
    'with float32 variables.',
    choices=('float32', 'bfloat16'),
  )

  export_formats: str = setting(
    ','.join(model_formats.DEFAULT_FORMATS),
    'Files of the exported model, with commas between: ' + ', '.join(model_formats.FORMATS) + '. '
    "openvino and onnx need `pip install '.[runtimes]'`. With other files than the default ones, "
    'the accuracy and speed of each are measured.',
  )  # fmt: skip

  def __post_init__(self):
    super().__post_init__()
    others = [name for name in self.formats if name not in model_formats.DEFAULT_FORMATS]
    if others and self.dtype_policy:
      raise ValueError(
        f'--export_precision={self.export_precision} is for the SavedModel and the Keras file; '
        f'leave {",".join(others)} out of --export_formats, or leave out this flag.'
      )

  @property
  def formats(self) -> tuple[str, ...]:
    """Names of the files to write, keys of `model_formats.FORMATS`."""
    return model_formats.parse_formats('export_formats', self.export_formats)

  @property
  def dtype_policy(self) -> str | None:
    """Keras dtype policy of the exported model; None is float32."""
    return 'mixed_bfloat16' if self.export_precision == 'bfloat16' else None

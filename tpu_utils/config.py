"""The settings that the training scripts share; each class is a group of flags.

Names, defaults and meanings are those of the official flags (tensorflow/tpu,
models/official/efficientnet/main.py) unless the help says otherwise.
"""
import dataclasses

from tpu_utils.command_line.settings import Checked, setting
from tpu_utils.images import spec
from tpu_utils.weights import READERS


@dataclasses.dataclass(frozen=True)
class HardwareConfig(Checked):
  """Where it runs."""

  strategy: str = setting(
    'auto',
    'How the work is spread. auto: the TPU if --tpu names one, the workers of TF_CONFIG if it is set, '
    'all GPUs if there are several, else one device.',
    choices=('auto', 'tpu', 'mirrored', 'multi_worker', 'one_device'),
  )
  use_tpu: bool = setting(True, 'With --nouse_tpu no TPU is looked for, whatever --tpu says.')
  tpu: str = setting(
    None, 'The Cloud TPU: `local` on a TPU VM, a TPU name, or a grpc:// address.', type=str
  )
  tpu_zone: str = setting(None, 'GCE zone of the Cloud TPU.', type=str)
  gcp_project: str = setting(None, 'Project of the Cloud TPU.', type=str)
  tpu_job_name: str = setting(None, 'Name of the worker job of the TPU cluster.', type=str)
  use_bfloat16: bool = setting(True, 'Compute in bfloat16 (variables stay float32).')


@dataclasses.dataclass(frozen=True)
class DataConfig(Checked):
  """What it reads."""

  data_dir: str = setting(
    '',
    'Folder of ImageNet-format TFRecord shards (train-*, validation-*); or of images (train/CLASS/*.jpg and '
    'validation/CLASS/*.jpg, or CLASS/*.jpg with --holdout_fraction); or `fake`: black images without '
    'reading, to see what the device can do. Empty: the embedded handwritten digits, with settings that '
    'learn them in about two minutes.',
  )
  dataset: str = setting(
    None, 'Instead of --data_dir, an image classification set of TensorFlow Datasets: NAME, NAME/CONFIG or '
    'NAME:VERSION.', type=str
  )
  tfds_data_dir: str = setting(
    None, 'Where --dataset was prepared; by default ~/tensorflow_datasets. Nothing is downloaded.', type=str
  )
  eval_split: str = setting(
    None, '--dataset: the split to evaluate on; by default validation, else test.', type=str
  )
  holdout_shards: int = setting(
    None, 'Evaluate on the first N of 1024 training shards ("minival") and train on the rest.', type=int
  )
  holdout_fraction: float = setting(
    None, 'Image folders and --dataset: evaluate on this share of the training images and train on the '
    'rest.', type=float
  )
  num_train_images: int = setting(
    1281167, 'Size of the training set; not given, what the data hold.', at_least=1
  )
  num_eval_images: int = setting(
    50000, 'Size of the evaluation set; not given, what the data hold.', at_least=1
  )
  num_label_classes: int = setting(
    1000,
    'Number of classes, at least 2; not given, what the data say, if they do. 1001 keeps the background '
    'label 0.',
    at_least=2,
  )
  train_batch_size: int = setting(2048, 'Global batch size for training.', at_least=1)
  eval_batch_size: int = setting(64, 'Global batch size for evaluation.', at_least=1)
  crop_rule: str = setting(
    None,
    'Central crop of evaluation: official, 0.875 of the shorter side; size_plus_32, size / (size + 32) of it, '
    'which the larger models were published with; whole. By default what the model was made for.',
    choices=spec.CROPS,
    type=str,
  )
  interpolation: str = setting(
    None,
    'How images are resized; by default what the model was made for.',
    choices=spec.INTERPOLATIONS,
    type=str,
  )
  advprop: bool = setting(
    False, 'Give the model 2 x / 255 - 1 for a value x, as the AdvProp checkpoints expect.'
  )
  augment_name: str = setting(
    None, 'Augmentation policy.', choices=spec.AUGMENTATIONS, type=str
  )
  randaug_num_layers: int = setting(2, 'RandAugment: operations per image.', at_least=1)
  randaug_magnitude: int = setting(10, 'RandAugment: magnitude.', at_least=0)
  mixup_alpha: float = setting(0.0, 'Mixup: parameter of the Beta distribution; 0 for none.', at_least=0)
  cutmix_alpha: float = setting(0.0, 'CutMix: parameter of the Beta distribution; 0 for none.', at_least=0)
  random_erasing_prob: float = setting(0.0, 'Random erasing: share of the images; 0 for none.', at_least=0)
  transpose_input: bool = setting(
    True, 'Ship images as [height, width, channels, batch], the layout TPUs take without padding.'
  )
  use_cache: bool = setting(False, 'Keep the encoded training images in memory once they were read.')
  decoded_cache_gb: float = setting(
    0.0, 'Gigabytes of memory for decoded training images, which saves most of the work from the second epoch on; '
    '0 for none.', at_least=0
  )
  max_bad_records: int = setting(
    0, 'How many images that cannot be used a run may leave out, each named, before it stops.', at_least=0
  )
  tf_data_service: str = setting(
    None, 'Have a tf.data service prepare the training images: grpc://host:port of its dispatcher (see '
    'tpu_utils/images/data_service.py), or `local` to try it in this process.', type=str
  )
  num_parallel_calls: int = setting(64, 'Threads that decode and augment on each host.', at_least=1)

  def __post_init__(self):
    super().__post_init__()
    if self.holdout_fraction is not None and not 0 < self.holdout_fraction < 1:
      raise ValueError(f'--holdout_fraction={self.holdout_fraction} must lie between 0 and 1.')
    self._check_service()

  def _check_service(self):
    for flag, off in (
      ('use_cache', '--nouse_cache'),
      ('decoded_cache_gb', '--decoded_cache_gb=0'),
      ('max_bad_records', '--max_bad_records=0'),
    ):
      if self.tf_data_service is not None and getattr(self, flag):
        raise ValueError(
          f'--{flag} works only where the images are prepared in this process, and --tf_data_service has '
          f'others prepare them: add {off}.'
        )

  @property
  def is_digits(self):
    """Whether nothing was named: the embedded digits."""
    return not self.data_dir and not self.dataset

  @property
  def is_fake(self):
    """Whether no data are read at all."""
    return self.data_dir in ('fake', 'null') and not self.dataset


@dataclasses.dataclass(frozen=True)
class OptimizationConfig(Checked):
  """How it learns."""

  optimizer: str = setting(
    'rmsprop', 'The optimizer.', choices=('rmsprop', 'momentum', 'sgd', 'lars')
  )
  momentum: float = setting(0.9, 'Momentum; of every optimizer but sgd.', at_least=0)
  nesterov: bool = setting(False, 'momentum: look one step ahead, as Nesterov does.')
  base_learning_rate: float = setting(0.016, 'Learning rate at batch size 256.', at_least=0)
  lr_schedule: str = setting(
    'exponential',
    'Learning rate schedule.',
    choices=('exponential', 'cosine', 'constant', 'poly', 'step'),
  )
  lr_decay_epoch: float = setting(2.4, 'Epochs between the steps of the exponential schedule.')
  lr_decay_factor: float = setting(0.97, 'Factor of each step of the exponential and the step schedule.')
  lr_step_epochs: str = setting(
    '30,60,90', 'Step schedule: after how many epochs the learning rate drops; rising numbers.'
  )
  lr_warmup_epochs: float = setting(5.0, 'Epochs of linear warm-up.', at_least=0)
  moving_average_decay: float = setting(
    0.9999, 'Decay of the moving average of the weights, which evaluation uses; 0 for none.', at_least=0, below=1
  )
  weight_decay: float = setting(
    1e-5, 'L2 coefficient, on all but batch-norm variables unless --decay_batch_norm.', at_least=0
  )
  decay_batch_norm: bool = setting(False, 'Weight decay on batch-norm variables, too, as in Torch.')
  label_smoothing: float = setting(0.1, 'Label smoothing.', at_least=0, below=1)
  lars_weight_decay: float = setting(1e-5, 'LARS: weight decay.', at_least=0)
  lars_epsilon: float = setting(0.0, 'LARS: epsilon.', at_least=0)
  batch_norm_batch_size: int = setting(
    128, 'LARS: batch size over which batch-norm statistics are taken.', at_least=1
  )
  gradient_clip_norm: float = setting(
    0.0, 'Clip the global norm of the gradient, after it is summed over replicas; 0 for never.', at_least=0
  )
  gradient_accumulation_steps: int = setting(
    1, 'Split each replica\'s batch into this many parts and add up their gradients.', at_least=1
  )

  def __post_init__(self):
    super().__post_init__()
    _epochs(self.lr_step_epochs)

  @property
  def step_epochs(self):
    """`lr_step_epochs` as a tuple of numbers."""
    return _epochs(self.lr_step_epochs)


def _epochs(text):
  try:
    epochs = tuple(float(epoch) for epoch in text.split(','))
  except ValueError:
    epochs = ()
  if not epochs or not all(a < b for a, b in zip((0, *epochs), epochs, strict=False)):
    raise ValueError(
      f'--lr_step_epochs={text!r} must be rising positive numbers with commas between them, such as '
      '30,60,90.'
    )
  return epochs


@dataclasses.dataclass(frozen=True)
class FineTuningConfig(Checked):
  """What it starts from, and what of that it learns anew."""

  init_checkpoint: str = setting(
    None,
    'Weights to start from: --model_dir of another job (its best are taken), a checkpoint of any program that tpu_utils.weights reads, or '
    '`pretrained` for ImageNet weights from a package. A classifier of another size starts afresh.',
    type=str,
  )
  init_source: str = setting('auto', 'Whose checkpoint that is; auto: the file says.', choices=('auto', *READERS))
  init_ema: bool = setting(True, 'Take the moving averages from it, where its format has both them and raw weights.')
  freeze: str = setting(
    'none',
    'What stays as it is. bn: batch norm, its statistics too. backbone: all but the classifier.',
    choices=('none', 'bn', 'backbone'),
  )
  backbone_lr_factor: float = setting(
    1.0, 'Learning rate of all but the classifier, as a multiple of its own (discriminative fine-tuning).', at_least=0
  )
  transfer: bool = setting(
    False,
    "Fill in the settings of the paper's Section 5.3, which are those of Kornblith et al. (arXiv 1805.08974): Nesterov "
    'momentum, cosine schedule, 20,000 steps at batch size 256, batch norm of momentum max(1 - 10 / steps per epoch, '
    '0.9). Without --init_checkpoint: the same from scratch.',
  )

  def __post_init__(self):
    super().__post_init__()
    if self.freeze != 'none' and self.init_checkpoint is None:
      raise ValueError(f'--freeze={self.freeze} keeps weights as they are, and needs --init_checkpoint to have some.')


@dataclasses.dataclass(frozen=True)
class JobConfig(Checked):
  """What it does, how long, and where it writes."""

  mode: str = setting(
    'train_and_eval',
    'train; eval (follows --model_dir as checkpoints appear); train_and_eval; predict (writes what the '
    'best checkpoint of --model_dir predicts, where the task predicts anything); export (writes the '
    'best checkpoint of --model_dir as a SavedModel and a .keras file).',
    choices=('train_and_eval', 'train', 'eval', 'predict', 'export'),
  )
  model_dir: str = setting(
    None, 'Folder of checkpoints, summaries and the record of the run. A stopped job goes on here.', type=str
  )
  train_steps: int = setting(218949, 'Steps to train in all (350 epochs at batch size 2048).', at_least=1)
  steps_per_eval: int = setting(6255, 'Steps between evaluations in train_and_eval.', at_least=1)
  iterations_per_loop: int = setting(
    1251, 'Steps the device runs before it returns to the host (progress, summaries, checkpoints).', at_least=1
  )
  log_step_count_steps: int = setting(64, 'Least number of steps between two lines of a log that is no terminal.', at_least=1)
  eval_timeout: int = setting(
    None, 'mode=eval: give up when no new checkpoint came for this many seconds.', type=int
  )
  eval_name: str = setting(None, 'Name of this evaluation; its summaries go to eval_<name>.', type=str)
  archive_ckpt: bool = setting(True, 'Keep the checkpoint with the best top-1 accuracy in archive/.')
  keep_checkpoint_max: int = setting(5, 'How many of the newest checkpoints to keep.', at_least=1)
  save_checkpoints_steps: int = setting(
    None, 'Steps between checkpoints; by default max(100, --iterations_per_loop).', type=int, at_least=1
  )
  use_async_checkpointing: bool = setting(False, 'Write checkpoints while training goes on.')
  skip_host_call: bool = setting(False, 'Write no training summaries.')
  predict_file: str = setting(
    None, 'mode=predict: file for the JSON lines; by default predict.jsonl in --model_dir.', type=str
  )
  export_dir: str = setting(None, 'Folder for the SavedModel and the .keras file.', type=str)
  export_to_tpu: bool = setting(
    False, 'Write a SavedModel for TPUs, too (tags serve and serve,tpu), to tpu/ in --export_dir.'
  )
  seed: int = setting(0, 'Seed of the initial weights, the order of the data and all randomness.', at_least=0)

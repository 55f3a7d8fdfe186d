"""What a model expects of an image: the record that training, evaluation and export all read."""
import dataclasses

from tpu_utils.names import check_name

INTERPOLATIONS = ('bicubic', 'bilinear')
CROPS = ('official', 'size_plus_32', 'whole')
RANDOM_CROPS = ('tensorflow', 'torch', 'padded')
AUGMENTATIONS = ('autoaugment', 'randaugment')


@dataclasses.dataclass(frozen=True)
class PreprocessSpec:
  """How an encoded image becomes a model's input.

  Attributes:
    image_size: pixels a side of the square the model was made for.
    mean_rgb: three floats, in units of 0..255. The model subtracts them itself; they are here for
      readers of other programs' files and for quantisation.
    stddev_rgb: three floats, in units of 0..255, as `mean_rgb`.
    interpolation: 'bicubic' or 'bilinear' (the official code's choice for Lite and EdgeTPU).
    crop: share of the shorter side that the central crop of evaluation keeps. 'official' is 0.875 at every
      size (preprocessing.py, CROP_FRACTION); 'size_plus_32' is size / (size + 32), which equals it at
      224 and is what the accuracies of the larger models were published with; 'whole' keeps all of it,
      for images too small to lose a pixel.
  """

  image_size: int
  mean_rgb: tuple = (0.485 * 255, 0.456 * 255, 0.406 * 255)
  stddev_rgb: tuple = (0.229 * 255, 0.224 * 255, 0.225 * 255)
  interpolation: str = 'bicubic'
  crop: str = 'official'

  def __post_init__(self):
    if not isinstance(self.image_size, int) or self.image_size < 1:
      raise ValueError(f'image_size={self.image_size!r} must be a positive whole number of pixels.')
    check_name('interpolation', self.interpolation, INTERPOLATIONS)
    check_name('crop', self.crop, CROPS)


def with_advprop(spec):
  """The record with AdvProp's scaling: the model gets 2 x / 255 - 1 for a value x from 0 to 255.

  That of the official AdvProp checkpoints; source: models/official/efficientnet/eval_ckpt_main.py,
  advprop_preprocessing.
  """
  return dataclasses.replace(spec, mean_rgb=(127.5,) * 3, stddev_rgb=(127.5,) * 3)


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """What training does to an image beyond the `PreprocessSpec`. The defaults are the official ones.

  Attributes:
    flip: mirror half of the images; False where left and right mean something, as in digits.
    area_range: least and greatest share of the image's area that the random crop takes.
    aspect_ratio_range: least and greatest width / height of the random crop.
    random_crop: how the random crop is drawn: 'tensorflow', as the official EfficientNet does; 'torch', as
      fb.resnet.torch does (`torch_augmentation.crop_window`); 'padded': the whole image with `padding` pixels
      of the mean colour around it, for CIFAR.
    padding: see `random_crop`.
    color_jitter: strength of random brightness, contrast and saturation; 0 for none.
    lighting: standard deviation of a random shift along the principal colours; 0 for none.
    augment_name: 'autoaugment', 'randaugment' or None.
    randaug_num_layers: how many operations RandAugment applies.
    randaug_magnitude: how strongly, 0..30.
    mixup_alpha: parameter of mixup's Beta distribution; 0 for none.
    cutmix_alpha: parameter of CutMix's; 0 for none. With both, each batch gets one or the other.
    random_erasing_prob: share of the images in which a rectangle is covered with the mean colour.
  """

  flip: bool = True
  area_range: tuple = (0.08, 1.0)
  aspect_ratio_range: tuple = (3 / 4, 4 / 3)
  random_crop: str = 'tensorflow'
  padding: int = 4
  color_jitter: float = 0.0
  lighting: float = 0.0
  augment_name: str = None
  randaug_num_layers: int = 2
  randaug_magnitude: float = 10
  mixup_alpha: float = 0.0
  cutmix_alpha: float = 0.0
  random_erasing_prob: float = 0.0

  def __post_init__(self):
    for name in ('area_range', 'aspect_ratio_range'):
      low, high = getattr(self, name)
      if not 0 < low <= high:
        raise ValueError(f'{name}={(low, high)} must be a least and a greatest value, both over 0.')
    if self.random_crop not in RANDOM_CROPS:
      raise ValueError(
        f'random_crop={self.random_crop!r} is unknown; choose one of {", ".join(RANDOM_CROPS)}.'
      )
    for name in ('padding', 'color_jitter', 'lighting'):
      if not getattr(self, name) >= 0:
        raise ValueError(f'{name}={getattr(self, name)!r} must be zero or more.')
    if self.augment_name is not None:
      check_name('augment_name', self.augment_name, AUGMENTATIONS)
    if self.randaug_num_layers < 1:
      raise ValueError(f'randaug_num_layers={self.randaug_num_layers} must be at least 1.')
    for name in ('randaug_magnitude', 'mixup_alpha', 'cutmix_alpha'):
      if not getattr(self, name) >= 0:
        raise ValueError(f'{name}={getattr(self, name)} must be at least 0.')
    if not 0 <= self.random_erasing_prob <= 1:
      raise ValueError(f'random_erasing_prob={self.random_erasing_prob} must lie between 0 and 1.')

  def of_one_image(self):
    """The settings of `preprocessing.preprocess_for_train`: all but those that need the finished image."""
    later = ('mixup_alpha', 'cutmix_alpha', 'random_erasing_prob')
    return {name: value for name, value in dataclasses.asdict(self).items() if name not in later}

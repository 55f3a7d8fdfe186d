"""Settings of image preprocessing and augmentation, shared by training, evaluation and export."""
import dataclasses
import re
from typing import Any

from tpu_utils.names import check_name

INTERPOLATIONS = ('bicubic', 'bilinear')
CROPS = ('official', 'size_plus_32', 'whole')
CROP_FRACTION = 0.875  # Of the official evaluation.
# A share of the shorter side, or torchvision's sizes of resize and crop.
_CROP_NUMBER = re.compile(r'(?P<share>0\.\d+|1(\.0+)?)|(?P<resize>[1-9]\d*)/(?P<size>[1-9]\d*)')
RANDOM_CROPS = ('tensorflow', 'torch', 'padded')
AUGMENTATIONS = ('autoaugment', 'randaugment')


@dataclasses.dataclass(frozen=True)
class PreprocessSpec:
  """Preprocessing that turns an encoded image into a model's input.

  Attributes:
    image_size: side of the square input, in pixels.
    mean_rgb: three floats on the 0..255 scale. The model itself subtracts them; other programs and
      quantisation read them here.
    stddev_rgb: three floats on the 0..255 scale; see `mean_rgb`.
    interpolation: 'bicubic' or 'bilinear' (the official code's choice for Lite and EdgeTPU).
    crop: share of the shorter side that evaluation's central crop keeps. 'official': 0.875 at every
      size (preprocessing.py, CROP_FRACTION); 'size_plus_32': size / (size + 32), which is 0.875 at
      224 and was used for the published accuracies of the larger models; 'whole': 1, for images of
      a few pixels; a number such as '0.95': that share (timm's crop_pct); two such as '232/224': as
      if the shorter side were resized to the first and the second cropped (torchvision).

  Raises:
    ValueError: a value is unknown or out of range.
  """

  image_size: int
  mean_rgb: tuple[float, ...] = (0.485 * 255, 0.456 * 255, 0.406 * 255)
  stddev_rgb: tuple[float, ...] = (0.229 * 255, 0.224 * 255, 0.225 * 255)
  interpolation: str = 'bicubic'
  crop: str = 'official'

  def __post_init__(self):
    if not isinstance(self.image_size, int) or self.image_size < 1:
      raise ValueError(f'image_size={self.image_size!r} must be a positive whole number of pixels.')
    check_name('interpolation', self.interpolation, INTERPOLATIONS)
    check_crop('crop', self.crop)


def check_crop(kind: str, crop: str) -> None:
  """Checks a rule of the central crop; see `PreprocessSpec.crop`.

  Args:
    kind: name of the value, for messages.
    crop: the rule.

  Raises:
    ValueError: the rule is unknown, or a share that is not above 0 and at most 1.
  """
  number = _CROP_NUMBER.fullmatch(crop)
  if not number:
    check_name(kind, crop, (*CROPS, '0.95', '232/224'))
  elif not 0 < _share(number) <= 1:
    raise ValueError(
      f'{kind}: {crop!r} keeps {_share(number):g} of the shorter side, expected above 0 and at '
      'most 1: a share such as 0.95, or RESIZE/CROP in pixels such as 232/224.'
    )


def crop_share(crop: str, image_size: int) -> float:
  """Returns the share of the shorter side that the central crop keeps.

  Args:
    crop: see `PreprocessSpec.crop`.
    image_size: size of the result after the resize, in pixels.
  """
  number = _CROP_NUMBER.fullmatch(crop)
  if number:
    return _share(number)
  padding = {
    'official': round(image_size * (1 / CROP_FRACTION - 1)), 'size_plus_32': 32, 'whole': 0,
  }[crop]  # fmt: skip
  return image_size / (image_size + padding)


def _share(number):
  if number['share']:
    return float(number['share'])
  return int(number['size']) / int(number['resize'])


def with_advprop(spec: PreprocessSpec) -> PreprocessSpec:
  """Returns `spec` with AdvProp's scaling, which maps x from 0..255 to 2 x / 255 - 1.

  The official AdvProp checkpoints expect it. Source: advprop_preprocessing in tensorflow/tpu,
  models/official/efficientnet/eval_ckpt_main.py.
  """
  return dataclasses.replace(spec, mean_rgb=(127.5,) * 3, stddev_rgb=(127.5,) * 3)


def fitted(
  spec: PreprocessSpec,
  *,
  image_size: int | None = None,
  crop: str | None = None,
  interpolation: str | None = None,
  advprop: bool | None = False,
  is_digits: bool = False,
) -> PreprocessSpec:
  """Returns a model's `PreprocessSpec` with the user's overrides.

  Args:
    spec: the model's default.
    image_size: side in pixels; None keeps the model's.
    crop: see `PreprocessSpec`; None keeps the model's.
    interpolation: one of INTERPOLATIONS; None keeps the model's.
    advprop: whether to apply `with_advprop`.
    is_digits: whether the images are the embedded digits. Their 8 pixels are too few to crop, so
      the default of `crop` becomes 'whole'.

  Raises:
    ValueError: a value is unknown or out of range.
  """
  crop = crop or ('whole' if is_digits else None)
  given: dict[str, Any] = {'image_size': image_size, 'crop': crop, 'interpolation': interpolation}
  spec = dataclasses.replace(spec, **{name: value for name, value in given.items() if value})
  return with_advprop(spec) if advprop else spec


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """Augmentation of training images. The defaults are the official ones.

  Attributes:
    flip: mirror half of the images; False for images in which left and right differ, such as
      digits.
    area_range: least and greatest share of the image's area that the random crop takes.
    aspect_ratio_range: least and greatest width / height of the random crop.
    random_crop: how to draw the random crop. 'tensorflow': as the official EfficientNet; 'torch':
      as fb.resnet.torch (`torch_augmentation.crop_window`); 'padded': from the whole image with
      `padding` pixels of the mean colour around it, for CIFAR.
    padding: see `random_crop`.
    color_jitter: strength of random brightness, contrast and saturation; 0 disables it.
    lighting: standard deviation of a random shift along the principal colours; 0 disables it.
    augment_name: 'autoaugment', 'randaugment' or None.
    randaug_num_layers: number of operations that RandAugment applies.
    randaug_magnitude: strength of RandAugment's operations, 0..30.
    mixup_alpha: parameter of mixup's Beta distribution; 0 disables it.
    cutmix_alpha: parameter of CutMix's; 0 disables it. With both, each batch gets one of the two.
    random_erasing_prob: share of the images in which a rectangle is covered with the mean colour.

  Raises:
    ValueError: a value is unknown or out of range.
  """

  flip: bool = True
  area_range: tuple[float, float] = (0.08, 1.0)
  aspect_ratio_range: tuple[float, float] = (3 / 4, 4 / 3)
  random_crop: str = 'tensorflow'
  padding: int = 4
  color_jitter: float = 0.0
  lighting: float = 0.0
  augment_name: str | None = None
  randaug_num_layers: int = 2
  randaug_magnitude: float = 10
  mixup_alpha: float = 0.0
  cutmix_alpha: float = 0.0
  random_erasing_prob: float = 0.0

  def __post_init__(self):
    for name in ('area_range', 'aspect_ratio_range'):
      low, high = getattr(self, name)
      if not 0 < low <= high:
        raise ValueError(f'{name}={(low, high)} must be (minimum, maximum), both above 0.')
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

  def per_image_settings(self) -> dict[str, Any]:
    """Returns the arguments of `preprocessing.preprocess_for_train`.

    Omits the settings of steps that need the finished image: mixing and erasing.
    """
    later = ('mixup_alpha', 'cutmix_alpha', 'random_erasing_prob')
    return {name: value for name, value in dataclasses.asdict(self).items() if name not in later}

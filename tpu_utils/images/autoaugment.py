"""AutoAugment and RandAugment policies.

Papers: https://arxiv.org/abs/1805.09501 and https://arxiv.org/abs/1909.13719. Policies and numbers
are those of tensorflow/tpu, models/official/efficientnet/autoaugment.py. Unlike that code, the
randomness is stateless: an image's augmentation depends on its seed alone. One switch chooses an
operation, instead of a chain of conditions.
"""
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tpu_utils.images import augment_ops, branches
from tpu_utils.names import check_name

MAX_LEVEL = 10.0

# Each policy is a tuple of sub-policies; each of these lists (operation, probability, level) in the
# order of application.
POLICIES = {
  'v0': (
    (('Equalize', 0.8, 1), ('ShearY', 0.8, 4)),
    (('Color', 0.4, 9), ('Equalize', 0.6, 3)),
    (('Color', 0.4, 1), ('Rotate', 0.6, 8)),
    (('Solarize', 0.8, 3), ('Equalize', 0.4, 7)),
    (('Solarize', 0.4, 2), ('Solarize', 0.6, 2)),
    (('Color', 0.2, 0), ('Equalize', 0.8, 8)),
    (('Equalize', 0.4, 8), ('SolarizeAdd', 0.8, 3)),
    (('ShearX', 0.2, 9), ('Rotate', 0.6, 8)),
    (('Color', 0.6, 1), ('Equalize', 1.0, 2)),
    (('Invert', 0.4, 9), ('Rotate', 0.6, 0)),
    (('Equalize', 1.0, 9), ('ShearY', 0.6, 3)),
    (('Color', 0.4, 7), ('Equalize', 0.6, 0)),
    (('Posterize', 0.4, 6), ('AutoContrast', 0.4, 7)),
    (('Solarize', 0.6, 8), ('Color', 0.6, 9)),
    (('Solarize', 0.2, 4), ('Rotate', 0.8, 9)),
    (('Rotate', 1.0, 7), ('TranslateY', 0.8, 9)),
    (('ShearX', 0.0, 0), ('Solarize', 0.8, 4)),
    (('ShearY', 0.8, 0), ('Color', 0.6, 4)),
    (('Color', 1.0, 0), ('Rotate', 0.6, 2)),
    (('Equalize', 0.8, 4), ('Equalize', 0.0, 8)),
    (('Equalize', 1.0, 4), ('AutoContrast', 0.6, 2)),
    (('ShearY', 0.4, 7), ('SolarizeAdd', 0.6, 7)),
    (('Posterize', 0.8, 2), ('Solarize', 0.6, 10)),
    (('Solarize', 0.6, 8), ('Equalize', 0.6, 1)),
    (('Color', 0.8, 6), ('Rotate', 0.4, 5)),
  ),
  'test': ((('TranslateX', 1.0, 4), ('Equalize', 1.0, 10)),),
}
AUTOAUGMENT_CONSTANTS = {'cutout_const': 100, 'translate_const': 250}

RANDAUGMENT_OPS = (
  'AutoContrast', 'Equalize', 'Invert', 'Rotate', 'Posterize', 'Solarize', 'Color', 'Contrast',
  'Brightness', 'Sharpness', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'Cutout',
  'SolarizeAdd',
)  # fmt: skip
RANDAUGMENT_CONSTANTS = {'cutout_const': 40, 'translate_const': 100}

# Operations that negate their argument with probability 1/2.
NEGATED_OPS = ('Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY')
# Called with (image, argument, center); only Cutout uses `center`, and some ignore `argument`.
_FUNCTIONS = {
  'AutoContrast': lambda image, argument, center: augment_ops.autocontrast(image),
  'Equalize': lambda image, argument, center: augment_ops.equalize(image),
  'Invert': lambda image, argument, center: augment_ops.invert(image),
  'Rotate': lambda image, argument, center: augment_ops.rotate(image, argument),
  'Posterize': lambda image, argument, center: augment_ops.posterize(image, argument),
  'Solarize': lambda image, argument, center: augment_ops.solarize(image, argument),
  'SolarizeAdd': lambda image, argument, center: augment_ops.solarize_add(image, argument),
  'Color': lambda image, argument, center: augment_ops.color(image, argument),
  'Contrast': lambda image, argument, center: augment_ops.contrast(image, argument),
  'Brightness': lambda image, argument, center: augment_ops.brightness(image, argument),
  'Sharpness': lambda image, argument, center: augment_ops.sharpness(image, argument),
  'ShearX': lambda image, argument, center: augment_ops.shear_x(image, argument),
  'ShearY': lambda image, argument, center: augment_ops.shear_y(image, argument),
  'TranslateX': lambda image, argument, center: augment_ops.translate_x(image, argument),
  'TranslateY': lambda image, argument, center: augment_ops.translate_y(image, argument),
  'Cutout': lambda image, argument, center: augment_ops.cutout(
    image, tf.cast(argument, tf.int32), center
  ),
}


def level_to_argument(
  name: str, level: float, cutout_const: int, translate_const: int
) -> float:
  """Converts a level to the argument of an operation, before any negation.

  Args:
    name: the operation.
    level: 0..10; RandAugment's magnitude may be greater.
    cutout_const: half of the side of Cutout's square at level 10, in pixels.
    translate_const: distance of a translation at level 10, in pixels.

  Returns:
    The argument in the operation's units; 0 for operations without one.
  """
  share = level / MAX_LEVEL
  if name in ('Color', 'Contrast', 'Brightness', 'Sharpness'):
    return share * 1.8 + 0.1
  per_share = {
    'Rotate': 30.0,
    'ShearX': 0.3,
    'ShearY': 0.3,
    'TranslateX': float(translate_const),
    'TranslateY': float(translate_const),
  }
  if name in per_share:
    return share * per_share[name]
  rounded = {'Posterize': 4, 'Solarize': 256, 'SolarizeAdd': 110, 'Cutout': cutout_const}
  return float(int(share * rounded.get(name, 0)))


def apply_operation(
  name: str,
  image: tf.Tensor,
  argument: float | tf.Tensor,
  center: Sequence[int] | tf.Tensor = (0, 0),
) -> tf.Tensor:
  """Applies one operation to an image.

  Args:
    name: the operation, one of `RANDAUGMENT_OPS`.
    image: uint8 [height, width, 3].
    argument: float scalar in the operation's units, see `level_to_argument`.
    center: int32 [2], y and x of the centre of Cutout's square.

  Returns:
    uint8 [height, width, 3].

  Raises:
    ValueError: the operation is unknown.
  """
  check_name('operation', name, _FUNCTIONS)
  return tf.ensure_shape(_FUNCTIONS[name](image, argument, center), image.shape)


def distort_image_with_autoaugment(
  image: tf.Tensor, augmentation_name: str = 'v0', *, seed: tf.Tensor
) -> tf.Tensor:
  """Applies a randomly drawn sub-policy of an AutoAugment policy.

  Args:
    image: uint8 [height, width, 3].
    augmentation_name: 'v0', the policy of the paper's ImageNet results, or 'test', which has a
      single sub-policy.
    seed: integer [2].

  Returns:
    uint8 [height, width, 3].

  Raises:
    ValueError: the policy is unknown.
  """
  check_name('AutoAugment policy', augmentation_name, POLICIES)
  policy = POLICIES[augmentation_name]
  names = sorted({name for sub_policy in policy for name, _, _ in sub_policy})
  choices = [[names.index(name) for name, _, _ in sub_policy] for sub_policy in policy]
  probabilities = np.array([[p for _, p, _ in sub_policy] for sub_policy in policy], np.float32)
  arguments = [
    [level_to_argument(name, level, **AUTOAUGMENT_CONSTANTS) for name, _, level in sub_policy]
    for sub_policy in policy
  ]
  draws = tf.random.stateless_uniform([1 + 5 * len(policy[0])], seed)
  drawn = tf.cast(draws[0] * len(policy), tf.int32)
  layers = zip(
    tf.unstack(tf.gather(choices, drawn)),
    tf.unstack(tf.gather(probabilities, drawn)),
    tf.unstack(tf.gather(np.array(arguments, np.float32), drawn)),
    tf.unstack(tf.reshape(draws[1:], [-1, 5])),
    strict=True,
  )
  for choice, probability, argument, layer_draws in layers:
    applies = layer_draws[4] + probability >= 1.0
    # The index after the last name leaves the image unchanged.
    choice = tf.where(applies, choice, len(names))
    image = _apply_drawn(names, image, choice, argument, layer_draws)
  return image


def distort_image_with_randaugment(
  image: tf.Tensor, num_layers: int, magnitude: float, *, seed: tf.Tensor
) -> tf.Tensor:
  """Applies randomly drawn operations, all of one magnitude.

  Args:
    image: uint8 [height, width, 3].
    num_layers: number of operations; N in the paper, best from 1 to 3.
    magnitude: level of every operation; M in the paper, best from 5 to 30.
    seed: integer [2].

  Returns:
    uint8 [height, width, 3].
  """
  names = RANDAUGMENT_OPS
  arguments = [level_to_argument(name, magnitude, **RANDAUGMENT_CONSTANTS) for name in names]
  for draws in tf.unstack(tf.random.stateless_uniform([num_layers, 4], seed)):
    choice = tf.cast(draws[3] * len(names), tf.int32)
    argument = tf.gather(np.array(arguments, np.float32), choice)
    image = _apply_drawn(names, image, choice, argument, draws)
  return image


def _apply_drawn(names, image, choice, argument, draws):
  """Applies the drawn operation.

  Args:
    names: the operations to choose from.
    image: uint8 [height, width, 3].
    choice: int32 scalar, index into `names`; len(names) leaves the image unchanged.
    argument: float32 scalar, not negated yet.
    draws: float32 vector, uniform from 0 to 1; the first decides the negation, the next two y and
      x of Cutout's square.
  """
  may_negate = [name in NEGATED_OPS for name in [*names, None]]
  is_negated = tf.gather(may_negate, choice) & (draws[0] < 0.5)
  argument = tf.where(is_negated, -argument, argument)

  def branch(name):
    def apply(image, argument, draws):
      center = tf.cast(draws[1:3] * tf.cast(tf.shape(image)[:2], tf.float32), tf.int32)
      return apply_operation(name, image, argument, center)

    return apply

  operations = [branch(name) for name in names] + [lambda image, *_: tf.identity(image)]
  return branches.switch_case(choice, operations, [image, argument, draws])

"""Fine-tuning: weights from other data, a new classifier, frozen layers, learning rate factors."""
import keras
import numpy as np

from tpu_utils import batch_norm, checkpoints, weights

_FROZEN_CLIP = 0.1


def load(
  model: keras.Model, path: str, source: str = 'auto', use_ema: bool = True
) -> weights.Report:
  """Loads the weights to start from; the kernel of a classifier of another size becomes zero.

  All classes then begin equally likely. The official initial kernel is uniform in +-1 / sqrt(number
  of classes), made for 1000 classes. With 8, trained features give a loss of 15 (2.1 is chance) and
  gradients that ruin the loaded weights in a few steps, most of all with --freeze=bn.

  Args:
    model: a built model.
    path: see `weights.load`; for a job's --model_dir its best checkpoint is taken, if it keeps one.
    source: see `weights.load`.
    use_ema: see `weights.load`.

  Raises:
    ValueError: see `weights.load`; or the file's network scales images differently. The model keeps
      its own scaling, as a job that resumes would not know the file's.
    OSError: see `weights.load`.
  """
  layer = model.get_layer('normalization')
  classifier = weights.classifier_of(model)
  own = layer.scale, layer.offset
  path = checkpoints.best_of(path)
  report = weights.load(
    model, path, source, use_ema, reinit_on_mismatch=(classifier,)
  )
  loaded, (layer.scale, layer.offset) = (layer.scale, layer.offset), own
  differences = [
    np.multiply(pixel, loaded[0]) + loaded[1] - np.multiply(pixel, own[0]) - own[1]
    for pixel in (0, 255)
  ]
  if np.abs(differences).max() > 0.05:  # The scaled input has a standard deviation of about 1.
    raise ValueError(
      f'{path}: {report.remark} The model of this job scales them differently; start from weights '
      'trained with its scaling (--advprop for those of AdvProp).'
    )
  for variable in model.weights:
    if variable.path in report.kept and variable.path.startswith(classifier):
      variable.assign(np.zeros(variable.shape, np.float32))
  return report


def freeze(model: keras.Model, part: str) -> None:
  """Freezes layers: they are not trained, and their batch norms use and keep their statistics.

  Args:
    model: a built model.
    part: 'none', 'bn' (all batch norms) or 'backbone' (all but the classifier).
  """
  for layer in model.layers:
    if part == 'bn' and isinstance(layer, keras.layers.BatchNormalization):
      layer.trainable = False
    if part == 'backbone' and not _is_classifier(model, layer.name):
      layer.trainable = False


def set_batch_norm_momentum(model: keras.Model, steps_per_epoch: float) -> None:
  """Sets the momentum of all batch norms to max(1 - 10 / steps per epoch, 0.9)."""
  for layer in model.layers:
    if isinstance(layer, batch_norm.BatchNormalization):
      layer.momentum = max(1 - 10 / steps_per_epoch, 0.9)


def learning_rate_factors(model: keras.Model, backbone_factor: float) -> dict[str, float]:
  """Returns {variable.path: factor of its learning rate} for all but the classifier.

  Empty for a factor of 1.
  """
  if backbone_factor == 1:
    return {}
  paths = [variable.path for variable in model.trainable_variables]
  return {path: backbone_factor for path in paths if not _is_classifier(model, path)}


def clip_ratio(model: keras.Model) -> float:
  """Returns the ratio of `clip_ratios` with which a network trains: above 0 for frozen batch norm.

  That multiplies gradients by up to 75 (scale over deviation, in ImageNet weights of Lite0 and what
  is made of them), and nothing absorbs the growth of the weights. Lite networks train nevertheless,
  as ReLU6 ends activations, and lose accuracy when clipped; others diverge.
  """
  frozen = any(
    isinstance(layer, keras.layers.BatchNormalization) and not layer.trainable
    for layer in model.layers
  )
  names = {
    layer.activation.__name__ for layer in model.layers
    if isinstance(layer, keras.layers.Activation)
  }  # fmt: skip
  return _FROZEN_CLIP if frozen and not {'relu6'} <= names <= {'relu6', 'sigmoid'} else 0.0


def clip_ratios(model: keras.Model, ratio: float) -> dict[str, float]:
  """Returns {variable.path: ratio} of `optimizers.clip_units` for all but the classifier.

  Empty for a ratio of 0.
  """
  if not ratio:
    return {}
  paths = [variable.path for variable in model.trainable_variables]
  return {path: ratio for path in paths if not _is_classifier(model, path)}


def _is_classifier(model, name):
  return f'{name}/'.startswith(weights.classifier_of(model))

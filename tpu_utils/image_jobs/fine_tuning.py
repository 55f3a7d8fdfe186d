"""Starting a model from weights that were learnt on other data: a new head, frozen parts, their learning rates."""
import keras
import numpy as np

from tpu_utils import batch_norm, checkpoints, weights


def load(model, path, source='auto', use_ema=True):
  """Loads the weights to start from; a classifier that does not fit keeps its own.

  Args:
    model: a built `keras.Model`.
    path: see `weights.load`; of a job's --model_dir the best checkpoint, if it keeps one.
    source: see `weights.load`.
    use_ema: see `weights.load`.

  Returns:
    `weights.Report`.

  Raises:
    ValueError: as `weights.load`; or the file's network scales images otherwise, and a job that goes on from its own
      checkpoint could not know.
  """
  layer = model.get_layer('normalization')
  own = layer.scale, layer.offset
  path = checkpoints.best_of(path)
  report = weights.load(model, path, source, use_ema, reinit_on_mismatch=(weights.classifier_of(model),))
  loaded, (layer.scale, layer.offset) = (layer.scale, layer.offset), own
  black_and_white = [np.multiply(v, loaded[0]) + loaded[1] - np.multiply(v, own[0]) - own[1] for v in (0, 255)]
  if np.abs(black_and_white).max() > 0.05:  # In units of the model's input, whose deviation is about 1.
    raise ValueError(
      f'{path}: {report.remark} The model of this job scales them otherwise; start from weights that were trained as '
      'it does (--advprop for those of AdvProp).'
    )
  return report


def freeze(model, part):
  """Freezes part of a model: what is frozen is not trained, and its batch norms use and keep their statistics.

  Args:
    model: a built `keras.Model`.
    part: 'none', 'bn' (all batch norms) or 'backbone' (all but the classifier).
  """
  for layer in model.layers:
    if part == 'bn' and isinstance(layer, keras.layers.BatchNormalization):
      layer.trainable = False
    if part == 'backbone' and not _is_classifier(model, layer.name):
      layer.trainable = False


def set_batch_norm_momentum(model, steps_per_epoch):
  """Gives all batch norms the momentum max(1 - 10 / steps per epoch, 0.9)."""
  for layer in model.layers:
    if isinstance(layer, batch_norm.BatchNormalization):
      layer.momentum = max(1 - 10 / steps_per_epoch, 0.9)


def learning_rate_factors(model, backbone_factor):
  """{variable.path: factor of its learning rate} of all but the classifier; empty for a factor of 1."""
  if backbone_factor == 1:
    return {}
  paths = [variable.path for variable in model.trainable_variables]
  return {path: backbone_factor for path in paths if not _is_classifier(model, path)}


def _is_classifier(model, name):
  return f'{name}/'.startswith(weights.classifier_of(model))

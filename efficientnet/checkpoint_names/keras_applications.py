"""Names of EfficientNet's variables in files of `keras.applications`, and their normalisation."""
from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from efficientnet.checkpoint_names import layer_places
from tpu_utils.weights.name_map import Rule

if TYPE_CHECKING:
  import keras

  from tpu_utils.weights.name_map import Color

CLASSIFIERS = ('predictions/',)  # Prefixes of the classifier's names.
# Suffixes of the variables that scale images. The name of their layer varies (normalization_1).
BUFFERS = ('/mean', '/variance', '/count')

_IMAGENET_STDDEV = (0.229, 0.224, 0.225)
_PARTS = {
  'stem': ('stem_conv', 'stem_bn'),
  'head': ('top_conv', 'top_bn'),
  'classifier': ('predictions', None),
  'expand': ('expand_conv', 'expand_bn'),
  'depthwise': ('dwconv', 'bn'),
  'project': ('project_conv', 'project_bn'),
  'se_reduce': ('se_reduce', None),
  'se_expand': ('se_expand', None),
}


def rules(model: keras.Model, names: Collection[str]) -> dict[str, Rule]:
  """Returns {variable.path: `Rule`}; the names are the same in all of Keras' formats.

  Raises:
    ValueError: `keras.applications` has no such network.
  """
  del names
  places = layer_places.places(model)
  found = {}
  for variable in model.weights:
    layer, _, name = variable.path.rpartition('/')
    found[variable.path] = Rule(f'{_layer_name(places[layer], model.name)}/{name}')
  return found


def normalization(
  tensors: Mapping[str, np.ndarray], path: str
) -> tuple[Color, Color] | None:
  """Returns a file's (mean_rgb, stddev_rgb) in [0, 255], or None if it has none.

  keras.applications scales by 1 / 255 and normalises by variables in the file. The published
  weights have ImageNet's standard deviations in place of variances, so their network divides by the
  roots once more (keras/src/applications/efficientnet.py). Such values are read as standard
  deviations.
  """
  del path
  values = [[tensors[name] for name in tensors if name.endswith(end)] for end in BUFFERS[:2]]
  if [len(found) for found in values] != [1, 1]:
    return None
  mean, variance = (np.ravel(found[0]) for found in values)
  stddev = variance if np.allclose(variance, _IMAGENET_STDDEV, rtol=1e-3) else np.sqrt(variance)
  return _rgb(mean), _rgb(stddev)


def _rgb(values):
  return tuple(255.0 * float(value) for value in values)


def _layer_name(place, model_name):
  if place.part not in _PARTS:
    raise ValueError(f'{model_name}: keras.applications has no such network; it has B0 to B7.')
  name = _PARTS[place.part][place.norm]
  if place.block is None:
    return name
  return f'block{place.stage + 1}{chr(ord("a") + place.index)}_{name}'

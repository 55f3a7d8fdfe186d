"""Names of EfficientNet's variables in files of `keras.applications`, and their normalisation.

Users put that network into models of their own, with augmentation and scaling before it and a
classifier after it.
"""
from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from efficientnet.checkpoint_names import layer_places
from tpu_utils.reading import reading
from tpu_utils.weights import keras_files
from tpu_utils.weights.name_map import Rule

if TYPE_CHECKING:
  import keras

  from tpu_utils.weights.name_map import Color

CLASSIFIERS = ('predictions/',)  # Prefixes of the classifier's names.
# Suffixes of the variables that scale images. The name of their layer varies (normalization_1).
BUFFERS = ('/mean', '/variance', '/count')
# Prefixes of the names of layers with weights.
NETWORK = ('stem_', 'block', 'top_', *CLASSIFIERS)

_STEM = 'stem_conv/kernel'
# Kinds of layers, besides augmentation ('random...'), that leave the logits of a network unchanged,
# or whose effect is taken over.
_INERT = (
  'inputlayer', 'zeropadding2d', 'rescaling', 'normalization', 'globalaveragepooling2d', 'dropout',
  'spatialdropout2d', 'gaussiannoise', 'gaussiandropout', 'flatten', 'identity', 'dense',
  'activation', 'softmax', 'resizing', 'centercrop', 'autocontrast',
)  # fmt: skip
# The others, by the kinds and names that Keras gives them, for files of weights alone.
_CHANGING = ('rescaling', 'lambda', 'globalmaxpooling2d', 'maxpool')
_RESCALINGS = 2  # The network's own, at most.
_EPSILON = 1e-7  # Of Keras: the least standard deviation.
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


def normalization(tensors: Mapping[str, Any], path: str) -> tuple[Color, Color] | None:
  """Returns a file's (mean_rgb, stddev_rgb) in [0, 255], or None if it has none.

  A file of a whole model says how its layers scale images, those before the network included. In a
  file of weights alone, keras.applications scales by 1 / 255 and normalises by variables. The
  published weights have ImageNet's standard deviations in place of variances, so their network
  divides by the roots once more (keras/src/applications/efficientnet.py). Such values are read as
  standard deviations.

  Raises:
    ValueError: the file is damaged.
  """
  if not any(name.endswith(BUFFERS[:2]) for name in tensors):
    return None
  layers = keras_files.layers(path)
  with reading(path, 'a Keras file'):
    if any(config is not None for *_, config in layers):
      return _of_layers(layers, tensors)
    return _of_variables(tensors)


def _of_variables(tensors):
  prefix = _prefix(tensors) or ''
  values = [
    [name for name in tensors if name.startswith(prefix) and name.endswith(end)]
    for end in BUFFERS[:2]
  ]
  if [len(names) for names in values] != [1, 1]:
    return None
  mean, variance = (_color(tensors[names[0]]) for names in values)
  stddev = variance if np.allclose(variance, _IMAGENET_STDDEV, rtol=1e-3) else np.sqrt(variance)
  return _rgb(mean), _rgb(stddev)


def notice(tensors: Mapping[str, Any], path: str) -> str:
  """Returns a sentence on layers around the network that change its results, '' without any.

  Raises:
    ValueError: the file is damaged.
  """
  prefix = _prefix(tensors)
  if prefix is None:
    return ''
  layers, changing = keras_files.layers(path), []
  own = [name for kind, name, _ in layers if _kind(kind) == 'rescaling' and name.startswith(prefix)]
  for kind, name, config in layers:
    known = _kind(kind)
    if config is None:
      is_own = known == 'rescaling' and name in own and len(own) <= _RESCALINGS
      changes = known in _CHANGING and not is_own
    else:
      is_network = name.rpartition('/')[2].startswith(('stem_', 'block', 'top_'))
      changes = not (is_network or known in _INERT or known.startswith('random'))
    if changes:
      changing.append(name)
  if not changing:
    return ''
  return (
    f'Its layers {", ".join(changing)} are not read: where they change values, the results differ '
    "from the file's model."
  )


def _of_layers(layers, tensors):
  """Returns what `normalization` does, from the layers before the stem and their settings."""
  scale, offset, is_normalised = np.ones(3), np.zeros(3), False
  for kind, name, config in layers:
    if name.rpartition('/')[2].startswith('stem_'):
      break
    if _kind(kind) == 'rescaling':
      factor, summand = _numbers(config.get('scale', 1)), _numbers(config.get('offset', 0))
    elif _kind(kind) == 'normalization':
      mean, variance = (_statistic(name, field, config, tensors) for field in ('mean', 'variance'))
      if mean is None or variance is None:
        return None
      factor = 1 / np.maximum(np.sqrt(variance), _EPSILON)
      summand = -mean * factor
      is_normalised = True
    else:
      continue
    scale, offset = scale * factor, offset * factor + summand
  if not is_normalised or not np.all(scale > 0):
    return None
  return tuple(float(x) for x in -offset / scale), tuple(float(x) for x in 1 / scale)


def _statistic(name, field, config, tensors):
  """Returns the mean or variance of a layer, from its config or from the file's tensors."""
  if config.get(field) is not None:
    return _numbers(config[field])
  names = [found for found in tensors if found == f'{name}/{field}']
  if not names:  # The older format leaves out the names of models inside models.
    layer = name.rpartition('/')[2]
    names = [found for found in tensors if f'/{found}'.endswith(f'/{layer}/{field}')]
  return _color(tensors[names[0]]) if len(names) == 1 else None


def _numbers(value):
  """Returns one or three numbers in a layer's config as three."""
  if isinstance(value, dict):  # As Keras writes an array.
    value = value.get('config', {}).get('value')
  return _color(np.asarray(value, float))


def _color(values):
  if np.prod(values.shape) not in (1, 3):
    raise ValueError(f'a scaling of images by {list(values.shape)} numbers; expected 1 or 3')
  return np.broadcast_to(np.ravel(np.asarray(values, float)), (3,))


def _prefix(tensors):
  """Returns the prefix of the network's names in a file; None if there is no such network."""
  return next((name.removesuffix(_STEM) for name in tensors if name.endswith(_STEM)), None)


def _kind(kind):
  """Returns a kind of layer without its number: 'rescaling' for Rescaling and rescaling_1."""
  return re.sub(r'_\d+$', '', kind).lower().replace('_', '')


def _rgb(values):
  return tuple(255.0 * float(value) for value in values)


def _layer_name(place, model_name):
  if place.part not in _PARTS:
    raise ValueError(f'{model_name}: keras.applications has no such network; it has B0 to B7.')
  name = _PARTS[place.part][place.norm]
  if place.block is None:
    return name
  return f'block{place.stage + 1}{chr(ord("a") + place.index)}_{name}'

"""Preprocessing in the `config.json` that timm writes to folders for Hugging Face's hub."""
from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from tpu_utils import files
from tpu_utils.reading import read_json

if TYPE_CHECKING:
  import numpy as np

  from tpu_utils.weights.name_map import Color

_WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin')
_LARGEST = 1e9
_INTERPOLATIONS = ('bicubic', 'bilinear')  # Others have no counterpart here.
_CENTER = 'center'


def config(path: str) -> dict[str, Any]:
  """Returns `config.json` if a checkpoint is one of Hugging Face's folders or in one, else {}.

  Args:
    path: the folder, or the file of weights in it.

  Raises:
    ValueError: that file is not JSON.
  """
  is_folder = files.is_folder(path)
  name = os.path.join(path if is_folder else os.path.dirname(path), 'config.json')
  if not (is_folder or os.path.basename(path) in _WEIGHT_FILES) or not files.is_file(name):
    return {}
  content = read_json(name, 'JSON')
  return content if isinstance(content, dict) else {}


def normalization(tensors: Mapping[str, np.ndarray], path: str) -> tuple[Color, Color] | None:
  """Returns (mean_rgb, stddev_rgb) in [0, 255] from `config.json`, or None; see `Source`.

  Raises:
    ValueError: that file is not JSON, or they are not three numbers each.
  """
  del tensors
  fields, others = preprocessing(path)
  if 'mean_rgb' in others:
    raise ValueError(
      f'{path}: its config.json has {others["mean_rgb"]}, expected three numbers each, the second '
      'ones positive; correct that file.'
    )
  return (fields['mean_rgb'], fields['stddev_rgb']) if 'mean_rgb' in fields else None


def preprocessing(path: str) -> tuple[dict[str, Any], dict[str, str]]:
  """Reads the preprocessing of images in `config.json`.

  Returns:
    (fields of a `PreprocessSpec` that it sets, {field: what it says instead of a value that the
    field can have}, such as {'interpolation': 'interpolation lanczos'}).

  Raises:
    ValueError: that file is not JSON.
  """
  settings = config(path).get('pretrained_cfg')
  if not isinstance(settings, dict):
    return {}, {}
  found = {
    'image_size': _image_size(settings.get('input_size')),
    'mean_rgb': _colors(settings),
    'stddev_rgb': _colors(settings),
    'interpolation': _interpolation(settings.get('interpolation')),
    'crop': _crop(settings),
  }
  fields = {name: value for name, (value, _) in found.items() if value is not None}
  for index, name in enumerate(('mean_rgb', 'stddev_rgb')):
    if name in fields:
      fields[name] = fields[name][index]
  others = {name: text for name, (value, text) in found.items() if value is None and text}
  return fields, others


def _image_size(size):
  """Returns (value, text), one of them None; so do the following functions for other fields."""
  if size is None:
    return None, None
  if isinstance(size, list) and len(size) == 3 and size[1] == size[2] and _is_whole(size[1]):
    return int(size[1]), None
  return None, f'input_size {_shown(size)}'


def _colors(settings):
  mean, stddev = settings.get('mean'), settings.get('std')
  if mean is None and stddev is None:
    return None, None
  if _is_color(mean) and _is_color(stddev) and min(stddev) > 0:
    return (_rgb(mean), _rgb(stddev)), None
  return None, f'mean {_shown(mean)} and std {_shown(stddev)}'


def _interpolation(name):
  if name is None or name in _INTERPOLATIONS:
    return name, None
  return None, f'interpolation {_shown(name)}'


def _crop(settings):
  mode, share = settings.get('crop_mode') or _CENTER, settings.get('crop_pct')
  if mode != _CENTER:
    return None, f'crop_mode {_shown(mode)}'
  if share is None:
    return None, None
  if _is_number(share) and 0.001 <= share <= 1:
    return f'{share:.6g}', None
  return None, f'crop_pct {_shown(share)}'


def _shown(value):
  return value if isinstance(value, str) and value.isalnum() else f'{value!r:.60}'


def _is_number(value: Any) -> TypeGuard[float]:
  # The bound excludes NaN and infinity, which JSON can hold.
  return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _LARGEST


def _is_whole(value: Any) -> bool:
  return _is_number(value) and value == int(value)


def _is_color(values: Any) -> TypeGuard[list[float]]:
  is_triple = isinstance(values, list) and len(values) == 3
  return is_triple and all(_is_number(value) or value == 0 for value in values)


def _rgb(values):
  return tuple(255.0 * float(value) for value in values)

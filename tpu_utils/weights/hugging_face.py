"""Preprocessing in the `config.json` that timm writes to folders for Hugging Face's hub."""
from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard

from tpu_utils import files
from tpu_utils.reading import reading

if TYPE_CHECKING:
  import numpy as np

  from tpu_utils.weights.name_map import Color

_WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin')
_INTERPOLATIONS = ('bicubic', 'bilinear')  # Others have no counterpart here.


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
  with reading(name, 'JSON'), files.open_text(name) as file:
    content = json.load(file)
  return content if isinstance(content, dict) else {}


def normalization(tensors: Mapping[str, np.ndarray], path: str) -> tuple[Color, Color] | None:
  """Returns (mean_rgb, stddev_rgb) in [0, 255] from `config.json`, or None; see `Source`.

  Raises:
    ValueError: that file is not JSON.
  """
  del tensors
  fields = preprocessing(path)
  return (fields['mean_rgb'], fields['stddev_rgb']) if 'mean_rgb' in fields else None


def preprocessing(path: str) -> dict[str, Any]:
  """Returns the fields of a `PreprocessSpec` that `config.json` sets: those that it can express.

  Raises:
    ValueError: that file is not JSON.
  """
  settings = config(path).get('pretrained_cfg')
  if not isinstance(settings, dict):
    return {}
  fields: dict[str, Any] = {}
  size = settings.get('input_size')
  if isinstance(size, list) and len(size) == 3 and size[1] == size[2] and _is_number(size[1]):
    fields['image_size'] = int(size[1])
  mean, stddev = settings.get('mean'), settings.get('std')
  if _is_color(mean) and _is_color(stddev) and min(stddev) > 0:
    fields |= {'mean_rgb': _rgb(mean), 'stddev_rgb': _rgb(stddev)}
  if settings.get('interpolation') in _INTERPOLATIONS:
    fields['interpolation'] = settings['interpolation']
  share = settings.get('crop_pct')
  if settings.get('crop_mode', 'center') == 'center' and _is_number(share) and 0.001 <= share <= 1:
    fields['crop'] = f'{share:.6g}'
  return fields


def _is_number(value: Any) -> TypeGuard[float]:
  return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


def _is_color(values: Any) -> TypeGuard[list[float]]:
  is_triple = isinstance(values, list) and len(values) == 3
  return is_triple and all(isinstance(value, int | float) for value in values)


def _rgb(values):
  return tuple(255.0 * float(value) for value in values)

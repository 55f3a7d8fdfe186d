"""Writes the weights of a model under the names of other programs."""
from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tpu_utils.weights.name_map import name_map_of

if TYPE_CHECKING:
  import keras


def save_torch(model: keras.Model, path: str | os.PathLike[str], **settings: Any) -> None:
  """Writes a model as a torch state dict, under the names that `load` reads from such a file.

  Args:
    model: a built `keras.Model`.
    path: the file to write; with the suffix `.safetensors` in that format, else in torch's.
    **settings: of `NameMap.torch_state_dict`, such as dialect='timm' where several programs have
      such a model.

  Raises:
    ValueError: no torch program has such a model, or torch is needed and not installed.
    OSError: the file cannot be written.
  """
  state_dict = name_map_of(model).torch_state_dict
  if state_dict is None:
    raise ValueError(f'No torch program has a model like {model.name}; save it as .keras.')
  from tpu_utils.weights import torch_files

  torch_files.write(path, state_dict(model, **settings))


def save_tf1(model: keras.Model, prefix: str | os.PathLike[str], step: int = 0) -> None:
  """Writes a model as an official TF1 checkpoint, by name, and the `checkpoint` file that names it.

  Every variable is written twice with the same value, as itself and as its moving average, so that
  programs can restore either.

  Args:
    model: a built `keras.Model`.
    prefix: of the files, such as 'out/model.ckpt'.
    step: value of `global_step`.

  Raises:
    ValueError: no official TF1 program has such a model.
    OSError: the files cannot be written.
  """
  tf1_names = name_map_of(model).tf1_names
  if tf1_names is None:
    raise ValueError(f'No official TF1 program has a model like {model.name}; save it as .keras.')
  from tpu_utils.weights import tf1

  values = {variable.path: variable.numpy() for variable in model.weights}
  tensors = {name: values[path] for path, name in tf1_names(model).items()}
  tf1.write(os.fspath(prefix), tensors, step)

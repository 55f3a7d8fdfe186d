"""Reads and writes torch state dicts: `.pth`, `.pt`, `.bin`, `.tar`, `.ckpt`, and `.safetensors`.

Files are data here: `torch_tensors` reads them, which builds tensors and plain containers and nothing else.
Reading torch's own format needs no torch; writing it does.
"""
import os

import numpy as np
import safetensors
import safetensors.numpy

from tpu_utils import files
from tpu_utils.reading import reading
from tpu_utils.weights import safe_pickle, torch_tensors

_SUFFIXES = ('.pth', '.pt', '.bin', '.tar', '.ckpt', '.safetensors')
_SAFETENSORS = '.safetensors'
_SAFETENSORS_DTYPES = {
  'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'I64': '<i8', 'I32': '<i4', 'I16': '<i2', 'I8': 'i1',
  'U8': 'u1', 'BOOL': '?',
}  # fmt: skip
# Keys under which training programs keep the weights beside their other state.
_RAW_KEYS = ('state_dict', 'model_state_dict', 'model')
_EMA_KEYS = ('state_dict_ema', 'model_ema')
# What wrappers put before every name: DataParallel and moving averages, torch.compile, Lightning.
_WRAPPERS = ('module.', '_orig_mod.', 'model.')
# Counters: of batch norms, and of torch's own averaged models.
_COUNTERS = ('.num_batches_tracked', 'n_averaged')
# Names that Hugging Face's and OSCAR's folders give the file of weights.
_IN_FOLDERS = ('model.safetensors', 'pytorch_model.bin')


def matches(path):
  """Whether `path` ends like a file of torch weights, or is a folder with one."""
  path = _file(path)
  return path.endswith(_SUFFIXES) and os.path.isfile(path)


def _file(path):
  """The file of weights in a folder, or `path` itself."""
  files = [os.path.join(path, name) for name in _IN_FOLDERS]
  return next((file for file in files if os.path.isfile(file)), path)


def read(path, use_ema=True):
  """The tensors of a state dict.

  A state dict inside a training checkpoint is found under its usual keys, what a wrapper put before every
  name (`module.`) is taken off, and the batch counters of batch norms (`num_batches_tracked`) are left out.

  Args:
    path: the file, or a folder with `model.safetensors` or `pytorch_model.bin`.
    use_ema: take the moving averages where a checkpoint has them beside the raw weights.

  Returns:
    {name: array}, in the file's order. bfloat16 comes as float32.

  Raises:
    FileNotFoundError: no such file.
    ValueError: it can't be read, holds more than tensors and plain containers, or no tensors.
  """
  path = _file(os.fspath(path))
  if not os.path.isfile(path):
    raise FileNotFoundError(f'{path}: no such file.')
  tensors = _read_safetensors(path) if path.endswith(_SAFETENSORS) else _read_torch(path, use_ema)
  tensors = {name: value for name, value in tensors.items() if not name.endswith(_COUNTERS)}
  if not tensors:
    raise ValueError(f'{path} holds no tensors; expected a state dict, {{name: tensor}}.')
  return _unwrapped(tensors)


def _unwrapped(tensors):
  """The tensors without what wrappers put before all of their names."""
  for prefix in _WRAPPERS:
    if all(name.startswith(prefix) for name in tensors):
      return _unwrapped({name[len(prefix) :]: value for name, value in tensors.items()})
  return tensors


def write(path, tensors):
  """Writes {name: array} as a state dict; the ending of `path` decides between safetensors and torch.

  The file appears whole or not at all.

  Raises:
    OSError: it cannot be written.
    ValueError: torch is needed and not installed.
  """
  path = os.fspath(path)
  try:
    with files.replacing(path, shared=True) as scratch:
      _write(path, tensors, scratch)
  except safetensors.SafetensorError as error:
    raise OSError(f'{path} cannot be written ({error}); look at its folder and the space there.') from error


def _write(path, tensors, scratch):
  if path.endswith(_SAFETENSORS):
    contiguous = {name: np.asarray(value, order='C') for name, value in tensors.items()}
    safetensors.numpy.save_file(contiguous, scratch)
  else:
    torch = _import_torch(path)
    with open(scratch, 'wb') as file:  # Which raises an OSError where it cannot; torch has its own.
      torch.save({k: torch.tensor(np.asarray(v)) for k, v in tensors.items()}, file)


def _import_torch(path):
  try:
    import torch
  except ImportError as error:
    raise ValueError(
      f'{path}: torch writes this kind of file and is not installed; `pip install torch`, or write .safetensors.'
    ) from error
  return torch


def _read_safetensors(path):
  with reading(path, 'a safetensors file', foreign=True), open(path, 'rb') as f:
    entries = safetensors.deserialize(f.read())
  with reading(path, 'a safetensors file'):
    return {name: _array(path, name, **entry) for name, entry in entries}


def _array(path, name, dtype, shape, data):
  if dtype == 'BF16':  # Unknown to numpy: the upper half of a float32.
    bits = np.frombuffer(data, '<u2').astype(np.uint32) << 16
    return bits.view(np.float32).reshape(shape)
  if dtype not in _SAFETENSORS_DTYPES:
    raise ValueError(
      f'{path}: {name} is {dtype}; expected one of BF16, {", ".join(_SAFETENSORS_DTYPES)}. '
      'Save it as F32.'
    )
  return np.frombuffer(data, _SAFETENSORS_DTYPES[dtype]).reshape(shape)


def _read_torch(path, use_ema):
  try:
    content = torch_tensors.load(path)
  except safe_pickle.UnsafePickleError as error:
    name = str(error).partition(' asks for ')[2].partition(',')[0]
    raise ValueError(
      f'{path} holds objects that are run when they are read ({name}); expected tensors and plain '
      'containers. Where you trust the file, make one of them: torch.save(model.state_dict(), path).'
    ) from error
  state_dict = _state_dict(path, content, use_ema)
  return {
    str(name): value.read()
    for name, value in state_dict.items()
    if isinstance(value, torch_tensors.StoredTensor)
  }


def _state_dict(path, content, use_ema):
  """The state dict in what a file holds."""
  if not isinstance(content, dict):
    raise ValueError(
      f'{path} holds a {type(content).__name__}; expected a state dict, {{name: tensor}}.'
    )
  keys = [*(_EMA_KEYS if use_ema else ()), *_RAW_KEYS]
  for key in keys:
    if isinstance(content.get(key), dict):
      return content[key]
  if any(isinstance(value, torch_tensors.StoredTensor) for value in content.values()):
    return content
  raise ValueError(
    f'{path} holds {", ".join(map(str, list(content)[:8]))}; expected a state dict, or one under '
    f'{", ".join(keys)}.'
  )

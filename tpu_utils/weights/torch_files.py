"""Reads and writes torch state dicts: `.pth`, `.pt`, `.bin`, `.tar`, `.ckpt`, and `.safetensors`.

No code in a file is run: `torch_tensors` builds only tensors and plain containers. Reading torch's
own format needs no torch; writing it does.
"""
import functools
import json
import math
import os
import struct
from collections.abc import Mapping

import numpy as np
import safetensors
import safetensors.numpy

from tpu_utils import files
from tpu_utils.reading import check_unpacked, read_json, reading
from tpu_utils.weights import safe_pickle, torch_tensors
from tpu_utils.weights.stored import StoredArray

_SUFFIXES = ('.pth', '.pt', '.bin', '.tar', '.ckpt', '.safetensors')
_SAFETENSORS = '.safetensors'
_SAFETENSORS_DTYPES = {
  'F64': '<f8', 'F32': '<f4', 'F16': '<f2', 'I64': '<i8', 'I32': '<i4', 'I16': '<i2', 'I8': 'i1',
  'U8': 'u1', 'BOOL': '?',
}  # fmt: skip
_BF16 = 'BF16'  # Unknown to numpy: the upper half of a float32.
_MAX_HEADER = 2**22  # Bytes; a tensor takes about 100 of them.
# Keys of the weights in the checkpoints of training programs.
_RAW_KEYS = ('state_dict', 'model_state_dict', 'model')
_EMA_KEYS = ('state_dict_ema', 'model_ema')
# Prefixes that wrappers add to all names: DataParallel and averages, torch.compile, Lightning.
_WRAPPERS = ('module.', '_orig_mod.', 'model.')
# Counters of batch norms and of torch's own averaged models.
_COUNTERS = ('.num_batches_tracked', 'n_averaged')
# Names of the file of weights in Hugging Face's and OSCAR's folders.
_IN_FOLDERS = ('model.safetensors', 'pytorch_model.bin')
# Large models are stored in several files, with an index: {"weight_map": {name: file}}.
_INDEX = '.index.json'


def matches(path: str) -> bool:
  """Returns whether `path` has a suffix of torch's files, or is a folder with one of them."""
  path = _file(path)
  return path.endswith((*_SUFFIXES, *_indices())) and os.path.isfile(path)


def _file(path):
  """Returns the file of weights in a folder, or `path` itself."""
  candidates = [os.path.join(path, name) for name in file_names()]
  return next((file for file in candidates if os.path.isfile(file)), path)


def file_names() -> tuple[str, ...]:
  """Returns the names of the file of weights in a folder, the first to be read first."""
  return (*_IN_FOLDERS, *_indices())


def _indices():
  return tuple(name + _INDEX for name in _IN_FOLDERS)


def read(
  path: str | os.PathLike[str], use_ema: bool = True
) -> Mapping[str, np.ndarray | StoredArray]:
  """Reads the tensors of a state dict.

  The state dict may be inside a training checkpoint, under one of the usual keys. Prefixes that a
  wrapper adds to all names (`module.`) are removed, and counters (`num_batches_tracked`) left out.

  Args:
    path: the file, or a folder with `model.safetensors` or `pytorch_model.bin`; or their index,
      `model.safetensors.index.json`, if the tensors are in several files, or its folder.
    use_ema: whether to prefer moving averages to the raw weights in a training checkpoint.

  Returns:
    {name: array}, in the file's order. bfloat16 is converted to float32.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: the file cannot be read, holds other objects than tensors and plain containers, or
      holds no tensors.
  """
  file = _file(os.fspath(path))
  if not os.path.isfile(file):
    raise FileNotFoundError(f'{file}: no such file.')
  tensors = _read_parts(file, use_ema) if file.endswith(_INDEX) else _read_file(file, use_ema)
  tensors = {name: value for name, value in tensors.items() if not name.endswith(_COUNTERS)}
  if not tensors:
    raise ValueError(f'{file} holds no tensors; expected a state dict, {{name: tensor}}.')
  return _unwrapped(tensors)


def _read_file(path, use_ema):
  return _read_safetensors(path) if path.endswith(_SAFETENSORS) else _read_torch(path, use_ema)


def _read_parts(path, use_ema):
  """Reads the tensors of all files that an index lists."""
  content = read_json(path, 'an index of weights')
  places = content.get('weight_map') if isinstance(content, dict) else None
  if not isinstance(places, dict) or not all(isinstance(part, str) for part in places.values()):
    raise ValueError(f'{path}: expected an index of weights, {{"weight_map": {{name: file}}}}.')
  tensors = {}
  for part in dict.fromkeys(places.values()):
    file_name = os.path.join(os.path.dirname(path), part)
    if os.path.basename(part) != part or not part.endswith(_SUFFIXES):
      raise ValueError(f'{path} lists {part!r:.80}; expected names of files beside it.')
    if not os.path.isfile(file_name):
      raise FileNotFoundError(f'{file_name}: no such file, and {path} lists it; copy it, too.')
    found = _read_file(file_name, use_ema)
    absent = [name for name in places if places[name] == part and name not in found]
    if absent:
      raise ValueError(f'{file_name} lacks {absent[0]}, which {path} lists; copy both again.')
    tensors |= {name: found[name] for name in places if places[name] == part}
  return tensors


def _unwrapped(tensors):
  """Returns the tensors without the prefixes that wrappers add to all names."""
  for prefix in _WRAPPERS:
    if all(name.startswith(prefix) for name in tensors):
      return _unwrapped({name[len(prefix) :]: value for name, value in tensors.items()})
  return tensors


def write(path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray]) -> None:
  """Writes a state dict; an error leaves no partial file.

  Args:
    path: the file; safetensors if it has the suffix `.safetensors`, else torch's format.
    tensors: {name: array}.

  Raises:
    OSError: the file cannot be written.
    ValueError: torch is needed and not installed.
  """
  path = os.fspath(path)
  try:
    with files.replacing(path, shared=True) as scratch:
      _write(path, tensors, scratch)
  except safetensors.SafetensorError as error:
    raise OSError(
      f'{path} cannot be written ({error}); look at its folder and the space there.'
    ) from error


def _write(path, tensors, scratch):
  if path.endswith(_SAFETENSORS):
    contiguous = {name: np.asarray(value, order='C') for name, value in tensors.items()}
    safetensors.numpy.save_file(contiguous, scratch)
  else:
    torch = _import_torch(path)
    with open(scratch, 'wb') as file:  # `open` raises OSError; torch has errors of its own.
      torch.save({k: torch.tensor(np.asarray(v)) for k, v in tensors.items()}, file)


def _import_torch(path):
  try:
    import torch
  except ImportError as error:
    raise ValueError(
      f'{path}: torch writes this kind of file and is not installed; `pip install torch`, or write '
      '.safetensors.'
    ) from error
  return torch


def _read_safetensors(path):
  with reading(path, 'a safetensors file'), open(path, 'rb') as file:
    size = file.read(8)
    length = struct.unpack('<Q', size)[0]
    if length > _MAX_HEADER:
      raise ValueError(f'a header of {length:,} bytes; expected at most {_MAX_HEADER:,}')
    header = file.read(length)
  # The library checks the header: ranges of bytes without gaps that fit the shapes.
  with (
    reading(path, 'a safetensors file', foreign=True),
    safetensors.safe_open(path, framework='numpy'),
  ):
    entries = json.loads(header)
  entries.pop('__metadata__', None)
  return {
    name: _stored(path, name, 8 + length, entry['dtype'], entry['shape'], entry['data_offsets'])
    for name, entry in entries.items()
  }


def _stored(path, name, start, dtype, shape, offsets):
  if dtype != _BF16 and dtype not in _SAFETENSORS_DTYPES:
    raise ValueError(
      f'{path}: {name} is {dtype}; expected one of {_BF16}, {", ".join(_SAFETENSORS_DTYPES)}. '
      'Save it as F32.'
    )
  found = np.dtype('<f4' if dtype == _BF16 else _SAFETENSORS_DTYPES[dtype])
  read_one = functools.partial(_read_values, path, start + offsets[0], dtype, tuple(shape))
  return StoredArray(tuple(shape), found, read_one)


def _read_values(path, start, dtype, shape):
  stored = np.dtype('<u2' if dtype == _BF16 else _SAFETENSORS_DTYPES[dtype])
  size = math.prod(shape) * stored.itemsize
  with reading(path, 'a safetensors file'), open(path, 'rb') as file:
    file.seek(start)
    data = file.read(size)
    if len(data) != size:
      raise ValueError(f'{len(data)} of {size} bytes at byte {start}')
  values = np.frombuffer(data, stored).reshape(shape)
  return (values.astype(np.uint32) << 16).view(np.float32) if dtype == _BF16 else values


def _read_torch(path, use_ema):
  try:
    content = torch_tensors.load(path)
  except safe_pickle.UnsafePickleError as error:
    name = str(error).partition(' asks for ')[2].partition(',')[0]
    raise ValueError(
      f'{path} holds objects that run code when they are read ({name}); expected tensors and plain '
      'containers. If you trust the file, convert it with torch: torch.save(torch.load(path, '
      'weights_only=False)["state_dict"], new_path), or .state_dict() of a whole model.'
    ) from error
  state_dict = _state_dict(path, content, use_ema)
  arrays = {str(name): value for name, value in _plain(state_dict) if _is_array(value)}
  with reading(path, 'a file of torch.save'):
    size = sum(value.nbytes for value in arrays.values())
    check_unpacked('its tensors', size, os.path.getsize(path))
  return {
    name: value
    if isinstance(value, np.ndarray)
    else StoredArray(value.shape, value.numpy_dtype, value.read)
    for name, value in arrays.items()
  }


def _plain(content):
  """Returns [(name, value)] with the names that are text or numbers."""
  return [(name, value) for name, value in content.items() if isinstance(name, str | int)]


def _is_array(value):
  """Returns whether a value is a tensor, or an array of numbers that numpy wrote."""
  if isinstance(value, np.ndarray):
    return value.dtype.kind in 'biuf'
  return isinstance(value, torch_tensors.StoredTensor)


def _state_dict(path, content, use_ema):
  """Returns the state dict in the contents of a file."""
  if not isinstance(content, dict):
    raise ValueError(
      f'{path} holds a {type(content).__name__}; expected a state dict, {{name: tensor}}.'
    )
  keys = [*(_EMA_KEYS if use_ema else ()), *_RAW_KEYS]
  for key in keys:
    if isinstance(content.get(key), dict):
      return content[key]
  if any(map(_is_array, content.values())):
    return content
  names = ', '.join(str(name) for name, _ in _plain(content)[:8])
  raise ValueError(
    f'{path} holds {names}; expected a state dict, or one under {", ".join(keys)}.'
  )

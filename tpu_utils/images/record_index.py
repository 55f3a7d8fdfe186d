"""Where the records of TFRecord files begin: found by reading their lengths, and kept in a file.

A TFRecord file is a row of records, each a length (8 bytes, little endian), a checksum of it (4 bytes), the
data and a checksum of the data (4 bytes). Finding the records of a remote data set means reading all of
it, so the index is written beside the data (`offsets-train.npz`) and read from there afterwards. It holds
for files of the same names and sizes, wherever they are copied to.
"""
import concurrent.futures
import contextlib
import io
import os
import struct
import sys

import numpy as np
import tensorflow as tf

from tpu_utils import files
from tpu_utils.command_line.progress import Progress
from tpu_utils.errors import one_line
from tpu_utils.reading import reading

_HEADER = struct.Struct('<QI')
_FOOTER_BYTES = 4
_THREADS = 16
_CHUNK_BYTES = 16 * 2**20
_WORTH_SAVING_BYTES = 100 * 2**20  # Less is scanned in no time; no file is left in people's folders then.


def path_beside(data_dir, split):
  """Where the index of a split of a data set lies."""
  return os.path.join(data_dir, f'offsets-{split}.npz')


def load_or_scan(paths, index_path=None):
  """The `record_offsets` of several files, from the index where it has them.

  Args:
    paths: TFRecord files, local or remote, of different names.
    index_path: where the index is, or is to be; None for no index. What had to be scanned is added to
      it, if it is much and the place can be written.

  Returns:
    List of int64 arrays, as `record_offsets` gives them.

  Raises:
    ValueError: a file is empty, cut off or no TFRecord file.
  """
  known = load(index_path) if index_path else {}
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    sizes = list(pool.map(lambda path: tf.io.gfile.stat(path).length, paths))
    offsets = [known.get(os.path.basename(path)) for path in paths]
    fits = [o is not None and o[-1] == size for o, size in zip(offsets, sizes, strict=True)]
    missing = [i for i, fit in enumerate(fits) if not fit]
    scans = {i: pool.submit(record_offsets, paths[i]) for i in missing}
    much = sum(sizes[i] for i in missing) >= _WORTH_SAVING_BYTES
    with Progress(len(missing), 'indexing', unit='shard') if much else contextlib.nullcontext() as bar:
      for done, (i, scan) in enumerate(scans.items(), start=1):
        offsets[i] = scan.result()
        if bar:
          bar.update(done)
  if index_path and much:
    names = [os.path.basename(path) for path in paths]
    _try_to_save(index_path, known | dict(zip(names, offsets, strict=True)))
  return offsets


def load(index_path):
  """Reads an index: {file name: int64 offsets}. Empty if there is none, or a damaged one."""
  if not tf.io.gfile.exists(index_path):
    return {}
  try:
    with reading(index_path, 'an index', foreign=True):
      with tf.io.gfile.GFile(index_path, 'rb') as file:
        data = io.BytesIO(file.read())
      with np.load(data, allow_pickle=False) as index:
        names, counts, offsets = (index[key] for key in ('names', 'counts', 'offsets'))
    with reading(index_path, 'an index'):
      return dict(zip(names.tolist(), _split(counts, offsets), strict=True))
  except (ValueError, OSError) as e:
    print(f'{e} Until then the shards are scanned.', file=sys.stderr)
    return {}


def _split(counts, offsets):
  """The offsets of each file."""
  for numbers in (counts, offsets):
    if numbers.ndim != 1 or numbers.dtype != np.int64 or numbers.min(initial=0) < 0:
      raise ValueError('expected rows of whole numbers')
  ends = np.cumsum(counts + 1)
  if not len(ends) or ends[-1] != len(offsets):
    raise ValueError('its counts and offsets differ')
  return np.split(offsets, ends[:-1])


def save(index_path, offsets):
  """Writes an index beside its place and renames it.

  Args:
    index_path: a path in an existing folder, local or remote.
    offsets: {file name: what `record_offsets` gives}.
  """
  data = io.BytesIO()
  np.savez_compressed(
    data,
    names=np.array(list(offsets)),
    counts=np.array([len(o) - 1 for o in offsets.values()], np.int64),
    offsets=np.concatenate(list(offsets.values())),
  )
  files.write_bytes(index_path, data.getvalue(), shared=True)


def _try_to_save(index_path, offsets):
  try:
    save(index_path, offsets)
  except OSError as e:
    print(
      f'{one_line(e)}; every start will scan the shards. '
      'Whoever may write there can run python -m tpu_utils.images.prepare --index.',
      file=sys.stderr,
    )


def record_offsets(path, chunk_bytes=None):
  """Where the records of a file begin.

  Args:
    path: a TFRecord file, local or remote.
    chunk_bytes: how much to read at a time; 0 for the lengths alone. By default what is faster.

  Returns:
    int64 [records + 1]: the byte at which each record begins, and the size of the file.

  Raises:
    ValueError: the file is empty, cut off or no TFRecord file.
  """
  if chunk_bytes is None:
    chunk_bytes = _CHUNK_BYTES if '://' in path else 0
  offsets = [0]
  with _Headers(path, chunk_bytes) as headers:
    while offsets[-1] < headers.file_size:
      offsets.append(_next_offset(headers, path, offsets))
  if len(offsets) == 1:
    raise ValueError(f'{path} is empty; expected TFRecords. Copy or prepare it again.')
  return np.array(offsets, np.int64)


def _next_offset(headers, path, offsets):
  begin, size = offsets[-1], headers.file_size
  header = headers.at(begin)
  if len(header) == _HEADER.size:
    length, checksum = _HEADER.unpack(header)
    if len(offsets) == 1 and checksum != _masked_crc32c(header[:8]):
      raise ValueError(f'{path} is no TFRecord file: its first 12 bytes are no length and checksum.')
    end = begin + _HEADER.size + length + _FOOTER_BYTES
    if end <= size:
      return end
  raise ValueError(
    f'{path}, record {len(offsets) - 1}: the file ends within it, at byte {size}; it is cut off or '
    'damaged. Copy or prepare it again.'
  )


class _Headers:
  """Reads the few bytes that each record begins with: a seek each, or out of large chunks."""

  def __init__(self, path, chunk_bytes):
    # Python's own file is ten times as fast, where it will do.
    remote = '://' in path
    self._file = tf.io.gfile.GFile(path, 'rb') if remote else open(path, 'rb', buffering=0)  # noqa: SIM115
    self.file_size = tf.io.gfile.stat(path).length
    self._chunk_bytes = max(chunk_bytes, _HEADER.size)
    self._begin, self._chunk = 0, b''

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._file.close()

  def at(self, position):
    """The header at a byte; shorter at the end of the file."""
    place = position - self._begin
    if place + _HEADER.size > len(self._chunk):
      self._file.seek(position)
      self._begin, self._chunk, place = position, self._file.read(self._chunk_bytes), 0
    return self._chunk[place : place + _HEADER.size]


def _masked_crc32c(data):
  """The checksum that TFRecord files use, of a few bytes."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

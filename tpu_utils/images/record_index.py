"""Byte offsets of the records in TFRecord files, scanned once and stored in an index file.

A TFRecord file is a sequence of records: length (8 bytes, little endian), checksum of the length
(4 bytes), data, checksum of the data (4 bytes). Scanning a remote data set means reading all of it,
so the index is stored next to the data (`offsets-train.npz`) and read from there the next time. An
entry is valid for a file of the same name and size, so the index can be copied with the files.
"""
import concurrent.futures
import contextlib
import io
import os
import struct
import sys
from collections.abc import Mapping, Sequence

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
# Less is scanned so fast that an index file in the user's folder isn't worth it.
_WORTH_SAVING_BYTES = 100 * 2**20


def path_beside(data_dir: str | os.PathLike, split: str) -> str:
  """Returns the path of the index for a split of a data set."""
  return os.path.join(data_dir, f'offsets-{split}.npz')


def load_or_scan(paths: Sequence[str], index_path: str | None = None) -> list[np.ndarray]:
  """Returns the `record_offsets` of several files; reads from the index those that it has.

  Args:
    paths: TFRecord files, local or remote, with distinct file names.
    index_path: path of the index; None for no index. Scanned files are added to it if they are
      large and the path is writable.

  Returns:
    One int64 array for each file; see `record_offsets`.

  Raises:
    ValueError: a file is empty, cut off or not a TFRecord file.
  """
  known = load(index_path) if index_path else {}
  names = [os.path.basename(path) for path in paths]
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    sizes = list(pool.map(lambda path: tf.io.gfile.stat(path).length, paths))
    offsets = [known.get(name, np.array([-1])) for name in names]
    # The last offset is the size that the file had when it was scanned.
    missing = [i for i, size in enumerate(sizes) if offsets[i][-1] != size]
    scans = {i: pool.submit(record_offsets, paths[i]) for i in missing}
    is_large = sum(sizes[i] for i in missing) >= _WORTH_SAVING_BYTES
    progress = Progress(len(missing), 'indexing', unit='shard') if is_large else None
    with progress or contextlib.nullcontext():
      for done, (i, scan) in enumerate(scans.items(), start=1):
        offsets[i] = scan.result()
        if progress:
          progress.update(done)
  if index_path and is_large:
    _try_to_save(index_path, known | dict(zip(names, offsets, strict=True)))
  return offsets


def load(index_path: str) -> dict[str, np.ndarray]:
  """Reads an index: {file name: int64 offsets}. Empty if it is missing or damaged."""
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
  """Splits the concatenated offsets into one array for each file."""
  for numbers in (counts, offsets):
    if numbers.ndim != 1 or numbers.dtype != np.int64 or numbers.min(initial=0) < 0:
      raise ValueError('expected one-dimensional int64 arrays without negative numbers')
  ends = np.cumsum(counts + 1)
  if not len(ends) or ends[-1] != len(offsets):
    raise ValueError('its counts do not fit its offsets')
  return np.split(offsets, ends[:-1])


def save(index_path: str, offsets: Mapping[str, Sequence[int] | np.ndarray]) -> None:
  """Writes an index atomically.

  Args:
    index_path: a path in an existing folder, local or remote.
    offsets: {file name: its `record_offsets`}.

  Raises:
    OSError: the file cannot be written.
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
      f'{one_line(e)}; every start will scan the shards. To write the index once, run '
      'python -m tpu_utils.images.prepare --index as a user with write permission.',
      file=sys.stderr,
    )


def record_offsets(path: str, chunk_bytes: int | None = None) -> np.ndarray:
  """Scans a file for the byte offsets of its records.

  Args:
    path: a TFRecord file, local or remote.
    chunk_bytes: bytes to read at a time; 0 reads only the record headers. The default is the faster
      way: headers in a local file, large chunks of a remote one.

  Returns:
    int64 [records + 1]: the offset of each record, then the size of the file.

  Raises:
    ValueError: the file is empty, cut off or not a TFRecord file.
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
  """Returns the end of the record that begins at the last offset; ValueError if it is cut off."""
  begin, size = offsets[-1], headers.file_size
  header = headers.at(begin)
  if len(header) == _HEADER.size:
    length, checksum = _HEADER.unpack(header)
    if len(offsets) == 1 and checksum != _masked_crc32c(header[:8]):
      raise ValueError(
        f'{path} is not a TFRecord file: its first 12 bytes are not a length and its checksum.'
      )
    end = begin + _HEADER.size + length + _FOOTER_BYTES
    if end <= size:
      return end
  raise ValueError(
    f'{path}, record {len(offsets) - 1}: the file ends within it, at byte {size}; it is cut off or '
    'damaged. Copy or prepare it again.'
  )


class _Headers:
  """Reads record headers (12 bytes each) by seeking to each one, or from large chunks."""

  def __init__(self, path: str, chunk_bytes: int):
    # For local files Python's own `open` is ten times as fast as GFile.
    remote = '://' in path
    self._file = (
      tf.io.gfile.GFile(path, 'rb') if remote else open(path, 'rb', buffering=0)  # noqa: SIM115
    )
    self.file_size = tf.io.gfile.stat(path).length
    self._chunk_bytes = max(chunk_bytes, _HEADER.size)
    self._begin, self._chunk = 0, b''

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._file.close()

  def at(self, position: int) -> bytes:
    """Returns the header at a byte offset; shorter at the end of the file."""
    place = position - self._begin
    if place + _HEADER.size > len(self._chunk):
      self._file.seek(position)
      self._begin, self._chunk, place = position, self._file.read(self._chunk_bytes), 0
    return self._chunk[place : place + _HEADER.size]


def _masked_crc32c(data):
  """Returns the checksum of a few bytes as TFRecord files store it."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

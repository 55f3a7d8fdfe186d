"""Atomic writing of one shard, and the note that lets a stopped job skip finished shards."""
import collections
import dataclasses
import hashlib
import json
import os

import tensorflow as tf

from tpu_utils import files
from tpu_utils.errors import one_line
from tpu_utils.images import headers
from tpu_utils.images.preparation import collect, deep_pixels, encoding
from tpu_utils.images.sources import picture_files
from tpu_utils.images.sources.manifest import ShardRecord

_CHUNK_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class ShardTask:
  """A shard to write.

  Attributes:
    output_dir: folder of the shards.
    name: file name, e.g. 'train-00000-of-01024'.
    images: `collect.Image`s in the order of the records.
    class_names: names of the classes with the labels 1, 2, ...
    keep_png: see `encoding.official`.
    deep_pixels: see `encoding.official`.
  """

  output_dir: str
  name: str
  images: tuple
  class_names: tuple
  keep_png: bool
  deep_pixels: str = deep_pixels.REFUSE

  @property
  def path(self) -> str:
    """Path of the shard."""
    return os.path.join(self.output_dir, self.name)

  @property
  def note_path(self) -> str:
    """Path of the file with the result, which exists until all shards are finished."""
    return os.path.join(notes_folder(self.output_dir), self.name + '.json')

  def fingerprint(self) -> str:
    """Returns a checksum of the list of images: equal if two shards have the same inputs."""
    inputs = [(i.key, i.offset, i.size, self.class_names[i.label - 1]) for i in self.images]
    # Shards that were prepared before there was a choice were all made as if refusing.
    choice = [] if self.deep_pixels == deep_pixels.REFUSE else [self.deep_pixels]
    return hashlib.sha256(json.dumps([self.keep_png, inputs, *choice]).encode()).hexdigest()


@dataclasses.dataclass(frozen=True)
class ShardResult:
  """The result of a `ShardTask`.

  Attributes:
    record: the shard's entry in the manifest.
    offsets: byte offsets of the records; see `record_index.record_offsets`.
    left_out: one line for each image that was left out, with the cause.
    converted: {original format: number of converted images}.
    several: number of files with more pictures than the first, which alone is stored.
  """

  record: ShardRecord
  offsets: tuple
  left_out: tuple
  converted: dict
  several: int = 0


def notes_folder(output_dir: str) -> str:
  """Returns the folder of the results of finished shards, which exists while others are missing."""
  return os.path.join(output_dir, 'unfinished')


def write(task: ShardTask) -> ShardResult:
  """Writes a shard atomically, and before it the file at `note_path` with the result.

  Raises:
    OSError: it cannot be written; names the file.
  """
  # The scratch file is local in any case: it is read again for its checksum.
  folder = None if files.is_remote(task.output_dir) else notes_folder(task.output_dir)
  with files.replacing(task.path, folder=folder, shared=True) as scratch:
    records, counts, left_out, converted, several = _write_records(task, scratch)
    result = ShardResult(
      ShardRecord(task.name, *size_and_checksum(scratch), counts, task.fingerprint()),
      records,
      tuple(left_out),
      dict(converted),
      several,
    )
    # The note is written first: a shard without one comes from another job.
    files.write_json(task.note_path, dataclasses.asdict(result), indent=None)
  return result


def read_note(path: str) -> ShardResult | None:
  """Reads the result of a finished shard; None if the file is missing or incomplete."""
  if not tf.io.gfile.exists(path):
    return None
  try:
    with tf.io.gfile.GFile(path, 'rb') as file:
      fields = files.parse_json(file.read())
    result = ShardResult(**{**fields, 'record': ShardRecord(**fields['record'])})
    return result if all(type(offset) is int for offset in result.offsets) else None
  except (ValueError, TypeError, KeyError):
    return None


def _write_records(task, path):
  """Writes the records; returns offsets and the last fields of a `ShardResult`."""
  offsets, left_out, several = [0], [], 0
  counts, converted = collections.Counter(), collections.Counter()
  with tf.io.TFRecordWriter(path) as writer:
    for image in task.images:
      try:
        data = image.read()
        record, kind = _record(image, data, task)
      except (encoding.UnusableImageError, OSError) as e:
        left_out.append(f'{image}: {one_line(e)}')
        continue
      writer.write(record)
      offsets.append(offsets[-1] + len(record) + 16)  # Length, data and two checksums.
      counts[task.class_names[image.label - 1]] += 1
      several += headers.has_several_pictures(data)
      if kind:
        converted[kind] += 1
  return offsets, dict(counts), left_out, converted, several


def _record(image, data, task):
  """Returns (tf.train.Example with the official features, original format if converted)."""
  wrong = collect.mislabelled(image, task.class_names)
  if wrong:
    raise encoding.UnusableImageError(wrong)
  encoded, height, width, kind = encoding.official(data, task.keep_png, task.deep_pixels)
  is_png = encoded.startswith(b'\x89PNG')
  features = {
    'image/encoded': _bytes(encoded),
    'image/format': _bytes(b'PNG' if is_png else b'JPEG'),
    'image/height': _integer(height),
    'image/width': _integer(width),
    'image/colorspace': _bytes(b'RGB'),
    'image/channels': _integer(3),
    'image/class/label': _integer(image.label),
    'image/class/synset': _bytes(task.class_names[image.label - 1].encode()),
    'image/filename': _bytes(*picture_files.as_bytes([image.name])),
  }
  example = tf.train.Example(features=tf.train.Features(feature=features))
  return example.SerializeToString(deterministic=True), kind


def _bytes(value):
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integer(value):
  return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def size_and_checksum(path: str) -> tuple[int, str]:
  """Returns (number of bytes, hexadecimal SHA-256) of a file."""
  checksum, size = hashlib.sha256(), 0
  with tf.io.gfile.GFile(path, 'rb') as file:
    while chunk := file.read(_CHUNK_BYTES):
      checksum.update(chunk)
      size += len(chunk)
  return size, checksum.hexdigest()

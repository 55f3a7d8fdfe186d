"""Verification of a prepared data set against its manifest."""
import collections
import os

import tensorflow as tf

from tpu_utils import files
from tpu_utils.command_line.progress import Progress
from tpu_utils.images import record_index
from tpu_utils.images.preparation import processes, shard
from tpu_utils.images.sources import manifest
from tpu_utils.images.sources.shards import IMAGENET_FORMAT


def verify(data_dir: str, num_processes: int) -> manifest.Manifest:
  """Reads every record of every shard and compares it with the manifest.

  Args:
    data_dir: folder of shards and their manifest.
    num_processes: number of parallel processes.

  Returns:
    The manifest.

  Raises:
    ValueError: the manifest is missing, or shards or index differ from it; prints every fault.
  """
  written = manifest.load(data_dir)
  if written is None:
    raise ValueError(
      f'{data_dir} has no {manifest.FILE_NAME} to verify by; python -m tpu_utils.images.prepare '
      'writes one.'
    )
  records = [record for shards in written.splits.values() for record in shards]
  tasks = [(data_dir, record, written.class_names) for record in records]
  faults: list[str] = []
  done = 0
  with Progress(sum(map(written.num_examples, written.splits)), 'verify', unit='image') as bar:
    for count, shard_faults in processes.map_unordered(_shard_faults, tasks, num_processes):
      for fault in shard_faults:
        bar.say(fault)
      faults += shard_faults
      done += count
      bar.update(done)
  faults += _folder_faults(data_dir, written)
  if faults:
    raise ValueError(
      f'{len(faults)} faults in {data_dir}, the first: {faults[0]} Copy the files again, or delete '
      'them and give the command that prepared them.'
    )
  return written


def _folder_faults(data_dir, written):
  """Lists shards that are not in the manifest, and shards that the index does not fit."""
  faults = []
  for split, shards in written.splits.items():
    known = {record.name for record in shards}
    paths = files.paths_in(data_dir, f'{split}-')
    existing = {os.path.basename(path) for path in paths}
    faults += [
      f'{os.path.join(data_dir, name)} is not in the manifest.' for name in sorted(existing - known)
    ]
    index_path = record_index.path_beside(data_dir, split)
    index = record_index.load(index_path)
    for record in shards:
      if record.name in existing and len(index.get(record.name, [])) != record.num_examples + 1:
        faults.append(f'{index_path} does not fit {record.name}: run --index.')
  return faults


def _shard_faults(task):
  """Returns (number of images, list of faults) for (data_dir, `ShardRecord`, class names)."""
  data_dir, record, class_names = task
  path = os.path.join(data_dir, record.name)
  if not tf.io.gfile.exists(path):
    return record.num_examples, [f'{path} is missing.']
  faults = []
  size, checksum = shard.size_and_checksum(path)
  if size != record.num_bytes:
    faults.append(f'{path} has {size} bytes, expected {record.num_bytes}.')
  elif checksum != record.sha256:
    faults.append(f'{path} was changed: its SHA-256 is not that of the manifest.')
  faults += _record_faults(path, record, class_names)
  return record.num_examples, faults


def _record_faults(path, record, class_names):
  """Lists the first fault in the records of a shard, if there is one."""
  counts, number = collections.Counter(), 0
  try:
    for number, data in enumerate(tf.data.TFRecordDataset(path)):
      image, label = IMAGENET_FORMAT.parse(data)
      if not 1 <= int(label) <= len(class_names):
        return [
          f'{path}, record {number}: its label {int(label)} is not within 1 to {len(class_names)}.'
        ]
      if not image.numpy():
        return [f'{path}, record {number}: has no image.']
      counts[class_names[int(label) - 1]] += 1
  except (tf.errors.OpError, UnicodeDecodeError):
    return [f'{path}: cannot be read after record {number}.']
  if counts != record.examples_per_class:
    return [
      f'{path}: holds {sum(counts.values())} images of other classes than the manifest says.'
    ]
  return []

"""Reads a prepared data set again and compares it with its manifest."""
import collections
import os

import tensorflow as tf

from tpu_utils.command_line.progress import Progress
from tpu_utils.images import record_index
from tpu_utils.images.preparation import processes, shard
from tpu_utils.images.sources import manifest
from tpu_utils.images.sources.shards import IMAGENET_FORMAT


def verify(data_dir, num_processes):
  """Reads every record of every shard.

  Args:
    data_dir: folder of shards and their manifest.
    num_processes: how many to use.

  Returns:
    The `Manifest`, which all of them agree with.

  Raises:
    ValueError: they do not. Every fault was printed.
  """
  written = manifest.load(data_dir)
  if written is None:
    raise ValueError(
      f'{data_dir} has no {manifest.FILE_NAME} to verify by; python -m tpu_utils.images.prepare writes one.'
    )
  tasks = [(data_dir, record, written.class_names) for shards in written.splits.values() for record in shards]
  faults, done = [], 0
  with Progress(sum(map(written.num_examples, written.splits)), 'verify', unit='image') as bar:
    for count, found in processes.map_unordered(_faults, tasks, num_processes):
      for fault in found:
        bar.say(fault)
      faults += found
      done += count
      bar.update(done)
  faults += _others(data_dir, written)
  if faults:
    raise ValueError(
      f'{len(faults)} faults in {data_dir}, the first: {faults[0]} Copy the files again, or delete them and '
      'give the command that prepared them.'
    )
  return written


def _others(data_dir, written):
  """Faults of the folder: shards that nobody speaks of, an index that does not fit."""
  faults = []
  for split, shards in written.splits.items():
    known = {record.name for record in shards}
    there = {os.path.basename(p) for p in tf.io.gfile.glob(os.path.join(data_dir, f'{split}-*'))}
    faults += [f'{os.path.join(data_dir, name)} is not in the manifest.' for name in sorted(there - known)]
    index = record_index.load(record_index.path_beside(data_dir, split))
    for record in shards:
      if record.name in there and len(index.get(record.name, [])) != record.num_examples + 1:
        faults.append(f'{record_index.path_beside(data_dir, split)} does not fit {record.name}: run --index.')
  return faults


def _faults(task):
  """(number of images, list of what is wrong with a shard)."""
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
  counts, number = collections.Counter(), 0
  try:
    for number, data in enumerate(tf.data.TFRecordDataset(path)):
      image, label = IMAGENET_FORMAT.parse(data)
      if not 1 <= int(label) <= len(class_names):
        return [f'{path}, record {number}: its label {int(label)} is not within 1 to {len(class_names)}.']
      if not image.numpy():
        return [f'{path}, record {number}: has no image.']
      counts[class_names[int(label) - 1]] += 1
  except (tf.errors.OpError, UnicodeDecodeError):
    return [f'{path}: cannot be read after record {number}.']
  if counts != record.examples_per_class:
    return [f'{path}: holds {sum(counts.values())} images of other classes than the manifest says.']
  return []

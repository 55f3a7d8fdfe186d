"""The steps of a preparation, from its settings to the shards, their manifest and their index."""
import collections
import os
import random
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from tpu_utils import claims, files
from tpu_utils.command_line.progress import Progress
from tpu_utils.images import record_index, tfrecords
from tpu_utils.images.preparation import collect, processes, shard
from tpu_utils.images.sources import image_folder, manifest, picture_files, splitting
from tpu_utils.images.sources.picture_files import some

# {split: (most shards, fewest images in a shard)}; ImageNet gets the official 1024 and 128 shards.
_DEFAULT_SHARDS = {'train': (1024, 512), 'validation': (128, 256)}
# Settings that the manifest names as the source of the shards.
_NOTED_SETTINGS = (
  'input_dir', 'train', 'validation', 'validation_labels', 'holdout_fraction', 'keep_png',
  'deep_pixels', 'seed',
)  # fmt: skip


def prepare(config: Any, num_processes: int) -> manifest.Manifest:
  """Writes the missing shards, then index and manifest.

  Args:
    config: `prepare.PrepareConfig`.
    num_processes: number of parallel processes.

  Returns:
    The manifest.

  Raises:
    ValueError: images or flags are unfit, `output_dir` holds other shards, or another process
      writes there. Finished shards stay.
    OSError: a file cannot be read or written.
  """
  picture_files.check_text(config.output_dir, '--output_dir')
  made_here = not files.is_folder(config.output_dir)
  tf.io.gfile.makedirs(config.output_dir)
  try:
    with claims.claimed('output_dir', config.output_dir):
      return _prepare(config, num_processes)
  finally:
    if made_here and not files.paths_in(config.output_dir):
      tf.io.gfile.rmtree(config.output_dir)


def _prepare(config, num_processes):
  existing = manifest.load(config.output_dir)
  class_names, images = _images(config, existing)
  tasks = {split: _tasks(config, split, images[split], class_names) for split in images}
  done = _already_done(config.output_dir, tasks, existing)
  tf.io.gfile.makedirs(shard.notes_folder(config.output_dir))
  results = _write(tasks, done, num_processes)
  left_out = _left_out(results, config.max_bad_images)
  made = _manifest(config, class_names, tasks, results, existing, left_out)
  for split in tasks:
    offsets = {task.name: results[task.name].offsets for task in tasks[split]}
    record_index.save(record_index.path_beside(config.output_dir, split), offsets)
  manifest.save(config.output_dir, made)
  tf.io.gfile.rmtree(shard.notes_folder(config.output_dir))
  return made


def write_indices(data_dir: str) -> Iterator[tuple[str, int]]:
  """Writes the index for each split in a folder of shards.

  Yields:
    (path of the index, number of records).

  Raises:
    ValueError: shards are missing or damaged.
  """
  splits = [s for s in _DEFAULT_SHARDS if files.paths_in(data_dir, f'{s}-')]
  for split in splits or ['train']:
    paths = tfrecords.find_shards(data_dir, split)
    offsets = record_index.load_or_scan(paths)
    index = record_index.path_beside(data_dir, split)
    record_index.save(index, dict(zip(map(os.path.basename, paths), offsets, strict=True)))
    yield index, sum(len(o) - 1 for o in offsets)


def _images(config, existing):
  """Returns (class names, {split: images}) for the splits that the flags name.

  `existing` is the manifest of splits that were prepared before, or None.
  """
  paths = {'train': config.train, 'validation': config.validation}
  if config.input_dir:
    paths |= image_folder.split_folders(config.input_dir)
    if config.holdout_fraction:
      paths['validation'] = None
  class_names, images = None, {}
  if existing and not paths['train']:
    class_names = existing.class_names
  for split, path in paths.items():
    if path:
      labels = config.validation_labels if split == 'validation' else None
      class_names, images[split] = collect.collect(path, class_names, labels)
      print(f'{split}: {len(images[split])} images of {len(class_names)} classes in {path}')
  if config.holdout_fraction:
    if 'train' not in images:
      raise ValueError(
        f'--holdout_fraction divides the training images, and {config.input_dir} has none.'
      )
    images |= _hold_out(images['train'], config.holdout_fraction)
  if 'validation' not in images and not (existing and 'validation' in existing.splits):
    print('validation: none. For images to evaluate on, set --validation or --holdout_fraction.')
  return class_names, images


def _hold_out(images, fraction):
  """Returns {split: images}, split as when training on the image folder (`ImageFolder`)."""
  by_key = {image.key: image for image in images}
  keys = [(image.key, image.label) for image in images]
  held = splitting.divide(keys, fraction, lambda key: by_key[key].read()).validation
  divided: dict[str, list] = {'train': [], 'validation': []}
  for image in images:
    is_held = splitting.name_of(image.key) in held
    divided['validation' if is_held else 'train'].append(image)
  return divided


def _tasks(config, split, images, class_names):
  """Assigns the images of a split to shards; shuffles those for training."""
  count = getattr(config, f'{split}_shards') or default_shards(split, len(images))
  if count > len(images):
    raise ValueError(
      f'--{split}_shards={count} is more than the {len(images)} images there are; no shard may be '
      'empty.'
    )
  if split == 'train':
    images = list(images)
    random.Random(config.seed).shuffle(images)
  return [
    shard.ShardTask(
      config.output_dir,
      f'{split}-{i:05d}-of-{count:05d}',
      tuple(images[len(images) * i // count : len(images) * (i + 1) // count]),
      tuple(class_names),
      config.keep_png,
      config.deep_pixels,
    )
    for i in range(count)
  ]


def default_shards(split: str, num_images: int) -> int:
  """Returns the default number of shards for a split ('train' or 'validation')."""
  most, images = _DEFAULT_SHARDS[split]
  return min(most, max(num_images // images, 1))


def _already_done(output_dir, tasks, existing):
  """Returns {name: ShardResult} for the shards that an earlier run wrote from the same images.

  Raises:
    ValueError: the folder holds other shards.
  """
  names = {os.path.basename(path) for path in files.paths_in(output_dir)}
  done, foreign = {}, set()
  for split, split_tasks in tasks.items():
    split_names = {name for name in names if name.startswith(f'{split}-')}
    foreign |= split_names - {task.name for task in split_tasks}
    finished = _finished(output_dir, split, existing)
    for task in split_tasks:
      if task.name not in names:
        continue
      noted = shard.read_note(task.note_path)
      result = noted or finished.get(task.name)
      same = result is not None and result.record.inputs == task.fingerprint()
      if same and tf.io.gfile.stat(task.path).length == result.record.num_bytes:
        # A shard without some images is written again: they may have been fixed since.
        if not result.left_out:
          done[task.name] = result
      elif not same and noted is None:
        foreign.add(task.name)
  if foreign:
    raise ValueError(
      f'{output_dir} holds {some(sorted(foreign))}, which were not made from these '
      'images with these flags; give another --output_dir, or empty this one.'
    )
  return done


def _finished(output_dir, split, existing):
  """Returns {name: ShardResult} for the shards in the manifest of a finished preparation."""
  offsets = record_index.load(record_index.path_beside(output_dir, split))
  records = existing.splits.get(split, ()) if existing else ()
  return {
    r.name: shard.ShardResult(r, tuple(offsets[r.name].tolist()), (), {})
    for r in records
    if r.name in offsets
  }


def _write(tasks, done, num_processes):
  """Writes the shards that are not in `done`; returns {name: ShardResult} for all of them."""
  results = dict(done)
  todo = [task for split in tasks for task in tasks[split] if task.name not in done]
  images = sum(len(task.images) for split in tasks for task in tasks[split])
  count = images - sum(len(task.images) for task in todo)
  if done:
    print(f'{len(done)} shards exist already; {len(todo)} to write.')
  converted = collections.Counter()
  with Progress(images, 'prepare', initial=count, unit='image') as bar:
    for result in processes.map_unordered(shard.write, todo, num_processes):
      results[result.record.name] = result
      count += result.record.num_examples + len(result.left_out)
      converted.update(result.converted)
      for line in result.left_out:
        bar.say(f'Unusable: {line}')
      bar.update(count)
  several = sum(result.several for result in results.values())
  if several:
    print(f'Of {several} files with several pictures (animations, pages) the first was taken.')
  if converted:
    kinds = ', '.join(f'{n} {kind}' for kind, n in sorted(converted.items()))
    print(f'Converted to JPEG: {kinds}')
  return results


def _left_out(results, most):
  """Returns a line for each image that was left out; ValueError if there are more than `most`."""
  lines = sorted(line for result in results.values() for line in result.left_out)
  if len(lines) > most:
    raise ValueError(
      f'{len(lines)} of the images cannot be used (each is named above, the first: {lines[0]}). '
      'Fix or remove them and give the same command again, or leave them out with '
      f'--max_bad_images={len(lines)}.'
    )
  empty = [name for name, result in results.items() if not result.record.num_examples]
  if empty:
    raise ValueError(
      f'{min(empty)} would be empty: none of its images can be used. Prepare fewer shards.'
    )
  return lines


def _manifest(config, class_names, tasks, results, existing, left_out):
  """Returns the manifest of the new splits and of those in the `existing` manifest, if any."""
  splits = {split: [results[task.name].record for task in tasks[split]] for split in tasks}
  if existing:
    if list(existing.class_names) != list(class_names):
      raise ValueError(
        f'{config.output_dir} holds shards of other classes '
        f'({some(existing.class_names)}); prepare all splits together, or give '
        'another --output_dir.'
      )
    splits = existing.splits | splits
    left_out = [*existing.left_out, *left_out]
  values = {name: getattr(config, name) for name in _NOTED_SETTINGS}
  source = {name: value for name, value in values.items() if value is not None}
  return manifest.Manifest(tuple(class_names), splits, tuple(left_out), source)

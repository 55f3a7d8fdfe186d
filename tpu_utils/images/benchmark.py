"""Times the training input against the official order of operations and against torchvision.

    python -m tpu_utils.images.benchmark                                    # everything, about 15 minutes
    python -m tpu_utils.images.benchmark --sources=shards --augmentations=none,randaugment
    python -m tpu_utils.images.benchmark --data_dir=imagenet                # on images of your own

Each contestant has a process of its own, they take turns, and one stands still while others run. What
counts is the processors' time, so other programs disturb little, and the ratio of the contestants in
neighbouring turns. The images are ImageNet-like JPEGs: crops of the photographs in scikit-image and
scikit-learn, or the first training images of --data_dir.

`decoded` is the shards once all images are in --decoded_cache_gb, as from the second epoch on.

The official order is our own plain re-creation (`official_order.py`) of tensorflow/tpu's operations in their
order. torchvision (left out where it is not installed) reads the image folder: RandomResizedCrop bicubic,
flip, its own version of the augmentation, DataLoader.
"""
import contextlib
import dataclasses
import importlib.util
import os
import sys
import tempfile

from absl import flags

from tpu_utils.command_line import cli, settings
from tpu_utils.command_line.settings import setting
from tpu_utils.names import check_name

SOURCES = ('shards', 'decoded', 'folder', 'tfds', 'digits', 'fake')
AUGMENTATIONS = ('none', 'autoaugment', 'randaugment', 'mixup', 'cutmix', 'random_erasing')
PEERS = ('official', 'torchvision')

_OFFICIAL_AUGMENTATIONS = ('none', 'autoaugment', 'randaugment', 'mixup')
# What can read the same images as ours from this source.
_PEERS_OF_SOURCE = {'shards': PEERS, 'decoded': PEERS, 'folder': ('torchvision',)}
_DIGITS_SIZE = 32  # Of 8 x 8 pixels more cannot be made.
_MODULE = 'tpu_utils.images.benchmarking'


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(settings.Checked):
  """What is timed."""

  data_dir: str = setting('', 'Shards or image folder whose first training images are used instead of crops.')
  sources: str = setting(','.join(SOURCES), 'Where images come from, separated by commas.')
  augmentations: str = setting(
    ','.join(AUGMENTATIONS), 'What is done to images from the first of --sources; the others have `none`.'
  )
  peers: str = setting(','.join(PEERS), 'What to time it against, separated by commas.')
  image_size: int = setting(224, 'Pixels a side.', at_least=1)
  batch_size: int = setting(64, 'Images in a batch.', at_least=1)
  num_images: int = setting(1024, 'Images in the data set; a turn takes as many.', at_least=64)
  rounds: int = setting(5, 'Turns of each contestant.', at_least=1)
  use_bfloat16: bool = setting(True, 'Images in bfloat16, as in official jobs; torchvision gives float32.')
  transpose_input: bool = setting(True, 'Images as [height, width, 3, batch], as in official jobs.')
  num_parallel_calls: int = setting(
    None, 'Images prepared side by side; by default one a core. torchvision does one.', type=int, at_least=1
  )

  def __post_init__(self):
    super().__post_init__()
    for flag, known in (('sources', SOURCES), ('augmentations', AUGMENTATIONS), ('peers', PEERS)):
      for name in _names(getattr(self, flag)):
        check_name(f'--{flag}', name, known)
    for flag in ('sources', 'augmentations'):
      if not _names(getattr(self, flag)):
        raise ValueError(f'--{flag} is empty; leave it out for all of them.')
    if self.batch_size > self.num_images:
      raise ValueError(f'--batch_size={self.batch_size} must be at most --num_images={self.num_images}.')

  def comparisons(self):
    """What is timed: (source, augmentation, peers) of each comparison."""
    first, *others = _names(self.sources)
    pairs = [(first, augmentation) for augmentation in _names(self.augmentations)]
    pairs += [(source, 'none') for source in others]
    peers = _names(self.peers)
    return [(*pair, [p for p in peers if _can_compare(p, *pair)]) for pair in pairs]


def _names(text):
  return text.split(',') if text else []


def _can_compare(peer, source, augmentation):
  known = _OFFICIAL_AUGMENTATIONS if peer == 'official' else AUGMENTATIONS
  return peer in _PEERS_OF_SOURCE.get(source, ()) and augmentation in known


def benchmark(config, folder):
  """Times one comparison after the other.

  Args:
    config: `BenchmarkConfig`.
    folder: an empty one for the images.

  Yields:
    (source, augmentation, {'ours' or a peer: [seconds of processor time for an image in each round]}).
  """
  from tpu_utils.benchmarking import timing

  places = _prepare(config, folder)
  batches = config.num_images // config.batch_size
  for source, augmentation, peers in config.comparisons():
    with contextlib.ExitStack() as stack:
      contestants = {}
      for name in ('ours', *peers):
        process = stack.enter_context(_contestant(name, config, source, augmentation, places))
        contestants[name] = lambda process=process: process.run(batches)
      times = timing.take_turns(contestants, config.rounds, elsewhere=contestants)
    images = batches * config.batch_size
    yield source, augmentation, {name: [s / images for s in seconds] for name, seconds in times.items()}


def _prepare(config, folder):
  """Writes the images in each kind of storage; returns {source: arguments of `open_dataset`, or None}."""
  from tpu_utils.images import sources
  from tpu_utils.images.benchmarking import data

  images = data.photographs(config.num_images)
  if config.data_dir:
    images = data.first_images(sources.open_dataset(config.data_dir), config.num_images)
  photos, shards, tfds = (os.path.join(folder, name) for name in ('photos', 'shards', 'tfds'))
  count, size = data.write_folder(photos, images)
  print(f'{count} images, {size / count / 1000:.0f} KB each on average')
  if count < config.num_images:
    raise ValueError(f'{config.data_dir} has {count} training images; set --num_images to that or less.')
  data.write_shards(shards, photos)
  places = {'folder': {'data_dir': photos}, 'digits': {}, 'fake': None}
  places['shards'] = places['decoded'] = {'data_dir': shards}
  if 'tfds' in _names(config.sources):
    places['tfds'] = {'dataset': data.write_tfds(tfds, photos), 'tfds_data_dir': tfds}
  return places


def _contestant(name, config, source, augmentation, places):
  """The process of a contestant."""
  from tpu_utils.images.benchmarking.process import Contestant

  common = {'augmentation': augmentation, 'batch_size': config.batch_size, 'num_classes': 1000}
  if name == 'torchvision':
    train = os.path.join(places['folder']['data_dir'], 'train')
    return Contestant(
      f'{_MODULE}.torchvision_input', {**common, 'image_dir': train, 'image_size': config.image_size}
    )
  return Contestant(
    f'{_MODULE}.tensorflow_input',
    {
      **common,
      'contestant': name,
      'data': places[source],
      'num_cached_images': config.num_images if source == 'decoded' and name == 'ours' else 0,
      'image_size': _DIGITS_SIZE if source == 'digits' else config.image_size,
      'use_bfloat16': config.use_bfloat16,
      'transpose_input': config.transpose_input,
      'num_parallel_calls': config.num_parallel_calls or os.cpu_count(),
    },
  )


def _without_missing_peers(config):
  """The configuration without torchvision if that is not installed, and says so."""
  peers = _names(config.peers)
  if 'torchvision' not in peers or importlib.util.find_spec('torchvision'):
    return config
  print('torchvision is not installed and left out; pip install torch torchvision, to compare with it.')
  return dataclasses.replace(config, peers=','.join(p for p in peers if p != 'torchvision'))


def main(_):
  config = _without_missing_peers(settings.from_flags(BenchmarkConfig, flags.FLAGS))
  from tpu_utils.benchmarking import timing

  print(
    f'{config.image_size} pixels, batch {config.batch_size}, '
    f'{"bfloat16" if config.use_bfloat16 else "float32"}{", transposed" if config.transpose_input else ""}; '
    f'processor time, median of {config.rounds} turns of {config.num_images} images'
  )
  with tempfile.TemporaryDirectory() as folder:
    for source, augmentation, times in benchmark(config, folder):
      for name, median in timing.medians(times).items():
        line = f'{source:8} {augmentation:15} {name:12} {1000 * median:8.3f} ms {1 / median:9.0f} images/s/core'
        if name != 'ours':
          line += f'   ours: {timing.ratio(times, name, "ours"):.2f} times as fast'
        print(line, flush=True)


if __name__ == '__main__':
  settings.define_flags(BenchmarkConfig)
  sys.exit(cli.run(main, settings.parse_flags(__doc__, [BenchmarkConfig])))

"""Times the training input against the official order of operations and against torchvision.

    python -m tpu_utils.images.benchmark                              # everything, about 15 minutes
    python -m tpu_utils.images.benchmark --sources=shards --augmentations=none,randaugment
    python -m tpu_utils.images.benchmark --data_dir=imagenet          # your own images
    python -m tpu_utils.images.benchmark --growth --augmentations=none,randaugment

Each contestant runs in its own process. They take turns; a process is stopped during the turns of
the others. Processor time is measured, which other programs affect little, and contestants are
compared by their ratio in neighbouring turns. The images are JPEGs like those of ImageNet: crops of
the photographs in scikit-image and scikit-learn, or the first training images of --data_dir.

Source `decoded`: shards with all images already in --decoded_cache_gb, as after the first epoch.

`decode_resize` only decodes random crops and resizes them, which no input with these numbers can
leave out; it is timed without augmentation.

The official order is our own implementation (`official_order.py`) of tensorflow/tpu's operations in
their order. torchvision (left out if it is not installed; --torch_python names an environment that
has it) reads the image folder: RandomResizedCrop bicubic, flip, its own version of the
augmentation, DataLoader.

--growth: images/s of our input from the first of --sources, on one core and on two.
"""
import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator

from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.names import check_name

SOURCES = ('shards', 'decoded', 'folder', 'tfds', 'digits', 'fake')
AUGMENTATIONS = ('none', 'autoaugment', 'randaugment', 'mixup', 'cutmix', 'random_erasing')
PEERS = ('decode_resize', 'official', 'torchvision')

# {peer: augmentations that it can be compared under}; torchvision has all.
_AUGMENTATIONS_OF_PEER = {
  'decode_resize': ('none',),
  'official': ('none', 'autoaugment', 'randaugment', 'mixup'),
}
# Peers that can read the images of a source.
_PEERS_OF_SOURCE = {'shards': PEERS, 'decoded': PEERS, 'folder': ('torchvision',)}
_DIGITS_SIZE = 32  # In place of --image_size: the originals have 8 x 8 pixels.
_MODULE = 'tpu_utils.images.benchmarking'


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(settings.Checked):
  """Settings of the benchmark: sources, augmentations, peers and sizes."""

  data_dir: str = setting(
    '', 'Shards or image folder with images to use instead of crops: the first training images.'
  )
  sources: str = setting(','.join(SOURCES), 'Kinds of storage to time, separated by commas.')
  augmentations: str = setting(
    ','.join(AUGMENTATIONS), 'Augmentations to time with the first of --sources, separated by '
    'commas; the other sources are timed with `none`.'
  )
  peers: str = setting(','.join(PEERS), 'Implementations to compare with, separated by commas.')
  image_size: int = setting(224, 'Height and width of the images in pixels.', at_least=1)
  batch_size: int = setting(64, 'Images in a batch.', at_least=1)
  num_images: int = setting(1024, 'Images in the data set and in a turn.', at_least=64)
  rounds: int = setting(5, 'Turns of each contestant.', at_least=1)
  use_bfloat16: bool = setting(
    True, 'Images in bfloat16, as in official jobs; torchvision gives float32.'
  )
  transpose_input: bool = setting(True, 'Images as [height, width, 3, batch], as in official jobs.')
  num_parallel_calls: int = setting(
    None, 'Images prepared in parallel; by default one per core. torchvision: one at a time.',
    type=int, at_least=1
  )
  torch_python: str = setting(
    '', 'A Python that has torch and torchvision; if not given, this one.'
  )
  growth: bool = setting(
    False, 'Measure how the speed grows with the cores, instead of comparing.'
  )
  output_dir: str = setting(
    '', 'With --growth: folder for growth.md and growth.png; printed alone without it.'
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
      raise ValueError(
        f'--batch_size={self.batch_size} must be at most --num_images={self.num_images}.'
      )

  def comparisons(self) -> list[tuple[str, str, list[str]]]:
    """Returns (source, augmentation, peers) for each comparison to time."""
    first, *others = _names(self.sources)
    pairs = [(first, augmentation) for augmentation in _names(self.augmentations)]
    pairs += [(source, 'none') for source in others]
    peers = _names(self.peers)
    return [(*pair, [p for p in peers if _can_compare(p, *pair)]) for pair in pairs]


def _names(text):
  return text.split(',') if text else []


def _can_compare(peer, source, augmentation):
  known = _AUGMENTATIONS_OF_PEER.get(peer, AUGMENTATIONS)
  return peer in _PEERS_OF_SOURCE.get(source, ()) and augmentation in known


def benchmark(
  config: BenchmarkConfig, folder: str
) -> Iterator[tuple[str, str, dict[str, list[float]]]]:
  """Times one comparison after the other.

  Args:
    config: the settings.
    folder: an empty folder for the images.

  Yields:
    (source, augmentation, {'ours' or a peer: processor seconds for one image, in each round}).

  Raises:
    ValueError: images are missing, or a contestant's process failed.
  """
  from tpu_utils.benchmarking import timing

  stored = _prepare(config, folder)
  batches = config.num_images // config.batch_size
  for source, augmentation, peers in config.comparisons():
    with contextlib.ExitStack() as stack:
      contestants = {}
      for name in ('ours', *peers):
        process = stack.enter_context(_contestant(name, config, source, augmentation, stored))
        contestants[name] = lambda process=process: process.run(batches)
      times = timing.take_turns(contestants, config.rounds, elsewhere=contestants)
    images = batches * config.batch_size
    seconds_per_image = {
      name: [seconds / images for seconds in turns] for name, turns in times.items()
    }
    yield source, augmentation, seconds_per_image


def _prepare(config, folder):
  """Stores the images for each source.

  Returns:
    {source: arguments of `open_dataset`; None for fake images}.
  """
  from tpu_utils.images import sources
  from tpu_utils.images.benchmarking import data

  images = data.photographs(config.num_images)
  if config.data_dir:
    images = data.first_images(sources.open_dataset(config.data_dir), config.num_images)
  photos, shards, tfds = (os.path.join(folder, name) for name in ('photos', 'shards', 'tfds'))
  count, size = data.write_folder(photos, images)
  print(f'{count} images, {size / count / 1000:.0f} KB each on average')
  if count < config.num_images:
    raise ValueError(
      f'{config.data_dir} has {count} training images; set --num_images to that or less.'
    )
  data.write_shards(shards, photos)
  stored = {'folder': {'data_dir': photos}, 'digits': {}, 'fake': None}
  stored['shards'] = stored['decoded'] = {'data_dir': shards}
  if 'tfds' in _names(config.sources):
    stored['tfds'] = {'dataset': data.write_tfds(tfds, photos), 'tfds_data_dir': tfds}
  return stored


def growth_report(config: BenchmarkConfig, folder: str) -> str:
  """Measures the growth with the cores, and writes the report if --output_dir is given.

  Args:
    config: the settings.
    folder: an empty folder for the images.

  Raises:
    ValueError: images are missing, or a process failed.
    OSError: the report cannot be written.
  """
  from tpu_utils.benchmarking import growth, machine
  from tpu_utils.images.benchmarking import growth_cores

  stored = _prepare(config, folder)
  source = _names(config.sources)[0]

  def process(augmentation, cores):
    limited = dataclasses.replace(config, num_parallel_calls=cores)
    return _contestant('ours', limited, source, augmentation, stored)

  batches = config.num_images // config.batch_size
  curves = growth_cores.measure(
    process, _names(config.augmentations), batches, config.batch_size
  )
  head = f'## Growth, input from {source}\n\nMachine: {machine.describe(["tensorflow"])}.'
  return growth.report(head, [curves], config.output_dir)


def _contestant(name, config, source, augmentation, stored):
  """Returns the `InputProcess` that runs 'ours' or a peer; `stored` as `_prepare` returns it."""
  from tpu_utils.images.benchmarking.process import InputProcess

  common = {'augmentation': augmentation, 'batch_size': config.batch_size, 'num_classes': 1000}
  if name == 'torchvision':
    train = os.path.join(stored['folder']['data_dir'], 'train')
    return InputProcess(
      f'{_MODULE}.torchvision_input',
      {**common, 'image_dir': train, 'image_size': config.image_size},
      config.torch_python or None,
    )
  return InputProcess(
    f'{_MODULE}.tensorflow_input',
    {
      **common,
      'contestant': name,
      'data': stored[source],
      'num_cached_images': config.num_images if source == 'decoded' and name == 'ours' else 0,
      'image_size': _DIGITS_SIZE if source == 'digits' else config.image_size,
      'use_bfloat16': config.use_bfloat16,
      'transpose_input': config.transpose_input,
      'num_parallel_calls': config.num_parallel_calls or os.cpu_count(),
    },
  )


def _without_missing_peers(config):
  """Returns the settings without torchvision, and prints a note, if it is not installed."""
  from tpu_utils.benchmarking import peer_process

  peers = _names(config.peers)
  if 'torchvision' not in peers:
    return config
  missing = peer_process.missing_packages(['torch', 'torchvision'], config.torch_python or None)
  if not missing:
    return config
  print(
    f'torchvision is left out, for want of: {", ".join(missing)}; to compare, pip install torch '
    'torchvision, or name an environment that has them by --torch_python.'
  )
  return dataclasses.replace(config, peers=','.join(p for p in peers if p != 'torchvision'))


def run(resolved: settings.Resolved) -> None:
  """Times the contestants and prints their speeds and ratios."""
  if resolved[0].growth:
    with tempfile.TemporaryDirectory() as folder:
      print(growth_report(resolved[0], folder))
    return
  config = _without_missing_peers(*resolved)
  from tpu_utils.benchmarking import timing

  dtype = 'bfloat16' if config.use_bfloat16 else 'float32'
  layout = ', transposed' if config.transpose_input else ''
  print(
    f'{config.image_size} pixels, batch {config.batch_size}, {dtype}{layout}; '
    f'processor time, median of {config.rounds} turns of {config.num_images} images'
  )
  with tempfile.TemporaryDirectory() as folder:
    for source, augmentation, times in benchmark(config, folder):
      for name, median in timing.medians(times).items():
        line = (
          f'{source:8} {augmentation:15} {name:12} {1000 * median:8.3f} ms '
          f'{1 / median:9.0f} images/s/core'
        )
        if name != 'ours':
          line += f'   ours: {timing.ratio(times, name, "ours"):.2f} times as fast'
        print(line, flush=True)


SCRIPT = Script(__doc__, (BenchmarkConfig,), run)


if __name__ == '__main__':
  SCRIPT.main()

"""Cloud TPU accelerator types: cores, hosts, topology and runtime version."""
import dataclasses
import re

from tpu_utils.names import unknown_name


@dataclasses.dataclass(frozen=True)
class _Generation:
  """Facts of a TPU generation.

  Attributes:
    topology: its name in libtpu's topologies ('v5e').
    cores_per_chip: TensorCores per chip; also whether types count cores (2) or chips (1).
    dimensions: of its interconnect.
    one_host: largest number of chips on one host; larger slices have four chips per host.
    runtime: runtime version to install our own TensorFlow on.
  """

  topology: str
  cores_per_chip: int
  dimensions: int
  one_host: int
  runtime: str


# Sources: cloud.google.com/tpu/docs, pages v2 to v6e (configurations) and runtimes. The runtimes
# named there for TensorFlow bring an older TensorFlow; these bring none.
_GENERATIONS = {
  'v2': _Generation('v2', 2, 2, 4, 'tpu-ubuntu2204-base'),
  'v3': _Generation('v3', 2, 2, 4, 'tpu-ubuntu2204-base'),
  'v4': _Generation('v4', 2, 3, 4, 'tpu-ubuntu2204-base'),
  'v5litepod': _Generation('v5e', 1, 2, 8, 'v2-alpha-tpuv5-lite'),
  'v5p': _Generation('v5p', 2, 3, 4, 'v2-alpha-tpuv5'),
  'v6e': _Generation('v6e', 1, 2, 8, 'v2-alpha-tpuv6e'),
}
_CHIPS_PER_HOST = 4  # Of slices with several hosts.
_MARKETING = {'v5e': 'v5litepod', 'v5lite': 'v5litepod'}


@dataclasses.dataclass(frozen=True)
class Accelerator:
  """A Cloud TPU accelerator type.

  Attributes:
    name: as gcloud knows it ('v3-8', 'v5litepod-8').
    cores: number of TensorCores.
    chips: number of chips.
    hosts: number of hosts, each a TPU VM worker.
    topology: name of the topology in libtpu ('v3:2x2'); None if its shape is not standard.
    runtime_version: default for --runtime_version.
  """

  name: str
  cores: int
  chips: int
  hosts: int
  topology: str | None
  runtime_version: str


def parse(name: str) -> Accelerator:
  """Returns the accelerator of a type name.

  Args:
    name: as gcloud knows it, such as 'v3-8' (cores) or 'v5litepod-8' (chips).

  Raises:
    ValueError: the name is unknown.
  """
  found = re.fullmatch(r'(\w+)-(\d+)', name)
  if found and found[1] in _MARKETING:
    raise ValueError(
      f'--accelerator_type={name}: gcloud calls this type {_MARKETING[found[1]]}-{found[2]}.'
    )
  if not found or found[1] not in _GENERATIONS:
    raise unknown_name('--accelerator_type', name, [f'{known}-8' for known in _GENERATIONS])
  generation, size = _GENERATIONS[found[1]], int(found[2])
  chips, rest = divmod(size, generation.cores_per_chip)
  smallest = 1 if generation.cores_per_chip == 1 else 4
  if rest or chips < smallest:
    raise ValueError(
      f'--accelerator_type={name}: expected at least {smallest * generation.cores_per_chip} '
      f'{"chips" if smallest == 1 else "cores"}, found {size}; the smallest is '
      f'{found[1]}-{smallest * generation.cores_per_chip}.'
    )
  hosts = 1 if chips <= generation.one_host else -(-chips // _CHIPS_PER_HOST)
  shape = _shape(chips, generation.dimensions)
  return Accelerator(
    name=name,
    cores=chips * generation.cores_per_chip,
    chips=chips,
    hosts=hosts,
    topology=shape and f'{generation.topology}:{shape}',
    runtime_version=generation.runtime,
  )


def _shape(chips, dimensions):
  """Returns the shape of a slice ('2x4', '2x2x1'); None unless `chips` is a power of two."""
  power = chips.bit_length() - 1
  if chips != 1 << power:
    return None
  if dimensions == 3 and chips == 4:
    return '2x2x1'
  powers = sorted((power + place) // dimensions for place in range(dimensions))
  return 'x'.join(str(1 << part) for part in powers)

"""TPU topologies by name, and what a chip of each generation has.

Sources: Google's documentation of TPU v2 to v6e (memory, bandwidth, peak in bfloat16, links); for
the links of v2 and v3, Jouppi et al., CACM 2020.
"""
import dataclasses
import math
import re

from tpu_utils.launching import accelerators
from tpu_utils.names import unknown_name


@dataclasses.dataclass(frozen=True)
class Chip:
  """A generation of TPU, per chip.

  Attributes:
    hbm_gib: memory.
    hbm_gb_per_s: bandwidth of the memory, 1e9 bytes a second.
    tflops: peak in bfloat16, 1e12 operations (two per multiply-add) a second.
    ici_gbit_per_s: bandwidth of all links to other chips, 1e9 bits a second.
    shapes: topologies that the compiler knows.
  """

  hbm_gib: float
  hbm_gb_per_s: float
  tflops: float
  ici_gbit_per_s: float
  shapes: tuple[str, ...]


_FLAT = ('2x2', '2x4', '4x4', '4x8', '8x8', '8x16', '16x16')
_LARGE_FLAT = (*_FLAT, '16x32', '32x32')
_LITE = ('1x1', '1x2', *_FLAT)
_CUBES = (
  '2x2x1', '2x2x2', '2x2x4', '2x4x4', '4x4x4', '4x4x8', '4x8x8', '8x8x8', '8x8x16', '8x16x16',
  '16x16x16',
)  # fmt: skip
CHIPS = {
  'v2': Chip(16, 700, 46, 1984, _FLAT),
  'v3': Chip(32, 900, 123, 2624, _LARGE_FLAT),
  'v4': Chip(32, 1228, 275, 2400, _CUBES),
  'v5e': Chip(16, 819, 197, 1600, _LITE),
  'v5p': Chip(95, 2765, 459, 4800, _CUBES),
  'v6e': Chip(32, 1640, 918, 3584, _LITE),
}
NAMES = (*(f'{kind}:{shape}' for kind, chip in CHIPS.items() for shape in chip.shapes),)


@dataclasses.dataclass(frozen=True)
class Topology:
  """A topology with the cores that the compiler sees in it.

  Attributes:
    name: such as 'v5e:2x2'.
    cores: number of cores, each of which runs a replica.
  """

  name: str
  cores: int

  @property
  def chip(self) -> Chip:
    """Its chip."""
    return CHIPS[self.name.split(':')[0]]

  @property
  def chips(self) -> int:
    """The number of its chips."""
    return math.prod(int(size) for size in self.name.split(':')[1].split('x'))

  @property
  def cores_per_chip(self) -> int:
    """Cores that share the memory and the peak of a chip."""
    return max(1, self.cores // self.chips)

  @property
  def hbm_bytes(self) -> float:
    """Memory of a core."""
    return self.chip.hbm_gib * 2**30 / self.cores_per_chip

  @property
  def hbm_bytes_per_s(self) -> float:
    """Bandwidth of a core's memory."""
    return self.chip.hbm_gb_per_s * 1e9 / self.cores_per_chip

  @property
  def flops_per_s(self) -> float:
    """Peak of a core, operations a second."""
    return self.chip.tflops * 1e12 / self.cores_per_chip

  def all_reduce_s(self, num_bytes: float) -> float:
    """Models the seconds of an all-reduce as a ring over all chips and all links.

    Args:
      num_bytes: size of what each core holds.
    """
    share = 2 * (self.chips - 1) / self.chips
    return share * num_bytes / (self.chip.ici_gbit_per_s * 1e9 / 8)


def full_name(name: str) -> str:
  """Returns the compiler's name of a topology or of a Cloud TPU accelerator type.

  Raises:
    ValueError: there is none; the message lists the nearest.
  """
  try:
    # gcloud calls v5e-8 v5litepod-8; people don't.
    found = accelerators.parse(re.sub('^v5e-', 'v5litepod-', name)).topology or name
  except ValueError:  # Not the name of a type: of a topology.
    found = name
  if found not in NAMES:
    raise unknown_name('value of --topology', name, NAMES)
  return found

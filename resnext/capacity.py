"""Model capacity (Section 3.4): the path width that keeps a block's size at each cardinality.

    python -m resnext.capacity  # Table 2, next to the paper's values
    python -m resnext.capacity --cardinalities=16,64 --baseline_width=100

A block with 256 input and output channels and C paths of d channels has
C * (256 d + 3 * 3 * d * d + d * 256) parameters, and as many multiply-adds at each pixel.
"""
import dataclasses
import math
from collections.abc import Iterable

from resnext import published
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.text_table import text_table

# Table 2: C -> (d, width of the grouped convolution).
PAPER_TABLE_2 = {
  row['cardinality']: (row['d'], row['group_conv_width'])
  for row in published.PAPER['Table 2'].values()
}
_PIXELS = 56 * 56  # Output size of the stage in Table 2 (conv2).


@dataclasses.dataclass(frozen=True)
class CapacityConfig(settings.Checked):
  """Blocks to compare."""

  cardinalities: str = settings.setting('1,2,4,8,32', 'Numbers of paths C, separated by commas.')
  channels: int = settings.setting(256, 'Input and output channels of a block.', at_least=1)
  baseline_width: int = settings.setting(
    64, 'Width of the block with one path, which gives the size to keep.', at_least=1
  )

  def cardinality_list(self) -> list[int]:
    """Returns the numbers in `cardinalities`.

    Raises:
      ValueError: one is not a positive whole number.
    """
    texts = self.cardinalities.split(',')
    if not all(text.strip().isdecimal() and int(text) for text in texts):
      raise ValueError(
        f'--cardinalities={self.cardinalities} must be whole numbers from 1, separated by commas.'
      )
    return [int(text) for text in texts]


def block_parameters(cardinality: int, path_width: int, channels: int = 256) -> int:
  """Returns the number of parameters of a block's convolutions."""
  return cardinality * (channels * path_width + 9 * path_width**2 + path_width * channels)


def equal_capacity_width(
  cardinality: int, channels: int = 256, baseline_width: int = 64, times: float = 1
) -> int:
  """Returns the path width at which a block comes nearest to `times` the baseline's size.

  Args:
    cardinality: number of paths of the block.
    channels: input and output channels of both blocks.
    baseline_width: width of the baseline, a block with one path.
    times: size of the block as a multiple of the baseline's.

  Raises:
    ValueError: a cardinality below 1, or one so large that the width would round to 0.
  """
  if cardinality < 1:
    raise ValueError(f'cardinality={cardinality} must be at least 1, the block of one path.')
  size = times * block_parameters(1, baseline_width, channels)
  # 9 C d^2 + 2 channels C d = size
  linear = 2 * channels * cardinality
  exact = (math.sqrt(linear**2 + 36 * cardinality * size) - linear) / (18 * cardinality)
  width = round(exact)
  if width < 1:
    raise ValueError(
      f'{cardinality} paths of one channel are already larger than one of {baseline_width}; take a '
      'smaller cardinality or a wider baseline.'
    )
  return width


def table(cardinalities: Iterable[int], channels: int = 256, baseline_width: int = 64) -> str:
  """Formats Table 2: widths, parameters, multiply-adds and the paper's widths by cardinality.

  Raises:
    ValueError: as `equal_capacity_width`.
  """
  rows = []
  paper = PAPER_TABLE_2 if (channels, baseline_width) == (256, 64) else {}
  for cardinality in cardinalities:
    width = equal_capacity_width(cardinality, channels, baseline_width)
    parameters = block_parameters(cardinality, width, channels)
    multiply_adds = f'{parameters * _PIXELS / 1e9:.3f}G'
    rows.append([
      cardinality, width, cardinality * width, f'{parameters:,}', multiply_adds,
      *paper.get(cardinality, ('-', '-')),
    ])  # fmt: skip
  header = ['cardinality C', 'width d', 'C x d', 'parameters', 'multiply-adds', 'paper: d', 'C x d']
  return text_table(header, rows, left_columns=())


def run(resolved: settings.Resolved) -> None:
  """Prints Table 2."""
  (config,) = resolved
  print(table(config.cardinality_list(), config.channels, config.baseline_width))


SCRIPT = Script(__doc__, (CapacityConfig,), run, uses_tensorflow=False)


if __name__ == '__main__':
  SCRIPT.main()

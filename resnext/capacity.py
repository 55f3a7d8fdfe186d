"""Model capacity (Section 3.4): the width of a path that keeps a block's size at each cardinality.

    python -m resnext.capacity                      # Table 2, beside the paper's values
    python -m resnext.capacity --cardinalities=16,64 --baseline_width=100

A block with 256 channels outside and C paths of d channels has C * (256 d + 3 * 3 * d * d + d * 256)
parameters, and as many multiply-adds at each pixel.
"""
import dataclasses
import math

from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.text_table import text_table

# Table 2: C -> (d, width of the grouped convolution).
PAPER_TABLE_2 = {1: (64, 64), 2: (40, 80), 4: (24, 96), 8: (14, 112), 32: (4, 128)}
_PIXELS = 56 * 56  # Of the stage that Table 2 speaks of.


@dataclasses.dataclass(frozen=True)
class CapacityConfig(settings.Checked):
  """Which blocks."""

  cardinalities: str = settings.setting('1,2,4,8,32', 'Numbers of paths C, separated by commas.')
  channels: int = settings.setting(256, 'Channels outside the block.', at_least=1)
  baseline_width: int = settings.setting(
    64, 'Width d of the block of one path whose size is kept.', at_least=1
  )

  def cardinality_list(self):
    texts = self.cardinalities.split(',')
    if not all(text.strip().isdecimal() and int(text) for text in texts):
      raise ValueError(
        f'--cardinalities={self.cardinalities} must be whole numbers from 1, separated by commas.'
      )
    return [int(text) for text in texts]


def block_parameters(cardinality, path_width, channels=256):
  """Parameters of a block's convolutions."""
  return cardinality * (channels * path_width + 9 * path_width**2 + path_width * channels)


def equal_capacity_width(cardinality, channels=256, baseline_width=64, times=1):
  """The whole width d at which C paths come nearest to `times` the size of one path of `baseline_width`.

  Raises:
    ValueError: a cardinality below one, or there are so many paths that even one channel each is nearer to none.
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


def table(cardinalities, channels=256, baseline_width=64):
  """Table 2 as text: for each cardinality d, C * d, parameters and multiply-adds, and the paper's d."""
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


def run(resolved: settings.Resolved):
  """Prints Table 2."""
  (config,) = resolved
  print(table(config.cardinality_list(), config.channels, config.baseline_width))


SCRIPT = Script(__doc__, (CapacityConfig,), run, uses_tensorflow=False)


if __name__ == '__main__':
  SCRIPT.main()

"""Table 2, and the command that prints it."""
import subprocess
import sys

import pytest

from resnext import capacity
from tests.resnext import golden


def test_table_2():
  for row in golden.read_json('counts_imagenet.json')['table2_template']:
    width = capacity.equal_capacity_width(row['cardinality'])
    assert width == row['d']
    assert width * row['cardinality'] == row['group_conv_width']
    assert capacity.block_parameters(row['cardinality'], width) == row['template_conv_params']
    assert capacity.PAPER_TABLE_2[row['cardinality']] == (width, row['group_conv_width'])


@pytest.mark.parametrize('baseline', [16, 64, 100, 333])
@pytest.mark.parametrize('cardinality', [1, 3, 16, 64])
def test_no_other_width_is_nearer(cardinality, baseline):
  """The exact solution lies within half a channel."""
  if cardinality == 64 and baseline == 16:
    with pytest.raises(ValueError, match='smaller cardinality'):
      capacity.equal_capacity_width(cardinality, baseline_width=baseline)
    return
  width = capacity.equal_capacity_width(cardinality, baseline_width=baseline)
  size = capacity.block_parameters(1, baseline)
  below, above = (capacity.block_parameters(cardinality, width + d) for d in (-0.5, 0.5))
  assert below <= size <= above
  assert capacity.equal_capacity_width(1, baseline_width=baseline) == baseline


def test_cardinality_must_be_positive():
  with pytest.raises(ValueError, match='cardinality=0 must be at least 1'):
    capacity.equal_capacity_width(0)


def run(*args):
  return subprocess.run(
    [sys.executable, '-m', 'resnext.capacity', *args], capture_output=True, text=True, check=False
  )


def test_command():
  done = run()
  assert done.returncode == 0, done.stderr
  lines = [line.split() for line in done.stdout.splitlines()[1:]]
  assert [(int(n[0]), int(n[1]), int(n[2])) for n in lines] == [
    (c, *numbers) for c, numbers in capacity.PAPER_TABLE_2.items()
  ]
  assert all(n[1:3] == n[5:7] for n in lines)
  assert lines[-1][3:5] == ['70,144', '0.220G']


def test_bad_input_is_one_line():
  done = run('--cardinalities=2,x')
  assert done.returncode == 1
  assert done.stderr.strip() == (
    'Error: --cardinalities=2,x must be whole numbers from 1, separated by commas.'
  )

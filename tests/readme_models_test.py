"""The README's table of models: sizes as counted, accuracies as published."""
import math
import pathlib

import pytest

import oscar
from efficientnet import models
from oscar.published import PAPER
from resnext import models as resnext_models
from tests.efficientnet import golden
from tests.resnext import golden as resnext_golden
from tpu_utils import profile

README = (pathlib.Path(__file__).parents[1] / 'README.md').read_text(encoding='utf-8')
EFFICIENTNETS = (*(f'b{n}' for n in range(8)), 'lite0', 'lite4')


def assert_row(*cells):
  """Checks that the README has a row of these cells, whose first is the model's name."""
  row = f'| {" | ".join(cells)} |'
  found = [line for line in README.splitlines() if line.startswith(f'| {cells[0]} |')]
  assert found == [row]


def sizes(parameters, multiply_adds, pixels):
  return f'{parameters / 1e6:.1f} M', f'{multiply_adds / 1e9:.2f} G', str(pixels)


@pytest.mark.parametrize('name', EFFICIENTNETS)
def test_efficientnets(name):
  model = f'efficientnet-{name}'
  counted = golden.read_json('counts.json')[model]
  size = sizes(*(counted[key] for key in ('trainable_parameters', 'multiply_adds', 'resolution')))
  top_1, _ = models.PUBLISHED[model]
  assert_row(f'`{model}`', *size, f'ImageNet top-1 {top_1:.1f} %')


@pytest.mark.parametrize(
  ('depth', 'cardinality', 'width', 'pixels'), [(50, 32, 4, 224), (101, 64, 4, 224)]
)
def test_resnexts(depth, cardinality, width, pixels):
  (counted,) = (
    row for row in resnext_golden.read_json('counts_imagenet.json')['rows']
    if (row['depth'], row['cardinality'], row['baseWidth']) == (depth, cardinality, width)
  )  # fmt: skip
  model = f'resnext-{depth}-{cardinality}x{width}d'
  top_1 = 100 - resnext_models.PAPER_ERRORS[model]
  size = sizes(counted['params'], counted['macs_total'], pixels)
  assert_row(f'`{model}`', *size, f'ImageNet top-1 {top_1:.1f} %')


@pytest.mark.parametrize(('size', 'row'), [('base', 'Oscar_B'), ('large', 'Oscar_L')])
def test_oscars(size, row):
  config = getattr(oscar.OscarConfig, size)()
  model = profile.without_values(lambda: oscar.build_model(config, 'vqa'))
  counted = sum(math.prod(variable.shape) for variable in model.trainable_weights)
  score = PAPER['Table 1'].row(row=row)['vqa_test_std']
  assert_row(f'OSCAR, {size}', f'{counted / 1e6:.1f} M', '-', '-', f'VQA test-std {score:.1f} %')

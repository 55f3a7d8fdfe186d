"""Counts of every network in the paper's Tables 1 to 4 and 7, from the parameters and from the models."""
import numpy as np
import pytest

import resnext
from resnext import counts, network_params
from tests.resnext import golden
from tpu_utils import profile


def rows():
  """(name, number of classes, reference counts, heavy)."""
  for row in golden.read_json('counts_imagenet.json')['rows']:
    name = f'resnext-{row["depth"]}-{row["cardinality"]}x{row["baseWidth"]}d'
    yield name, 1000, row, row['depth'] > 50
  for setting, row in golden.read_json('counts_cifar.json')['rows'].items():
    depth, path, classes = setting.split('_')
    yield f'resnext-{depth}-{path}', int(classes[1:]), row, row['params'] > 2e7


@pytest.mark.parametrize(('name', 'classes', 'row', '_'), rows())
def test_counts_without_building(name, classes, row, _):
  got = counts.network_counts(network_params.from_name(name, {'num_classes': classes}))
  assert got == counts.Counts(row['params'], row['macs_total'])


@pytest.mark.parametrize(
  ('name', 'classes', 'row'),
  [
    pytest.param(name, classes, row, marks=pytest.mark.slow if heavy else ())
    for name, classes, row, heavy in rows()
    if row['params'] < 1e8
  ],
)
def test_counts_of_the_models(name, classes, row):
  model = resnext.build_model(name, num_classes=classes)
  trainable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
  assert trainable == row['params']
  assert model.count_params() - trainable == row['bn_running_stats']
  assert profile.flops(model) == row['macs_total']


@pytest.mark.parametrize(
  'overrides',
  [
    {'preactivation': True},
    {'preactivation': True, 'stem': 'cifar'},
    {'shortcut_type': 'A'},
    {'shortcut_type': 'C'},
    {'residual': False},
    {'stem': 'deep', 'average_shortcut': True},
    {'num_classes': 0},
    {'width': 16, 'base_width': 16, 'stem_width': 32},
  ],
  ids=str,
)
@pytest.mark.parametrize('image_size', [64, 45])
def test_counts_of_other_networks(overrides, image_size):
  overrides = {'stage_blocks': (2, 1, 1), 'num_classes': 10, **overrides}
  model = resnext.build_model('resnext-11-4x8d', image_size=image_size, **overrides)
  params = network_params.from_name('resnext-11-4x8d', overrides)
  got = counts.network_counts(params, image_size)
  assert got.parameters == sum(int(np.prod(v.shape)) for v in model.trainable_variables)
  assert got.multiply_adds == profile.flops(model)


def test_printed_totals_of_table_1():
  """The printed totals of Table 1, in millions and billions."""
  resnext_50 = counts.network_counts(network_params.from_name('resnext-50-32x4d'))
  assert f'{resnext_50.parameters / 1e6:.1f}M {resnext_50.multiply_adds / 1e9:.1f}G' == '25.0M 4.2G'

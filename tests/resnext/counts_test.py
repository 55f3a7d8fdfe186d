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


# Millions of parameters (the paper cuts the rest off) and billions of multiply-adds (it rounds).
PRINTED = {
  'resnet-50': (25.5, 4.1),  # Table 1.
  'resnext-50-32x4d': (25.0, 4.2),
  'resnext-29-8x64d': (34.4, None),  # Table 7.
  'resnext-29-16x64d': (68.1, None),
}


@pytest.mark.parametrize(('name', 'printed'), PRINTED.items())
def test_printed_totals(name, printed):
  found = counts.network_counts(network_params.from_name(name))
  millions, billions = printed
  assert int(found.parameters / 1e5) / 10 == millions
  assert billions is None or round(found.multiply_adds / 1e9, 1) == billions


@pytest.mark.parametrize(
  ('baseline', 'names', 'times'),
  [
    ('resnet-50', ['resnext-50-2x40d', 'resnext-50-4x24d', 'resnext-50-8x14d', 'resnext-50-32x4d'], 1),
    ('resnet-101', ['resnext-101-2x40d', 'resnext-101-4x24d', 'resnext-101-8x14d', 'resnext-101-32x4d'], 1),
    ('resnet-101', ['resnet-200', 'resnet-101-1x100d', 'resnext-101-2x64d', 'resnext-101-64x4d'], 2),
  ],
)
def test_complexities_of_tables_3_and_4(baseline, names, times):
  """As the tables give them, 1x and 2x; the networks themselves are within 5 % of that."""
  size = counts.network_counts(network_params.from_name(baseline)).multiply_adds
  for name in names:
    ratio = counts.network_counts(network_params.from_name(name)).multiply_adds / size
    assert ratio == pytest.approx(times, rel=0.05), name

"""Parameters of named networks, and values out of range."""
import dataclasses

import numpy as np
import pytest

from resnext import network_params


def test_plain_names_are_networks_of_one_path():
  assert network_params.from_name('resnet-50') == network_params.from_name(
    'resnext-50-1x64d'
  )
  wider = network_params.from_name('resnet-101-1x100d')
  assert (wider.cardinality, wider.base_width) == (1, 100)


@pytest.mark.parametrize('name', network_params.model_names())
def test_every_listed_name_is_a_network(name):
  params = network_params.from_name(name)
  layers = 3 * sum(params.stage_blocks) + 2
  assert layers == int(name.split('-')[1])
  assert params.image_size == (32 if '-29' in name else 224)


def test_ambiguous_depths_mean_imagenet_by_default():
  assert network_params.from_name('resnext-101-4x4d').stage_blocks == (3, 4, 23, 3)
  cifar = network_params.from_name('resnext-101-4x4d', {'stem': 'cifar'})
  assert (cifar.stage_blocks, cifar.num_classes) == ((11, 11, 11), 10)


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('resnext50', 'did you mean'),
    ('resnext-50-32x4', 'did you mean .*resnext-50-32x4d'),
    ('resnext-50', 'write it as resnext-50-32x4d'),
    ('resnet-50-32x4d', 'is called resnext-50-32x4d'),
    ('resnext-51-32x4d', 'neither one of 50, 101, 152, 200 nor 9n'),
    ('resnext-2-8x64d', 'nor 9n'),
    ('resnext-50-0x4d', 'cardinality=0'),
  ],
)
def test_unknown_names(name, message):
  with pytest.raises(ValueError, match=message):
    network_params.from_name(name)


@pytest.mark.parametrize(
  ('overrides', 'message'),
  [
    ({'shortcut_type': 'b'}, "Unknown shortcut_type 'b'"),
    ({'block_form': 'd'}, "Unknown block_form 'd'"),
    ({'stem': 'cifar10'}, 'did you mean cifar'),
    ({'cardinality': 0}, 'cardinality=0 must be a whole number'),
    ({'cardinality': True}, 'cardinality=True must be a whole number'),
    ({'num_classes': -1}, 'num_classes=-1 must be a whole number, at least 0'),
    ({'num_classes': '10'}, "num_classes='10' must be a whole number"),
    ({'residual': 'no'}, "residual='no' must be True or False"),
    ({'stage_blocks': ()}, r'stage_blocks=\(\) must hold'),
    ({'stage_blocks': 3}, 'stage_blocks=3 must hold'),
    ({'stage_blocks': (3, 0)}, 'stage_blocks=0'),
    ({'width': 8, 'base_width': 4}, 'leaves paths without channels'),
    ({'mean_rgb': (1.0,)}, 'mean_rgb'),
    ({'mean_rgb': 127.5}, 'mean_rgb=127.5 must hold three numbers'),
    ({'mean_rgb': ('0', '0', '0')}, 'mean_rgb'),
    ({'stddev_rgb': (1.0, 0.0, 1.0)}, 'must not hold a zero'),
  ],
)
def test_values_out_of_range(overrides, message):
  params = network_params.from_name('resnext-50-32x4d')
  with pytest.raises(ValueError, match=message):
    dataclasses.replace(params, **overrides)


def test_a_wrong_stem_is_reported_before_its_consequences():
  with pytest.raises(ValueError, match="Unknown stem 'imagnet': did you mean imagenet"):
    network_params.from_name('resnext-29-8x64d', {'stem': 'imagnet'})


def test_numpy_integers_are_whole_numbers():
  assert network_params.from_name('resnet-50', {'cardinality': np.int64(4)}).cardinality == 4


def test_widths_of_the_stages():
  """Paths of base width 14 have 14, 28, 56 and 112 channels."""
  params = network_params.from_name('resnext-50-8x14d')
  assert [params.path_width(stage) for stage in range(4)] == [14, 28, 56, 112]
  blocks = network_params.network_blocks(params)
  assert [stage[0].filters for stage in blocks] == [256, 512, 1024, 2048]
  assert [[block.strides for block in stage] for stage in blocks] == [
    [1, 1, 1], [2, 1, 1, 1], [2, 1, 1, 1, 1, 1], [2, 1, 1]
  ]

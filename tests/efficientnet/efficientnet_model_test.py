"""The network against the official one: variables, logits, every endpoint, blocks and scaling."""
import dataclasses

import keras
import numpy as np
import pytest

import efficientnet
from efficientnet import (
  efficientnet_builder,
  efficientnet_model,
  model_builder_factory,
  network_params,
)
from efficientnet.checkpoint_names.official import official_names
from tests.efficientnet import golden

TOLERANCE = 2e-4  # Of the standard deviation; see tests/goldens/efficientnet/README.md.
BLOCKS = golden.read_json('blocks.json')


@pytest.mark.slow
@pytest.mark.parametrize('name', golden.names('variables'))
def test_variables_are_the_official_ones_in_order(name):
  model = efficientnet.build_model(name)
  want = golden.read_json(f'variables_{name}.json')
  names = list(official_names(model).values())
  assert names == [v['name'] for v in want['variables']]
  assert [list(v.shape) for v in model.weights] == [v['shape'] for v in want['variables']]
  assert [v.trainable for v in model.weights] == [v['trainable'] for v in want['variables']]
  decayed = [v.path for v in model.trainable_weights if 'batch_normalization' not in v.path]
  assert [official_names(model)[path] for path in decayed] == want['l2_regularised']
  assert [f'{n}/ExponentialMovingAverage' for n in names] == want['ema_names']


@pytest.mark.parametrize(
  ('name', 'size'),
  [
    ('efficientnet-b0', 64),
    ('efficientnet-b0', 224),
    ('efficientnet-b1', 64),
    ('efficientnet-lite0', 64),
    ('efficientnet-lite0', 224),
    ('efficientnet-edgetpu-S', 64),
    ('efficientnet-condconv-b0-4e', 64),
    ('efficientnet-x-b0', 64),
  ],
)
def test_every_endpoint_agrees(name, size):
  want = golden.read_npz(f'logits_{name}_S{size}.npz')
  endpoints = [str(n) for n in want['endpoint_names']]
  model = efficientnet.feature_extractor(name, endpoints=endpoints, image_size=size)
  golden.set_weights(model, name)
  got = {k: v.numpy() for k, v in model(golden.images(size), training=False).items()}

  assert golden.relative_error(got['head'], want['logits']) < TOLERANCE
  # With local pooling the official endpoint is [2, 1, 1, C]; the reference file holds [2, C].
  pooled = got['pooled_features'].reshape(2, -1)
  assert golden.relative_error(pooled, want['pooled_features']) < TOLERANCE
  assert golden.relative_error(got['head_1x1'].mean((1, 2)), want['head_1x1_mean']) < TOLERANCE
  for i, endpoint in enumerate(endpoints):
    tensor, std = got[endpoint], want['endpoint_std'][i]
    assert list(tensor.shape) == [int(n) for n in want['endpoint_shapes'][i].split(',')], endpoint
    assert abs(tensor.mean() - want['endpoint_mean'][i]) < TOLERANCE * std, endpoint
    assert abs(tensor.std() - std) < TOLERANCE * std, endpoint
    assert np.abs(tensor.ravel()[:8] - want['endpoint_first8'][i]).max() < TOLERANCE * std, endpoint


@pytest.mark.parametrize('name', BLOCKS)
def test_endpoints_in_the_official_order(name):
  want = golden.read_json(f'variables_{name}.json')['endpoints']
  blocks, params = model_builder_factory.get_model_builder(name).get_model_params(name)
  got = efficientnet_model.build_network(keras.Input((224, 224, 3)), blocks, params)
  assert {k: [1, *v.shape[1:]] for k, v in got.items()} == want
  assert list(got) == list(want)


@pytest.mark.parametrize('name', BLOCKS)
def test_blocks_after_scaling(name):
  want = BLOCKS[name]['blocks_after_scaling']
  blocks, params = model_builder_factory.get_model_builder(name).get_model_params(name)
  scaled = network_params.scale_blocks(blocks, params)
  assert len(scaled) == len(want)
  for i, (block, official) in enumerate(zip(scaled, want, strict=True)):
    ours = dataclasses.asdict(block) | {
      'strides': list(block.strides),
      'block_class': 'MBConvBlockWithoutDepthwise' if block.conv_type else 'MBConvBlock',
      'expanded_filters': block.expanded_filters,
      'se_reduced_filters': network_params.se_reduced_filters(block, params),
      'survival_prob': network_params.block_survival_prob(i, len(scaled), params),
    }
    assert ours == official


def test_drop_connect_only_on_skips_with_the_official_probabilities():
  model = efficientnet.build_model('efficientnet-b0', image_size=32)
  calls = golden.read_json('tables.json')['survival_prob_calls_b0']
  got = {
    layer.name: layer.survival_prob for layer in model.layers if layer.name.endswith('drop_connect')
  }
  want = {f"{c['scope'].split('/')[1]}_drop_connect": c['survival_prob'] for c in calls}
  assert got == pytest.approx(want)


@pytest.mark.parametrize('survival_prob', [0, None, 1.0])
def test_no_drop_connect(survival_prob):
  model = efficientnet.build_model('efficientnet-b0', image_size=32, survival_prob=survival_prob)
  assert not [layer for layer in model.layers if 'drop_connect' in layer.name]


def test_fixed_head_and_stem_scale_only_the_middle():
  model = efficientnet.build_model(
    'efficientnet-b2', image_size=32, fix_head_stem=True, width_coefficient=2.0
  )
  shapes = {v.path: tuple(v.shape) for v in model.weights}
  assert shapes['stem_conv2d/kernel'][-1] == 32
  assert shapes['head_conv2d/kernel'][-1] == 1280
  family = efficientnet_builder.FAMILY
  blocks, params = family.get_model_params('efficientnet-b2', {'fix_head_stem': True})
  scaled = network_params.scale_blocks(blocks, params)
  # First and last stage keep their one block, the second grows from 2 to ceil(1.2 * 2).
  assert [b.num_repeat for b in scaled][:2] == [1, 3]
  assert scaled[-1].num_repeat == 1


def test_local_pooling_changes_shapes_but_not_logits():
  plain = efficientnet.build_model('efficientnet-b0', image_size=64)
  local = efficientnet.build_model('efficientnet-b0', image_size=64, local_pooling=True)
  local.set_weights(plain.get_weights())
  images = golden.images(64)
  assert golden.relative_error(local(images), plain(images)) < TOLERANCE
  pooled = efficientnet.feature_extractor(
    'efficientnet-b0', ['pooled_features'], image_size=64, local_pooling=True
  )
  assert pooled.output['pooled_features'].shape == (None, 1, 1, 1280)


def test_clipped_projections_stay_within_six():
  model = efficientnet.feature_extractor(
    'efficientnet-b0', ['block_0', 'block_1'], image_size=32, clip_projection_output=True
  )
  for variable in model.weights:
    if variable.path.endswith('gamma'):
      variable.assign(np.full(variable.shape, 50.0))
  outputs = model(golden.images(32))
  assert all(np.abs(x).max() == 6 for x in outputs.values())

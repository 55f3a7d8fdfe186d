"""Official names from variable paths; an object with `name` and `weights` serves as model."""
import types

import pytest

from efficientnet.checkpoint_names import official


def model(*paths):
  return types.SimpleNamespace(name='m', weights=[types.SimpleNamespace(path=p) for p in paths])


@pytest.mark.parametrize(
  ('path', 'name'),
  [
    ('stem_conv2d/kernel', 'm/stem/conv2d/kernel'),
    ('blocks_12_tpu_batch_normalization_1/gamma', 'm/blocks_12/tpu_batch_normalization_1/gamma'),
    ('blocks_3_depthwise_conv2d/kernel', 'm/blocks_3/depthwise_conv2d/depthwise_kernel'),
    ('blocks_3_se_conv2d_1/bias', 'm/blocks_3/se/conv2d_1/bias'),
    ('blocks_0_space2depth_conv2d/kernel', 'm/blocks_0/space2depth/conv2d/kernel'),
    ('blocks_8_dense/bias', 'm/blocks_8/dense/bias'),
    ('head_dense/kernel', 'm/head/dense/kernel'),
  ],
)
def test_official_names(path, name):
  assert official.official_names(model(path)) == {path: name}


# Blocks with expansion, without, and fused.
COND_CONV = {
  'blocks_8_cond_conv2d/condconv_kernel': 'm/model/blocks_8/cond_conv2d_1/condconv_kernel',
  'blocks_8_depthwise_cond_conv2d/depthwise_condconv_kernel':
    'm/model/blocks_8/depthwise_cond_conv2d/depthwise_condconv_kernel',
  'blocks_8_cond_conv2d_1/condconv_kernel': 'm/model/blocks_8/cond_conv2d_2/condconv_kernel',
  'blocks_9_depthwise_cond_conv2d/depthwise_condconv_kernel':
    'm/model/blocks_9/depthwise_cond_conv2d_1/depthwise_condconv_kernel',
  'blocks_9_cond_conv2d/condconv_kernel': 'm/model/blocks_9/cond_conv2d_5/condconv_kernel',
  'blocks_10_cond_conv2d/condconv_kernel': 'm/model/blocks_10/cond_conv2d_6/condconv_kernel',
  'blocks_10_cond_conv2d_1/condconv_kernel': 'm/model/blocks_10/cond_conv2d_8/condconv_kernel',
}  # fmt: skip


def test_cond_conv_names_of_one_run():
  assert official.official_names(model(*COND_CONV)) == COND_CONV


@pytest.mark.parametrize('scope', ['m/model/', 'm/', 'm/model_1/', ''])
def test_cond_conv_kernels_are_identified_by_their_order(scope):
  # A second network in the same process continues the numbers, which get two digits.
  def renumbered(name):
    block, layer, variable = name.removeprefix('m/model/').split('/')
    kind, _, number = layer.partition('conv2d')
    return f'{scope}{block}/{kind}conv2d_{int(number[1:] or 0) + 7}/{variable}'

  names = [renumbered(name) for name in COND_CONV.values()]
  rules = official.rules(model(*COND_CONV), sorted(names))
  assert [rules[path].name for path in COND_CONV] == names


def test_missing_cond_conv_kernels_have_their_official_names():
  rules = official.rules(model(*COND_CONV), ['m/stem/tpu_batch_normalization/gamma'])
  assert {path: rule.name for path, rule in rules.items()} == COND_CONV

import pytest

from tpu_utils.weights.names import efficientnet


@pytest.mark.parametrize(
  ('path', 'name'),
  [
    ('stem_conv2d/kernel', 'm/stem/conv2d/kernel'),
    ('blocks_12_tpu_batch_normalization_1/gamma', 'm/blocks_12/tpu_batch_normalization_1/gamma'),
    ('blocks_3_depthwise_conv2d/kernel', 'm/blocks_3/depthwise_conv2d/depthwise_kernel'),
    ('blocks_3_se_conv2d_1/bias', 'm/blocks_3/se/conv2d_1/bias'),
    ('blocks_0_space2depth_conv2d/kernel', 'm/blocks_0/space2depth/conv2d/kernel'),
    ('head_dense/kernel', 'm/head/dense/kernel'),
  ],
)
def test_official_names(path, name):
  assert efficientnet.official_name(path, 'm') == name

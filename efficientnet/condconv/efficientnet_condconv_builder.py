"""EfficientNet-CondConv-B0: B0 whose last three stages compute their kernels for each example.

More experts are more capacity at nearly the same cost. Images are scaled to about [-1, 1].

Source: tensorflow/tpu, models/official/efficientnet/condconv/efficientnet_condconv_builder.py; arXiv
1904.04971.
"""
from efficientnet import efficientnet_builder
from efficientnet.efficientnet_model import GlobalParams
from tpu_utils.names import check_name

MEAN_RGB = (127.0, 127.0, 127.0)
STDDEV_RGB = (128.0, 128.0, 128.0)
INTERPOLATION = 'bicubic'

# (width_coefficient, depth_coefficient, resolution, dropout_rate, condconv_num_experts)
PARAMS = {
  'efficientnet-condconv-b0-4e': (1.0, 1.0, 224, 0.25, 4),
  'efficientnet-condconv-b0-8e': (1.0, 1.0, 224, 0.25, 8),
  'efficientnet-condconv-b0-8e-depth': (1.0, 1.1, 224, 0.25, 8),
}

BLOCKS_ARGS = (
  'r1_k3_s11_e1_i32_o16_se0.25',
  'r2_k3_s22_e6_i16_o24_se0.25',
  'r2_k5_s22_e6_i24_o40_se0.25',
  'r3_k3_s22_e6_i40_o80_se0.25',
  'r3_k5_s11_e6_i80_o112_se0.25_cc',
  'r4_k5_s22_e6_i112_o192_se0.25_cc',
  'r1_k3_s11_e6_i192_o320_se0.25_cc',
)


def efficientnet_condconv_params(model_name):
  """(width_coefficient, depth_coefficient, resolution, dropout_rate, experts) of a model."""
  check_name('model_name', model_name, PARAMS)
  return PARAMS[model_name]


def get_model_params(model_name, overrides=None):
  """Stages and parameters of a model; see `efficientnet_builder.get_model_params`."""
  width, depth, _, dropout_rate, num_experts = efficientnet_condconv_params(model_name)
  global_params = GlobalParams(
    blocks_args=BLOCKS_ARGS,
    width_coefficient=width,
    depth_coefficient=depth,
    dropout_rate=dropout_rate,
    condconv_num_experts=num_experts,
    mean_rgb=MEAN_RGB,
    stddev_rgb=STDDEV_RGB,
  )
  return efficientnet_builder.override(global_params, overrides)

"""EfficientNet-X and EfficientNet-H: searched for the speed of datacenter accelerators.

Compared with the B models: the first stage works on a map folded 2x2 into the channels, the next two
expand by one plain convolution, ReLU or swish is chosen stage by stage, and the small models squeeze
less. `-tpu-` and `-gpu-` models are scaled by the latencies of these chips; the H models expand stages
two to four by 4 in place of 6 and are wider.

Source: tensorflow/tpu, models/official/efficientnet/tpu/efficientnet_x_builder.py; arXiv 2102.05610.
"""
from efficientnet import efficientnet_builder, efficientnet_model
from efficientnet.efficientnet_model import GlobalParams
from tpu_utils.names import check_name

MEAN_RGB = efficientnet_model.IMAGENET_MEAN_RGB
STDDEV_RGB = efficientnet_model.IMAGENET_STDDEV_RGB
INTERPOLATION = 'bicubic'

# (width_coefficient, depth_coefficient, resolution, dropout_rate, se_coefficient)
PARAMS = {
  'efficientnet-x-b0': (1.0, 1.0, 224, 0.2, 4),
  'efficientnet-x-b1': (1.0, 1.1, 240, 0.2, 2),
  'efficientnet-x-b2': (1.1, 1.2, 260, 0.3, 1),
  'efficientnet-x-b3': (1.2, 1.4, 300, 0.3, 1),
  'efficientnet-x-b4': (1.4, 1.8, 380, 0.4, 1),
  'efficientnet-x-b5': (1.6, 2.2, 456, 0.4, 1),
  'efficientnet-x-b6': (1.8, 2.6, 528, 0.5, 1),
  'efficientnet-x-b7': (2.0, 3.1, 600, 0.5, 1),
  'efficientnet-h-b5': (1.92, 2.2, 456, 0.4, 1),
  'efficientnet-h-b6': (2.16, 2.6, 528, 0.5, 1),
  'efficientnet-h-b7': (2.4, 3.1, 600, 0.5, 1),
  'efficientnet-x-tpu-b0': (1.0, 1.0, 224, 0.2, 4),
  'efficientnet-x-tpu-b1': (1.05, 1.09, 229, 0.2, 2),
  'efficientnet-x-tpu-b2': (1.13, 1.29, 244, 0.3, 1),
  'efficientnet-x-tpu-b3': (1.27, 1.62, 263, 0.3, 1),
  'efficientnet-x-tpu-b4': (1.54, 2.38, 299, 0.4, 1),
  'efficientnet-x-tpu-b5': (1.96, 2.76, 332, 0.4, 1),
  'efficientnet-x-tpu-b6': (2.75, 3.01, 328, 0.5, 1),
  'efficientnet-x-tpu-b7': (3.26, 3.44, 350, 0.5, 1),
  'efficientnet-h-tpu-b5': (2.3, 2.76, 332, 0.4, 1),
  'efficientnet-h-tpu-b6': (3, 3.01, 328, 0.5, 1),
  'efficientnet-h-tpu-b7': (3.6, 3.44, 350, 0.5, 1),
  'efficientnet-x-gpu-b0': (1.0, 1.0, 224, 0.2, 4),
  'efficientnet-x-gpu-b1': (1.05, 1.09, 229, 0.2, 2),
  'efficientnet-x-gpu-b2': (1.13, 1.24, 237, 0.3, 1),
  'efficientnet-x-gpu-b3': (1.31, 1.63, 255, 0.3, 1),
  'efficientnet-x-gpu-b4': (1.63, 2.4, 282, 0.4, 1),
  'efficientnet-x-gpu-b5': (1.94, 3.29, 306, 0.4, 1),
  'efficientnet-x-gpu-b6': (2.25, 4.28, 328, 0.5, 1),
  'efficientnet-x-gpu-b7': (2.58, 5.46, 350, 0.5, 1),
}

X_BLOCKS_ARGS = (
  'r1_k3_s11_e1_i32_o16_se0.25_d1_a0',
  'r2_k3_s22_e6_i16_o24_se0.25_f1_d2_a1',
  'r2_k5_s22_e6_i24_o40_se0.25_f1_a1',
  'r3_k3_s22_e6_i40_o80_se0.25_a0',
  'r3_k5_s11_e6_i80_o112_se0.25_a0',
  'r4_k5_s22_e6_i112_o192_se0.25_a0',
  'r1_k3_s11_e6_i192_o320_se0.25_a0',
)
H_BLOCKS_ARGS = (
  'r1_k3_s11_e1_i32_o16_se0.25_d1_a0',
  'r2_k3_s22_e4_i16_o24_se0.25_f1_d2_a1',
  'r2_k5_s22_e4_i24_o40_se0.25_f1_a1',
  'r3_k3_s22_e4_i40_o80_se0.25_a0',
  'r3_k5_s11_e6_i80_o112_se0.25_a0',
  'r4_k5_s22_e6_i112_o192_se0.25_a0',
  'r1_k3_s11_e6_i192_o320_se0.25_a0',
)


def efficientnet_x_params(model_name):
  """(width_coefficient, depth_coefficient, resolution, dropout_rate, se_coefficient) of a model."""
  check_name('model_name', model_name, PARAMS)
  return PARAMS[model_name]


def get_model_params(model_name, overrides=None):
  """Stages and parameters of a model; see `efficientnet_builder.get_model_params`."""
  width, depth, _, dropout_rate, se_coefficient = efficientnet_x_params(model_name)
  global_params = GlobalParams(
    blocks_args=H_BLOCKS_ARGS if '-h-' in model_name else X_BLOCKS_ARGS,
    width_coefficient=width,
    depth_coefficient=depth,
    dropout_rate=dropout_rate,
    relu_fn='relu',
    se_coefficient=se_coefficient,
    mean_rgb=MEAN_RGB,
    stddev_rgb=STDDEV_RGB,
  )
  return efficientnet_builder.override(global_params, overrides)

"""EfficientNet-CondConv-B0: B0 with kernels computed for each example in its last three stages.

More experts add capacity at nearly the same cost. Images are scaled to about [-1, 1].

Source: tensorflow/tpu, models/official/efficientnet/condconv/efficientnet_condconv_builder.py;
arXiv 1904.04971.
"""
from efficientnet.efficientnet_builder import Family, Scale
from efficientnet.network_params import GlobalParams

BLOCKS_ARGS = (
  'r1_k3_s11_e1_i32_o16_se0.25',
  'r2_k3_s22_e6_i16_o24_se0.25',
  'r2_k5_s22_e6_i24_o40_se0.25',
  'r3_k3_s22_e6_i40_o80_se0.25',
  'r3_k5_s11_e6_i80_o112_se0.25_cc',
  'r4_k5_s22_e6_i112_o192_se0.25_cc',
  'r1_k3_s11_e6_i192_o320_se0.25_cc',
)

FAMILY = Family(
  scales={
    'efficientnet-condconv-b0-4e': Scale(1.0, 1.0, 224, 0.25, condconv_num_experts=4),
    'efficientnet-condconv-b0-8e': Scale(1.0, 1.0, 224, 0.25, condconv_num_experts=8),
    'efficientnet-condconv-b0-8e-depth': Scale(1.0, 1.1, 224, 0.25, condconv_num_experts=8),
  },
  global_params=GlobalParams(
    blocks_args=BLOCKS_ARGS,
    mean_rgb=(127.0, 127.0, 127.0),
    stddev_rgb=(128.0, 128.0, 128.0),
  ),
)

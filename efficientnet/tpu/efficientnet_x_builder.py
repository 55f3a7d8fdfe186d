"""EfficientNet-X and EfficientNet-H: searched for the speed of datacenter accelerators.

Differences from the B models: the first stage works on a feature map folded 2x2 into the channels,
the next two expand by one plain convolution, each stage has ReLU or swish, and the small models
squeeze less. `-tpu-` and `-gpu-` models are scaled by the latencies of these chips; the H models
expand stages two to four by 4 instead of 6 and are wider.

Source: tensorflow/tpu, models/official/efficientnet/tpu/efficientnet_x_builder.py;
arXiv 2102.05610.
"""
from efficientnet.efficientnet_builder import Family, Scale
from efficientnet.network_params import GlobalParams

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

FAMILY = Family(
  scales={  # The fifth number is `se_coefficient`.
    'efficientnet-x-b0': Scale(1.0, 1.0, 224, 0.2, 4),
    'efficientnet-x-b1': Scale(1.0, 1.1, 240, 0.2, 2),
    'efficientnet-x-b2': Scale(1.1, 1.2, 260, 0.3, 1),
    'efficientnet-x-b3': Scale(1.2, 1.4, 300, 0.3, 1),
    'efficientnet-x-b4': Scale(1.4, 1.8, 380, 0.4, 1),
    'efficientnet-x-b5': Scale(1.6, 2.2, 456, 0.4, 1),
    'efficientnet-x-b6': Scale(1.8, 2.6, 528, 0.5, 1),
    'efficientnet-x-b7': Scale(2.0, 3.1, 600, 0.5, 1),
    'efficientnet-h-b5': Scale(1.92, 2.2, 456, 0.4, 1, blocks_args=H_BLOCKS_ARGS),
    'efficientnet-h-b6': Scale(2.16, 2.6, 528, 0.5, 1, blocks_args=H_BLOCKS_ARGS),
    'efficientnet-h-b7': Scale(2.4, 3.1, 600, 0.5, 1, blocks_args=H_BLOCKS_ARGS),
    'efficientnet-x-tpu-b0': Scale(1.0, 1.0, 224, 0.2, 4),
    'efficientnet-x-tpu-b1': Scale(1.05, 1.09, 229, 0.2, 2),
    'efficientnet-x-tpu-b2': Scale(1.13, 1.29, 244, 0.3, 1),
    'efficientnet-x-tpu-b3': Scale(1.27, 1.62, 263, 0.3, 1),
    'efficientnet-x-tpu-b4': Scale(1.54, 2.38, 299, 0.4, 1),
    'efficientnet-x-tpu-b5': Scale(1.96, 2.76, 332, 0.4, 1),
    'efficientnet-x-tpu-b6': Scale(2.75, 3.01, 328, 0.5, 1),
    'efficientnet-x-tpu-b7': Scale(3.26, 3.44, 350, 0.5, 1),
    'efficientnet-h-tpu-b5': Scale(2.3, 2.76, 332, 0.4, 1, blocks_args=H_BLOCKS_ARGS),
    'efficientnet-h-tpu-b6': Scale(3, 3.01, 328, 0.5, 1, blocks_args=H_BLOCKS_ARGS),
    'efficientnet-h-tpu-b7': Scale(3.6, 3.44, 350, 0.5, 1, blocks_args=H_BLOCKS_ARGS),
    'efficientnet-x-gpu-b0': Scale(1.0, 1.0, 224, 0.2, 4),
    'efficientnet-x-gpu-b1': Scale(1.05, 1.09, 229, 0.2, 2),
    'efficientnet-x-gpu-b2': Scale(1.13, 1.24, 237, 0.3, 1),
    'efficientnet-x-gpu-b3': Scale(1.31, 1.63, 255, 0.3, 1),
    'efficientnet-x-gpu-b4': Scale(1.63, 2.4, 282, 0.4, 1),
    'efficientnet-x-gpu-b5': Scale(1.94, 3.29, 306, 0.4, 1),
    'efficientnet-x-gpu-b6': Scale(2.25, 4.28, 328, 0.5, 1),
    'efficientnet-x-gpu-b7': Scale(2.58, 5.46, 350, 0.5, 1),
  },
  global_params=GlobalParams(blocks_args=X_BLOCKS_ARGS, relu_fn='relu'),
)

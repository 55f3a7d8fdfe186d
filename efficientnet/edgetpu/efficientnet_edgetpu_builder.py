"""EfficientNet-EdgeTPU-S, -M and -L, for Coral's Edge TPU.

Plain convolutions are fast on this chip, so the first three stages expand by one 3x3 convolution
and have no depthwise one. ReLU, no squeeze-and-excitation; images are scaled to about [-1, 1] and
resized bilinearly. The released checkpoints have 1001 classes; class 0 is the background.

Source: tensorflow/tpu, models/official/efficientnet/edgetpu/efficientnet_edgetpu_builder.py.
"""
from efficientnet.efficientnet_builder import Family, Scale
from efficientnet.network_params import GlobalParams

BLOCKS_ARGS = (
  'r1_k3_s11_e4_i24_o24_c1_noskip',
  'r2_k3_s22_e8_i24_o32_c1',
  'r4_k3_s22_e8_i32_o48_c1',
  'r5_k5_s22_e8_i48_o96',
  'r4_k5_s11_e8_i96_o144',
  'r2_k5_s22_e8_i144_o192',
)

FAMILY = Family(
  scales={
    'efficientnet-edgetpu-S': Scale(1.0, 1.0, 224, 0.2),
    'efficientnet-edgetpu-M': Scale(1.0, 1.1, 240, 0.2),
    'efficientnet-edgetpu-L': Scale(1.2, 1.4, 300, 0.3),
  },
  global_params=GlobalParams(
    blocks_args=BLOCKS_ARGS,
    num_classes=1001,
    relu_fn='relu',
    use_se=False,
    local_pooling=True,
    mean_rgb=(127.0, 127.0, 127.0),
    stddev_rgb=(128.0, 128.0, 128.0),
  ),
  interpolation='bilinear',
)

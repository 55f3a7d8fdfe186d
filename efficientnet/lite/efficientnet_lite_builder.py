"""EfficientNet-Lite0 to Lite4: EfficientNet for phones and microcontrollers.

Differences from the B models: no squeeze-and-excitation; ReLU6 instead of swish, because 8 bits
represent its fixed range well; stem, head, first and last stage are not scaled; images are scaled
to about [-1, 1] and resized bilinearly.

Source: tensorflow/tpu, models/official/efficientnet/lite/efficientnet_lite_builder.py.
"""
from efficientnet.efficientnet_builder import DEFAULT_BLOCKS_ARGS, Family, Scale
from efficientnet.network_params import GlobalParams

FAMILY = Family(
  scales={
    'efficientnet-lite0': Scale(1.0, 1.0, 224, 0.2),
    'efficientnet-lite1': Scale(1.0, 1.1, 240, 0.2),
    'efficientnet-lite2': Scale(1.1, 1.2, 260, 0.3),
    'efficientnet-lite3': Scale(1.2, 1.4, 280, 0.3),
    'efficientnet-lite4': Scale(1.4, 1.8, 300, 0.3),
  },
  global_params=GlobalParams(
    blocks_args=DEFAULT_BLOCKS_ARGS,  # Their squeeze ratio is ignored: `use_se`.
    relu_fn='relu6',
    use_se=False,
    fix_head_stem=True,
    local_pooling=True,
    mean_rgb=(127.0, 127.0, 127.0),
    stddev_rgb=(128.0, 128.0, 128.0),
  ),
  interpolation='bilinear',
)

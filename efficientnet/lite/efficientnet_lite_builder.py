"""EfficientNet-Lite0 to Lite4: EfficientNet for phones and microcontrollers.

Compared with the B models: no squeeze-and-excitation, ReLU6 in place of swish (its range is fixed, so
8 bits represent it well), stem, head, first and last stage not scaled, images scaled to about [-1, 1] and
resized bilinearly.

Source: tensorflow/tpu, models/official/efficientnet/lite/efficientnet_lite_builder.py.
"""
from efficientnet import efficientnet_builder
from efficientnet.efficientnet_model import GlobalParams
from tpu_utils.names import check_name

MEAN_RGB = (127.0, 127.0, 127.0)
STDDEV_RGB = (128.0, 128.0, 128.0)
INTERPOLATION = 'bilinear'

# (width_coefficient, depth_coefficient, resolution, dropout_rate)
PARAMS = {
  'efficientnet-lite0': (1.0, 1.0, 224, 0.2),
  'efficientnet-lite1': (1.0, 1.1, 240, 0.2),
  'efficientnet-lite2': (1.1, 1.2, 260, 0.3),
  'efficientnet-lite3': (1.2, 1.4, 280, 0.3),
  'efficientnet-lite4': (1.4, 1.8, 300, 0.3),
}


def efficientnet_lite_params(model_name):
  """(width_coefficient, depth_coefficient, resolution, dropout_rate) of a model."""
  check_name('model_name', model_name, PARAMS)
  return PARAMS[model_name]


def get_model_params(model_name, overrides=None):
  """Stages and parameters of a model; see `efficientnet_builder.get_model_params`."""
  width, depth, _, dropout_rate = efficientnet_lite_params(model_name)
  global_params = GlobalParams(
    # The B models' stages; `use_se` overrules their squeeze ratio.
    blocks_args=efficientnet_builder.DEFAULT_BLOCKS_ARGS,
    width_coefficient=width,
    depth_coefficient=depth,
    dropout_rate=dropout_rate,
    relu_fn='relu6',
    use_se=False,
    fix_head_stem=True,
    local_pooling=True,
    mean_rgb=MEAN_RGB,
    stddev_rgb=STDDEV_RGB,
  )
  return efficientnet_builder.override(global_params, overrides)

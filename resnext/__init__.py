"""ResNeXt (arXiv 1611.05431): residual networks of aggregated transformations, and ResNets.

    import resnext
    model = resnext.build_model('resnext-50-32x4d')  # float32 images in [0, 255] -> logits
    maps = resnext.feature_extractor('resnext-50-32x4d')  # -> {'reduction_1': ..., 'features': ...}
    resnext.load('runs/flowers/export').predict(['photo.jpg'])  # -> names and probabilities

TensorFlow is imported only when one of the names below is first used, so that the scripts answer
`--help` at once.
"""
from tpu_utils import lazy
from tpu_utils.weights.name_map import register

__all__ = [
  'GroupedConv2D', 'aggregated_transform', 'build_model', 'convert_weights', 'feature_extractor',
  'load',
]

__getattr__, __dir__ = lazy.attach(
  __name__,
  {
    'GroupedConv2D': 'grouped_conv',
    'aggregated_transform': 'block_forms',
    'build_model': 'resnext_builder',
    'convert_weights': 'block_forms',
    'feature_extractor': 'resnext_builder',
    'load': 'predict',
  },
)

register('resnext', 'resnext.checkpoint_names')
register('resnet', 'resnext.checkpoint_names')

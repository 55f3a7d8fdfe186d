"""EfficientNet (arXiv 1905.11946): MBConv networks and compound scaling.

    import efficientnet
    # From float32 images in [0, 255] to logits.
    model = efficientnet.build_model('efficientnet-b0')
    # To {'reduction_1': ..., ..., 'features': ...}.
    features = efficientnet.feature_extractor('efficientnet-b0')
    # From image files to names of classes.
    predictions = efficientnet.load('runs/flowers/export').predict(['photo.jpg'])

TensorFlow is imported at the first use of one of these names, so that the scripts answer `--help`
at once.
"""
from tpu_utils import lazy
from tpu_utils.weights.name_map import register

__all__ = ['build_model', 'feature_extractor', 'load']

__getattr__, __dir__ = lazy.attach(
  __name__,
  {
    'build_model': 'model_builder_factory',
    'feature_extractor': 'model_builder_factory',
    'load': 'predict',
  },
)

register('efficientnet', 'efficientnet.checkpoint_names')

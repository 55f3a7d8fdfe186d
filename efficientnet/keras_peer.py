"""The networks of keras.applications, to compare compiled training steps with (--compare=keras)."""
import keras

from efficientnet import model_builder_factory
from tpu_utils.names import check_name

# {our name: class in keras.applications}.
CLASSES = {f'efficientnet-b{i}': f'EfficientNetB{i}' for i in range(8)}


def build_model(
  model_name: str,
  num_classes: int | None = None,
  image_size: int | tuple[int, int] | None = None,
  dtype_policy: str | None = None,
) -> keras.Model:
  """Builds the network of keras.applications, as it is there, from `images` to logits.

  Args:
    model_name: 'efficientnet-b0' to 'efficientnet-b7'.
    num_classes: outputs; None for 1000.
    image_size: pixels a side, or (height, width); None for the model's own.
    dtype_policy: Keras dtype policy of all layers; None for float32.

  Raises:
    ValueError: keras.applications has no such network.
  """
  check_name('model_name with --compare=keras', model_name, CLASSES)
  size = image_size or model_builder_factory.get_model_input_size(model_name)
  height, width = (size, size) if isinstance(size, int) else size
  before = keras.config.dtype_policy()
  keras.config.set_dtype_policy(dtype_policy or 'float32')  # It has no argument for it.
  try:
    return getattr(keras.applications, CLASSES[model_name])(
      weights=None,
      input_tensor=keras.Input((height, width, 3), name='images', dtype='float32'),
      classes=num_classes or 1000,
      classifier_activation=None,
    )
  finally:
    keras.config.set_dtype_policy(before)

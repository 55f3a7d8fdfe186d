"""A model as a TensorFlow function whose weights are constants."""
import keras
import tensorflow as tf


def constant_function(model, batch_size=None, outputs=lambda logits: logits):
  """Traces the inference of a model with the weights that it has now.

  Constants let TensorFlow's CPU kernels lay the weights out once, and TFLite take them over.

  Args:
    model: `keras.Model` from one tensor of images to one of logits.
    batch_size: None leaves it free.
    outputs: function from the logits to what the function returns.

  Returns:
    Concrete function of `images`, float32 [batch, height, width, 3].
  """
  values = [(variable, variable.numpy()) for variable in model.variables]

  def infer(images):
    mapping = [(variable, tf.constant(value)) for variable, value in values]
    with keras.StatelessScope(state_mapping=mapping):
      return outputs(model(images, training=False))

  images = tf.TensorSpec((batch_size, *model.inputs[0].shape[1:]), tf.float32, 'images')
  return tf.function(infer, autograph=False).get_concrete_function(images)

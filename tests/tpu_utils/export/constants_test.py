"""A function with constant weights: the model's numbers, unchanged by later assignments."""
import numpy as np
import tensorflow as tf

from tests.tpu_utils.export import tiny
from tpu_utils import export


def test_weights_are_those_at_tracing():
  model = tiny.build_model()
  images = tiny.images(2).astype(np.float32)
  expected = model(images, training=False).numpy()
  function = export.constant_function(model)
  assert not function.variables and not function.captured_inputs
  model.get_layer('dense').set_weights([w + 1 for w in model.get_layer('dense').get_weights()])
  np.testing.assert_allclose(function(tf.constant(images)), expected, rtol=1e-5)
  changed = export.constant_function(model)(tf.constant(images))
  assert np.abs(changed - expected).max() > 1


def test_batch_size_and_outputs():
  function = export.constant_function(tiny.build_model(), 4, outputs=tf.nn.softmax)
  assert function.inputs[0].shape == (4, tiny.IMAGE_SIZE, tiny.IMAGE_SIZE, 3)
  probabilities = function(tf.constant(tiny.images(4), tf.float32))
  np.testing.assert_allclose(tf.reduce_sum(probabilities, -1), 1, rtol=1e-5)

"""Tests of the networks of keras.applications that preflight compares with."""
import keras
import pytest
import tensorflow as tf

import efficientnet
from efficientnet import keras_peer
from tpu_utils import profile


def test_it_is_the_same_network_for_the_same_trainer():
  before = keras.config.dtype_policy()
  network = keras_peer.build_model('efficientnet-b0', 10, 32, 'mixed_bfloat16')
  assert keras.config.dtype_policy() == before
  assert [x.name for x in network.inputs] == ['images']
  assert network.output_shape == (None, 10)
  assert {layer.compute_dtype for layer in network.layers[1:]} == {'bfloat16'}
  ours = profile.without_values(
    lambda: efficientnet.build_model('efficientnet-b0', num_classes=10, image_size=32)
  )
  # Keras normalises by variables: three means, three variances and a count.
  assert network.count_params() == ours.count_params() + 7
  assert tf.reduce_all(tf.math.is_finite(tf.cast(network(tf.zeros([1, 32, 32, 3])), tf.float32)))


def test_other_networks_are_refused():
  with pytest.raises(ValueError, match='model_name with --compare=keras'):
    keras_peer.build_model('efficientnet-lite0')

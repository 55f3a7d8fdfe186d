"""Multiply-adds of layers whose count is known on paper."""
import keras
import pytest
from keras import layers, ops

from tpu_utils import profile


def flops_of(function, *shape, **arguments):
  inputs = keras.Input(shape)
  return profile.flops(keras.Model(inputs, function(inputs)), **arguments)


@pytest.mark.parametrize(
  ('layer', 'shape', 'want'),
  [
    (layers.Conv2D(5, 3, padding='same'), (8, 8, 4), 8 * 8 * 5 * 9 * 4),
    (layers.Conv2D(5, 3, strides=2, padding='valid'), (9, 9, 4), 4 * 4 * 5 * 9 * 4),
    (layers.Conv2D(8, 3, groups=4, padding='same'), (8, 8, 4), 8 * 8 * 8 * 9 * 1),
    (layers.DepthwiseConv2D(3, strides=2, padding='same'), (8, 8, 6), 4 * 4 * 6 * 9),
    (layers.Conv1D(5, 3, padding='same'), (8, 4), 8 * 5 * 3 * 4),
    (layers.Conv2DTranspose(5, 3, strides=2, padding='same'), (8, 8, 4), 8 * 8 * 4 * 9 * 5),
    (layers.Dense(7), (8, 4), 8 * 4 * 7),
    (layers.EinsumDense('abc,cde->abde', (None, 2, 3)), (8, 4), 8 * 4 * 6),
    (layers.BatchNormalization(), (8, 8, 4), 0),
    (layers.Activation('swish'), (8, 8, 4), 0),
    (layers.GlobalAveragePooling2D(), (8, 8, 4), 0),
  ],
)
def test_layers(layer, shape, want):
  assert flops_of(layer, *shape) == want
  assert flops_of(layer, *shape, batch_size=3) == 3 * want


def test_attention():
  def attend(x):
    return layers.MultiHeadAttention(num_heads=4, key_dim=16)(x, x)

  projections = 4 * 10 * 64 * 64
  products = 2 * 4 * 10 * 10 * 16
  assert flops_of(attend, 10, 64) == projections + products


def test_matrix_products():
  assert flops_of(lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), 8, 5) == 8 * 8 * 5
  assert flops_of(lambda x: ops.einsum('bij,bkj->bik', x, x), 8, 5) == 8 * 8 * 5
  assert flops_of(lambda x: ops.einsum('b...j,b...j->b...', x, x), 8, 5) == 8 * 5


def test_nested_model_and_named_inputs():
  inner_input = keras.Input((4,))
  inner = keras.Model(inner_input, layers.Dense(6)(inner_input))
  inputs = {'a': keras.Input((4,), name='a'), 'b': keras.Input((4,), name='b')}
  model = keras.Model(inputs, inner(inputs['a'] + inputs['b']))
  assert profile.flops(model) == 24


def test_open_sizes_need_shapes():
  inputs = keras.Input((None, 4), name='tokens')
  model = keras.Model(inputs, layers.Dense(6)(inputs), name='open')
  with pytest.raises(ValueError, match="Input 'tokens' of open has open sizes .* input_shapes"):
    profile.flops(model)
  assert profile.flops(model, input_shapes=(5, 4)) == 5 * 24


def test_loops_are_refused():
  with pytest.raises(ValueError, match='loop'):
    flops_of(layers.LSTM(4), 5, 3)

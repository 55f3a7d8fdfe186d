"""Parameters and multiply-adds, against counts by hand, with and without weights."""
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests import traced
from tpu_utils import batch_norm, profile


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
    (layers.Conv3D(5, 3, padding='same'), (4, 4, 4, 2), 64 * 5 * 27 * 2),
    (layers.DepthwiseConv1D(3, depth_multiplier=2), (8, 4), 6 * 8 * 3),
    (layers.SeparableConv2D(5, 3, padding='same'), (8, 8, 4), 8 * 8 * 4 * (9 + 5)),
    (layers.Conv2DTranspose(5, 3, strides=2, padding='same'), (8, 8, 4), 8 * 8 * 4 * 9 * 5),
    (layers.Dense(7), (8, 4), 8 * 4 * 7),
    (layers.EinsumDense('abc,cde->abde', (None, 2, 3)), (8, 4), 8 * 4 * 6),
    (layers.BatchNormalization(), (8, 8, 4), 0),
    (batch_norm.BatchNormalization(), (8, 8, 4), 0),
    (layers.ZeroPadding2D(1), (8, 8, 4), 0),
    (layers.Activation('swish'), (8, 8, 4), 0),
    (layers.GlobalAveragePooling2D(), (8, 8, 4), 0),
  ],
)
def test_layers_equal_counts_by_hand(layer, shape, want):
  assert flops_of(layer, *shape) == want
  assert flops_of(layer, *shape, batch_size=3) == 3 * want
  inputs = keras.Input(shape)
  assert traced.multiply_adds(keras.Model(inputs, layer(inputs))) == want


def test_attention_counts_its_matrix_products():
  def attend(x):
    return layers.MultiHeadAttention(num_heads=4, key_dim=16)(x, x)

  projections = 4 * 10 * 64 * 64
  products = 2 * 4 * 10 * 10 * 16
  assert flops_of(attend, 10, 64) == projections + products


def test_matrix_products_are_counted():
  assert flops_of(lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))), 8, 5) == 8 * 8 * 5
  assert flops_of(lambda x: ops.einsum('bij,bkj->bik', x, x), 8, 5) == 8 * 8 * 5
  assert flops_of(lambda x: ops.einsum('b...j,b...j->b...', x, x), 8, 5) == 8 * 5


def test_a_subclass_is_traced():
  class Mixing(layers.Add):
    def call(self, inputs):
      return ops.matmul(*inputs)

  assert flops_of(lambda x: Mixing()([x, x]), 5, 5) == 5**3


def test_a_layer_counts_at_each_call():
  dense = layers.Dense(4)
  assert flops_of(lambda x: dense(dense(x)), 4) == 2 * 16


def test_an_operation_may_merge_the_batch_axis():
  def pairs(x):
    return layers.Dense(3)(ops.reshape(x, (-1, 4)))

  assert flops_of(pairs, 5, 4, batch_size=2) == 2 * 5 * 4 * 3


def test_nested_models_and_named_inputs_are_counted():
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


def built_twice(build):
  """Returns the counts without weights, and those of the built model."""
  model = build()
  weights = model.trainable_weights, model.non_trainable_weights
  sizes = [sum(int(np.prod(v.shape)) for v in w) for w in weights]
  return profile.count(build), profile.Counts(*sizes, profile.flops(model))


def test_counts_without_and_with_weights_are_equal():
  def build():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, use_bias=False)(inputs)
    x = layers.Dropout(0.5)(layers.LayerNormalization()(layers.BatchNormalization()(x)))
    x = layers.MultiHeadAttention(2, 4)(x, x)
    return keras.Model(inputs, layers.Dense(2)(x))

  counts, want = built_twice(build)
  assert counts == want
  assert counts.non_trainable == 2 * 4
  attention = 3 * (4 * 8 + 8) + 8 * 4 + 4
  assert counts.parameters == 9 * 3 * 4 + 2 * 4 + 2 * 4 + attention + (4 * 2 + 2)


def test_a_subclassed_model_is_counted():
  class Gram(keras.Model):
    def __init__(self):
      super().__init__()
      self.dense = layers.Dense(6)
      self.dense.build((None, 4))

    @property
    def input(self):
      return keras.KerasTensor((None, None, 4), name='rows')

    def call(self, x):
      x = self.dense(x)
      return ops.matmul(x, ops.transpose(x, (0, 2, 1)))

  counts = profile.count(Gram, input_shapes=(5, 4))
  assert counts == profile.Counts(4 * 6 + 6, 0, 5 * 4 * 6 + 5 * 5 * 6)
  with pytest.raises(ValueError, match="Input 'rows' of gram.* has open sizes"):
    profile.count(Gram)


@pytest.mark.slow
def test_counting_takes_no_memory_for_weights():
  code = (
    'import keras, resource\n'
    'from tpu_utils import profile\n'
    'def build(size=20_000):\n'
    '  x = inputs = keras.Input((size,))\n'
    '  for _ in range(3):\n'
    '    x = keras.layers.Dense(size, use_bias=False)(x)\n'
    '    x = keras.layers.LayerNormalization()(x)\n'  # Traced.
    '  return keras.Model(inputs, x)\n'
    'profile.count(lambda: build(4))\n'
    'before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n'
    'assert profile.count(build).parameters == 3 * (20_000**2 + 2 * 20_000)\n'
    'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  assert int(done.stdout) < 100_000  # Kibibytes; the weights would be 4.7 million.


def test_counted_variables_are_never_initialized():
  """Keras would initialize them when the next scope ends; see `_no_initialization`."""
  models = []

  def build():
    models.append(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name='dense')]))
    return keras.Model(models[0].inputs, models[0].outputs)

  profile.count(build)
  with keras.StatelessScope():
    pass
  assert all(variable._value is None for variable in models[0].variables)

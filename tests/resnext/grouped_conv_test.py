"""Grouped convolutions against a separate convolution for each group, and against Keras."""
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import resnext
from resnext import grouped_conv
from tests.resnext import golden

# batch, height, width, groups, inputs and outputs of a group, kernel, strides, padding
CASES = [
  (2, 9, 7, 4, 4, 4, 3, 1, 'same'),
  (2, 9, 8, 4, 4, 4, 3, 2, 'valid'),
  (2, 8, 9, 4, 4, 4, 3, 2, 'same'),
  (1, 6, 6, 32, 4, 4, 3, 1, 'same'),
  (3, 6, 6, 2, 40, 40, 3, 1, 'valid'),
  (2, 6, 6, 3, 5, 2, 3, 1, 'same'),  # Groups that no power of two divides; fewer outputs.
  (2, 6, 6, 8, 1, 3, 3, 1, 'same'),  # Depthwise.
  (2, 6, 5, 4, 6, 6, 1, 1, 'valid'),
  (2, 9, 9, 4, 6, 6, 1, 2, 'valid'),
  (2, 9, 9, 4, 6, 6, 5, 1, 'same'),
  (2, 9, 9, 4, 6, 6, 4, 1, 'same'),  # An even kernel pads unevenly.
  (2, 9, 9, 4, 6, 6, 2, 2, 'same'),
  (2, 6, 6, 1, 8, 8, 3, 1, 'same'),
]


def arrays(case, dtype='float64'):
  batch, height, width, groups, group_inputs, group_outputs, size, strides, padding = case
  rng = np.random.default_rng(0)
  inputs = rng.normal(size=(batch, height, width, groups * group_inputs)).astype(dtype)
  kernel = rng.normal(size=(size, size, group_inputs, groups * group_outputs)).astype(dtype)
  return inputs, kernel, (strides, strides), padding


def one_by_one(inputs, kernel, strides, padding):
  """Applies a separate convolution to each group, the definition of a grouped convolution."""
  groups = inputs.shape[-1] // kernel.shape[2]
  outputs = [
    tf.nn.conv2d(x, k, strides, padding.upper())
    for x, k in zip(tf.split(inputs, groups, -1), tf.split(kernel, groups, -1), strict=True)
  ]
  return tf.concat(outputs, -1)


def value_and_gradients(function, inputs, kernel, strides, padding):
  inputs, kernel = tf.constant(inputs), tf.constant(kernel)
  with tf.GradientTape() as tape:
    tape.watch([inputs, kernel])
    outputs = function(inputs, kernel, strides, padding)
    # A loss with a different gradient at every position.
    loss = tf.reduce_sum(tf.sin(outputs))
  return [outputs.numpy(), *(g.numpy() for g in tape.gradient(loss, [inputs, kernel]))]


@pytest.mark.parametrize('implementation', ['cpu', 'blocks'])
@pytest.mark.parametrize('case', CASES, ids=str)
def test_values_and_gradients_in_float64(case, implementation):
  def convolve(*args):
    return grouped_conv.grouped_conv(*args, implementation=implementation)

  got = value_and_gradients(convolve, *arrays(case))
  want = value_and_gradients(one_by_one, *arrays(case))
  for ours, theirs in zip(got, want, strict=True):
    assert golden.relative_error(ours, theirs) < 1e-13


@pytest.mark.parametrize('case', CASES[:4], ids=str)
def test_values_and_gradients_in_a_float32_graph(case):
  """In a graph oneDNN's kernels run, and sizes may be unknown."""
  inputs, kernel, strides, padding = arrays(case, 'float32')
  shape = [None, None, None, inputs.shape[-1]]
  function = tf.function(
    lambda x, k: value_and_gradients_of_graph(x, k, strides, padding),
    input_signature=[tf.TensorSpec(shape), tf.TensorSpec(kernel.shape)],
  )
  got = function(inputs, kernel)
  want = value_and_gradients(one_by_one, inputs, kernel, strides, padding)
  for ours, theirs in zip(got, want, strict=True):
    assert golden.relative_error(ours, theirs) < 1e-5


def value_and_gradients_of_graph(inputs, kernel, strides, padding):
  with tf.GradientTape() as tape:
    tape.watch([inputs, kernel])
    outputs = grouped_conv.grouped_conv(inputs, kernel, strides, padding, 'cpu')
    loss = tf.reduce_sum(tf.sin(outputs))
  return [outputs, *tape.gradient(loss, [inputs, kernel])]


@pytest.mark.host_xla
@pytest.mark.parametrize('implementation', ['native', 'cpu', 'blocks'])
def test_layer_equals_keras_with_the_same_weights(implementation):
  """Includes the gradient of 'native', which only XLA has on this device."""
  settings = {'strides': 1, 'padding': 'same', 'activation': 'tanh'}
  ours = resnext.GroupedConv2D(24, 3, 4, implementation=implementation, **settings)
  theirs = keras.layers.Conv2D(24, 3, groups=4, **settings)
  x = tf.constant(np.random.default_rng(0).normal(size=(2, 5, 5, 16)).astype(np.float32))
  ours.build(x.shape)
  theirs.build(x.shape)
  assert [tuple(v.shape) for v in ours.weights] == [tuple(v.shape) for v in theirs.weights]
  theirs.bias.assign(np.linspace(-1, 1, 24))
  ours.set_weights(theirs.get_weights())
  results = []
  for layer in (ours, theirs):

    # XLA, where the gradient of TensorFlow's own grouped convolution is needed.
    @tf.function(jit_compile=implementation == 'native' or layer is theirs)
    def run(x, layer=layer):
      with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
        loss = tf.reduce_sum(y**2)
      return [y, *tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])]

    results.append(run(x))
  for got, want in zip(*results, strict=True):
    assert golden.relative_error(got, want) < 1e-5


def test_bfloat16():
  inputs, kernel, strides, padding = arrays(CASES[0], 'float32')
  want = one_by_one(inputs, kernel, strides, padding)
  got = value_and_gradients_of_graph(
    tf.cast(inputs, 'bfloat16'), tf.cast(kernel, 'bfloat16'), strides, padding
  )
  assert all(value.dtype == 'bfloat16' for value in got)
  assert golden.relative_error(tf.cast(got[0], 'float32'), want) < 0.02


def test_layer_survives_saving(tmp_path):
  images = keras.Input((8, 8, 16))
  layer = resnext.GroupedConv2D(
    32, 3, 4, strides=2, use_bias=False, implementation='blocks', name='c'
  )
  model = keras.Model(images, layer(images))
  assert model.output.shape == (None, 3, 3, 32)
  model.save(tmp_path / 'model.keras')
  again = keras.models.load_model(tmp_path / 'model.keras')
  x = np.random.default_rng(0).normal(size=(1, 8, 8, 16)).astype(np.float32)
  np.testing.assert_allclose(again(x), model(x), rtol=1e-5, atol=1e-5)
  # The implementation is a property of the machine, not of the model.
  assert again.get_layer('c').implementation == 'auto'


def test_builtin_layer_is_keras_own():
  layer = resnext.GroupedConv2D(32, 3, 4, strides=2, padding='same', use_bias=False, name='c')
  builtin = layer.builtin()
  assert type(builtin) is keras.layers.Conv2D
  assert {**builtin.get_config(), 'dtype': None} == {**layer.get_config(), 'dtype': None}


def test_automatic_implementation_on_a_cpu(two_replicas):
  assert grouped_conv.automatic_implementation() == 'cpu'
  with two_replicas.scope():
    assert grouped_conv.automatic_implementation() == 'cpu'


@pytest.mark.parametrize('kind', ['TPU', 'GPU'])
def test_automatic_implementation_follows_the_strategy(monkeypatch, kind):
  """The strategy's devices decide, although this process has only CPUs."""
  strategy = tf.distribute.OneDeviceStrategy('/cpu:0')
  devices = (f'/job:worker/replica:0/task:0/device:{kind}:0',)
  monkeypatch.setattr(type(strategy.extended), 'worker_devices', devices)
  with strategy.scope():
    assert grouped_conv.automatic_implementation() == 'native'
  assert grouped_conv.automatic_implementation() == 'cpu'


@pytest.mark.parametrize(
  'kinds, expected', [(['GPU', 'GPU'], 'native'), (['TPU', 'TPU_SYSTEM'], 'cpu')]
)
def test_automatic_implementation_follows_the_machine(monkeypatch, kinds, expected):
  """Without a strategy TensorFlow computes on GPUs, but on a TPU VM on the CPU."""
  devices = [tf.config.LogicalDevice(f'/device:{kind}:0', kind) for kind in ('CPU', *kinds)]
  monkeypatch.setattr(
    tf.config,
    'list_logical_devices',
    lambda kind=None: [device for device in devices if kind in (None, device.device_type)],
  )
  assert grouped_conv.automatic_implementation() == expected


def test_trains_under_a_strategy(two_replicas):
  """The gradients of two replicas in `strategy.run` add up to that of the whole batch."""
  x = np.random.default_rng(0).normal(size=(4, 6, 6, 16)).astype(np.float32)
  with two_replicas.scope():
    layer = resnext.GroupedConv2D(16, 3, 4, padding='same', use_bias=False)
    layer.build((None, 6, 6, 16))

  def gradient(x):
    with tf.GradientTape() as tape:
      loss = tf.reduce_sum(layer(x) ** 2)
    return tape.gradient(loss, layer.kernel.value)

  @tf.function
  def total(halves):
    return two_replicas.reduce('SUM', two_replicas.run(gradient, [halves]), axis=None)

  halves = two_replicas.experimental_distribute_values_from_function(
    lambda context: tf.split(x, 2)[context.replica_id_in_sync_group]
  )
  with tf.GradientTape() as tape:
    kernel = tf.constant(layer.kernel.numpy())
    tape.watch(kernel)
    loss = tf.reduce_sum(one_by_one(x, kernel, (1, 1), 'same') ** 2)
  assert golden.relative_error(total(halves), tape.gradient(loss, kernel)) < 1e-5


def test_set_implementation_reaches_every_layer():
  model = resnext.build_model('resnext-29-2x8d')
  grouped_conv.set_implementation(model, 'blocks')
  layers = [layer for layer in model.layers if isinstance(layer, resnext.GroupedConv2D)]
  assert len(layers) == 9
  assert {layer.implementation for layer in layers} == {'blocks'}
  with pytest.raises(ValueError, match='did you mean blocks'):
    grouped_conv.set_implementation(model, 'block')


def test_unsupported_arguments_are_refused():
  with pytest.raises(ValueError, match='no dilation'):
    resnext.GroupedConv2D(16, 3, 4, dilation_rate=2)
  with pytest.raises(ValueError, match="data_format='channels_first'"):
    resnext.GroupedConv2D(16, 3, 4, data_format='channels_first')


@pytest.mark.slow
def test_runs_without_onednn():
  """There TensorFlow has no grouped convolution that is fused with bias, batch norm or ReLU."""
  code = (
    'import numpy as np, tensorflow as tf, resnext\n'
    'from tpu_utils.export.folding import fold_batch_norm\n'
    "model = resnext.build_model('resnext-11-2x4d', image_size=8)\n"
    "images = np.zeros((1, 8, 8, 3), 'float32')\n"
    'for m in (model, fold_batch_norm(model)):\n'
    '  logits = tf.function(lambda x, m=m: m(x, training=False))(images)\n'
    '  np.testing.assert_allclose(logits, model(images, training=False), atol=1e-5)\n'
  )
  environment = {**os.environ, 'TF_ENABLE_ONEDNN_OPTS': '0', 'PYTHONPATH': os.getcwd()}
  done = subprocess.run(
    [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize('native', [True, False])
def test_graphs_use_native_gradients_where_there_are_some(native, monkeypatch):
  """With oneDNN and without; which of them this machine has is not known."""
  if native and not grouped_conv._has_native_gradients(tf.float32):
    pytest.skip('no oneDNN here')
  monkeypatch.setattr(grouped_conv, '_has_native_gradients', lambda dtype: native)
  inputs, kernel, strides, padding = arrays(CASES[0], 'float32')
  calls, gradients = [], grouped_conv._native_gradients
  monkeypatch.setattr(
    grouped_conv, '_native_gradients', lambda *args: calls.append(args) or gradients(*args)
  )
  function = tf.function(lambda x, k: value_and_gradients_of_graph(x, k, strides, padding))
  got = function(inputs, kernel)
  assert bool(calls) == native
  want = value_and_gradients(one_by_one, inputs, kernel, strides, padding)
  for ours, theirs in zip(got, want, strict=True):
    assert golden.relative_error(ours, theirs) < 1e-5


@pytest.mark.slow
def test_without_onednn_gradients_are_composed():
  program = (
    'import tensorflow as tf; from resnext import grouped_conv as g; '
    'print(g._has_native_gradients(tf.float32), g._has_native_gradients(tf.float64))'
  )
  env = {**os.environ, 'TF_ENABLE_ONEDNN_OPTS': '0', 'TF_CPP_MIN_LOG_LEVEL': '3'}
  found = subprocess.run([sys.executable, '-c', program], env=env, capture_output=True, text=True)
  assert found.stdout.split() == ['False', 'False'], found.stderr

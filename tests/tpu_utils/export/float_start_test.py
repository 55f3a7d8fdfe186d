"""Which operations of an 8-bit file stay in 32 bits, and what that keeps."""
import keras
import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tpu_utils import export
from tpu_utils.export import float_start


def network(activation='swish', strides=2):
  """Builds stem, bottleneck of a quarter of the side, and an expansion after it."""
  keras.utils.set_random_seed(0)
  # Probabilities then differ by more than the 256th part that files return.
  wide = keras.initializers.RandomNormal(stddev=10.0)
  inputs = keras.Input([16, 16, 3])
  x = keras.layers.Rescaling(1 / 64, offset=-2.0)(inputs)
  x = keras.layers.Conv2D(8, 3, strides, 'same', activation=activation, name='stem')(x)
  x = keras.layers.DepthwiseConv2D(3, strides, 'same', activation=activation, name='depthwise')(x)
  x = keras.layers.Conv2D(4, 1, name='bottleneck')(x)
  x = keras.layers.Conv2D(16, 1, activation=activation, name='expansion')(x)
  x = keras.layers.GlobalAveragePooling2D()(x)
  return keras.Model(inputs, keras.layers.Dense(5, kernel_initializer=wide)(x))


def stays(model):
  return float_start.operations(export.tflite.convert(model))


def test_stays_up_to_the_smallest_tensor_of_a_quarter():
  names = ' '.join(stays(network()))
  assert all(part in names for part in ('stem', 'depthwise', 'bottleneck'))
  assert not any(part in names for part in ('expansion', 'rescaling', 'dense'))


def test_networks_without_swish_or_without_such_maps_have_all_in_8_bits():
  assert stays(network('relu6')) == set()
  assert stays(network(strides=1)) == set()


def images(count):
  return list(np.random.default_rng(0).uniform(0, 255, (count, 16, 16, 3)).astype(np.float32))


def convolutions(content):
  """Returns the types of the inputs of a file's convolutions, in order."""
  model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
  (graph,) = model.subgraphs
  codes = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)
  return [
    graph.tensors[operator.inputs[0]].type
    for operator in graph.operators
    if model.operatorCodes[operator.opcodeIndex].builtinCode in codes
  ]


def test_int8_computes_the_start_in_32_bits_and_the_rest_in_8():
  in_32, in_8 = schema.TensorType.FLOAT32, schema.TensorType.INT8
  pictures = images(20)
  model = network()
  mixed = export.tflite.convert(model, 'int8', pictures)
  full = export.tflite.convert(model, 'full_int8', pictures)
  assert convolutions(mixed) == [in_32] * 3 + [in_8]
  assert convolutions(full) == [in_8] * 4
  exact = export.tflite.Classifier(export.tflite.convert(model)).predict(np.stack(pictures))
  errors = {}
  for name, content in {'int8': mixed, 'full_int8': full}.items():
    classifier = export.tflite.Classifier(content)
    assert classifier._input['dtype'] == classifier._output['dtype'] == np.uint8
    errors[name] = np.abs(classifier.predict(np.stack(pictures)) - exact).mean()
  assert errors['int8'] < errors['full_int8']


@pytest.mark.slow
def test_b0_has_two_blocks_in_32_bits():
  import efficientnet

  names = stays(efficientnet.build_model('efficientnet-b0', image_size=64, num_classes=3))
  blocks = {f'blocks_{number}_' for number in range(16)}
  assert {block for block in blocks if any(block in name for name in names)} == {
    'blocks_0_', 'blocks_1_'
  }  # fmt: skip
  assert len(names) == 28

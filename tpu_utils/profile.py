"""Counts a model's multiply-adds, as papers do, from the graph that TensorFlow traces of it.

Counted are convolutions (plain, grouped, depthwise), dense layers and matrix products, by the shapes of
the traced operations. So it doesn't matter whether a layer is Keras' or somebody's own, and attention's
products are counted too. Activations, normalisation, pooling and additions are not counted.
"""
import collections
import math

import keras
import tensorflow as tf


def flops(model, batch_size=1, input_shapes=None):
  """Multiply-adds of one inference pass.

  Args:
    model: a `keras.Model` with defined inputs.
    batch_size: examples.
    input_shapes: shapes without the batch axis, in the structure of `model.input`, for a model whose
      inputs leave a size open.

  Returns:
    int, the number of multiply-adds.

  Raises:
    ValueError: an input size is open, or the model holds a loop whose length is not known.
  """
  return sum(_count(_trace(model, batch_size, input_shapes)).values())


def _trace(model, batch_size, input_shapes):
  if keras.backend.backend() != 'tensorflow':
    raise ValueError(
      f'Multiply-adds are counted from a TensorFlow graph, Keras runs on {keras.backend.backend()}; '
      'set KERAS_BACKEND=tensorflow.'
    )
  inputs = model.input
  if input_shapes is None:
    input_shapes = keras.tree.map_structure(lambda x: _Shape(x.shape[1:]), inputs)
  else:
    input_shapes = keras.tree.map_structure_up_to(inputs, lambda _, s: _Shape(s), inputs, input_shapes)

  def to_spec(x, shape):
    if None in shape.sizes:
      raise ValueError(
        f'Input {x.name!r} of {model.name} has open sizes {list(shape.sizes)}; give input_shapes=.'
      )
    return tf.TensorSpec((batch_size, *shape.sizes), x.dtype)

  specs = keras.tree.map_structure(to_spec, inputs, input_shapes)
  call = tf.function(lambda x: model(x, training=False), autograph=False)
  return call.get_concrete_function(specs).graph


class _Shape:
  """A shape that `keras.tree` takes for a leaf."""

  def __init__(self, sizes):
    self.sizes = tuple(sizes)


def _count(graph):
  """{op name: multiply-adds} of a graph; the functions that it calls count under the calling op."""
  counts = collections.Counter()
  for op in graph.get_operations():
    if op.type in _RULES:
      counts[op.name] += _RULES[op.type](op)
    elif op.type in ('PartitionedCall', 'StatefulPartitionedCall'):
      counts[op.name] += _function_total(graph, op.get_attr('f').name)
    elif op.type in ('If', 'StatelessIf'):
      branches = [op.get_attr(key).name for key in ('then_branch', 'else_branch')]
      counts[op.name] += max(_function_total(graph, name) for name in branches)
    elif op.type in ('While', 'StatelessWhile') and _function_total(graph, op.get_attr('body').name):
      raise ValueError(f'{op.name} multiplies matrices in a loop; its multiply-adds cannot be counted.')
  return counts


def _function_total(graph, name):
  return sum(_count(graph._get_function(name).graph).values())


def _shape(tensor):
  shape = tensor.shape
  if not shape.is_fully_defined():
    raise ValueError(f'{tensor.name} has the open shape {shape}; its multiply-adds cannot be counted.')
  return shape.as_list()


def _conv(op):
  """Every output value sums over the kernel's window and the input channels of its group."""
  return math.prod(_shape(op.outputs[0])) * math.prod(_shape(op.inputs[1])[:-1])


def _conv_gradient(op):
  """A transposed convolution: every *input* value meets the kernel's window and output channels."""
  kernel = _shape(op.inputs[1])
  return math.prod(_shape(op.inputs[2])) * math.prod(kernel[:-1])


def _depthwise_conv(op):
  return math.prod(_shape(op.outputs[0])) * math.prod(_shape(op.inputs[1])[:2])


def _matmul(op):
  transposed = op.get_attr('transpose_a' if op.type == 'MatMul' else 'adj_x')
  return math.prod(_shape(op.outputs[0])) * _shape(op.inputs[0])[-2 if transposed else -1]


def _einsum(op):
  """A product of two operands meets every combination of its labels once; one operand is no product."""
  if len(op.inputs) < 2:
    return 0
  terms = op.get_attr('equation').decode().split('->')[0].split(',')
  sizes = {}
  for term, tensor in zip(terms, op.inputs, strict=True):
    shape = _shape(tensor)
    if '...' in term:
      before, after = term.split('...')
      middle = len(shape) - len(before) - len(after)
      # Broadcast axes are aligned on the right.
      term = [*before, *range(-middle, 0), *after]
    for label, size in zip(term, shape, strict=True):
      sizes[label] = max(size, sizes.get(label, 1))
  return math.prod(sizes.values())


_RULES = {
  'Conv2D': _conv,
  'Conv3D': _conv,
  'Conv2DBackpropInput': _conv_gradient,
  'DepthwiseConv2dNative': _depthwise_conv,
  'MatMul': _matmul,
  'BatchMatMul': _matmul,
  'BatchMatMulV2': _matmul,
  'BatchMatMulV3': _matmul,
  'Einsum': _einsum,
}

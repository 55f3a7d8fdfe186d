"""Counts a model's parameters and multiply-adds, as papers do.

    profile.count(lambda: efficientnet.build_model('efficientnet-l2'))  # No memory for weights.
    profile.flops(model)

Convolutions (plain, grouped, depthwise), dense layers and matrix products are counted; activations,
normalisation, pooling and additions are not. Functional models need no computation: Keras' common
layers are counted from their shapes, and any other layer or operation from TensorFlow's trace of
it, so that attention's products and unknown layers are counted, too.
"""
import collections
import contextlib
import dataclasses
import gc
import inspect
import math
from collections.abc import Callable
from typing import Any

import keras
from keras.src.backend.common import global_state

from tpu_utils import batch_norm, fused_gradients

_NOTED = 'uninitialized_variables'  # Keras' name of its list of variables to initialize later.


@dataclasses.dataclass(frozen=True)
class Counts:
  """Size and cost of a model.

  Attributes:
    parameters: trainable parameters, as papers count.
    non_trainable: other weights: batch norm's moving statistics, frozen layers.
    multiply_adds: multiply-adds of one inference pass on one example.
  """

  parameters: int
  non_trainable: int
  multiply_adds: int


def count(build: Callable[[], keras.Model], input_shapes: Any = None) -> Counts:
  """Counts the parameters and multiply-adds of a model without allocating its weights.

  Args:
    build: function without arguments that returns a `keras.Model` and reads no weight's value.
    input_shapes: as for `flops`.

  Raises:
    ValueError: as for `flops`, and any error of `build`.
  """
  with _no_garbage_collection(), _no_initialization():
    model = build()
    multiply_adds = flops(model, input_shapes=input_shapes)
  return Counts(_size(model.trainable_weights), _size(model.non_trainable_weights), multiply_adds)


def without_values(build: Callable[[], keras.Model]) -> keras.Model:
  """Builds a model without allocating its weights, to look at its shapes.

  Args:
    build: as for `count`.
  """
  with _no_garbage_collection(), _no_initialization():
    return build()


def flops(model: keras.Model, batch_size: int = 1, input_shapes: Any = None) -> int:
  """Counts the multiply-adds of one inference pass.

  Args:
    model: a `keras.Model` with defined inputs.
    batch_size: number of examples.
    input_shapes: shapes without the batch axis, in the structure of `model.input`; needed if an
      input has open sizes.

  Returns:
    The number of multiply-adds.

  Raises:
    ValueError: an input size is open; the model multiplies matrices in a loop; or it has layers
      without a rule and Keras runs on another backend than TensorFlow.
  """
  inputs = model.input
  if input_shapes is None:
    input_shapes = keras.tree.map_structure(lambda x: _Shape(x.shape[1:]), inputs)
  else:
    input_shapes = keras.tree.map_structure_up_to(
      inputs, lambda _, shape: _Shape(shape), inputs, input_shapes
    )

  def with_sizes(x, shape):
    if None in shape.sizes:
      raise ValueError(
        f'Input {x.name!r} of {model.name} has open sizes {list(shape.sizes)}; give input_shapes=.'
      )
    return keras.KerasTensor((batch_size, *shape.sizes), x.dtype, name=x.name)

  inputs = keras.tree.map_structure(with_sizes, inputs, input_shapes)
  # Without this outer scope, Keras' inner ones would initialize `count`'s weights when they end.
  with keras.StatelessScope(initialize_variables=False):
    if _is_functional(model):
      return _count_functional(model, inputs)
    return _count_traced(model, (inputs,), {})


class _Shape:
  """A shape that `keras.tree` treats as a leaf."""

  def __init__(self, sizes):
    self.sizes = tuple(sizes)


def _size(variables):
  return sum(math.prod(v.shape) for v in variables)


@contextlib.contextmanager
def _no_initialization():
  """Creates variables without values, and keeps Keras from initializing them later.

  Keras notes such variables and initializes all of them when the next `StatelessScope` ends, in
  whatever graph that happens. Its note is not public.
  """
  noted = [*(global_state.get_global_attribute(_NOTED) or [])]
  try:
    with keras.StatelessScope(initialize_variables=False):
      yield
  finally:
    global_state.set_global_attribute(_NOTED, noted)


@contextlib.contextmanager
def _no_garbage_collection():
  """Disables garbage collection; there is hardly any, and a deep network builds a fifth faster."""
  enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    if enabled:
      gc.enable()


# Counts by rule: from the shapes of the outputs of a functional model's operations.


def _is_functional(model):
  return hasattr(model, '_run_through_graph')


def _count_functional(model, inputs):
  """Counts a functional model on `KerasTensor`s without open sizes."""
  total = 0

  def call(operation, *args, **kwargs):
    nonlocal total
    outputs = operation.compute_output_spec(*args, **kwargs)
    total += _count_operation(operation, args, kwargs, outputs)
    return outputs

  model._run_through_graph(inputs, call_fn=call)
  return total


def _count_operation(operation, args, kwargs, outputs):
  if _is_functional(operation):
    return _count_functional(operation, args[0])
  for layer_class, kernel_axes in _KERNEL_AXES.items():
    if isinstance(operation, layer_class):
      return math.prod(outputs.shape) * math.prod(operation.kernel.shape[kernel_axes])
  if type(operation) in _FREE:
    return 0
  return _count_traced(operation, args, kwargs)


# Each output value is a sum over these kernel axes: window and input channels of its group.
_KERNEL_AXES = {
  keras.layers.Conv1D: slice(-1),
  keras.layers.Conv2D: slice(-1),
  keras.layers.Conv3D: slice(-1),
  keras.layers.DepthwiseConv1D: slice(-2),
  keras.layers.DepthwiseConv2D: slice(-2),
  keras.layers.Dense: slice(-1),
}

# Layers without matrix products. Subclasses may compute more, so they are traced.
_FREE = {
  batch_norm.BatchNormalization,
  fused_gradients.Activation,
  keras.layers.Activation,
  keras.layers.Add,
  keras.layers.AveragePooling2D,
  keras.layers.BatchNormalization,
  keras.layers.Concatenate,
  keras.layers.Dropout,
  keras.layers.Flatten,
  keras.layers.GlobalAveragePooling2D,
  keras.layers.GlobalMaxPooling2D,
  keras.layers.MaxPooling2D,
  keras.layers.Multiply,
  keras.layers.Permute,
  keras.layers.ReLU,
  keras.layers.Rescaling,
  keras.layers.Reshape,
  keras.layers.ZeroPadding2D,
}


# Counts from TensorFlow's graph: everything else.

_LOOPS = ('While', 'StatelessWhile')


def _count_traced(operation, args, kwargs):
  """Counts `operation(*args, **kwargs)` from its graph; `KerasTensor`s have no open sizes."""
  if keras.backend.backend() != 'tensorflow':
    raise ValueError(
      f'Multiply-adds of {operation.name} are counted from a TensorFlow graph, Keras runs on '
      f'{keras.backend.backend()}; set KERAS_BACKEND=tensorflow.'
    )
  import tensorflow as tf  # Not at module level: other backends do not need it.

  takes = inspect.signature(operation.call).parameters
  if isinstance(operation, keras.Layer) and 'training' in takes:
    kwargs = {**kwargs, 'training': False}
  # Weights become arguments of the graph: they may have no values, and must not be copied.
  variables = getattr(operation, 'variables', [])
  leaves = keras.tree.flatten((args, kwargs))
  like = [*variables, *(x for x in leaves if isinstance(x, keras.KerasTensor))]

  def call(*tensors):
    weights, inputs = tensors[: len(variables)], iter(tensors[len(variables) :])
    values = [next(inputs) if isinstance(x, keras.KerasTensor) else x for x in leaves]
    own_args, own_kwargs = keras.tree.pack_sequence_as((args, kwargs), values)
    values_of = zip(variables, weights, strict=True)
    with keras.StatelessScope(values_of, initialize_variables=False):
      operation(*own_args, **own_kwargs)

  specs = [tf.TensorSpec(x.shape, x.dtype) for x in like]
  graph = tf.function(call, autograph=False).get_concrete_function(*specs).graph
  return sum(_count_graph(graph).values())


def _count_graph(graph):
  """Returns {op name: multiply-adds}; functions that an op calls count under its name."""
  counts = collections.Counter()
  for op in graph.get_operations():
    if op.type in _OP_RULES:
      counts[op.name] += _OP_RULES[op.type](op)
    elif op.type in ('PartitionedCall', 'StatefulPartitionedCall'):
      counts[op.name] += _function_total(graph, op.get_attr('f').name)
    elif op.type in ('If', 'StatelessIf'):
      branches = [op.get_attr(key).name for key in ('then_branch', 'else_branch')]
      counts[op.name] += max(_function_total(graph, name) for name in branches)
    elif op.type in _LOOPS and _function_total(graph, op.get_attr('body').name):
      raise ValueError(
        f'{op.name} multiplies matrices in a loop; its multiply-adds cannot be counted.'
      )
  return counts


def _function_total(graph, name):
  return sum(_count_graph(graph._get_function(name).graph).values())


def _shape(tensor):
  shape = tensor.shape
  if not shape.is_fully_defined():
    raise ValueError(
      f'{tensor.name} has the open shape {shape}; its multiply-adds cannot be counted.'
    )
  return shape.as_list()


def _conv(op):
  """Counts a convolution: each output sums over the window and the input channels of its group."""
  return math.prod(_shape(op.outputs[0])) * math.prod(_shape(op.inputs[1])[:-1])


def _conv_gradient(op):
  """Counts a transposed convolution: each *input* meets the kernel's window and output channels."""
  kernel = _shape(op.inputs[1])
  return math.prod(_shape(op.inputs[2])) * math.prod(kernel[:-1])


def _depthwise_conv(op):
  return math.prod(_shape(op.outputs[0])) * math.prod(_shape(op.inputs[1])[:2])


def _matmul(op):
  transposed = op.get_attr('transpose_a' if op.type == 'MatMul' else 'adj_x')
  return math.prod(_shape(op.outputs[0])) * _shape(op.inputs[0])[-2 if transposed else -1]


def _einsum(op):
  """Counts an einsum of two operands: one product for each combination of its labels."""
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


_OP_RULES = {
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

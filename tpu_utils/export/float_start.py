"""The first operations of an 8-bit TFLite file of a network with swish, which stay in 32 bits.

Most of what 8 bits lose there is lost on the largest maps: a depthwise convolution has channels of
very different ranges, and swish, other than ReLU, lets no equal ranges be made of them. Up to the
smallest tensor with maps of a quarter of the picture's side (in EfficientNet: the end of the second
block) these networks therefore compute in 32 bits. The pixels come in 8 bits as before.

Source: selective quantization in TensorFlow's `lite/tools/optimize/debugging`; which part is left
out follows from tpu_utils/benchmarking/LEDGER.md.
"""
from __future__ import annotations

import math

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from tpu_utils.export import ranges

_PART = 4  # Of the picture's side.
_CONVOLUTIONS = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.DEPTHWISE_CONV_2D)


def operations(content: bytes) -> set[str]:
  """Returns the names of the operations that stay in 32 bits, as the converter knows them.

  Empty for networks without swish, and for those whose maps never have a quarter of the side.

  Args:
    content: a float32 TFLite file.
  """
  model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
  (graph,) = model.subgraphs
  end = _end(graph)
  if not ranges.swish_inputs(model) or end is None:
    return set()
  codes = [ranges.code(model, operator) for operator in graph.operators]
  start = next(number for number, code in enumerate(codes) if code in _CONVOLUTIONS)
  return {
    graph.tensors[operator.outputs[0]].name.decode()
    for operator in graph.operators[start : end + 1]
  }


def _end(graph):
  """Returns the number of the operation that makes the smallest tensor to cut at; None without."""
  side = math.ceil(graph.tensors[graph.inputs[0]].shape[1] / _PART)
  sizes = {}
  for number in _bottlenecks(graph):
    shape = graph.tensors[graph.operators[number].outputs[0]].shape
    if len(shape) == 4 and shape[1] == side > 1:
      sizes[number] = int(np.prod(shape))
  return min(sizes, key=sizes.__getitem__) if sizes else None


def _bottlenecks(graph):
  """Returns the operations, by number, whose output is all that later ones read of earlier ones."""
  last_reader = {
    int(index): number
    for number, operator in enumerate(graph.operators)
    for index in operator.inputs
  }
  found, alive = [], set()
  for number, operator in enumerate(graph.operators):
    alive = {index for index in alive if last_reader[index] > number}
    alive |= {int(index) for index in operator.outputs if last_reader.get(int(index), -1) > number}
    if alive == {int(operator.outputs[0])}:
      found.append(number)
  return found

"""Ranges of activations for 8-bit TFLite files: those that lose least.

TensorFlow's converter takes the smallest and the largest value that an activation has on any image
as the ends of its 256 steps. Networks with swish and squeeze-and-excitation have a few values far
from the others, which make the steps too coarse for the rest. Here the ends are those with the
least mean squared error, so that rare values are cut off; before swish it is the error of what
swish returns, to which large negative values matter little.

Source: arXiv 2106.08295, Section 3.1. tpu_utils/benchmarking/LEDGER.md has measurements.
"""
import dataclasses
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

_BINS = 2048
_STEPS = 255
# Ends to try, as shares of the measured ones, densely near zero where outliers are far away.
_SHARES = np.geomspace(0.02, 1.0, 40)
_OPERATOR = schema.BuiltinOperator
# Operations whose result may have any range; others keep that of their input or have a fixed one.
_FREE = (
  _OPERATOR.ADD, _OPERATOR.CONV_2D, _OPERATOR.DEPTHWISE_CONV_2D, _OPERATOR.MUL
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Measured:
  """What a float32 file computes on some images.

  Attributes:
    histograms: {activation: (counts int64 [bins], values [bins])}, of those whose range is free.
    before_swish: the activations that only swish reads.
    outputs: float32 [images, classes].
  """

  histograms: Mapping[int, tuple[np.ndarray, np.ndarray]]
  before_swish: frozenset[int]
  outputs: np.ndarray


def measure(calibrated: bytes, batches: Iterable[np.ndarray]) -> Measured:
  """Runs a file on some of the images that it was calibrated with.

  Args:
    calibrated: a float32 TFLite file with the smallest and largest value of each activation.
    batches: its inputs.
  """
  model = flatbuffer_utils.read_model_from_bytearray(bytearray(calibrated))
  (graph,) = model.subgraphs
  ends = {}
  for index in _free_activations(model):
    ranges = graph.tensors[index].quantization
    if ranges is not None and ranges.min is not None and len(ranges.min) == 1:
      ends[index] = min(float(ranges.min[0]), 0.0), max(float(ranges.max[0]), 0.0)
  histograms, outputs = _run(calibrated, batches, ends)
  return Measured(histograms, frozenset(swish_inputs(model)), outputs)


def narrow(calibrated: bytes, measured: Measured) -> bytes:
  """Returns a file in which the ranges of activations are those with the least mean squared error.

  Args:
    calibrated: the file that was measured.
    measured: what `measure` returned for it.
  """
  model = flatbuffer_utils.read_model_from_bytearray(bytearray(calibrated))
  (graph,) = model.subgraphs
  for index, (counts, values) in measured.histograms.items():
    then = swish if index in measured.before_swish else None
    low, high = least_error(counts, values, then)
    graph.tensors[index].quantization.min = np.array([low], np.float32)
    graph.tensors[index].quantization.max = np.array([high], np.float32)
  return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def least_error(
  counts: np.ndarray,
  centers: np.ndarray,
  then: Callable[[np.ndarray], np.ndarray] | None = None,
) -> tuple[float, float]:
  """Returns the ends of 255 steps with the least mean squared error for values in a histogram.

  Args:
    counts: [bins], how many values each bin has.
    centers: [bins], the values in increasing order; zero lies within their range.
    then: function applied to the values, elementwise, before they are compared.

  Returns:
    (lowest, highest): at most and at least 0; (0, 0) for an empty histogram.
  """
  then = then or (lambda values: values)
  counts, centers = counts[counts > 0], centers[counts > 0]
  if not len(centers):
    return 0.0, 0.0
  exact = then(centers)
  lowest, highest = min(centers[0], 0.0), max(centers[-1], 0.0)
  best = None
  for low in np.unique(lowest * _SHARES):
    for high in np.unique(highest * _SHARES):
      if high <= low:
        continue
      step = (high - low) / _STEPS
      zero = np.rint(-low / step)  # Zero is one of the steps.
      rounded = (np.clip(np.rint(centers / step + zero), 0, _STEPS) - zero) * step
      error = np.dot(counts, (then(rounded) - exact) ** 2)
      if best is None or error < best[0]:
        best = error, low, high
  return (0.0, 0.0) if best is None else (float(best[1]), float(best[2]))


def swish(values: np.ndarray) -> np.ndarray:
  """Returns x * sigmoid(x), elementwise."""
  return values / (1.0 + np.exp(-np.clip(values, -80.0, 80.0)))


def code(model: schema.ModelT, operator: schema.OperatorT) -> int:
  """Returns an operation's `schema.BuiltinOperator`; older files have it in another field."""
  code = model.operatorCodes[operator.opcodeIndex]
  return max(code.builtinCode, code.deprecatedBuiltinCode)


def _free_activations(model) -> list[int]:
  """Returns the activations of more than one position whose range is free, except outputs."""
  (graph,) = model.subgraphs
  made = [op.outputs[0] for op in graph.operators if code(model, op) in _FREE]

  def has_positions(index):  # The values of a whole image are few: none of them is rare.
    shape = graph.tensors[index].shape
    return len(shape) == 4 and shape[1] * shape[2] > 1

  return [index for index in made if index not in graph.outputs and has_positions(index)]


def swish_inputs(model: schema.ModelT) -> set[int]:
  """Returns the activations of a file, by number, that nothing but x * sigmoid(x) reads."""
  (graph,) = model.subgraphs
  readers: dict[int, list] = {}
  for operator in graph.operators:
    for index in operator.inputs:
      readers.setdefault(int(index), []).append(operator)
  found = set()
  for index, operators in readers.items():
    sigmoid = [op.outputs[0] for op in operators if code(model, op) == _OPERATOR.LOGISTIC]
    products = [op for op in operators if code(model, op) == _OPERATOR.MUL]
    if not len(operators) == 2 * len(sigmoid) == 2 * len(products) == 2:
      continue
    if sigmoid[0] in products[0].inputs and len(readers[sigmoid[0]]) == 1:
      found.add(index)
  return found


def _run(content, batches, ends):
  """Returns ({activation: (counts [bins], values [bins])} between its ends, outputs)."""
  import tensorflow as tf

  resolvers = tf.lite.experimental.OpResolverType
  interpreter = tf.lite.Interpreter(
    model_content=content,
    experimental_preserve_all_tensors=True,
    experimental_op_resolver_type=resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
  )
  interpreter.allocate_tensors()
  (given,), (returned,) = interpreter.get_input_details(), interpreter.get_output_details()
  counts = {index: np.zeros(_BINS, np.int64) for index in ends}
  outputs = []
  for batch in batches:
    interpreter.set_tensor(given['index'], batch)
    interpreter.invoke()
    outputs.append(interpreter.get_tensor(returned['index']))
    for index, (low, high) in ends.items():
      if high > low:
        values = interpreter.get_tensor(index).ravel()
        bins = ((values - low) * (_BINS / (high - low))).astype(np.int32)
        counts[index] += np.bincount(np.clip(bins, 0, _BINS - 1), minlength=_BINS)
  middles = np.arange(_BINS) + 0.5
  histograms = {
    index: (counts[index], low + middles * ((high - low) / _BINS))
    for index, (low, high) in ends.items()
  }
  return histograms, np.concatenate(outputs)

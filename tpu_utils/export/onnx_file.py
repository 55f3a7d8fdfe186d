"""ONNX files, and running them with ONNX Runtime.

A file maps `images`, float32 [batch, height, width, 3] in [0, 255], for any batch size, to `logits`
and `probabilities`, float32 [batch, classes]. Its metadata `export_info` is the text of
export.json. Without this package:

    session = onnxruntime.InferenceSession('model.onnx')
    (probabilities,) = session.run(['probabilities'], {'images': images})
"""
import contextlib
import logging
import os

import keras

from tpu_utils import files
from tpu_utils.errors import first_line
from tpu_utils.export import frozen
from tpu_utils.export.exported import Exported
from tpu_utils.export.program import INFO_KEY, Program, info_text, parse_info
from tpu_utils.export.quiet import quiet
from tpu_utils.model_formats import FORMATS
from tpu_utils.reading import reading

_OPSET = 17  # From 2022: read by all programs in use.


def write(exported: Exported, folder: str) -> None:
  """Writes `model.onnx` to a local folder.

  Raises:
    ValueError: the model cannot be converted.
  """
  content = convert(exported.folded, info_text(exported.info))
  files.write_bytes(os.path.join(folder, FORMATS['onnx'].file), content)


def convert(model: keras.Model, info: str = '') -> bytes:
  """Returns the content of an ONNX file.

  Args:
    model: classifier with folded batch norm.
    info: text to store as `export_info`.

  Raises:
    ValueError: tf2onnx cannot convert the model.
  """
  from tf2onnx import optimizer, tfonnx

  graph = frozen.frozen_graph(model)
  names = {'input_names': [f'{frozen.INPUT}:0'], 'output_names': [f'{n}:0' for n in frozen.OUTPUTS]}
  try:
    with quiet(), _silent('tf2onnx'), graph.as_default():
      converted = tfonnx.process_tf_graph(graph, opset=_OPSET, **names)
      proto = optimizer.optimize_graph(converted).make_model(model.name)
  except Exception as error:  # Of any kind: it was made for graphs of other programs.
    raise ValueError(
      f'tf2onnx cannot convert {model.name} to ONNX ({first_line(error)}); use another format or '
      'runtime.'
    ) from error
  _rename(proto.graph)
  if info:
    entry = proto.metadata_props.add()
    entry.key, entry.value = INFO_KEY, info
  return proto.SerializeToString()


def compiled(model: keras.Model) -> Program:
  """Converts a model with folded batch norm in memory.

  Raises:
    ValueError: the model cannot be converted.
  """
  return _program(convert(model), model.name)


def load(path: str) -> Program:
  """Reads an ONNX file, local or remote.

  Raises:
    ValueError: the file cannot be read or does not map images to classes.
    OSError: there is no such file.
  """
  content = files.read_bytes(path)
  with reading(path, 'an ONNX file', foreign=True):
    return _program(content, path)


def _program(content, path):
  import onnxruntime

  options = onnxruntime.SessionOptions()
  options.log_severity_level = 3
  session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
  (source,) = session.get_inputs()
  outputs = {output.name: output for output in session.get_outputs()}
  output = outputs.get('probabilities') or next(iter(outputs.values()))
  sizes = [*source.shape[1:], *output.shape[1:]]
  if len(source.shape) != 4 or len(output.shape) != 2 or not all(type(s) is int for s in sizes):
    raise ValueError(
      f'{path} maps {source.shape} to {output.shape}; expected images of a fixed size to classes.'
    )

  def run(images):
    return session.run([output.name], {source.name: images})[0]

  info = parse_info(session.get_modelmeta().custom_metadata_map.get(INFO_KEY))
  return Program(run, tuple(source.shape[1:]), output.shape[1], info)


def _rename(graph):
  """Drops TensorFlow's `:0` from the names of the input and the outputs."""
  names = {f'{name}:0': name for name in (frozen.INPUT, *frozen.OUTPUTS)}
  for value in (*graph.input, *graph.output, *graph.value_info):
    value.name = names.get(value.name, value.name)
  for node in graph.node:
    node.input[:] = [names.get(name, name) for name in node.input]
    node.output[:] = [names.get(name, name) for name in node.output]


@contextlib.contextmanager
def _silent(name):
  """Silences a logger and those below it; what it reports, errors say."""
  logger = logging.getLogger(name)
  level = logger.level
  logger.setLevel(logging.CRITICAL + 1)
  try:
    yield
  finally:
    logger.setLevel(level)

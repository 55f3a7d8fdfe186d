"""OpenVINO models: `model.xml` with `model.bin`, and running them.

They map `images`, float32 [batch, height, width, 3] in [0, 255], for any batch size, to `logits`
and `probabilities`, float32 [batch, classes], and compute in float32. `rt_info/export_info` is the
text of export.json. Without this package:

    model = openvino.Core().compile_model('model.xml', 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    probabilities = model(images)['probabilities']

OpenVINO reads TFLite files, too; those in int8 it computes in int8.
"""
import dataclasses
import functools
import os
import tempfile
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import files, local_copies
from tpu_utils.errors import first_line
from tpu_utils.export import frozen, tflite
from tpu_utils.export.exported import Exported
from tpu_utils.export.program import INFO_KEY, Program, info_text, parse_info
from tpu_utils.model_formats import FORMATS
from tpu_utils.reading import reading

# On processors with bfloat16, OpenVINO would else compute in that.
_CONFIG = {'INFERENCE_PRECISION_HINT': 'f32'}


def write(exported: Exported, folder: str) -> None:
  """Writes `model.xml` and `model.bin` to a local folder.

  Raises:
    ValueError: OpenVINO cannot convert or run the model.
  """
  import openvino

  model = _convert(exported.folded, exported.info)
  _program(model, exported.model.name)  # Some models are converted and cannot be run.
  openvino.save_model(model, os.path.join(folder, FORMATS['openvino'].file), compress_to_fp16=False)


def compiled(model: keras.Model) -> Program:
  """Converts a model with folded batch norm in memory.

  Raises:
    ValueError: OpenVINO cannot convert or run the model.
  """
  return _program(_convert(model, {}), model.name)


def load(path: str) -> Program:
  """Reads an OpenVINO model (`.xml` with `.bin`), an ONNX or a TFLite file, local or remote.

  Raises:
    ValueError: the file cannot be read or does not map images to classes.
    OSError: there is no such file.
  """
  stem, ending = os.path.splitext(os.path.basename(path))
  if ending == '.tflite':
    return _of_tflite(path)
  beside = [f'{stem}.bin'] if ending == '.xml' else []
  with local_copies.local_copy(path, beside) as copy, reading(copy, 'a model', foreign=True):
    return _program(_core().read_model(copy), path)


def _of_tflite(path):
  """Reads a TFLite file; OpenVINO does not know its scales of integers.

  It runs image by image: OpenVINO 2026.4 keeps the batch of 1 that the file was converted with in
  some of its reshapes, such as those of squeeze-and-excitation in int8.
  """
  content = files.read_bytes(path)
  classifier, info = tflite.read(content, path)
  with tempfile.TemporaryDirectory() as folder, reading(path, 'a TFLite file', foreign=True):
    copy = os.path.join(folder, 'model.tflite')
    files.write_bytes(copy, content)
    model = _core().read_model(copy)
    model.reshape([1, *classifier.input_shape[1:]])
    program = _program(model, path)

  def run(images):
    outputs = [program.run(image[None]) for image in classifier.quantized(images)]
    return classifier.dequantized(np.concatenate(outputs))

  return dataclasses.replace(program, run=run, info=info)


@functools.cache
def _core():
  import openvino

  return openvino.Core()


def _convert(model, info: Mapping[str, Any]):
  """Returns the `openvino.Model` of a Keras model.

  It goes through a file: the converter of graphs in memory reports each use to its makers.
  """
  with tempfile.TemporaryDirectory() as folder:
    graph = frozen.frozen_graph(model).as_graph_def()
    path = tf.io.write_graph(graph, folder, 'graph.pb', as_text=False)
    try:
      converted = _core().read_model(path)
    except RuntimeError as error:
      raise ValueError(
        f'OpenVINO cannot convert {model.name} ({first_line(error)}); use another format or '
        'runtime.'
      ) from error
  for output in converted.outputs:
    names = output.get_names()
    own = next(name for name in frozen.OUTPUTS if f'{name}:0' in names or name in names)
    output.get_tensor().set_names({own})
  converted.inputs[0].get_tensor().set_names({frozen.INPUT})
  converted.set_rt_info(info_text(info), INFO_KEY)
  return converted


def _program(model, path):
  (source,) = model.inputs
  shape = source.get_partial_shape()
  names = [output.get_names() for output in model.outputs]
  place = next((n for n, found in enumerate(names) if 'probabilities' in found), 0)
  classes = model.outputs[place].get_partial_shape()
  if len(shape) != 4 or any(d.is_dynamic for d in list(shape)[1:]) or len(classes) != 2:
    raise ValueError(f'{path} maps {shape} to {classes}; expected images to classes.')
  try:
    compiled_model = _core().compile_model(model, 'CPU', _CONFIG)
  except RuntimeError as error:
    reason = next((line for line in str(error).splitlines() if 'nsupported' in line), '')
    raise ValueError(
      f'OpenVINO cannot run {path} ({reason.strip() or first_line(error)}); use another format or '
      'runtime.'
    ) from error
  output = compiled_model.outputs[place]

  def run(images):
    return np.array(compiled_model(images)[output])

  image_shape = tuple(d.get_length() for d in list(shape)[1:])
  return Program(run, image_shape, list(classes)[1].get_length(), _info(model))


def _info(model):
  for place in (INFO_KEY, ['framework', INFO_KEY]):  # The second: metadata of ONNX files.
    if model.has_rt_info(place):
      return parse_info(model.get_rt_info(place).astype(str))
  return {}

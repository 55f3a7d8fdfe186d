"""What writes and reads each format of an exported model; one module a format."""
import os
from collections.abc import Callable, Mapping
from typing import Any

from tpu_utils.export import keras_file, onnx_file, openvino_ir, saved_model, tflite
from tpu_utils.export.exported import Exported
from tpu_utils.export.program import Program
from tpu_utils.model_formats import FORMATS

# {format: function(Exported, folder) that writes its files}.
WRITERS: Mapping[str, Callable[[Exported, str], None]] = {
  'saved_model': saved_model.write,
  'keras': keras_file.write,
  'tflite': tflite.write,
  'openvino': openvino_ir.write,
  'onnx': onnx_file.write,
}
# {format: function(path of its file) -> Program}. SavedModels and Keras files, which hold the
# network as TensorFlow's own, are read elsewhere.
READERS: Mapping[str, Callable[[str], Program]] = {
  'tflite': tflite.load,
  'openvino': openvino_ir.load,
  'onnx': onnx_file.load,
}


def programs(folder: str, info: Mapping[str, Any]) -> dict[str, Program]:
  """Reads the files of an export, except its Keras file: {format: Program}.

  Args:
    folder: local folder with the files.
    info: the content of its export.json.
  """
  found = {}
  for name in info['formats']:
    if name == 'saved_model':
      found[name] = saved_model.load(folder, info)
    elif name in READERS:
      found[name] = READERS[name](os.path.join(folder, FORMATS[name].file))
  return found

"""Exports trained image models: SavedModel, `.keras`, TFLite, OpenVINO and ONNX.

    from tpu_utils import export
    export.export(model, directory, preprocess, preprocessing)   # SavedModel and .keras
    export.fold_batch_norm(model)                                # same function, fewer operations
    export.tflite.convert(model, 'int8', representative=images)  # bytes of a .tflite file

`python -m PACKAGE.export_model` (`image_jobs/export.py`) does all of it.
"""
from tpu_utils import lazy

__all__ = [
  'EXPORT_INFO_FILE',
  'KERAS_FILE',
  'constant_function',
  'export',
  'fold_batch_norm',
  'tflite',
  'with_builtin_layers',
]

__getattr__, __dir__ = lazy.attach(
  __name__,
  {
    'EXPORT_INFO_FILE': 'folder',
    'KERAS_FILE': 'keras_file',
    'constant_function': 'constants',
    'export': 'folder',
    'fold_batch_norm': 'folding',
    'tflite': 'tflite',
    'with_builtin_layers': 'keras_file',
  },
)

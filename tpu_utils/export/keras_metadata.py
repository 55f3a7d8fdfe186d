"""Names of classes in a `.keras` file: `class_names` in its `metadata.json`.

Keras writes that file and does not read it, so `keras.models.load_model` loads the model as before.
To read the names without this package:

    json.loads(zipfile.ZipFile('model.keras').read('metadata.json'))['class_names']
"""
import io
import json
import os
import shutil
import zipfile
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tpu_utils import files
from tpu_utils.reading import check_unpacked

_FILE = 'metadata.json'
_KEY = 'class_names'


def add(path: str | os.PathLike[str], class_names: Sequence[str]) -> None:
  """Adds the names of its classes to a `.keras` file, local or remote.

  Raises:
    OSError: the file cannot be written.
  """
  path = os.fspath(path)
  with tf.io.gfile.GFile(path, 'rb') as file:
    content = io.BytesIO(file.read())
  named = io.BytesIO()
  with zipfile.ZipFile(content) as archive, zipfile.ZipFile(named, 'w') as copy:
    for entry in archive.infolist():
      if entry.filename == _FILE:
        metadata = {**json.loads(archive.read(entry)), _KEY: list(class_names)}
        copy.writestr(entry, json.dumps(metadata))
        continue
      with archive.open(entry) as source, copy.open(entry, 'w') as target:
        shutil.copyfileobj(source, target)
  files.write_bytes(path, named.getvalue())


def class_names(path: str | os.PathLike[str]) -> Any:
  """Reads the names of its classes from a `.keras` file; None if it has none.

  The value is as in the file: whether it is a list of texts is for the caller to check.

  Raises:
    ValueError: the metadata are damaged.
  """
  with zipfile.ZipFile(path) as archive:
    if _FILE not in archive.namelist():
      return None
    entry = archive.getinfo(_FILE)
    check_unpacked(_FILE, entry.file_size, entry.compress_size)
    metadata = json.loads(archive.read(entry))
  return metadata.get(_KEY) if isinstance(metadata, dict) else None

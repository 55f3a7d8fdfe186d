"""Local copies of the files of weights at a remote path."""
import contextlib
import json
import os
from collections.abc import Iterator

from tpu_utils import file_systems, files, local_copies


@contextlib.contextmanager
def readable(path: str) -> Iterator[str]:
  """Yields a path at which the readers of formats find the weights.

  That is `path` itself if it is local, or the checkpoint of a job or of TF1, which TensorFlow reads
  remotely; else a copy of the file, or of the file in a folder that the readers would choose.
  Errors in the body that name the copy name the remote file instead.

  Args:
    path: as for `loading.load`.

  Raises:
    ValueError: no file system has this scheme, or the folder was written incompletely.
    OSError: the remote file system does not answer, or there is no room for the copy.
  """
  from tpu_utils.weights import tf1  # Imports TensorFlow, for which --help does not wait.

  file_systems.check_scheme(path)
  files.check_finished(path if files.is_folder(path) else os.path.dirname(path))
  with file_systems.as_os_errors(path):
    file = None if not file_systems.is_remote(path) or tf1.matches(path) else _file(path)
  if file is None:
    yield path
    return
  with local_copies.local_copy(file, _beside(file)) as copy:
    yield copy


def _file(path):
  """Returns the file of weights at a path or in a folder; None if there is none."""
  from tpu_utils.weights import torch_files

  if not files.is_folder(path):
    return path if files.exists(path) else None
  names = {os.path.basename(place) for place in files.paths_in(path)}
  chosen = next((name for name in torch_files.file_names() if name in names), None)
  return os.path.join(path, chosen) if chosen else None


def _beside(file):
  """Returns the names of the files that are read together with a file of Hugging Face's folders."""
  from tpu_utils.weights import torch_files

  folder, name = os.path.split(file)
  if name not in torch_files.file_names():
    return []
  names = {os.path.basename(place) for place in files.paths_in(folder)}
  descriptions = {other for other in names if other.endswith('.json')}
  parts = _parts(file) if name.endswith('.json') else set()
  return sorted(descriptions | (names & parts))


def _parts(index):
  """Returns the names that an index of weights lists; none if it is damaged, as its reader says."""
  try:
    listed = json.loads(files.read_bytes(index))['weight_map'].values()
  except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
    return set()
  return {name for name in listed if isinstance(name, str)}

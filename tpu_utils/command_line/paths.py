"""Local files, looked at before TensorFlow is loaded; remote ones (`gs://...`) need it."""
import os


def is_remote(path: str) -> bool:
  """Whether a path names a remote file system."""
  return '://' in path


def check_folder(flag: str, path: str) -> None:
  """Checks that a local folder exists; whether a remote one does shows when it is read.

  Raises:
    ValueError: there is no such folder.
  """
  if path and not is_remote(path) and not os.path.isdir(path):
    found = 'is no folder' if os.path.exists(path) else 'does not exist'
    raise ValueError(f'--{flag}={path} {found}; give an existing folder.')


def is_folder(path: str) -> bool:
  """Whether a path is a folder."""
  if not is_remote(path):
    return os.path.isdir(path)
  import tensorflow as tf

  return tf.io.gfile.isdir(path)


def read_text(path: str) -> str | None:
  """Returns the content of a file, None if it does not exist."""
  if not is_remote(path):
    if not os.path.exists(path):
      return None
    with open(path, encoding='utf-8', errors='replace') as file:
      return file.read()
  import tensorflow as tf

  if not tf.io.gfile.exists(path):
    return None
  with tf.io.gfile.GFile(path) as file:
    return file.read()

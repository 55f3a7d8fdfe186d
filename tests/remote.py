"""Folders on TensorFlow's in-memory file system (ram://), which stand for remote ones (gs://)."""
import itertools
import os

import tensorflow as tf

_numbers = itertools.count()


def new_folder():
  """Returns the path of a new, empty remote folder."""
  folder = f'ram://test-{next(_numbers)}'
  tf.io.gfile.makedirs(folder)
  return folder


def upload(source, target):
  """Copies a local file or folder to a remote path; returns that path."""
  source = os.fspath(source)
  if not os.path.isdir(source):
    tf.io.gfile.copy(source, target, overwrite=True)
    return target
  for place, _, names in os.walk(source):
    there = os.path.normpath(os.path.join('/', os.path.relpath(place, source))).lstrip('/')
    there = os.path.join(target, there).rstrip('/')
    tf.io.gfile.makedirs(there)
    for name in names:
      tf.io.gfile.copy(os.path.join(place, name), os.path.join(there, name), overwrite=True)
  return target


def write(path, content):
  """Writes bytes or text to a remote file; returns its path."""
  if tf.io.gfile.exists(path):
    tf.io.gfile.remove(path)  # On ram://, unlike gs://, opening does not empty a file.
  tf.io.gfile.makedirs(os.path.dirname(path))
  with tf.io.gfile.GFile(path, 'wb') as file:
    file.write(content)
  return path


def read(path):
  """Returns the bytes of a remote file."""
  with tf.io.gfile.GFile(path, 'rb') as file:
    return file.read()


def names_in(folder):
  """Returns the paths of all files below a folder, relative to it, sorted."""
  return sorted(
    os.path.join(place, name).removeprefix(f'{folder}/')
    for place, _, names in tf.io.gfile.walk(folder)
    for name in names
  )


def let_tfds_read_ram(monkeypatch):
  """Adds ram:// to the file systems of TensorFlow Datasets, which knows gs:// but not ram://."""
  from etils.epath import backend, gpath, register

  monkeypatch.setattr(gpath, '_URI_PREFIXES', (*gpath._URI_PREFIXES, 'ram://'))
  monkeypatch.setattr(gpath, '_URI_SCHEMES', gpath._URI_SCHEMES | {'ram'})
  monkeypatch.setitem(gpath._URI_MAP_ROOT, 'ram://', '/ram/')
  monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, 'ram', backend.tf_backend)
  monkeypatch.setitem(register._URI_PREFIXES_TO_CLS, 'ram://', gpath.PosixGPath)

"""Schemes of paths: known, misspelt, and those of tensorflow-io; errors of remote access."""
import sys
import types

import pytest
import tensorflow as tf

from tpu_utils import file_systems


@pytest.mark.parametrize('path', [
  'gs://bucket/x', 'ram://x', 'file:///x', 'grpc://10.0.0.2:8470', 'runs/x', '/a b/c', 'C:/x', '',
])  # fmt: skip
def test_paths_with_a_file_system(path):
  file_systems.check_scheme(path)


def test_schemes_that_need_no_import_are_those_of_tensorflow():
  assert {'file', 'gs', 'ram'} <= set(tf.io.gfile.get_registered_schemes())


@pytest.mark.parametrize('path, message', [
  ('gcs://b/x', r"Unknown file system in --model_dir=gcs://b/x: 'gcs': did you mean gs\?"),
  ('gs:/b/x', '--model_dir=gs:/b/x: expected gs://, found gs:/; add a slash'),
  ('s3://b/x', '--model_dir=s3://b/x: s3:// needs the package tensorflow-io'),
])  # fmt: skip
def test_paths_without_a_file_system(path, message):
  with pytest.raises(ValueError, match=message) as error:
    file_systems.check_scheme(path, 'model_dir')
  assert '\n' not in str(error.value)


def test_misspelt_schemes_are_found_without_tensorflow():
  with pytest.raises(ValueError, match="^Unknown file system in gss://x: 'gss'"):
    file_systems.check_known('gss://x')
  assert file_systems.check_known('s3://x') == 's3'


def test_tensorflow_io_is_loaded_where_a_path_needs_it(monkeypatch):
  schemes = ['', 'gs']

  class Finder:
    """Imports an empty tensorflow_io that registers a file system."""

    def find_spec(self, name, path, target=None):
      del path, target
      if name == 'tensorflow_io':
        schemes.append('s3')
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))

  monkeypatch.setattr(tf.io.gfile, 'get_registered_schemes', lambda: schemes)
  monkeypatch.setattr(sys, 'meta_path', [Finder(), *sys.meta_path])
  with pytest.raises(ValueError, match='hdfs:// needs the package tensorflow-io'):
    file_systems.check_scheme('hdfs://x')
  file_systems.check_scheme('s3://bucket/x')


def test_remote_errors_are_os_errors_of_one_line():
  with pytest.raises(FileNotFoundError) as error, file_systems.as_os_errors('gs://b/x'):
    raise tf.errors.NotFoundError(None, None, 'nothing\nthere')
  assert error.value.filename == 'gs://b/x'
  with pytest.raises(OSError, match='^gs://b/x cannot be read: no rights$'), (
    file_systems.as_os_errors('gs://b/x')
  ):
    raise tf.errors.PermissionDeniedError(None, None, 'no rights\n{}')


def test_errors_of_access_name_the_users_path():
  def error_of(error, *paths):
    return file_systems.access_error(error, paths)

  denied = tf.errors.PermissionDeniedError(None, None, 'code 403\nwhen reading gs://b/y')
  assert str(error_of(denied, 'gs://other', 'gs://b/x/z')) == (
    'gs://b/x/z cannot be accessed: when reading gs://b/y'
  )
  assert error_of(denied, 'gs://other') is None
  assert error_of(tf.errors.InvalidArgumentError(None, None, 'gs://b/y'), 'gs://b/x') is None


def test_tensorflow_datasets_has_fewer_file_systems():
  file_systems.check_tfds_folder('gs://bucket', 'data_dir')
  file_systems.check_tfds_folder('/data', 'data_dir')
  with pytest.raises(ValueError, match='--data_dir=ram://x: TensorFlow Datasets has no such file'):
    file_systems.check_tfds_folder('ram://x', 'data_dir')

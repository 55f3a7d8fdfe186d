"""Local files are looked at without TensorFlow, remote ones with it."""
import pytest
import tensorflow as tf

from tpu_utils.command_line import paths


def test_folders_that_are_none(tmp_path):
  (tmp_path / 'file').write_text('x')
  paths.check_folder('data_dir', str(tmp_path))
  paths.check_folder('data_dir', '')
  paths.check_folder('data_dir', 'gs://bucket/unknown')  # Whoever reads it will find out.
  with pytest.raises(ValueError, match='--data_dir=.*/none does not exist; give an existing folder'):
    paths.check_folder('data_dir', str(tmp_path / 'none'))
  with pytest.raises(ValueError, match='--data_dir=.*/file is no folder'):
    paths.check_folder('data_dir', str(tmp_path / 'file'))


def test_reading(tmp_path):
  (tmp_path / 'file').write_text('local')
  with tf.io.gfile.GFile('ram://paths_test/file', 'w') as file:
    file.write('remote')
  for folder, content in ((str(tmp_path), 'local'), ('ram://paths_test', 'remote')):
    assert paths.read_text(f'{folder}/file') == content
    assert paths.read_text(f'{folder}/none') is None
    assert paths.is_folder(folder) and not paths.is_folder(f'{folder}/file')

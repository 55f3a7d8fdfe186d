"""Local copies of remote files: made once, renewed after a change, removed at the end, bounded."""
import collections
import json
import os
import subprocess
import sys

import pytest

from tests import remote
from tpu_utils import local_copies
from tpu_utils.local_copies import local_copy as copied


def content_of(path):
  with open(path, 'rb') as file:
    return file.read()


def test_local_files_are_not_copied(tmp_path):
  with copied(tmp_path / 'a') as copy:
    assert copy == str(tmp_path / 'a')


def test_a_remote_file_is_copied_once_until_it_changes():
  path = remote.write(f'{remote.new_folder()}/m.pth', b'1')
  with copied(path) as copy:
    assert os.path.basename(copy) == 'm.pth' and content_of(copy) == b'1'
    before = os.stat(copy).st_ino
  with copied(path) as copy:
    assert os.stat(copy).st_ino == before
  remote.write(path, b'22')
  with copied(path) as copy:
    assert content_of(copy) == b'22'


def test_files_beside_it_are_copied_too():
  folder = remote.new_folder()
  path = remote.write(f'{folder}/m.bin', b'1')
  remote.write(f'{folder}/config.json', b'{}')
  with copied(path, ['config.json']) as copy:
    assert sorted(os.listdir(os.path.dirname(copy))) == ['config.json', 'm.bin']


def test_errors_name_the_remote_file():
  path = remote.write(f'{remote.new_folder()}/m.pth', b'1')
  with pytest.raises(FileNotFoundError) as missing, copied(path) as copy:
    content_of(f'{copy}.index')
  assert missing.value.filename == f'{path}.index'
  with pytest.raises(ValueError, match=f'^{path} is damaged$'), copied(path) as copy:
    raise ValueError(f'{copy} is damaged')
  with pytest.raises(ValueError, match=path), copied(path) as copy:
    raise json.JSONDecodeError(f'{copy}: expected a value', 'x', 0)


def test_a_missing_file():
  with pytest.raises(FileNotFoundError) as error, copied('ram://nowhere/m.pth'):
    pass
  assert error.value.filename == 'ram://nowhere/m.pth'


def test_large_copies_are_announced_and_bounded(monkeypatch, capsys):
  path = remote.write(f'{remote.new_folder()}/m.pth', bytes(3 * 2**20))
  monkeypatch.setattr(local_copies, '_ANNOUNCED_BYTES', 2**20)
  usage = collections.namedtuple('usage', 'free')
  monkeypatch.setattr(local_copies.shutil, 'disk_usage', lambda path: usage(2**20))
  message = f'{path} has 3,145,728 bytes, .* room for 1,048,576; set TMPDIR'
  with pytest.raises(OSError, match=message), copied(path):
    pass
  monkeypatch.setattr(local_copies.shutil, 'disk_usage', lambda path: usage(2**30))
  with copied(path):
    pass
  assert f'Copying {path} (3 MiB) to' in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize('end', ['', 'raise ValueError', 'sys.exit(1)'])
def test_copies_are_removed_when_the_process_ends(tmp_path, end):
  code = f"""
import os, sys
from tests import remote
from tpu_utils import local_copies
path = remote.write(remote.new_folder() + '/a', b'x')
with local_copies.local_copy(path) as copy:
  assert copy.startswith({str(tmp_path)!r}) and os.path.exists(copy)
  print(len(os.listdir({str(tmp_path)!r})))
  {end}
"""
  env = {**os.environ, 'TMPDIR': str(tmp_path), 'PYTHONPATH': os.getcwd()}
  process = subprocess.run(
    [sys.executable, '-c', code], env=env, check=False, capture_output=True, text=True
  )
  assert process.stdout == '1\n', process.stderr
  assert not list(tmp_path.iterdir())

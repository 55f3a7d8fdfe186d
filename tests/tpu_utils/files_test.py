"""Tests of whole writes, JSON lines and versions, on local paths and through `tf.io.gfile`."""
import json
import os
import pathlib
import resource
import socket
import subprocess
import sys

import pytest
import tensorflow as tf

import tpu_utils
from tests import remote
from tpu_utils import files


@pytest.fixture(params=['local', 'remote'])
def folder(request, tmp_path):
  """A local folder, or one on TensorFlow's in-memory file system, which stands for gs://."""
  return str(tmp_path) if request.param == 'local' else remote.new_folder()


def tree(folder):
  """Returns {path below `folder`: contents} of all files."""
  found = {}
  for place, _, names in tf.io.gfile.walk(folder):
    for name in names:
      path = os.path.join(place, name)
      with tf.io.gfile.GFile(path, 'rb') as file:
        found[path.removeprefix(f'{folder}/')] = file.read()
  return found


def test_files_are_replaced(folder):
  for content in ('old', 'new\u00e9\n'):
    files.write_text(f'{folder}/a.txt', content)
  files.write_bytes(f'{folder}/b', b'\x00\n')
  files.write_json(f'{folder}/c.json', {'x': [1.5, None]})
  assert tree(folder) == {
    'a.txt': 'new\u00e9\n'.encode(), 'b': b'\x00\n',
    'c.json': b'{\n  "x": [\n    1.5,\n    null\n  ]\n}\n',
  }  # fmt: skip
  assert files.read_json(f'{folder}/c.json') == {'x': [1.5, None]}


@pytest.mark.parametrize('options', [{}, {'shared': True}])
def test_a_failure_leaves_the_old_file(folder, options):
  files.write_text(f'{folder}/a', 'old')
  with pytest.raises(KeyError), files.replacing(f'{folder}/a', **options) as scratch:
    files.write_text(scratch, 'half')
    assert scratch.endswith('.writing') and tree(folder)['a'] == b'old'
    raise KeyError
  assert tree(folder) == {'a': b'old'}


def test_a_local_scratch_file_for_a_remote_file(tmp_path, folder):
  scratches = tmp_path / 'scratches'
  scratches.mkdir()
  with files.replacing(f'{folder}/a', folder=str(scratches)) as scratch:
    assert os.path.dirname(scratch) == str(scratches)
    pathlib.Path(scratch).write_text('new')
  assert tree(folder)['a'] == b'new'
  assert not list(scratches.iterdir())


def test_processes_that_share_a_file_have_their_own_scratch_files():
  with pytest.raises(KeyError), files.replacing('a', shared=True) as scratch:
    assert scratch == f'a.{socket.gethostname()}-{os.getpid()}.writing'
    raise KeyError


def test_scratch_of_killed_processes_that_shared_a_path_is_removed(tmp_path):
  dead = subprocess.Popen(['true'])
  dead.wait()
  host, mine = socket.gethostname(), f'{socket.gethostname()}-{os.getppid()}'
  kept = [f'a.{mine}.writing', f'a.other-{dead.pid}.writing', f'b.{host}-{dead.pid}.writing', 'a.x']
  for name in (*kept, f'a.{host}-{dead.pid}.writing'):
    (tmp_path / name).write_text('half')
  files.write_bytes(f'{tmp_path}/a', b'whole', shared=True)
  assert sorted(os.listdir(tmp_path)) == sorted([*kept, 'a'])
  for name in ('writing', 'previous'):
    (tmp_path / f'f.{host}-{dead.pid}.{name}' / 'part').mkdir(parents=True)
  files.replace_folder(f'{tmp_path}/f', lambda place: None, shared=True)
  previous = f'f.{host}-{dead.pid}.previous'  # It was all there was.
  assert sorted(os.listdir(tmp_path)) == sorted([*kept, 'a', 'f', previous])
  files.replace_folder(f'{tmp_path}/f', lambda place: None, shared=True)
  assert sorted(os.listdir(tmp_path)) == sorted([*kept, 'a', 'f'])


def test_writing_into_a_missing_folder(tmp_path):
  path = f'{tmp_path}/none/a'
  with pytest.raises(OSError) as error:
    files.write_text(path, 'x')
  assert str(error.value) == f'{path} cannot be written: No such file or directory'
  files.write_bytes(path, b'x', parents=True)
  assert tree(str(tmp_path)) == {'none/a': b'x'}


def test_a_full_disk(tmp_path):
  files.write_text(tmp_path / 'a', 'old')
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))  # No file may grow past this.
  try:
    with pytest.raises(OSError, match='a cannot be written: File too large'):
      files.write_bytes(tmp_path / 'a', bytes(1000))
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert tree(str(tmp_path)) == {'a': b'old'}


def test_errors_of_a_remote_file_system_are_os_errors():
  with pytest.raises(OSError, match='^none://x/a cannot be written: '):
    files.write_text('none://x/a', 'x')


def test_json_lines(folder):
  path = f'{folder}/results.jsonl'
  assert files.read_json_lines(path) == []
  rows = [{'step': 1, 'loss': 0.1}, {'step': 2, 'loss': float('inf')}]
  for row in rows:
    files.append_json_line(path, row)
  assert files.read_json_lines(path) == rows
  files.write_text(path, tree(folder)['results.jsonl'].decode() + '{"step": 3, "lo')
  assert files.read_json_lines(path) == rows
  files.append_json_line(path, {'step': 3})
  assert tree(folder)['results.jsonl'].decode().splitlines() == [
    json.dumps(row) for row in [*rows, {'step': 3}]
  ]


@pytest.mark.parametrize(
  'damage',
  ['\0\0\0\0}', '{"step": 1]}', '7}', '\ufffd', '{"a":' * 5000],
  ids=lambda text: ascii(text[:9]),
)
def test_damaged_json_lines_are_reported_and_left_out(folder, damage, capsys):
  path = f'{folder}/results.jsonl'
  files.write_text(path, f'{{"step": 1}}\n{damage}\n{{"step": 2}}\n')
  assert files.read_json_lines(path) == [{'step': 1}, {'step': 2}]
  assert f'{path}: line 2 is damaged' in capsys.readouterr().err
  files.append_json_line(path, {'step': 3})
  assert len(tree(folder)['results.jsonl'].splitlines()) == 3


@pytest.mark.parametrize(
  'damage',
  ['', '[1]', '[' * 5000, '{"a": ' * 5000, '\ud83d'],
  ids=lambda text: ascii(text[:9]),
)
def test_json_that_is_damaged_names_its_file(folder, damage):
  files.write_bytes(f'{folder}/run.json', damage.encode('utf-8', 'surrogatepass'))
  with pytest.raises(ValueError, match=r"run\.json: expected a JSON object, found '") as error:
    files.read_json(f'{folder}/run.json')
  assert len(str(error.value).removeprefix(folder)) < 150


def test_a_byte_order_mark_is_passed_over(folder):
  files.write_bytes(f'{folder}/a', '\ufeff{"x": "\u00e9"}\n'.encode())
  assert files.read_json(f'{folder}/a') == {'x': '\u00e9'}
  assert files.read_json_lines(f'{folder}/a') == [{'x': '\u00e9'}]
  assert files.read_text(f'{folder}/a') == '{"x": "\u00e9"}\n'


def test_files_are_on_the_disk_before_they_are_renamed(tmp_path, monkeypatch):
  events = []
  fsync, replace = os.fsync, os.replace

  def synced(handle):
    events.append(os.path.basename(os.readlink(f'/proc/self/fd/{handle}')))
    fsync(handle)

  def renamed(source, target):
    events.append('rename')
    replace(source, target)

  monkeypatch.setattr(os, 'fsync', synced)
  monkeypatch.setattr(os, 'replace', renamed)
  files.write_text(str(tmp_path / 'a'), 'x')
  assert events == ['a.writing', 'rename', tmp_path.name]


# ---- Folders


def fill(text):
  def write(scratch):
    files.write_text(f'{scratch}/mark', text)
    tf.io.gfile.makedirs(f'{scratch}/sub')
    files.write_text(f'{scratch}/sub/{text}', text)

  return write


@pytest.mark.parametrize('shared', [False, True])
def test_folders_are_replaced(folder, shared):
  for text in ('old', 'new'):
    files.replace_folder(f'{folder}/deep/out/', fill(text), marker='mark', shared=shared)
  assert tree(folder) == {'deep/out/mark': b'new', 'deep/out/sub/new': b'new'}


def test_a_link_to_a_folder_stays_a_link(tmp_path):
  (tmp_path / 'disk').mkdir()
  (tmp_path / 'out').symlink_to(tmp_path / 'disk')
  for text in ('old', 'new'):
    files.replace_folder(tmp_path / 'out', fill(text))
  assert (tmp_path / 'out').is_symlink() and sorted(os.listdir(tmp_path)) == ['disk', 'out']
  assert tree(str(tmp_path / 'disk')) == {'mark': b'new', 'sub/new': b'new'}


@pytest.mark.parametrize('before', [True, False])
def test_a_failure_leaves_the_old_folder(folder, before):
  if before:
    files.replace_folder(f'{folder}/out', fill('old'))
  expected = tree(folder)

  def write(scratch):
    fill('new')(scratch)
    assert os.path.isdir(scratch) and tf.io.gfile.exists(f'{folder}/out') == before
    raise KeyError

  with pytest.raises(KeyError):
    files.replace_folder(f'{folder}/out', write)
  assert tree(folder) == expected
  assert not tf.io.gfile.exists(f'{folder}/out.writing')


def test_the_old_folder_is_restored_after_a_kill_between_the_renames(tmp_path):
  for name, text in (('out.previous', 'old'), ('out.writing', 'half')):
    (tmp_path / name).mkdir()
    fill(text)(tmp_path / name)
  with pytest.raises(OSError, match='out cannot be written .*disk is full.; free space'):
    files.replace_folder(tmp_path / 'out', _fail_with(OSError('disk is full')))
  assert tree(str(tmp_path)) == {'out/mark': b'old', 'out/sub/old': b'old'}


def _fail_with(error):
  def write(scratch):
    raise error

  return write


def test_a_folder_without_the_marker_is_not_deleted(tmp_path):
  (tmp_path / 'thesis.tex').write_text('years of work')
  with pytest.raises(ValueError, match="holds 'thesis.tex' and no mark; choose another folder"):
    files.replace_folder(tmp_path, fill('new'), marker='mark')
  with pytest.raises(ValueError, match='thesis.tex: expected a folder or nothing there'):
    files.replace_folder(tmp_path / 'thesis.tex', fill('new'), marker='mark')
  assert tree(str(tmp_path)) == {'thesis.tex': b'years of work'}


def test_local_paths_need_no_tensorflow(tmp_path):
  code = (
    'import sys; from tpu_utils import files; files.append_json_line(sys.argv[1], {}); '
    'files.read_json_lines(sys.argv[1]); files.replace_folder(sys.argv[2], lambda folder: None); '
    'assert "tensorflow" not in sys.modules'
  )
  subprocess.run([sys.executable, '-c', code, tmp_path / 'a', tmp_path / 'b'], check=True)


def test_versions():
  found = files.versions()
  assert found['tensorflow'] == tf.__version__ and found['keras'] == tf.keras.__version__
  assert found['python'] == sys.version.split()[0]
  assert found['tpu-vision-reference'] == tpu_utils.__version__


def test_folders_that_do_not_exist(tmp_path):
  (tmp_path / 'file').write_text('x')
  files.check_folder('data_dir', str(tmp_path))
  files.check_folder('data_dir', '')
  message = '--data_dir=.*/none does not exist; give an existing folder'
  with pytest.raises(ValueError, match=message):
    files.check_folder('data_dir', str(tmp_path / 'none'))
  with pytest.raises(ValueError, match='--data_dir=.*/file is not a folder'):
    files.check_folder('data_dir', str(tmp_path / 'file'))
  with pytest.raises(ValueError, match='--data_dir=ram://none does not exist'):
    files.check_folder('data_dir', 'ram://none')


def test_reading_local_and_remote_files(folder):
  files.write_bytes(f'{folder}/file', b'\xef\xbb\xbfone\r\ntwo\xff')
  assert files.read_text(f'{folder}/none') is None
  assert files.read_text(f'{folder}/file').endswith('one\ntwo\ufffd')
  assert files.read_bytes(f'{folder}/file').endswith(b'one\r\ntwo\xff')
  assert files.is_folder(folder) and not files.is_folder(f'{folder}/file')
  assert files.is_file(f'{folder}/file') and not files.is_file(folder)
  assert not files.exists(f'{folder}/none') and not files.is_file(f'{folder}/none')
  with pytest.raises(UnicodeDecodeError), files.open_text(f'{folder}/file') as file:
    file.read()
  files.write_bytes(f'{folder}/file', b'\xef\xbb\xbfone\r\ntwo')
  with files.open_text(f'{folder}/file') as file:
    assert list(file) == ['one\n', 'two']
  for read in (files.read_bytes, files.open_text, files.read_json):
    with pytest.raises(FileNotFoundError) as error:
      read(f'{folder}/none')
    assert error.value.filename == f'{folder}/none'


def test_local_files_only():
  files.check_local('output', 'out', 'copy it')
  files.check_local('output', None, 'copy it')
  with pytest.raises(ValueError, match='^--output=gs://b/x is remote, and must be local; cop'):
    files.check_local('output', 'gs://b/x', 'copy it')


# ---- Remote folders


def events_of(monkeypatch, folder):
  """Returns a list that records the changes in a remote folder, by its file system."""
  events = []
  for name in ('rename', 'remove', 'rmtree'):
    original = getattr(tf.io.gfile, name)

    def call(*args, name=name, original=original, **kwargs):
      path = args[1] if name == 'rename' else args[0]
      if path.startswith(f'{folder}/'):
        events.append(f'{name} {path.removeprefix(folder + "/")}')
      return original(*args, **kwargs)

    monkeypatch.setattr(tf.io.gfile, name, call)
  return events


def test_the_mark_of_a_remote_folder_is_there_until_it_is_complete(monkeypatch):
  folder = f'{remote.new_folder()}/out'
  files.replace_folder(folder, fill('old'), marker='mark')
  events = events_of(monkeypatch, folder)
  files.replace_folder(folder, fill('new'), marker='mark')
  assert events == [
    f'rename {files.UNFINISHED}', 'remove mark', 'rmtree sub', 'rename sub/new', 'rename mark',
    f'remove {files.UNFINISHED}', 'rmtree .writing',
  ]  # fmt: skip


@pytest.mark.parametrize('fails', ['remove mark', 'rename sub/new', 'rename mark'])
def test_an_interrupted_remote_folder_is_refused_and_can_be_written_again(monkeypatch, fails):
  folder = f'{remote.new_folder()}/out'
  files.replace_folder(folder, fill('old'), marker='mark')
  files.check_finished(folder)
  with monkeypatch.context() as patch:
    name, _, file = fails.partition(' ')
    original = getattr(tf.io.gfile, name)

    def call(*args, **kwargs):
      if args[-1 if name == 'rename' else 0] == f'{folder}/{file}':
        raise tf.errors.UnavailableError(None, None, 'no network')
      return original(*args, **kwargs)

    patch.setattr(tf.io.gfile, name, call)
    with pytest.raises(OSError, match=f'{folder} cannot be written .no network'):
      files.replace_folder(folder, fill('new'), marker='mark')
  with pytest.raises(ValueError, match=f'{folder} is incomplete: it holds {files.UNFINISHED}'):
    files.check_finished(folder)
  files.replace_folder(folder, fill('new'), marker='mark')
  files.check_finished(folder)
  assert tree(folder) == {'mark': b'new', 'sub/new': b'new'}


@pytest.mark.parametrize('folder', ['lr[0.1]', 'what?', 'all*'])
@pytest.mark.parametrize('remote', [False, True])
def test_paths_in_a_folder_take_its_name_literally(tmp_path, folder, remote):
  folder = f'ram://files_test_paths/{folder}' if remote else str(tmp_path / folder)
  assert files.paths_in(f'{folder}/none') == []
  tf.io.gfile.makedirs(folder)
  for name in ('a-1', 'a-0', 'b-0'):
    files.write_text(f'{folder}/{name}', 'x')
  assert files.paths_in(folder, 'a-') == [f'{folder}/a-0', f'{folder}/a-1']

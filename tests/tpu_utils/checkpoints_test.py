"""Tests that checkpoints are whole or absent, which ones are kept, and how damage is handled."""
import json
import os
import pathlib
import signal

import numpy as np
import pytest
import tensorflow as tf

from tests import script_jobs
from tpu_utils import checkpoints


def _variables(scale=1.0):
  return {
    'model/dense/kernel': tf.Variable(scale * np.arange(2000, dtype='float32').reshape(40, 50)),
    'seeds/dropout': tf.Variable(np.array([7, 3], np.int64)),
  }


def _manager(path, **kwargs):
  path.mkdir(exist_ok=True)
  return checkpoints.CheckpointManager(str(path), **kwargs)


def test_saved_values_are_restored(tmp_path):
  manager = _manager(tmp_path)
  manager.save(12, _variables(), {'model_name': 'm'})
  step, values, metadata = manager.restore_newest()
  assert (step, metadata) == (12, {'model_name': 'm'})
  for name, variable in _variables().items():
    np.testing.assert_array_equal(values[name], variable.numpy())
    assert values[name].dtype == variable.numpy().dtype


def test_tensorflow_finds_and_reads_checkpoints(tmp_path):
  _manager(tmp_path).save(12, _variables())
  newest = tf.train.latest_checkpoint(str(tmp_path))
  assert newest == str(tmp_path / 'model.ckpt-12')
  assert 'model/dense/kernel' in dict(tf.train.list_variables(newest))


def test_the_newest_are_kept(tmp_path):
  manager = _manager(tmp_path, keep=2)
  for step in (5, 10, 100):
    manager.save(step, _variables())
  assert manager.steps() == [10, 100]
  assert not list(tmp_path.glob('model.ckpt-5.*'))
  assert not list(tmp_path.glob('.writing*'))


@pytest.mark.parametrize('damage', ['cut', 'flip', 'no_data', 'index_cut'])
def test_a_damaged_newest_checkpoint_is_skipped(tmp_path, capsys, damage):
  manager = _manager(tmp_path)
  manager.save(1, _variables(1.0))
  manager.save(2, _variables(2.0))
  data, index = tmp_path / 'model.ckpt-2.data-00000-of-00001', tmp_path / 'model.ckpt-2.index'
  content = bytearray(data.read_bytes())
  if damage == 'cut':
    data.write_bytes(content[: len(content) // 2])
  elif damage == 'flip':
    content[1000] ^= 0xFF
    data.write_bytes(content)
  elif damage == 'no_data':
    data.unlink()
  else:
    index.write_bytes(index.read_bytes()[:20])
  step, values, _ = manager.restore_newest()
  assert step == 1
  np.testing.assert_array_equal(values['model/dense/kernel'], _variables()['model/dense/kernel'])
  assert 'model.ckpt-2' in capsys.readouterr().err


def test_no_whole_checkpoint_is_an_error(tmp_path):
  manager = _manager(tmp_path)
  manager.save(1, _variables())
  (tmp_path / 'model.ckpt-1.data-00000-of-00001').write_bytes(b'')
  with pytest.raises(checkpoints.CheckpointError, match='none of its 1 checkpoints is whole'):
    manager.restore_newest()


def test_a_checkpoint_without_its_index_does_not_count(tmp_path):
  """A kill between the two renames leaves this state."""
  manager = _manager(tmp_path)
  manager.save(1, _variables())
  manager.save(2, _variables())
  (tmp_path / 'model.ckpt-2.index').unlink()
  assert manager.restore_newest()[0] == 1


def test_a_failed_write_leaves_no_files_and_names_the_checkpoint(tmp_path, monkeypatch):
  manager = _manager(tmp_path)
  manager.save(1, _variables())

  def full_disk(**_):
    raise tf.errors.ResourceExhaustedError(None, None, 'No space left on device')

  monkeypatch.setattr(tf.raw_ops, 'SaveV2', full_disk)
  with pytest.raises(OSError, match=r'model\.ckpt-2.*No space left'):
    manager.save(2, _variables())
  assert sorted(os.listdir(tmp_path)) == sorted(
    ['checkpoint', 'model.ckpt-1.index', 'model.ckpt-1.data-00000-of-00001']
  )


def test_a_checkpoint_deleted_before_it_is_archived_leaves_the_best_one(tmp_path, capsys):
  manager = _manager(tmp_path)
  manager.save(1, _variables())
  assert manager.archive(1, 0.5, {})
  assert not manager.archive(2, 0.6, {})  # Deleted by the job during the evaluation.
  assert 'model.ckpt-2 was deleted before' in capsys.readouterr().err
  assert manager.best_objective() == 0.5
  assert manager.best() == str(tmp_path / 'archive' / 'model.ckpt-1')
  assert checkpoints.read(manager.best())[0]


@pytest.mark.parametrize('folder', ['plain', 'lr[0.1]', 'what?', 'all*'])
def test_the_best_is_archived_as_the_official_code_does(tmp_path, folder):
  """In folders with special characters of glob patterns, too."""
  tmp_path = tmp_path / folder
  manager = _manager(tmp_path, keep=1)
  outcomes = []
  for step, objective in ((1, 0.5), (2, 0.4), (3, 0.5), (4, 0.3)):
    manager.save(step, _variables(step))
    outcomes.append(manager.archive(step, objective, {'top_1_accuracy': objective}))
  assert outcomes == [True, False, True, False]  # An equal one counts as better.
  assert manager.best() == str(tmp_path / 'archive' / 'model.ckpt-3')
  assert manager.best_objective() == 0.5
  assert json.loads((tmp_path / 'archive' / 'best_eval.txt').read_text()) == {'top_1_accuracy': 0.5}
  values, _ = checkpoints.read(manager.best())
  np.testing.assert_array_equal(values['model/dense/kernel'], _variables(3)['model/dense/kernel'])
  if folder == 'plain':  # TensorFlow itself takes other names for patterns.
    assert tf.train.latest_checkpoint(str(tmp_path / 'archive')).endswith('model.ckpt-3')
  kept = {path.name.partition('.data')[0] for path in tmp_path.rglob('model.ckpt-*.data-*')}
  assert kept == {'model.ckpt-3', 'model.ckpt-4'}


def test_a_kill_while_archiving_leaves_the_earlier_best(tmp_path, monkeypatch):
  manager = _manager(tmp_path)
  for step in (1, 2):
    manager.save(step, _variables(step))
  manager.archive(1, 0.5, {'step': 1})

  def killed(*_):
    raise KeyboardInterrupt

  # After the copies, before `checkpoint` names them.
  monkeypatch.setattr(checkpoints.files, 'write_text', killed)
  with pytest.raises(KeyboardInterrupt):
    manager.archive(2, 0.6, {'step': 2})
  monkeypatch.undo()
  assert manager.best().endswith('model.ckpt-1')
  assert checkpoints.read(manager.best())
  assert manager.archive(2, 0.6, {'step': 2})
  assert manager.best().endswith('model.ckpt-2')
  assert not list((tmp_path / 'archive').glob('model.ckpt-1.*'))


@pytest.mark.parametrize('damage', ['', '\0\0\0', 'what'])
def test_a_damaged_best_objective_is_restored_from_the_results(tmp_path, capsys, damage):
  manager = _manager(tmp_path, objective='accuracy')
  for step in (1, 2):
    manager.save(step, _variables(step))
  manager.archive(1, 0.5, {'accuracy': 0.5})
  (tmp_path / 'best_objective.txt').write_text(damage)
  assert not manager.archive(2, 0.4, {'accuracy': 0.4})
  error = capsys.readouterr().err
  assert f'best_objective.txt: expected a number, found {damage!r}; taken from' in error
  (tmp_path / 'archive' / 'best_eval.txt').write_text(damage)
  assert manager.archive(2, 0.4, {'accuracy': 0.4})
  assert 'the next evaluation counts as the best' in capsys.readouterr().err
  assert manager.best_objective() == 0.4


def test_deeply_nested_results_of_the_best_checkpoint_are_damage(tmp_path, capsys):
  manager = _manager(tmp_path, objective='accuracy')
  manager.save(1, _variables())
  manager.archive(1, 0.5, {'accuracy': 0.5})
  for path in (tmp_path / 'best_objective.txt', tmp_path / 'archive' / 'best_eval.txt'):
    path.write_text('[' * 5000)
  assert manager.best_objective() == float('-inf')
  assert 'the next evaluation counts as the best' in capsys.readouterr().err


@pytest.mark.parametrize('metadata', [b'[' * 5000, b'[]', b'{', 3], ids=['deep', '[]', 'cut', '3'])
def test_damaged_metadata_are_an_error_of_the_checkpoint(tmp_path, metadata):
  prefix = str(tmp_path / 'model.ckpt-1')
  checkpoints.write_tensors(prefix, {'a': np.zeros(2), checkpoints.METADATA: metadata})
  with pytest.raises(checkpoints.CheckpointError, match='ckpt-1: not a whole checkpoint: its meta'):
    checkpoints.read(prefix)


def test_a_damaged_name_of_the_best_checkpoint_is_an_error(tmp_path):
  manager = _manager(tmp_path)
  manager.save(1, _variables())
  manager.archive(1, 0.5, {})
  (tmp_path / 'archive' / 'checkpoint').write_text('')
  with pytest.raises(checkpoints.CheckpointError, match=r"archive/checkpoint: .* found ''"):
    manager.best()


def test_scratch_of_a_killed_write_is_removed_and_never_used(tmp_path):
  (tmp_path / '.writing-model.ckpt-7').mkdir()
  (tmp_path / '.writing-model.ckpt-7' / 'model.ckpt-7.data-00000-of-00001').write_text('')
  manager = _manager(tmp_path, keep=1)
  manager.save(1, _variables())
  assert not list(tmp_path.glob('.writing*'))
  for name in ('notes', 'data-00000-of-00001.tempstate8'):
    (tmp_path / f'model.ckpt-1.{name}').write_text('')
  manager.archive(1, 0.5, {})
  assert sorted(os.listdir(tmp_path / 'archive')) == [
    'best_eval.txt', 'checkpoint', 'model.ckpt-1.data-00000-of-00001', 'model.ckpt-1.index'
  ]
  manager.save(2, _variables())
  assert (tmp_path / 'model.ckpt-1.notes').exists()  # The user's.


def test_data_of_a_killed_write_or_deletion_is_removed(tmp_path):
  manager = _manager(tmp_path, keep=2)
  for step in (1, 2):
    manager.save(step, _variables())
  (tmp_path / 'model.ckpt-1.index').unlink()  # Deleting began.
  (tmp_path / 'model.ckpt-3.data-00000-of-00001').write_text('')  # The index was not yet there.
  (tmp_path / 'model.ckpt-3.data-of-mine').write_text('')
  manager.save(4, _variables())
  assert sorted(path.name for path in tmp_path.glob('model*')) == [
    'model.ckpt-2.data-00000-of-00001', 'model.ckpt-2.index', 'model.ckpt-3.data-of-mine',
    'model.ckpt-4.data-00000-of-00001', 'model.ckpt-4.index',
  ]  # fmt: skip


def test_asynchronous_saves_take_the_values_at_the_call(tmp_path):
  manager = _manager(tmp_path, asynchronous=True)
  variables = _variables()
  for step in (1, 2, 3):
    variables['model/dense/kernel'].assign(np.full([40, 50], step, 'float32'))
    manager.save(step, variables)
  variables['model/dense/kernel'].assign(np.zeros([40, 50]))
  manager.wait()
  for step in (1, 2, 3):
    assert checkpoints.read(manager.prefix(step))[0]['model/dense/kernel'].mean() == step


def test_asynchronous_errors_are_raised_at_the_next_call(tmp_path, monkeypatch):
  manager = _manager(tmp_path, asynchronous=True)

  def broken(*_):
    raise OSError('disk gone')

  monkeypatch.setattr(checkpoints, 'write', broken)
  manager.save(1, _variables())
  with pytest.raises(OSError, match='disk gone'):
    manager.wait()
  manager.wait()  # Told once.
  manager.save(2, _variables())
  with pytest.raises(OSError, match='disk gone'):
    while True:
      manager.check()  # Does not wait.


@pytest.mark.parametrize('asynchronous', [False, True])
def test_old_checkpoints_that_cannot_be_deleted_are_an_error_of_one_line(
  tmp_path, monkeypatch, asynchronous
):
  manager = _manager(tmp_path, keep=1, asynchronous=asynchronous)

  def refuse(path):
    raise tf.errors.PermissionDeniedError(None, None, f'{path}; Operation not permitted')

  manager.save(1, _variables())
  manager.wait()
  monkeypatch.setattr(tf.io.gfile, 'remove', refuse)
  with pytest.raises(OSError, match=r'files of old checkpoints cannot be deleted: .*not permitted'):
    manager.save(2, _variables())
    manager.wait()
  assert manager.restore_newest()[0] == 2


_KILLED = """
import os, signal, sys
import tensorflow as tf
from tpu_utils import checkpoints
manager = checkpoints.CheckpointManager(sys.argv[1], asynchronous=True)
variables = {'a': tf.Variable(tf.ones([1000]))}
manager.save(1, variables)
manager.wait()
rename = tf.io.gfile.rename
def kill(old, new, **options):
  if new.endswith('.index'):
    os.kill(os.getpid(), signal.SIGKILL)
  rename(old, new, **options)
checkpoints.tf.io.gfile.rename = kill
manager.save(2, variables)
manager.wait()
"""


@pytest.mark.slow
def test_a_kill_during_an_asynchronous_write_leaves_the_checkpoint_before_it(tmp_path):
  code, _, err = script_jobs.finish(script_jobs.start('-c', _KILLED, str(tmp_path)))
  assert code == -signal.SIGKILL, err
  assert (tmp_path / 'model.ckpt-2.data-00000-of-00001').exists()  # All but the index.
  manager = _manager(tmp_path)
  step, values, _ = manager.restore_newest()
  assert step == 1 and values['a'].mean() == 1
  manager.save(3, _variables())
  assert manager.steps() == [1, 3] and not list(tmp_path.glob('*ckpt-2*'))


def test_processes_that_only_read_write_nothing(tmp_path):
  manager = _manager(tmp_path, writes=False)
  manager.save(1, _variables())
  assert os.listdir(tmp_path) == []


def test_assign_lists_mismatches_and_changes_nothing():
  variables = _variables()
  values = {'model/dense/kernel': np.zeros([3, 3]), 'other': np.zeros(1)}
  with pytest.raises(checkpoints.CheckpointError) as error:
    checkpoints.assign(variables, values, 'somewhere')
  assert 'missing: seeds/dropout' in str(error.value)
  assert 'model/dense/kernel is [3, 3], not [40, 50]' in str(error.value)
  assert '\n' not in str(error.value)
  np.testing.assert_array_equal(
    variables['model/dense/kernel'], _variables()['model/dense/kernel']
  )


def test_remote_like_paths(tmp_path):
  """Every path goes through tf.io.gfile; TensorFlow's in-memory file system replaces gs://."""
  folder = f'ram://checkpoints-{pathlib.Path(tmp_path).name}'
  tf.io.gfile.makedirs(folder)
  manager = checkpoints.CheckpointManager(folder, keep=1)
  for step in (1, 2):
    manager.save(step, _variables(step))
    manager.archive(step, float(step), {})
  assert manager.steps() == [2]
  assert manager.restore_newest()[0] == 2
  assert manager.best().endswith('archive/model.ckpt-2')


def test_unexpected_values_are_an_error_if_exact():
  variables = _variables()
  values = {name: v.numpy() for name, v in variables.items()} | {'optimizer/rms/x': np.zeros(1)}
  checkpoints.assign(variables, values, 'somewhere')
  with pytest.raises(checkpoints.CheckpointError, match='unexpected: optimizer/rms/x'):
    checkpoints.assign(variables, values, 'somewhere', exact=True)


def test_best_of(tmp_path):
  assert checkpoints.best_of(str(tmp_path)) == str(tmp_path)
  (tmp_path / 'archive').mkdir()
  assert checkpoints.best_of(str(tmp_path)) == str(tmp_path)
  (tmp_path / 'archive' / 'checkpoint').write_text('model_checkpoint_path: "model.ckpt-1"')
  assert checkpoints.best_of(str(tmp_path)) == str(tmp_path / 'archive')

"""The record of a job's starts, and the position of old checkpoints that it tells."""
import json

import pytest
import tensorflow as tf

from tpu_utils import run_info


def _record(model_dir, *starts):
  for start in starts:
    run_info.write(str(model_dir), start)


def _flags(batch_size):
  return {'flags': {'train_batch_size': batch_size}}


def test_each_start_is_appended(tmp_path):
  _record(tmp_path, {'flags': {'seed': 1}}, {'flags': {'seed': 2}})
  starts = json.loads((tmp_path / 'run.json').read_text())['starts']
  assert [start['flags']['seed'] for start in starts] == [1, 2]
  assert starts[0]['versions']['tensorflow'] == tf.__version__


@pytest.mark.parametrize('damage', ['[' * 5000, '\ufffd'], ids=['deep', 'no text'])
def test_a_damaged_file_is_kept_beside_a_new_one(tmp_path, capsys, damage):
  (tmp_path / 'run.json').write_text(damage, encoding='utf-8')
  _record(tmp_path, {'flags': {'seed': 1}})
  assert len(json.loads((tmp_path / 'run.json').read_text())['starts']) == 1
  assert (tmp_path / 'run.json.damaged').read_text(encoding='utf-8') == damage
  assert 'run.json: expected the starts of the job, found' in capsys.readouterr().err


def test_an_earlier_version_read_on_at_step_times_batch_size(tmp_path):
  _record(tmp_path, _flags(32), _flags(8))
  examples, batch_size, source = run_info.examples_before(str(tmp_path), 6)
  assert (examples, batch_size) == (48, 8)
  assert source == f'6 batches of 8 by {tmp_path}/run.json'


def test_a_start_that_was_killed_before_it_saved_anything_does_not_count(tmp_path):
  _record(tmp_path, _flags(8), _flags(4) | {'start': {'step': 6, 'examples': 48}})
  assert run_info.examples_before(str(tmp_path), 6)[:2] == (48, None)
  assert run_info.examples_before(str(tmp_path), 3)[:2] == (24, 8)


@pytest.mark.parametrize(
  'text',
  [None, '', '[]', '{"starts": [3]}', '{"starts": []}', '{"starts": [{"flags": 3}]}', '[' * 9999],
)
def test_a_missing_or_damaged_record_tells_nothing(tmp_path, text):
  if text is not None:
    (tmp_path / 'run.json').write_text(text)
  assert run_info.examples_before(str(tmp_path), 6) is None
  _record(tmp_path, _flags(8))
  assert run_info.examples_before(str(tmp_path), 6)[0] == 48

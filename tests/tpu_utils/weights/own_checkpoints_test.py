"""Checkpoints of our own jobs: averages or raw weights, complete or damaged."""
import numpy as np
import pytest

from tpu_utils import checkpoints
from tpu_utils.weights import own_checkpoints

WEIGHTS = {'dense/kernel': np.float32([[1, 2]]), 'seed/state': np.int32([3])}
AVERAGES = {'dense/kernel': np.float32([[5, 6]])}


def save(folder, averages):
  values = {f'model/{name}': value for name, value in WEIGHTS.items()}
  values |= {f'ema/{name}': value for name, value in averages.items()}
  values['optimizer/momentum/dense/kernel'] = np.zeros((1, 2), np.float32)
  checkpoints.write(str(folder / 'model.ckpt-3'), values, {'step': 3})
  (folder / 'checkpoint').write_text('model_checkpoint_path: "model.ckpt-3"\n')


def check(got, want):
  assert set(got) == set(want)
  for name, value in want.items():
    np.testing.assert_array_equal(got[name], value)


@pytest.mark.parametrize('folder', ['plain', 'lr[0.1]', 'what?'])
@pytest.mark.parametrize('form', ['', 'model.ckpt-3', 'model.ckpt-3.index'])
def test_averages_and_raw_weights(tmp_path, folder, form):
  """In folders with special characters of glob patterns, too."""
  tmp_path = tmp_path / folder
  tmp_path.mkdir()
  save(tmp_path, AVERAGES)
  path = str(tmp_path / form)
  assert own_checkpoints.matches(path)
  check(own_checkpoints.read(path), {**WEIGHTS, **AVERAGES})
  check(own_checkpoints.read(path, use_ema=False), WEIGHTS)


def test_a_job_without_averages_gives_its_weights(tmp_path):
  save(tmp_path, {})
  check(own_checkpoints.read(str(tmp_path)), WEIGHTS)


def test_other_files_do_not_match(tmp_path):
  checkpoints.write_tensors(str(tmp_path / 'tf1'), {'a/kernel': np.zeros(2)})
  assert not own_checkpoints.matches(str(tmp_path / 'tf1'))
  assert not own_checkpoints.matches(str(tmp_path))
  (tmp_path / 'cut.index').write_bytes(b'')
  assert not own_checkpoints.matches(str(tmp_path / 'cut'))


def test_a_cut_off_checkpoint_is_refused(tmp_path):
  save(tmp_path, AVERAGES)
  data = tmp_path / 'model.ckpt-3.data-00000-of-00001'
  data.write_bytes(data.read_bytes()[:8])
  message = 'model.ckpt-3 cannot be read as a checkpoint .*cut off'
  with pytest.raises(ValueError, match=message) as error:
    check(own_checkpoints.read(str(tmp_path)), {**WEIGHTS, **AVERAGES})
  assert '\n' not in str(error.value)

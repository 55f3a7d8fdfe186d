"""Memory of long jobs in real processes: it does not grow with steps, checkpoints, evaluations."""
import os
import shutil

import pytest

from tests import script_jobs

pytestmark = pytest.mark.slow

EVERY = 60
CHECKPOINTS = 10
LAST = EVERY * (CHECKPOINTS + 2)
FLAGS = (
  '--width_coefficient=0.04', '--depth_coefficient=0.1', '--train_batch_size=16',
  '--strategy=one_device', '--export_dir=', '--noreport',
  f'--train_steps={LAST}', f'--steps_per_eval={EVERY}',
  f'--save_checkpoints_steps={EVERY}', f'--keep_checkpoint_max={CHECKPOINTS + 2}',
)  # fmt: skip
# A training batch takes 0.2 MB, the data set of an evaluation 5 MB: between the halves of the
# readings they would add up to 60 and 25 MB. Buffers and the allocator make readings differ by up
# to 16 MB.
LIMIT_MB = 20


def start(model_dir, mode):
  return script_jobs.start('-m', 'efficientnet.main', f'--model_dir={model_dir}', mode, *FLAGS)


def resident_mb(process):
  with open(f'/proc/{process.pid}/statm', encoding='ascii') as file:
    return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20


def after_evaluations(process, model_dir, count):
  """Waits for `count` lines of results; returns the memory of the process."""
  path = model_dir / 'eval' / 'results.jsonl'
  script_jobs.wait_for(
    lambda: path.exists() and len(path.read_text().splitlines()) >= count, process
  )
  return resident_mb(process)


def growth(readings):
  """Returns the difference of the lowest readings of both halves: single ones may be high."""
  half = len(readings) // 2
  return min(readings[half:]) - min(readings[:half])


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """The folder of a job with evaluations, and its memory after each of these but the first."""
  model_dir = tmp_path_factory.mktemp('trained')
  process = start(model_dir, '--mode=train_and_eval')
  readings = [after_evaluations(process, model_dir, n + 2) for n in range(CHECKPOINTS)]
  assert script_jobs.finish(process)[0] == 0
  return model_dir, readings


@pytest.mark.long
def test_600_steps_and_ten_evaluations_take_no_more_memory(trained):
  assert growth(trained[1]) < LIMIT_MB, trained[1]


@pytest.mark.long
def test_following_ten_checkpoints_takes_no_more_memory(trained, tmp_path):
  process = start(tmp_path, '--mode=eval')
  readings = []
  for number in range(1, CHECKPOINTS + 3):
    name = f'model.ckpt-{EVERY * number}'
    for ending in ('.data-00000-of-00001', '.index'):  # It exists when its index does.
      shutil.copy(trained[0] / f'{name}{ending}', tmp_path / f'{name}.copying')
      os.replace(tmp_path / f'{name}.copying', tmp_path / f'{name}{ending}')
    if number <= CHECKPOINTS + 1:
      readings.append(after_evaluations(process, tmp_path, number))
  code, _, err = script_jobs.finish(process)
  assert code == 0, err
  assert growth(readings[1:]) < LIMIT_MB, readings

import pytest
import tensorflow as tf

from tests import remote
from tpu_utils import config, files, job


def test_the_strategy_of_the_flags_is_created_and_printed(capsys):
  hardware = config.HardwareConfig(strategy='one_device')
  strategy = job.create_strategy(hardware, training=True)
  assert strategy.num_replicas_in_sync == 1
  assert 'OneDeviceStrategy, 1 replica' in capsys.readouterr().out


def test_batches_that_do_not_divide_evenly_are_refused():
  job.check_batches(2, job.Batches(8, 4, accumulation_steps=2))
  with pytest.raises(ValueError, match='--train_batch_size=7 does not divide .* take 6 or 8'):
    job.check_batches(2, job.Batches(7, 4))
  with pytest.raises(ValueError, match='--eval_batch_size=1 does not divide .* take 2 or 2'):
    job.check_batches(2, job.Batches(8, 1))
  expected = '=3 does not divide the 4 sentences .* --train_batch_size=8'
  with pytest.raises(ValueError, match=expected):
    job.check_batches(2, job.Batches(8, 4, 3), 'sentences')


@pytest.mark.parametrize('is_remote', [False, True])
def test_the_folder_of_the_export_is_checked_before_training(tmp_path, is_remote):
  folder = remote.new_folder() if is_remote else str(tmp_path)
  job.check_export_dir(f'{folder}/deep/export')
  assert not remote.names_in(folder)
  folder = f'{folder}/other'
  tf.io.gfile.makedirs(folder)
  files.write_text(f'{folder}/thesis.tex', 'years of work')
  with pytest.raises(ValueError, match="the folder holds 'thesis.tex' and no export.json"):
    job.check_export_dir(folder)


def test_an_export_below_a_file_is_refused(tmp_path):
  (tmp_path / 'thesis.tex').write_text('years of work')
  with pytest.raises(OSError, match='/thesis.tex is no folder that you may write to'):
    job.check_export_dir(f'{tmp_path}/thesis.tex/export')


def test_an_unknown_bucket_of_an_export():
  with pytest.raises(OSError, match='none://x/export'):
    job.check_export_dir('none://x/export')

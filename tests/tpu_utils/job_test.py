import pytest

from tpu_utils import config, job


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

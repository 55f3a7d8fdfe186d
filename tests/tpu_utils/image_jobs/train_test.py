"""Settings of an image classifier's job; whole jobs are in tests/efficientnet."""
import pytest

from tpu_utils import config
from tpu_utils import job as jobs
from tpu_utils.image_jobs import train


def test_held_out_shards_shorten_the_epochs_as_in_the_official_code():
  data = train.hold_out(config.DataConfig(holdout_shards=20))
  assert (data.num_train_images, data.num_eval_images) == (1281167 - 25022, 25022)
  assert data.holdout_shards == 20


def test_an_evaluation_called_test_is_on_the_validation_set():
  data = train.hold_out(config.DataConfig(holdout_shards=20), 'final_test')
  assert (data.num_train_images, data.num_eval_images) == (1281167 - 25022, 50000)
  assert data.holdout_shards is None


@pytest.mark.parametrize('data', [config.DataConfig(), config.DataConfig(holdout_shards=0)])
def test_nothing_held_out_changes_nothing(data):
  assert train.hold_out(data) is data


def test_the_job_of_the_settings():
  job = train.make_job(
    build_model=None,
    spec=None,
    identity={'model_name': 'tiny'},
    hardware=config.HardwareConfig(),
    data=config.DataConfig(holdout_shards=20),
    dataset=None,
    optimization=config.OptimizationConfig(gradient_accumulation_steps=4),
    job=config.JobConfig(mode='train'),
    run_info={'flags': {}},
  )
  assert job.batches == jobs.Batches(2048, 64, 4, 1281167 - 25022)
  assert (job.unit, job.objective) == ('images', 'top_1_accuracy')
  assert job.trains and job.run_info == {'flags': {}} and not job.evaluators and not job.predicts


def test_divergence_with_frozen_batch_norm_points_at_its_statistics():
  hint = train.divergence_hint('bn')
  assert '--freeze=none' in hint and '--adaptive_gradient_clip' in hint
  for part in ('none', 'backbone'):
    assert train.divergence_hint(part).startswith('Lower --base_learning_rate')

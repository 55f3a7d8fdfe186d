"""Which checkpoint of a job is taken, and what is known of the job."""
import json

import pytest

from efficientnet import main as training
from tests.efficientnet import lite_job
from tpu_utils.image_jobs import checkpoint_models


def load(directory):
  settings = training.ModelConfig(
    'efficientnet-lite0', width_coefficient=lite_job.FLAGS['width_coefficient'],
    depth_coefficient=lite_job.FLAGS['depth_coefficient'],
  )  # fmt: skip
  network = training.describe(settings, None)
  return checkpoint_models.load(network, settings, lite_job.SPEC, str(directory), num_classes=10)


def test_the_best_checkpoint_of_a_job_is_taken(tmp_path, capsys):
  newest, best = lite_job.build_model(), lite_job.build_model()
  lite_job.write(newest, tmp_path / 'job')
  lite_job.write(best, tmp_path / 'job' / 'archive')
  loaded = load(tmp_path / 'job').get_layer('head_dense').kernel.numpy()
  assert (loaded == best.get_layer('head_dense').kernel.numpy()).all()
  assert (loaded != newest.get_layer('head_dense').kernel.numpy()).any()
  assert 'variables loaded' in capsys.readouterr().out


@pytest.mark.parametrize('flags, learnt', [
  ({'data_dir': '', 'dataset': None}, True),
  ({'data_dir': '/imagenet', 'dataset': None}, False),
  ({'data_dir': '', 'dataset': 'cifar10'}, False),
])
def test_what_a_job_learnt(tmp_path, flags, learnt):
  (tmp_path / 'run.json').write_text(json.dumps({'starts': [{'flags': flags}]}))
  job = checkpoint_models.flags_of_job(str(tmp_path))
  assert job == flags and checkpoint_models.learnt_digits(job) is learnt


def test_no_job(tmp_path):
  for checkpoint in ('pretrained', str(tmp_path)):
    job = checkpoint_models.flags_of_job(checkpoint)
    assert job is None and not checkpoint_models.learnt_digits(job)

"""Fixtures of several test files."""
import pytest


@pytest.fixture(scope='session')
def lite_job_dir(tmp_path_factory):
  """Returns the --model_dir of a small Lite that classifies most digits; see `lite_job`."""
  from tests.efficientnet import lite_job

  directory = tmp_path_factory.mktemp('job') / 'lite'
  lite_job.write(lite_job.trained_model(), directory)
  return directory

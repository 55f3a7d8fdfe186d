"""What several test files share, made once."""
import pytest


@pytest.fixture(scope='session')
def lite_job_dir(tmp_path_factory):
  """The --model_dir of a small Lite that knows most digits; see `lite_job`."""
  from tests.efficientnet import lite_job

  directory = tmp_path_factory.mktemp('job') / 'lite'
  lite_job.write(lite_job.trained_model(), directory)
  return directory

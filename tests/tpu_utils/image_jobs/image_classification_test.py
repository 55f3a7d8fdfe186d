"""What the flags of an image classifier's job mean together; whole jobs are in tests/efficientnet."""
import pytest

from tpu_utils import config
from tpu_utils.image_jobs import image_classification


def test_held_out_shards_shorten_the_epochs_as_in_the_official_code():
  data = image_classification.hold_out(config.DataConfig(holdout_shards=20))
  assert (data.num_train_images, data.num_eval_images) == (1281167 - 25022, 25022)
  assert data.holdout_shards == 20


def test_an_evaluation_called_test_is_on_the_validation_set():
  data = image_classification.hold_out(config.DataConfig(holdout_shards=20), 'final_test')
  assert (data.num_train_images, data.num_eval_images) == (1281167 - 25022, 50000)
  assert data.holdout_shards is None


@pytest.mark.parametrize('data', [config.DataConfig(), config.DataConfig(holdout_shards=0)])
def test_nothing_held_out_changes_nothing(data):
  assert image_classification.hold_out(data) is data

"""Tests that settings are checked when they are made."""
import pytest

from tpu_utils import config


@pytest.mark.parametrize('values', [
  {'optimizer': 'adam'}, {'lr_schedule': 'linear'}, {'label_smoothing': -1}, {'label_smoothing': 1},
  {'moving_average_decay': 1.0}])
def test_invalid_values_raise_and_name_the_flag(values):
  with pytest.raises(ValueError, match=f'--{next(iter(values))}'):
    config.OptimizationConfig(**values)


def test_conditions_between_settings():
  config.OptimizationConfig(lr_schedule='cosine', lr_decay_epoch=0.0)  # Not used.
  with pytest.raises(ValueError, match='--lr_decay_epoch=0.0 must be above 0'):
    config.OptimizationConfig(lr_decay_epoch=0.0)
  with pytest.raises(ValueError, match='--random_erasing_prob=1.5 must be at most 1'):
    config.DataConfig(random_erasing_prob=1.5)
  config.JobConfig(mode='export', export_dir='there')
  with pytest.raises(ValueError, match='--mode=export needs --export_dir'):
    config.JobConfig(mode='export')

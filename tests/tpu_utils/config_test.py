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
  with pytest.raises(ValueError, match='--random_crop_area=0.0 must be above 0 and at most 1'):
    config.DataConfig(random_crop_area=0.0)
  config.JobConfig(mode='export', export_dir='there')
  with pytest.raises(ValueError, match='--mode=export needs --export_dir'):
    config.JobConfig(mode='export')


def test_profiled_steps():
  assert config.JobConfig().profiled is None
  assert config.JobConfig(profile_steps='10,20', train_steps=20).profiled == (10, 20)
  for text, message in (
    ('20,10', '=20,10: the first step must come before the second'),
    ('5,5', '=5,5: the first step must come before the second'),
    ('10,21', '=10,21: step 21 never comes; training ends at step 20'),
    ('10', "='10' must be two steps with a comma, such as 10,20"),
    ('-1,5', "='-1,5' must be two steps"),
  ):
    with pytest.raises(ValueError, match=f'--profile_steps{message}'):
      config.JobConfig(profile_steps=text, train_steps=20)

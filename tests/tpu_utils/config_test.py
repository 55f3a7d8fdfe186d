"""Tests that settings are checked when they are made."""
import pytest

from tpu_utils import config


@pytest.mark.parametrize('values', [
  {'optimizer': 'adam'}, {'lr_schedule': 'linear'}, {'label_smoothing': -1}, {'label_smoothing': 1},
  {'moving_average_decay': 1.0}])
def test_invalid_values_raise_and_name_the_flag(values):
  with pytest.raises(ValueError, match=f'--{next(iter(values))}'):
    config.OptimizationConfig(**values)

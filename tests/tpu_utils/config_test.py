"""Checks that go beyond one field."""
import pytest

from tpu_utils import config


@pytest.mark.parametrize('values', [
  {'optimizer': 'adam'}, {'lr_schedule': 'linear'}, {'label_smoothing': -1}, {'label_smoothing': 1},
  {'moving_average_decay': 1.0}])
def test_wrong_values_raise_at_once(values):
  with pytest.raises(ValueError, match=f'--{next(iter(values))}'):
    config.OptimizationConfig(**values)

"""Checks that go beyond one field."""
import pytest

from tpu_utils import config


def test_bigtable_is_refused_with_the_mend():
  with pytest.raises(ValueError, match='TFRecord shards'):
    config.DataConfig(bigtable_instance='table')


@pytest.mark.parametrize('values', [
  {'optimizer': 'adam'}, {'lr_schedule': 'linear'}, {'label_smoothing': -1}, {'label_smoothing': 1},
  {'moving_average_decay': 1.0}])
def test_wrong_values_raise_at_once(values):
  with pytest.raises(ValueError, match=f'--{next(iter(values))}'):
    config.OptimizationConfig(**values)


def test_channels_first_is_refused():
  with pytest.raises(ValueError, match='channels_last'):
    config.DataConfig(data_format='channels_first')

import dataclasses

import pytest

from efficientnet.edgetpu import efficientnet_edgetpu_builder as builder
from tests.efficientnet import golden


def test_official_settings():
  _, params = builder.FAMILY.get_model_params('efficientnet-edgetpu-S')
  want = golden.global_params('efficientnet-edgetpu-S')
  assert dataclasses.asdict(params) | want == dataclasses.asdict(params)
  assert params.num_classes == 1001
  assert builder.FAMILY.interpolation == 'bilinear'


@pytest.mark.parametrize(
  ('name', 'want'),
  [
    ('efficientnet-edgetpu-M', (1.0, 1.1, 240, 0.2)),
    ('efficientnet-edgetpu-L', (1.2, 1.4, 300, 0.3)),
  ],
)
def test_scaling_table(name, want):
  assert builder.FAMILY.scale(name)[:4] == want


def test_classes_can_be_chosen():
  _, params = builder.FAMILY.get_model_params('efficientnet-edgetpu-L', {'num_classes': 1000})
  assert params.num_classes == 1000


def test_unknown_model():
  with pytest.raises(ValueError, match='efficientnet-edgetpu-S'):
    builder.FAMILY.get_model_params('efficientnet-edgetpu-s')

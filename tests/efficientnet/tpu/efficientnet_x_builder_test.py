import dataclasses

import pytest

from efficientnet.tpu import efficientnet_x_builder as builder
from tests.efficientnet import golden


def test_official_settings():
  _, params = builder.FAMILY.get_model_params('efficientnet-x-b0')
  want = golden.global_params('efficientnet-x-b0')
  assert dataclasses.asdict(params) | want == dataclasses.asdict(params)


@pytest.mark.parametrize(
  ('name', 'want'),
  [
    ('efficientnet-x-b3', (1.2, 1.4, 300, 0.3, 1)),
    ('efficientnet-h-b7', (2.4, 3.1, 600, 0.5, 1)),
    ('efficientnet-x-tpu-b1', (1.05, 1.09, 229, 0.2, 2)),
    ('efficientnet-h-tpu-b6', (3, 3.01, 328, 0.5, 1)),
    ('efficientnet-x-gpu-b7', (2.58, 5.46, 350, 0.5, 1)),
  ],
)
def test_scaling_table(name, want):
  assert builder.FAMILY.scale(name)[:5] == want


def test_the_h_models_expand_the_middle_stages_less():
  x, _ = builder.FAMILY.get_model_params('efficientnet-x-tpu-b5')
  h, _ = builder.FAMILY.get_model_params('efficientnet-h-tpu-b5')
  assert [block.expand_ratio for block in x] == [1, 6, 6, 6, 6, 6, 6]
  assert [block.expand_ratio for block in h] == [1, 4, 4, 4, 6, 6, 6]
  assert [dataclasses.replace(block, expand_ratio=1) for block in x] == [
    dataclasses.replace(block, expand_ratio=1) for block in h
  ]


def test_unknown_model():
  with pytest.raises(ValueError, match='efficientnet-x-b7'):
    builder.FAMILY.get_model_params('efficientnet-x-b8')

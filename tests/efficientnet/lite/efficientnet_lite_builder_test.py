import dataclasses

import pytest

from efficientnet import network_params
from efficientnet.lite import efficientnet_lite_builder as builder
from tests.efficientnet import golden


def test_official_settings():
  _, params = builder.FAMILY.get_model_params('efficientnet-lite0')
  want = golden.global_params('efficientnet-lite0')
  assert dataclasses.asdict(params) | want == dataclasses.asdict(params)
  assert builder.FAMILY.interpolation == 'bilinear'


@pytest.mark.parametrize(
  ('name', 'want'),
  [
    ('efficientnet-lite1', (1.0, 1.1, 240, 0.2)),
    ('efficientnet-lite2', (1.1, 1.2, 260, 0.3)),
    ('efficientnet-lite3', (1.2, 1.4, 280, 0.3)),
    ('efficientnet-lite4', (1.4, 1.8, 300, 0.3)),
  ],
)
def test_scaling_table(name, want):
  assert builder.FAMILY.scale(name)[:4] == want


def test_first_and_last_stage_keep_their_one_block():
  blocks, params = builder.FAMILY.get_model_params('efficientnet-lite4')
  scaled = network_params.scale_blocks(blocks, params)
  assert len(scaled) == 30
  assert [b.output_filters for b in (scaled[0], scaled[1])] == [24, 32]
  assert [b.input_filters for b in scaled[-2:]] == [272, 272]


def test_unknown_model():
  with pytest.raises(ValueError, match='efficientnet-lite4'):
    builder.FAMILY.get_model_params('efficientnet-lite5')

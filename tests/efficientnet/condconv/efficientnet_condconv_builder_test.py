import dataclasses

import pytest

from efficientnet.condconv import efficientnet_condconv_builder as builder
from tests.efficientnet import golden


def test_official_settings():
  _, params = builder.FAMILY.get_model_params('efficientnet-condconv-b0-4e')
  want = golden.global_params('efficientnet-condconv-b0-4e')
  assert dataclasses.asdict(params) | want == dataclasses.asdict(params)


@pytest.mark.parametrize(
  ('name', 'depth', 'experts'),
  [('efficientnet-condconv-b0-8e', 1.0, 8), ('efficientnet-condconv-b0-8e-depth', 1.1, 8)],
)
def test_scaling_table(name, depth, experts):
  assert builder.FAMILY.scale(name)[:4] == (1.0, depth, 224, 0.25)
  blocks, params = builder.FAMILY.get_model_params(name)
  assert params.condconv_num_experts == experts
  assert [block.condconv for block in blocks] == [False] * 4 + [True] * 3


def test_unknown_model():
  with pytest.raises(ValueError, match='efficientnet-condconv-b0-4e'):
    builder.FAMILY.get_model_params('efficientnet-condconv-b0')

"""Stages are found by what changes between blocks, also where a narrow network rounds channels to the same number."""
import pytest

import efficientnet
from efficientnet.checkpoint_names import layer_places

REPEATS = (1, 2, 2, 3, 3, 4, 1)


@pytest.mark.parametrize('width', [0.1, 0.25])
def test_stages_of_narrow_networks(width):
  model = efficientnet.build_model('efficientnet-b0', num_classes=2, image_size=32, width_coefficient=width)
  found = layer_places.places(model)
  numbers = {(place.block, place.stage, place.index) for place in found.values() if place.block is not None}
  want = [(stage, index) for stage, count in enumerate(REPEATS) for index in range(count)]
  assert sorted(numbers) == [(block, *place) for block, place in enumerate(want)]


def test_parts_of_a_block():
  model = efficientnet.build_model('efficientnet-b0', num_classes=2, image_size=32, width_coefficient=0.25)
  found = layer_places.places(model)
  assert found['blocks_0_conv2d'].part == 'project'
  assert found['blocks_1_conv2d'].part == 'expand'
  assert found['blocks_1_se_conv2d_1'].part == 'se_expand'
  norm = found['blocks_1_tpu_batch_normalization_1']
  assert (norm.part, norm.norm, norm.parts) == ('depthwise', True, ('expand', 'depthwise', 'project'))
  assert found['head_dense'].part == 'classifier' and found['head_conv2d'].part == 'head'

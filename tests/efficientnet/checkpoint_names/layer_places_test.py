"""Stages and parts of blocks, also if a narrow network rounds channels to the same number."""
import pytest

import efficientnet
from efficientnet.checkpoint_names import layer_places

REPEATS = (1, 2, 2, 3, 3, 4, 1)


def build(width):
  return efficientnet.build_model(
    'efficientnet-b0', num_classes=2, image_size=32, width_coefficient=width
  )


@pytest.mark.parametrize('width', [0.1, 0.25])
def test_stages_of_narrow_networks(width):
  found = layer_places.places(build(width))
  numbers = {(p.block, p.stage, p.index) for p in found.values() if p.block is not None}
  want = [(stage, index) for stage, count in enumerate(REPEATS) for index in range(count)]
  assert sorted(numbers) == [(block, *place) for block, place in enumerate(want)]


def test_parts_of_a_block():
  found = layer_places.places(build(0.25))
  assert found['blocks_0_conv2d'].part == 'project'
  assert found['blocks_1_conv2d'].part == 'expand'
  assert found['blocks_1_se_conv2d_1'].part == 'se_expand'
  norm = found['blocks_1_tpu_batch_normalization_1']
  assert norm.part == 'depthwise' and norm.norm
  assert norm.parts == ('expand', 'depthwise', 'project')
  assert found['head_dense'].part == 'classifier' and found['head_conv2d'].part == 'head'

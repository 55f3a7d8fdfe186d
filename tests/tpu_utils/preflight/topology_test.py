import pytest

from tpu_utils.launching import accelerators
from tpu_utils.preflight import topology


def test_names_of_the_compiler_and_of_accelerators_are_known():
  assert topology.full_name('v5e:2x2') == 'v5e:2x2'
  assert topology.full_name('v3-8') == 'v3:2x2'
  assert topology.full_name('v5litepod-1') == 'v5e:1x1'
  assert topology.full_name('v5e-8') == 'v5e:2x4'
  with pytest.raises(ValueError, match='--topology.*did you mean v5e:2x4 or v5e:2x2'):
    topology.full_name('v5e:2x3')


@pytest.mark.parametrize('kind, smallest, largest', [
  ('v2', 8, 512), ('v3', 8, 2048), ('v4', 8, 8192), ('v5litepod', 1, 256), ('v5p', 8, 8192),
  ('v6e', 1, 256),
])  # fmt: skip
def test_whatever_is_launched_can_be_checked_before(kind, smallest, largest):
  size = smallest
  while size <= largest:
    assert topology.full_name(f'{kind}-{size}') == accelerators.parse(f'{kind}-{size}').topology
    size *= 2


def test_cores_share_the_memory_and_the_bandwidth_of_their_chip():
  v3, v5e = topology.Topology('v3:2x2', 8), topology.Topology('v5e:2x2', 4)
  assert v3.hbm_bytes == v5e.hbm_bytes == 16 * 2**30
  assert v3.hbm_bytes_per_s == 450e9 and v5e.hbm_bytes_per_s == 819e9
  assert v5e.flops_per_s == 197e12


def test_an_all_reduce_moves_the_data_nearly_twice():
  v5e = topology.Topology('v5e:2x2', 4)
  assert v5e.all_reduce_s(200e9) == pytest.approx(2 * 3 / 4)

import pytest

from tpu_utils.preflight import topology


def test_names_of_the_compiler_and_of_accelerators_are_known():
  assert topology.full_name(topology.DEFAULT) == 'v5e:2x2'
  assert topology.full_name('v3-8') == 'v3:2x2'
  assert set(topology.ACCELERATOR_TYPES.values()) <= set(topology.NAMES)
  with pytest.raises(ValueError, match='--topology.*did you mean v5e:2x4 or v5e:2x2'):
    topology.full_name('v5e:2x3')


def test_cores_share_the_memory_and_the_bandwidth_of_their_chip():
  v3, v5e = topology.Topology('v3:2x2', 8), topology.Topology('v5e:2x2', 4)
  assert v3.hbm_bytes == v5e.hbm_bytes == 16 * 2**30
  assert v3.hbm_bytes_per_s == 450e9 and v5e.hbm_bytes_per_s == 819e9
  assert v5e.flops_per_s == 197e12


def test_an_all_reduce_moves_the_data_nearly_twice():
  v5e = topology.Topology('v5e:2x2', 4)
  assert v5e.all_reduce_s(200e9) == pytest.approx(2 * 3 / 4)

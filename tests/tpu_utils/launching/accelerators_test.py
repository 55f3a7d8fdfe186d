"""Accelerator types; numbers from cloud.google.com/tpu/docs (pages v2 to v6e)."""
import re

import pytest

from tpu_utils.launching import accelerators


@pytest.mark.parametrize('name, cores, chips, hosts, topology', [
  ('v2-8', 8, 4, 1, 'v2:2x2'),
  ('v2-32', 32, 16, 4, 'v2:4x4'),
  ('v3-8', 8, 4, 1, 'v3:2x2'),
  ('v3-32', 32, 16, 4, 'v3:4x4'),
  ('v3-1024', 1024, 512, 128, 'v3:16x32'),
  ('v4-8', 8, 4, 1, 'v4:2x2x1'),
  ('v4-16', 16, 8, 2, 'v4:2x2x2'),
  ('v4-32', 32, 16, 4, 'v4:2x2x4'),
  ('v4-64', 64, 32, 8, 'v4:2x4x4'),
  ('v5litepod-1', 1, 1, 1, 'v5e:1x1'),
  ('v5litepod-4', 4, 4, 1, 'v5e:2x2'),
  ('v5litepod-8', 8, 8, 1, 'v5e:2x4'),
  ('v5litepod-16', 16, 16, 4, 'v5e:4x4'),
  ('v5litepod-32', 32, 32, 8, 'v5e:4x8'),
  ('v5litepod-256', 256, 256, 64, 'v5e:16x16'),
  ('v5p-8', 8, 4, 1, 'v5p:2x2x1'),
  ('v5p-128', 128, 64, 16, 'v5p:4x4x4'),
  ('v6e-8', 8, 8, 1, 'v6e:2x4'),
])  # fmt: skip
def test_facts(name, cores, chips, hosts, topology):
  found = accelerators.parse(name)
  assert (found.name, found.cores, found.chips, found.hosts) == (name, cores, chips, hosts)
  assert found.topology == topology


def test_a_slice_of_another_shape_has_no_topology():
  assert accelerators.parse('v4-384').topology is None


@pytest.mark.parametrize('name, message', [
  ('v9-8', 'Unknown --accelerator_type'), ('tpu', 'Unknown --accelerator_type'),
  ('v5e-8', 'gcloud calls this type v5litepod-8'), ('v3-4', 'the smallest is v3-8'),
  ('v3-9', 'the smallest is v3-8'), ('v5litepod-0', 'the smallest is v5litepod-1'),
])  # fmt: skip
def test_unknown_types_are_refused(name, message):
  with pytest.raises(ValueError, match=re.escape(message)):
    accelerators.parse(name)

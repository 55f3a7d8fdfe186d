"""Tests of the comparison with a network from Keras' layers; nothing is compiled."""
import json

import pytest

from tpu_utils.preflight import comparing, report
from tpu_utils.preflight.compiling import Compiled
from tpu_utils.preflight.topology import Topology

V5E = Topology('v5e:2x2', 4)
MIB = 2**20


def step(hbm_bytes=8_190_000_000, **changes):
  values = {
    'arguments': 100 * MIB, 'temporaries': 900 * MIB, 'code': 50 * MIB, 'flops': 197e9,
    'hbm_bytes': hbm_bytes,
  }  # fmt: skip
  return report.Step('train', Compiled(**{**values, **changes}), 128)


def test_numbers_of_both_and_their_ratio():
  found = comparing.as_json(step(), step(2 * 8_190_000_000), V5E)
  found = json.loads(json.dumps(found))
  assert found['hbm_bytes_ratio'] == 0.5 and found['ours']['fits']
  lines = comparing.text(found, 'images').splitlines()
  rows = {line.split('  ')[0]: line.split()[-3:] for line in lines}
  assert rows['HBM MB per image'] == ['63.98', '127.97', '0.500']
  assert rows['arguments MiB'] == ['100', '100', '1.000']
  assert rows['G multiply-adds'] == ['98.5', '98.5', '1.000']
  assert rows['bound, images/s of all cores'] == ['51,200', '25,600', '2.000']
  assert 'train, 128 images per core' in comparing.text(found, 'images')


def test_a_step_that_does_not_compile_has_no_ratio():
  lost = report.Step('train', Compiled(needed=20 * 2**30, error='exhausted'), 128)
  found = comparing.as_json(step(), lost, V5E)
  assert found['hbm_bytes_ratio'] is None and found['keras']['needed'] == 20 * 2**30
  assert comparing.text(found, 'images') == 'The training step of keras does not compile: exhausted'


@pytest.mark.parametrize('batch', [1, 128])
def test_the_bound_counts_all_cores(batch):
  one = report.Step('train', step().compiled, batch)
  assert comparing.as_json(one, one, V5E)['ours']['values'][-1] == pytest.approx(400 * batch)

import json

import pytest

from tpu_utils.preflight import report
from tpu_utils.preflight.compiling import Compiled
from tpu_utils.preflight.topology import Topology

V5E = Topology('v5e:2x2', 4)
MIB = 2**20


def compiled(**changes):
  values = {
    'arguments': 100 * MIB,
    'temporaries': 900 * MIB,
    'code': 50 * MIB,
    'flops': 197e9,
    'hbm_bytes': 8_190_000_000,
    'by_operation': {'toy_1/stem_1/conv': 8_000_000_000, 'AssignSubVariableOp_1': 190_000_000},
  }
  return Compiled(**{**values, **changes})


def content(*steps):
  return report.as_json(steps, V5E, ['toy', 'stem'], {'jax': '1', 'libtpu': '2'})


def test_the_slower_of_memory_and_arithmetic_is_the_bound():
  step = content(report.Step('train', compiled(), 128, 4_000_000))['steps']['train']
  assert step['seconds']['hbm'] == pytest.approx(0.01)
  assert step['seconds']['arithmetic'] == pytest.approx(0.001)
  assert step['bound_by'] == 'HBM'
  assert step['examples_per_s'] == pytest.approx(4 * 128 / 0.01)
  assert step['multiply_adds'] == 98.5e9
  assert step['layers'] == {'stem': 8_000_000_000, 'optimizer, moving averages': 190_000_000}


def test_the_text_has_the_numbers_and_what_is_not_known():
  found = content(report.Step('train', compiled(), 128, 4_000_000))
  text = report.text(json.loads(json.dumps(found)), 'images')
  for part in ('4 cores, 16.0 GiB', '51,200', 'HBM', 'stem', '97.7%', 'modelled', 'Unknown'):
    assert part in text
  assert found['advice'] == []


def test_what_does_not_fit_is_said_with_a_way_out():
  for lost in (compiled(temporaries=17 * 2**30), Compiled(needed=20 * 2**30, error='exhausted')):
    found = content(report.Step('train', lost, 128))
    assert not found['fits'] and not found['steps']['train']['fits']
    assert '--find_batch_size' in found['advice'][0]
    assert 'Advice' in report.text(found, 'images')


def test_a_batch_beside_the_lanes_and_open_loops_are_advised_on():
  step = report.Step('train', compiled(open_loops=2), 100, concerns=['float64, which TPUs emulate'])
  lanes, concern, loops = report.advice([step], V5E)
  assert '--train_batch_size=512' in lanes and 'float64' in concern and '2 loops' in loops


def test_operations_belong_to_layers_of_the_model():
  layers = ['oscar', 'encoder', 'layer_0', 'dense_1']
  operations = {
    'oscar_1/encoder_1/layer_0_1/MatMul': 1,
    'gradient_tape/oscar_1/encoder_1/layer_0_1/MatMul_1': 2,
    'oscar_1/dense_1/Add': 4,
    'softmax_cross_entropy_with_logits/LogSoftmax': 8,
    'AssignVariableOp_3': 16,
    '': 32,
  }
  assert report.by_layer(operations, layers) == {
    'encoder/layer_0': 3, 'dense_1': 4, 'loss, metrics, other': 40,
    'optimizer, moving averages': 16,
  }  # fmt: skip

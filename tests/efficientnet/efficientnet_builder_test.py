"""The table of models, the block notation and overrides, against the official builder's answers."""
import dataclasses

import pytest

from efficientnet import efficientnet_builder as builder
from efficientnet import network_params
from tests.efficientnet import golden

STRINGS = golden.read_json('block_strings.json')


def as_json(block):
  return {**dataclasses.asdict(block), 'strides': list(block.strides)}


@pytest.mark.parametrize('name', builder.FAMILY.scales)
def test_scaling_table(name):
  want = golden.read_json('tables.json')['models'][name]
  assert builder.FAMILY.scale(name)[:4] == (
    want['width'], want['depth'], want['resolution'], want['dropout']
  )  # fmt: skip
  _, params = builder.FAMILY.get_model_params(name)
  for filters, rounded in want['round_filters'].items():
    assert network_params.round_filters(int(filters), params) == rounded
  for repeats, rounded in want['round_repeats'].items():
    assert network_params.round_repeats(int(repeats), params) == rounded


def test_every_model_has_reference_counts():
  assert set(builder.FAMILY.scales) <= set(golden.read_json('counts.json'))


@pytest.mark.parametrize('string', STRINGS)
def test_decodes_as_official(string):
  want = {k: v for k, v in STRINGS[string].items() if k != 'encoded'}
  assert as_json(builder.BlockDecoder().decode([string])[0]) == want


@pytest.mark.parametrize('string', STRINGS)
def test_encodes_as_official(string):
  decoder = builder.BlockDecoder()
  blocks = decoder.decode([string])
  if STRINGS[string]['encoded'].startswith('error'):
    with pytest.raises(ValueError, match='no se_ratio'):
      decoder.encode(blocks)
    return
  assert decoder.encode(blocks) == [STRINGS[string]['encoded']]


def test_encoding_keeps_noskip():
  decoder = builder.BlockDecoder()
  block = dataclasses.replace(decoder.decode(['r1_k3_s11_e4_i24_o24_c1_noskip'])[0], se_ratio=0)
  assert decoder.encode([block]) == ['r1_k3_s11_e4_i24_o24_c1_f0_d0_noskip']


@pytest.mark.parametrize(
  ('string', 'message'),
  [
    ('r1_k3_s1_e1_i32_o16', 'two digits'),
    ('r1_k3_s111_e1_i32_o16', 'two digits'),
    ('r1_k3_e1_i32_o16', 'lacks s'),
    ('r1_k3_s11_e1_i32', 'lacks o'),
    ('r0_k3_s11_e1_i32_o16', 'num_repeat=0'),
    ('r1_k3_s11_e1_i32_o16_d3', 'space2depth=3'),
    ('r1_k3.5_s11_e1_i32_o16', 'k3.5'),
  ],
)
def test_bad_block_string(string, message):
  with pytest.raises(ValueError, match=message) as error:
    builder.BlockDecoder().decode([string])
  assert string in str(error.value)


def test_blocks_args_must_be_a_list():
  with pytest.raises(ValueError, match='list of block strings'):
    builder.BlockDecoder().decode('r1_k3_s11_e1_i32_o16')


def test_overrides():
  blocks, params = builder.FAMILY.get_model_params(
    'efficientnet-b0',
    {'width_coefficient': 0.5, 'num_classes': 7, 'blocks_args': ['r1_k3_s11_e1_i32_o16']},
  )
  assert (params.width_coefficient, params.num_classes, params.dropout_rate) == (0.5, 7, 0.2)
  assert [b.output_filters for b in blocks] == [16]
  assert builder.FAMILY.get_model_params('efficientnet-b0', {'blocks_args': blocks})[0] == blocks


@pytest.mark.parametrize(('rate', 'survival'), [(0.3, 0.7), (0, 1.0), (None, 1.0)])
def test_drop_connect_rate_is_the_complement(rate, survival):
  _, params = builder.FAMILY.get_model_params('efficientnet-b0', {'drop_connect_rate': rate})
  assert params.survival_prob == pytest.approx(survival)


@pytest.mark.parametrize(
  ('overrides', 'message'),
  [
    ({'dropout': 0.1}, 'dropout_rate'),
    ({'width_coeficient': 2}, 'width_coefficient'),
    ({'survival_prob': 0.5, 'drop_connect_rate': 0.5}, 'not both'),
    ({'survival_prob': 1.5}, 'survival_prob=1.5'),
    ({'dropout_rate': -0.1}, 'dropout_rate=-0.1'),
    ({'stddev_rgb': (1, 0, 1)}, 'stddev_rgb'),
    ({'mean_rgb': (1, 2)}, 'mean_rgb'),
    ({'num_classes': -1}, 'num_classes=-1'),
  ],
)
def test_bad_overrides(overrides, message):
  with pytest.raises(ValueError, match=message) as error:
    builder.FAMILY.get_model_params('efficientnet-b0', overrides)
  assert '\n' not in str(error.value)

"""Wrong model inputs are refused with one clear line."""
import numpy as np
import pytest

import oscar
from oscar.input.checks import check_inputs
from tests.oscar.golden_models import CONFIG

TINY = oscar.OscarConfig(**CONFIG)


def inputs(**changes):
  found = {
    'input_ids': np.zeros((2, 5), 'int32'),
    'token_type_ids': np.zeros((2, 5), 'int32'),
    'attention_mask': np.ones((2, 8), 'int32'),
    'img_feats': np.zeros((2, 3, 26), 'float32'),
    **changes,
  }
  return {k: v for k, v in found.items() if v is not None}


@pytest.mark.parametrize(
  ('changes', 'message'),
  [
    ({'input_ids': None}, "key 'input_ids'"),
    (
      {'input_id': np.zeros((2, 5))},
      "Unknown OSCAR model input 'input_id': did you mean input_ids",
    ),
    ({'input_ids': np.zeros(5)}, 'input_ids has shape .*expected rank 2'),
    (
      {'input_ids': np.zeros((2, 65)), 'token_type_ids': None},
      'has 65 positions, the model embeds 64',
    ),
    ({'input_ids': np.full((2, 5), 400)}, r'input_ids hold 400; expected 0 to 399 \(vocab_size'),
    ({'input_ids': np.full((2, 5), -1)}, 'input_ids hold -1; expected 0 to 399'),
    ({'token_type_ids': np.full((2, 5), 2)}, 'token_type_ids hold 2; expected 0 to 1'),
    ({'position_ids': np.full((2, 5), 64)}, 'position_ids hold 64; expected 0 to 63'),
    ({'img_feats': np.zeros((1, 3, 26))}, 'img_feats has 1 examples, input_ids 2'),
    ({'attention_mask': np.ones((3, 8))}, 'attention_mask has 3 examples, input_ids 2'),
    ({'token_type_ids': np.zeros((2, 4))}, 'token_type_ids has 4 positions, input_ids 5'),
    ({'img_feats': np.zeros((2, 3, 20))}, 'img_feats are 20 wide, the model takes 26'),
    ({'attention_mask': None}, 'need an attention_mask'),
    ({'attention_mask': np.ones((2, 5))}, r'expected \(batch, 8\) or \(batch, 8, 8\)'),
    ({'attention_mask': np.ones((2, 5, 8))}, r'has shape \(2, 5, 8\); expected'),
    ({'masked_positions': np.zeros((2, 1))}, 'the vqa model predicts no words'),
    ({'encoder_history_states': [np.zeros((2, 4, 48))]}, 'one for each of the 3 layers'),
    ({'encoder_history_states': [np.zeros((2, 4, 48))] * 3}, 'img_feats go into the history'),
  ],
)
def test_wrong_inputs_are_refused_in_one_line(changes, message):
  with pytest.raises(ValueError, match=message) as error:
    check_inputs(inputs(**changes), TINY, 'vqa')
  assert '\n' not in str(error.value)


def test_a_model_checks_its_inputs():
  model = oscar.build_model(TINY, 'vqa')
  with pytest.raises(ValueError, match='^img_feats are 20 wide'):
    model(inputs(img_feats=np.zeros((2, 3, 20))))


def test_none_is_the_same_as_a_missing_input():
  with pytest.raises(ValueError, match="key 'input_ids'"):
    check_inputs({'input_ids': None}, TINY, 'vqa')
  check_inputs({**inputs(), 'masked_positions': None, 'position_ids': None}, TINY, 'vqa')


def test_one_mask_may_serve_all_examples():
  check_inputs(inputs(attention_mask=np.ones((1, 8))), TINY, 'vqa')


def test_text_only_models_take_no_regions():
  with pytest.raises(ValueError, match='text-only'):
    check_inputs(inputs(), TINY.replace(img_feature_dim=0), 'vqa')


def test_nlvr2_takes_pairs():
  with pytest.raises(ValueError, match=r'expected \(batch, 2, ...\)'):
    check_inputs(inputs(), TINY, 'nlvr2')
  check_inputs(inputs(), TINY.replace(use_pair=False), 'nlvr2')
  pairs = {k: np.stack([v, v], 1) for k, v in inputs().items()}
  check_inputs(pairs, TINY, 'nlvr2')
  with pytest.raises(ValueError, match=r'expected \(batch, 8\)'):
    check_inputs({**pairs, 'attention_mask': np.ones((2, 2, 7))}, TINY, 'nlvr2')


def test_position_ids_lift_the_limit_on_length():
  long = np.zeros((2, 70), 'int32')
  check_inputs({'input_ids': long, 'position_ids': long}, TINY, 'vqa')

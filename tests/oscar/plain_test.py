"""The plain data steps give the official code's numbers; other tests compare with these steps."""

import json
import pathlib
import random

import numpy as np
import pytest

from tests.oscar import plain

GOLDENS = pathlib.Path(__file__).parents[1] / 'goldens' / 'oscar'
STEP = json.loads((GOLDENS / 'pretraining_data_step.json').read_text())
CAPTIONS = json.loads((GOLDENS / 'caption_tensorizer.json').read_text())
FIELDS = ('input_ids', 'input_mask', 'segment_ids', 'lm_label_ids')


@pytest.mark.parametrize('case', STEP['datasets'], ids=lambda case: case['setting'])
def test_pretraining_examples(case, tokenizer):
  args = {**STEP['base_args'], **case['overrides'], 'max_seq_length': case['seq_len']}
  docs = case['docs']
  qa = [i for i, doc in enumerate(docs) if 'qa' in doc[0].split('_')]
  for example in case['examples']:
    random.seed(example['seed'])
    drawn = plain.random_sent(
      docs,
      qa,
      example['index'],
      args['use_b'],
      args['textb_sample_mode'],
      args['texta_false_prob'],
      args['num_contrast_classes'],
    )
    assert list(drawn) == example['random_sent']
    tokens_b = tokenizer.tokenize(drawn[2]) if args['use_b'] else []
    regions = sum(sum_ != 0 for sum_ in example['img_feat'][1])
    tensors = plain.convert(
      tokenizer.tokenize(drawn[1]), tokens_b, *drawn[3:], regions, tokenizer.vocab, args
    )
    assert tensors == {name: example[name] for name in FIELDS}


def test_random_word(tokenizer):
  for case in STEP['random_word']:
    random.seed(case['seed'])
    tokens, labels = plain.random_word(case['tokens'], tokenizer.vocab)
    assert (tokens, labels) == (case['out_tokens'], case['labels'])


def test_truncate():
  for case in STEP['truncate']:
    a, b = plain.truncate(case['a'], case['b'], case['max'])
    assert (a, b) == (case['a_out'], case['b_out'])


def test_convert(tokenizer):
  for case in STEP['convert']:
    random.seed(case['seed'])
    options = {**case['args'], 'max_seq_length': case['max_seq_length']}
    tensors = plain.convert(
      case['tokens_a'],
      case['tokens_b'],
      case['is_next'],
      case['is_img_match'],
      case['img_feat_len'],
      tokenizer.vocab,
      options,
    )
    assert tensors == {name: case[name] for name in FIELDS}


def test_mask_caption(tokenizer):
  arrays = np.load(GOLDENS / 'caption_tensorizer.npz')
  for case in (case for case in CAPTIONS if case['is_train']):
    prefix = f'{case["tag"]}/{case["case"]}'
    words = tokenizer.tokenize(case['caption'])[: case['max_seq_a_length'] - 2]
    random.seed(case['seed'])
    tokens, places, ids = plain.mask_caption(
      ['[CLS]', *words, '[SEP]'],
      len(words) + 2,
      tokenizer.vocab,
      case.get('mask_prob', 0.15),
      case.get('max_masked_tokens', 3),
    )
    expected = arrays[f'{prefix}/input_ids'][: len(tokens)]
    np.testing.assert_array_equal(tokenizer.convert_tokens_to_ids(tokens), expected)
    np.testing.assert_array_equal(np.flatnonzero(arrays[f'{prefix}/masked_pos']), places)
    np.testing.assert_array_equal(arrays[f'{prefix}/masked_ids'], ids)

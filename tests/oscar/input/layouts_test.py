"""Sequences and masks from text, tags and regions equal the official and the plain ones."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from oscar.input import layouts, texts
from oscar.input.regions import pad_regions
from tests.oscar import plain

GOLDENS = pathlib.Path(__file__).parents[2] / 'goldens' / 'oscar'
CAPTIONS = json.loads((GOLDENS / 'caption_tensorizer.json').read_text())
STEP = json.loads((GOLDENS / 'pretraining_data_step.json').read_text())
SPECIAL = texts.SpecialIds(0, 1, 2, 3, 4, 400)


def words(*rows):
  """Returns the `Words` of lists of ids."""
  ids = tf.ragged.constant(rows, dtype=tf.int32, ragged_rank=1)
  return texts.Words(ids.to_tensor(), tf.cast(ids.row_lengths(), tf.int32))


def test_special_ids(tokenizer):
  assert texts.special_ids(tokenizer) == SPECIAL


def test_a_vocabulary_of_another_language_is_refused(tokenizer):
  with pytest.raises(ValueError, match='captions: the vocabulary does not know'):
    texts.tokenize(['ξένη γλώσσα ἐστίν', 'a man'], tokenizer, 'captions')


def test_token_table_rows(tokenizer):
  lines = ['a man riding a horse', '', 'two dogs', 'a man riding a horse', '']
  table = texts.TokenTable.of(lines, tokenizer)
  rows = table.rows(tf.constant([4, 2, 0, 1], tf.int64), 4)
  np.testing.assert_array_equal(rows.length, [0, 3, 4, 0])
  for row, text, length in zip(
    rows.ids.numpy(), ['', lines[2], lines[0], ''], rows.length, strict=True
  ):
    expected = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text))[:4]
    np.testing.assert_array_equal(row[: int(length)], expected)


@given(
  lengths=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=30),
  limit=st.integers(1, 50),
)
def test_truncated_lengths_equal_removal_one_by_one(lengths, limit):
  a, b = np.array(lengths, np.int32).T
  kept_a, kept_b = layouts.truncated_lengths(tf.constant(a), tf.constant(b), limit)
  expected = [plain.truncate(range(x), range(y), limit) for x, y in lengths]
  np.testing.assert_array_equal(kept_a, [len(x) for x, _ in expected])
  np.testing.assert_array_equal(kept_b, [len(y) for _, y in expected])


@given(
  rows=st.lists(
    st.tuples(*2 * [st.lists(st.integers(5, 399), max_size=15)]), min_size=1, max_size=6
  ),
  length=st.integers(4, 24),
)
def test_pair_layout_equals_the_plain_one(rows, length):
  layout = layouts.pair_layout(
    *map(lambda side: words(*side), zip(*rows, strict=True)), length, SPECIAL
  )
  vocab = {i: i for i in range(400)} | {'[CLS]': 2, '[SEP]': 3}
  options = {
    'max_seq_length': length,
    'max_img_seq_length': 0,
    'num_contrast_classes': 2,
    'texta_false_prob': 0.0,
    'mask_loss_for_unmatched': 1,
  }
  for i, (a, b) in enumerate(rows):
    expected = plain.convert(a, b, 0, 0, 0, vocab, options | {'max_seq_length': length}, mask=False)
    np.testing.assert_array_equal(layout.input_ids[i], expected['input_ids'])
    np.testing.assert_array_equal(layout.token_type_ids[i], expected['segment_ids'])
    np.testing.assert_array_equal(layout.kind[i] > 0, expected['input_mask'])


def test_layouts_are_the_same_inside_a_dataset():
  text_a, text_b = words([5, 6, 7, 8], [9]), words([], [10, 11])
  eager = layouts.pair_layout(text_a, text_b, 8, SPECIAL)
  dataset = tf.data.Dataset.from_tensors((text_a, text_b))
  mapped = next(iter(dataset.map(lambda a, b: layouts.pair_layout(a, b, 8, SPECIAL))))
  for one, other in zip(eager, mapped, strict=True):
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize('case', range(8))
def test_caption_layouts_and_masks(case, tokenizer):
  """Compares with all official captioning cases, except for the randomly masked ids."""
  arrays = np.load(GOLDENS / 'caption_tensorizer.npz')
  for item in (item for item in CAPTIONS if item['case'] == case):
    prefix = f'{item["tag"]}/{case}'
    tags = texts.words([item['od_labels'] or ''], tokenizer)
    if item['is_train']:
      caption = texts.words([item['caption']], tokenizer)
      layout = layouts.caption_layout(
        caption, tags, item['max_seq_a_length'], item['max_seq_length'], SPECIAL
      )
      kept = arrays[f'{prefix}/masked_pos'] == 0
    else:
      layout = layouts.generation_layout(
        tags, item['max_seq_a_length'], item['max_seq_length'], SPECIAL
      )
      kept = np.ones(item['max_seq_length'], bool)
    regions = arrays[f'img_feats_in/{case}']
    padded, count = pad_regions(tf.constant(regions), item['max_img_seq_length'])
    made = layouts.model_inputs(layout, padded[None], count[None], 'caption')
    np.testing.assert_array_equal(made['attention_mask'][0], arrays[f'{prefix}/attention_mask'])
    np.testing.assert_array_equal(made['token_type_ids'][0], arrays[f'{prefix}/segment_ids'])
    np.testing.assert_array_equal(made['input_ids'][0][kept], arrays[f'{prefix}/input_ids'][kept])
    feats = f'img_feats_out/mi{item["max_img_seq_length"]}/{case}'
    np.testing.assert_array_equal(made['img_feats'][0], arrays[feats])


def test_generation_keeps_the_tags_at_their_training_positions():
  np.testing.assert_array_equal(layouts.generation_position_ids(3, 5, 6), [0, 1, 2, 5, 6, 7])
  np.testing.assert_array_equal(layouts.generation_position_ids(4, 2, 6), [0, 1, 2, 3, 4, 5])


def test_unknown_attention_lists_the_choices():
  layout = layouts.pair_layout(words([5]), words([6]), 6, SPECIAL)
  with pytest.raises(ValueError, match="attention 'RC': .* CL, CLR, CR, LR, caption"):
    layouts.model_inputs(layout, tf.zeros([1, 2, 8]), tf.constant([1]), 'RC')


def test_sequences_longer_than_the_positions_are_refused():
  layouts.check_positions(511, 512)
  with pytest.raises(ValueError, match='reach position 512, the model embeds 512'):
    layouts.check_positions(512, 512)


def test_a_second_text_cut_to_nothing_has_no_separator():
  layout = layouts.pair_layout(words([5, 6]), words([7, 8, 9]), 4, SPECIAL)
  np.testing.assert_array_equal(layout.input_ids[0], [2, 5, 3, 0])
  np.testing.assert_array_equal(layout.token_type_ids[0], [0, 0, 0, 0])


def test_tags_cut_to_nothing_keep_their_separator():
  layout = layouts.caption_layout(words([5]), words([6, 7]), 4, 5, SPECIAL)
  np.testing.assert_array_equal(layout.input_ids[0], [2, 5, 3, 0, 3])
  np.testing.assert_array_equal(layout.token_type_ids[0], [0, 0, 0, 0, 1])


@pytest.mark.parametrize(
  ('with_tags', 'first'), [(True, [2, 5, 6, 7, 3, 0]), (False, [2, 5, 6, 7, 8, 3])]
)
def test_pairs_keep_room_for_tags_even_if_one_image_has_none(with_tags, first):
  """As `tensorize_example_pair` of the official run_nlvr.py."""
  text, tags = words([5, 6, 7, 8, 9]), [words([]), words([20] if with_tags else [])]
  left, right = layouts.two_image_layouts(text, tags, 6, SPECIAL, with_tags)
  np.testing.assert_array_equal(left.input_ids[0], first)
  np.testing.assert_array_equal(right.input_ids[0], [2, 5, 6, 3, 20, 3] if with_tags else first)


def test_a_sequence_without_room_for_text_is_refused():
  with pytest.raises(ValueError, match='expected at least 4'):
    layouts.pair_layout(words([5]), words([6]), 3, SPECIAL)


def test_a_caption_that_fills_the_sequence_leaves_no_room_for_tags():
  layout = layouts.retrieval_layout(words(range(5, 15)), words([20, 21]), 8, SPECIAL)
  np.testing.assert_array_equal(layout.input_ids[0], [2, 5, 6, 7, 8, 9, 10, 3])
  np.testing.assert_array_equal(layout.token_type_ids[0], np.zeros(8))

"""Batches of statements equal the official loader's items, in pairs and in one sequence."""

import itertools

import numpy as np
import pytest

from oscar.datasets import nlvr2_files, region_files
from oscar.input import statements
from tests.oscar import loaders

ALL = {'data_label_type': 'all', 'eval_data_type': 'all'}
NAMES = [name for name in loaders.OUTPUTS if name.startswith('nlvr2')]


def build(tokenizer, split='train', batch=4, folder=loaders.DATA / 'nlvr2', **more):
  files = nlvr2_files.Nlvr2Files(str(folder), **ALL)
  return statements.StatementInput(
    files.open, files.open_regions, tokenizer, train_batch_size=batch, eval_batch_size=batch,
    eval_split=split, max_seq_length=loaders.LENGTH, max_img_seq_length=loaders.REGIONS, **more,
  )  # fmt: skip


def items(dataset):
  """Returns the rows of weight 1 in the order of the file: {name: array}."""
  batches = list(dataset.as_numpy_iterator())
  rows = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
  kept = rows.pop('weights') == 1
  order = np.argsort(rows['row'][kept], kind='stable')
  return {name: values[kept][order] for name, values in rows.items()}


@pytest.mark.parametrize('name', NAMES)
def test_items_equal_the_official_ones(name, tokenizer):
  _, split, pair, tags = name.split('/')
  flags = {'use_pair': pair.endswith('1'), 'with_tags': tags.endswith('1')}
  made = items(build(tokenizer, split, **flags).eval_dataset())
  expected = loaders.OUTPUTS[name]
  assert made['row'].tolist() == list(range(len(expected)))
  for row, item in enumerate(expected):
    one = {key: values[row : row + 1] for key, values in made.items()}
    loaders.check(item, one, item[1], item[4])
    assert made['labels'][row] == np.ravel(item[3])[0]


@pytest.mark.slow
def test_images_named_from_right_to_left_keep_their_order_in_pairs_only(tokenizer, data):
  """As officially: pairs go in the order of the file, the sequence from left to right."""
  path = data / 'nlvr2' / 'nlvr2_dev.json'
  before = {pair: items(build(tokenizer, 'val', use_pair=pair, with_tags=True).eval_dataset())
            for pair in (True, False)}  # fmt: skip

  def swap(rows):
    for row in rows:
      row['img_id'] = dict(reversed(row['img_id'].items()))

  loaders.edit(path, swap)
  for pair in (True, False):
    source = build(tokenizer, 'val', folder=data / 'nlvr2', use_pair=pair, with_tags=True)
    made = items(source.eval_dataset())
    if pair:
      np.testing.assert_array_equal(made['img_feats'], before[pair]['img_feats'][:, ::-1])
    else:
      np.testing.assert_array_equal(made['input_ids'], before[pair]['input_ids'])
      np.testing.assert_array_equal(made['img_feats'], before[pair]['img_feats'])


def test_an_epoch_of_training_has_every_statement_once(tokenizer):
  source = build(tokenizer, batch=1)
  assert source.num_train_examples == 4
  made = [int(b['row'][0]) for b in itertools.islice(source.train_dataset().as_numpy_iterator(), 8)]
  assert sorted(made[:4]) == sorted(made[4:]) == [0, 1, 2, 3]


def test_trimmed_pairs_keep_what_both_images_need(tokenizer):
  whole, trimmed = (
    items(build(tokenizer, 'val', batch=2, with_tags=True, trim=trim).eval_dataset())
    for trim in (False, True)
  )
  words = trimmed['input_ids'].shape[-1]
  np.testing.assert_array_equal(trimmed['input_ids'], whole['input_ids'][..., :words])
  assert not whole['input_ids'][..., words:].any()
  assert trimmed['attention_mask'].sum() == whole['attention_mask'].sum()


@pytest.mark.parametrize('pair', [False, True])
def test_masked_regions_are_hidden_for_both_images(tokenizer, pair):
  shown, hidden = (
    items(build(tokenizer, 'val', use_pair=pair, mask_regions=mask).eval_dataset())
    for mask in (False, True)
  )
  words = shown['input_ids'].shape[-1]
  assert shown['attention_mask'][..., words:].any()
  assert not hidden['attention_mask'][..., words:].any()
  expected = shown['attention_mask'][..., :words]
  np.testing.assert_array_equal(hidden['attention_mask'][..., :words], expected)


def test_an_image_without_features_is_named(tokenizer, data):
  path = data / 'nlvr2' / 'nlvr2_train.json'
  loaders.edit(path, lambda rows: rows[0]['img_id'].update(right='nowhere'))
  with pytest.raises(region_files.UnknownImageError, match="features of image 'nowhere'"):
    build(tokenizer, folder=data / 'nlvr2').train_dataset()


@pytest.mark.parametrize(
  'with_tags, words', [(True, loaders.LENGTH - 3), (False, loaders.LENGTH - 2)]
)
@pytest.mark.parametrize('pair', [False, True])
def test_empty_tags_keep_the_room_of_their_separator(tokenizer, data, pair, with_tags, words):
  """As officially, where images without objects have the tags '', in one sequence ' '."""
  path = data / 'nlvr2' / 'nlvr2_dev.json'
  loaders.edit(path, lambda rows: rows[0].update(q='man ' * 30, o={'left': '', 'right': ''}))
  flags = {'use_pair': pair, 'with_tags': with_tags}
  made = items(build(tokenizer, 'val', folder=data / 'nlvr2', **flags).eval_dataset())
  (man,) = tokenizer.encode_batch(['man'])[0]
  ids = np.atleast_2d(made['input_ids'][0])
  assert (ids == man).sum(axis=-1).tolist() == [words] * len(ids)

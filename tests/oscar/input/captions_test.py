"""Batches of captions and images equal the official loader's items; errors."""

import itertools

import numpy as np
import pytest

from oscar.datasets import coco_caption
from oscar.input import captions
from tests.oscar import loaders

FOLDER = loaders.DATA / 'coco_caption'
# Lengths of the official items: caption, tags after it in training, generated caption.
CAPTION, TAGS, GENERATED = 14, 10, 10


def build(tokenizer, with_tags=True, folder=FOLDER, batch=4, **more):
  settings = {
    'max_seq_length': CAPTION + (TAGS if with_tags else 0), 'max_seq_a_length': CAPTION,
    'max_gen_length': GENERATED, 'max_img_seq_length': loaders.REGIONS, 'eval_split': 'test',
    'train_batch_size': batch, 'eval_batch_size': batch, **more,
  }  # fmt: skip
  return captions.CaptionInput(
    lambda split: coco_caption.CocoCaption(folder / f'{split}.yaml'),
    tokenizer,
    with_tags=with_tags,
    **settings,
  )


def items(dataset, count=None):
  """Returns the rows of weight 1: {name: array}."""
  batches = list(itertools.islice(dataset.as_numpy_iterator(), count))
  rows = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
  kept = rows.pop('weights') == 1 if 'weights' in rows else slice(None)
  return {name: values[kept] for name, values in rows.items()}


def check(made, row, item):
  """Compares a row with the mask, segments and regions of an official item."""
  np.testing.assert_array_equal(made['attention_mask'][row], item[1])
  np.testing.assert_array_equal(made['token_type_ids'][row], item[2])
  loaders.check_regions(made['img_feats'][row], item[3])


@pytest.mark.parametrize('with_tags', [True, False], ids=['tags', 'no_tags'])
def test_images_for_generation_equal_the_official_ones(with_tags, tokenizer):
  made = items(build(tokenizer, with_tags, batch=3).eval_dataset())
  expected = loaders.OUTPUTS[f'captioning/test/od={int(with_tags)}']
  assert made['row'].tolist() == list(range(len(expected)))
  for row, item in enumerate(expected):
    np.testing.assert_array_equal(made['input_ids'][row], item['out'][0])
    check(made, row, item['out'])
  assert 'masked_ids' not in made and not made['masked_positions'].any()


@pytest.mark.parametrize('with_tags', [True, False], ids=['tags', 'no_tags'])
def test_captions_equal_the_official_ones_where_unmasked(with_tags, tokenizer):
  """The draws differ: compared are the tokens with the masked ones put back."""
  source = build(tokenizer, with_tags)
  expected = loaders.OUTPUTS[f'captioning/train/od={int(with_tags)}']
  assert source.num_train_examples == len({item['index'] for item in expected})
  made = items(source.train_dataset(), source.num_train_examples // 4)
  names = ('input_ids', 'masked_positions', 'masked_ids')
  found = {
    (unmasked(*(made[name][row] for name in names)), round(float(total))): row
    for row, total in enumerate(made['img_feats'].sum(axis=(1, 2), dtype=np.float64))
  }
  official = {
    (unmasked(ids, np.flatnonzero(masked_pos), words), round(sum(regions[1]))): item['out']
    for item in expected
    for ids, _, _, regions, masked_pos, words in (item['out'],)
  }
  assert found.keys() == official.keys()
  for key, row in found.items():
    check(made, row, official[key])
    assert np.count_nonzero(made['masked_ids'][row]) == np.count_nonzero(official[key][5])


def unmasked(ids, places, words):
  """Returns the tokens of a caption before they were masked."""
  ids, count = np.array(ids), np.count_nonzero(words)
  ids[places[:count]] = words[:count]
  return tuple(ids.tolist())


def test_masked_positions_and_words_belong_together(tokenizer):
  made = items(build(tokenizer, mask_prob=0.3, max_masked_tokens=6).train_dataset(), 8)
  kept = made['masked_ids'] != 0
  assert made['masked_positions'].shape == made['masked_ids'].shape == (32, 6)
  assert (made['masked_positions'][kept] > 0).all()  # Never [CLS].
  assert (made['masked_positions'][~kept] == 0).all()
  shown = np.take_along_axis(made['input_ids'], made['masked_positions'], axis=1)
  share = (shown[kept] == tokenizer.mask_id).mean()
  assert 0.6 < share < 0.95


def test_another_epoch_masks_other_words_and_a_resumed_job_the_same(tokenizer):
  source = build(tokenizer, batch=1)
  count = source.num_train_examples
  made = items(source.train_dataset(), 2 * count)
  assert not np.array_equal(
    np.sort(made['masked_positions'][:count], axis=0),
    np.sort(made['masked_positions'][count:], axis=0),
  )
  resumed = items(source.train_dataset(start_example=5), 3)
  for name, values in resumed.items():
    np.testing.assert_array_equal(values, made[name][5:8])


def test_one_split_serves_both(tokenizer):
  source = build(tokenizer, eval_split='train')
  images = coco_caption.CocoCaption(FOLDER / 'train.yaml').image_ids
  assert source.num_eval_examples == len(images) != source.num_train_examples
  assert len(items(source.eval_dataset())['row']) == len(images)


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'max_seq_length': CAPTION}, 'expected more than --max_seq_a_length=14'),
    ({'with_tags': False, 'max_seq_length': 12}, 'expected at least --max_seq_a_length=14'),
  ],
  ids=['no_room', 'too_short'],
)
def test_lengths_that_do_not_fit_are_refused(tokenizer, settings, message):
  with pytest.raises(ValueError, match=message):
    build(tokenizer, **settings)


def test_without_tags_a_longer_sequence_would_be_padding(tokenizer):
  made, longer = (
    items(build(tokenizer, with_tags=False, max_seq_length=length).train_dataset(), 2)
    for length in (CAPTION, 30)
  )
  for name, values in longer.items():
    np.testing.assert_array_equal(values, made[name])


@pytest.mark.parametrize('with_tags', [True, False], ids=['tags', 'no_tags'])
def test_self_critical_training_gets_the_images_that_have_captions(with_tags, tokenizer):
  """Each image once an epoch, as it is given to the search."""
  split = coco_caption.CocoCaption(FOLDER / 'train.yaml')
  bare = split.captions[0].image_id
  split.captions = [caption for caption in split.captions if caption.image_id != bare]
  source = build(tokenizer, with_tags, batch=1, self_critical=True, eval_split='train')
  source._training._open = lambda name: split
  captioned = {caption.image_id for caption in split.captions}
  kept = [row for row, image_id in enumerate(split.image_ids) if image_id in captioned]
  assert source.num_train_examples == len(kept)
  made = items(source.train_dataset(), len(kept))
  assert sorted(made['row']) == kept
  searched = items(source.eval_dataset())
  assert set(searched) == set(made)
  for place, row in enumerate(made['row']):
    for name, values in searched.items():
      np.testing.assert_array_equal(made[name][place], values[row], err_msg=name)


def test_missing_captions_and_tags_are_one_line(tokenizer, data):
  folder = data / 'coco_caption'
  (folder / 'train.yaml').write_text('feature: train.feature.tsv\nlabel: train.label.tsv\n')
  with pytest.raises(ValueError, match=r'train.feature.tsv: there are no captions to train on'):
    _ = build(tokenizer, folder=folder).num_train_examples
  (folder / 'test.yaml').write_text('feature: test.feature.tsv\ncaption: test_caption.json\n')
  with pytest.raises(ValueError, match=r'test.feature.tsv: its split has no file of tags'):
    _ = build(tokenizer, folder=folder).num_eval_examples
  assert build(tokenizer, with_tags=False, folder=folder).num_eval_examples == 4

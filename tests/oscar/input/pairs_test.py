"""Right and wrong pairs equal the official loader's; both sources of wrong images; resuming."""

import collections
import itertools
import random

import numpy as np
import pytest
import tensorflow as tf

from oscar.datasets import coco_retrieval, region_files, retrieval_files
from oscar.input import negatives, pairs, record_input
from tests.oscar import loaders, plain

FILES = retrieval_files.RetrievalFiles(str(loaders.DATA / 'coco_ir'))
# Nothing fits into 0 GiB.
MEMORY, WINDOW = {'region_memory': 1.0}, {'region_memory': 0.0}


def build(tokenizer, files=FILES, batch=4, **more):
  settings = {
    'max_seq_length': loaders.LENGTH, 'max_img_seq_length': loaders.REGIONS,
    'captions_per_image': 2, 'train_split': 'train', 'eval_split': 'minival', **more,
  }  # fmt: skip
  return pairs.RetrievalInput(
    files.open, tokenizer, train_batch_size=batch, eval_batch_size=batch, **settings
  )


def official_draws(seed, image, num_images, captions):
  """Returns our draws for which the official choices come out, and the official wrong image."""
  random.seed(seed)
  other, caption = plain.retrieval_negative(image, num_images, captions)
  place = other - (other > image)
  draws = [(place + 0.5) / (num_images - 1), 0.7 if caption is None else 0.3]
  return [*draws, ((caption or 0) + 0.5) / captions], other


@pytest.mark.parametrize('held', [MEMORY, WINDOW], ids=['memory', 'window'])
@pytest.mark.parametrize(
  'name', [name for name in loaders.OUTPUTS if name.startswith('retrieval/train')]
)
def test_items_equal_the_official_ones_for_the_same_choices(name, held, tokenizer):
  attention, with_tags = name.split('att=')[1].split('/')[0], name.endswith('od=1')
  source = build(tokenizer, attention=attention, with_tags=with_tags, **held)
  split, reader = source._split('train'), FILES.open('train')
  # Records are in the order of the file; official images in that of the captions.
  ordered = sorted(reader.image_ids, key=reader.regions.position)
  record_of = {image: ordered.index(key) for image, key in enumerate(reader.image_ids)}
  regions = {n: loaders.padded(reader.regions[key]) for n, key in enumerate(ordered)}
  for case in loaders.OUTPUTS[name]:
    image, caption = divmod(case['index'], 2)
    draws, other = official_draws(case['seed'], image, 4, 2)
    image, other = record_of[image], record_of[other]
    draws[0] = (other - (other > image) + 0.5) / 3
    fields, partner = {'regions': regions[image]}, None
    if held is WINDOW:
      fields['other_regions'], partner = regions[other], tf.constant([other], tf.int64)
    made = split.make_batch(
      record_input.Rows(
        tf.constant([2 * image + caption], tf.int64), fields, tf.constant([draws], tf.float64),
        partner,
      )
    )  # fmt: skip
    out = case['out']
    for row, item in enumerate((out[:5], out[5:])):
      loaders.check(item, {k: v[row : row + 1] for k, v in made.items()}, item[1], item[3])
    assert made['labels'].numpy().tolist() == [out[4], out[9]] == [1, 0]


IMAGES = 40


class Numbered(region_files.RegionFile):
  """Images with one region that holds the number of the image."""

  def __init__(self):
    path = str(loaders.DATA / 'coco_ir' / 'features.tsv')
    super().__init__(path, {str(i): i for i in range(IMAGES)}, 7, False)

  def _read(self, key, place):
    return np.full([1, 7], place, np.float32)


class Reader:
  """A split of numbered images with two captions each, which say the number in letters."""

  path = 'captions'
  own_pairs = coco_retrieval.CocoRetrieval.own_pairs
  _check_count = coco_retrieval.CocoRetrieval._check_count

  def __init__(self, split):
    del split
    self.image_ids = [str(i) for i in range(IMAGES)]
    self.captions = {key: [f'{self.tags(key)} a', f'{self.tags(key)} b'] for key in self.image_ids}
    self.regions = Numbered()

  def tags(self, image_id):
    return ' '.join('ab'[int(bit)] for bit in f'{int(image_id):06b}')


def numbered(tokenizer, **more):
  settings = {
    'max_seq_length': 20, 'max_img_seq_length': 1, 'captions_per_image': 2, 'region_dim': 7,
    'window': 2, **more,
  }  # fmt: skip
  return pairs.RetrievalInput(Reader, tokenizer, **settings)


def numbers(batch, tokenizer):
  """Returns (number of the image, of the tags, of the caption) of each pair, [batch, 2] each."""
  letters = tokenizer.encode_batch(['a b'])[0]
  bits = batch['input_ids'] == letters[1]
  of_text = [bits[:, start : start + 6] @ (2 ** np.arange(5, -1, -1)) for start in (9, 1)]
  image = batch['img_feats'][:, 0, 0].astype(int)
  return [values.reshape(-1, 2) for values in (image, *of_text)]


@pytest.mark.parametrize('held', [MEMORY, WINDOW], ids=['memory', 'window'])
def test_wrong_pairs_are_half_captions_half_images_of_all_others(held, tokenizer):
  source = numbered(tokenizer, train_batch_size=80, **held)
  away = {'caption': collections.Counter(), 'image': collections.Counter()}
  for batch in source.train_dataset().take(100).as_numpy_iterator():
    assert batch['labels'].tolist() == [1, 0] * 80
    image, tags, caption = numbers(batch, tokenizer)
    assert (image == tags).all() and (image[:, 0] == caption[:, 0]).all()
    is_image = image[:, 0] != image[:, 1]
    assert ((caption[:, 0] != caption[:, 1]) == ~is_image).all()
    for kind, pair in (('image', image[is_image]), ('caption', caption[~is_image])):
      away[kind].update(((pair[:, 1] - pair[:, 0]) % IMAGES).tolist())
  totals = [sum(counts.values()) for counts in away.values()]
  assert sum(totals) == 8000 and abs(totals[0] - 4000) < 4 * 2000**0.5
  for kind, counts in away.items():
    assert set(counts) == set(range(1, IMAGES))
    if kind == 'caption' or held is MEMORY:
      expected = sum(counts.values()) / (IMAGES - 1)
      assert max(abs(n - expected) for n in counts.values()) < 5 * expected**0.5


def test_wrong_images_come_from_the_window(tokenizer):
  source = numbered(tokenizer, train_batch_size=16, **{**WINDOW, 'window': 1})
  for batch in source.train_dataset().take(10).as_numpy_iterator():
    image, _, _ = numbers(batch, tokenizer)
    assert (image // 8 == image[0, 0] // 8).all()  # One block of eight: one batch of 16 captions.


@pytest.mark.slow
@pytest.mark.parametrize('held', [MEMORY, WINDOW], ids=['memory', 'window'])
def test_training_resumes_with_the_next_pair(held, tokenizer):
  def take(batch, start, count):
    source = numbered(tokenizer, train_batch_size=batch, seed=3, **held)
    made = list(source.train_dataset(None, start).take(count).as_numpy_iterator())
    return {name: np.concatenate([one[name] for one in made]) for name in made[0]}

  whole = take(5, 0, 40)
  for batch, start in ((5, 85), (3, 90)):
    rest = take(batch, start, 20)
    for name, values in rest.items():
      np.testing.assert_array_equal(values, whole[name][2 * start :][: len(values)], err_msg=name)


def test_one_image_in_the_window_gets_wrong_captions():
  chosen = negatives.choose(
    tf.constant([4], tf.int64), tf.constant([[0.1, 0.9, 0.6]], tf.float64), 5, 2,
    tf.constant([2], tf.int64),
  )  # fmt: skip
  assert chosen.is_caption.numpy().tolist() == [True] and chosen.image.numpy().tolist() == [2]
  assert chosen.caption.numpy().tolist() == [1]


def test_the_input_says_where_wrong_images_come_from(tokenizer):
  few = 'more than --region_memory=0: wrong images come from the 4'
  for held, text in ((MEMORY, 'Regions of 4 images in memory'), (WINDOW, few)):
    lines = []
    build(tokenizer, log=lines.append, **held).train_dataset()
    assert len(lines) == 1 and text in lines[0]


def test_evaluation_has_each_caption_with_its_image_and_a_wrong_caption(tokenizer):
  batches = list(build(tokenizer, batch=4, **MEMORY).eval_dataset().as_numpy_iterator())
  rows = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
  assert rows['weights'].tolist() == [1.0] * 12 + [0.0] * 4
  assert rows['labels'][:12].tolist() == [1, 0] * 6
  for right in range(0, 12, 2):
    np.testing.assert_array_equal(rows['img_feats'][right], rows['img_feats'][right + 1])
    assert not (rows['input_ids'][right] == rows['input_ids'][right + 1]).all()
  again = next(build(tokenizer, batch=4, **MEMORY).eval_dataset().as_numpy_iterator())
  np.testing.assert_array_equal(again['input_ids'], batches[0]['input_ids'])


def test_trimmed_batches_keep_masks_with_a_row_for_each_position(tokenizer):
  for attention, length in (('CLR', 40), ('CL', 60)):
    source = build(
      tokenizer, batch=1, trim=True, max_seq_length=60, attention=attention, **MEMORY
    )
    batch = next(source.train_dataset().as_numpy_iterator())
    assert batch['input_ids'].shape[1] <= length and len(batch['input_ids']) == 2


def test_damaged_images_are_explained(tokenizer, data):
  path = data / 'coco_ir' / 'features.tsv'
  lines = path.read_bytes().split(b'\n')
  keys = [line.split(b'\t')[0].decode() for line in lines]
  place = keys.index('336699')
  lines[place] = lines[place][:40] + b'!' + lines[place][41:]
  path.write_bytes(b'\n'.join(lines))
  files = retrieval_files.RetrievalFiles(str(data / 'coco_ir'))
  with pytest.raises(ValueError, match="features.tsv, image '336699'.*damaged base64"):
    build(tokenizer, files, **MEMORY).train_dataset()
  source = build(tokenizer, files, batch=1, **WINDOW)
  with pytest.raises(tf.errors.InvalidArgumentError) as error:
    list(itertools.islice(source.train_dataset().as_numpy_iterator(), 8))
  assert "image '336699'" in str(source.explain(error.value))


def test_a_single_image_is_named(tokenizer, data):
  (data / 'coco_ir' / 'one_captions.json').write_text('{"398288": ["A man.", "A horse."]}')
  files = retrieval_files.RetrievalFiles(str(data / 'coco_ir'))
  with pytest.raises(ValueError, match='one_captions.json has 1 images; wrong pairs need at least'):
    build(tokenizer, files, train_split='one').train_dataset()


def test_a_single_image_is_evaluated_by_its_right_pairs(tokenizer, data):
  (data / 'coco_ir' / 'one_captions.json').write_text('{"398288": ["A man.", "A horse."]}')
  files = retrieval_files.RetrievalFiles(str(data / 'coco_ir'))
  source = build(tokenizer, files, eval_split='one')
  assert source.num_eval_examples == 2
  (batch,) = source.eval_dataset().as_numpy_iterator()
  assert batch['weights'].tolist() == [1, 0, 1, 0] + [0] * 4
  assert batch['labels'][:4].tolist() == [1, 0, 1, 0]


def test_masked_regions_are_hidden(tokenizer):
  for held in (MEMORY, WINDOW):
    dataset = build(tokenizer, mask_regions=True, **held).train_dataset()
    batch = next(dataset.as_numpy_iterator())
    words = batch['input_ids'].shape[1]
    assert batch['attention_mask'][:, :words].any()
    assert not batch['attention_mask'][:, words:].any()

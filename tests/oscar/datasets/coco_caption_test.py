"""Captions equal the official loader's; damaged files raise."""

import numpy as np
import pytest
import tensorflow as tf

from oscar.datasets import coco_caption, tsv
from oscar.input import layouts, texts
from tests.oscar import loaders


@pytest.mark.parametrize('with_tags', [0, 1])
def test_captioning(with_tags, tokenizer, special):
  reader = coco_caption.CocoCaption(loaders.DATA / 'coco_caption' / 'train.yaml')
  cases = loaders.OUTPUTS[f'captioning/train/od={with_tags}']
  assert len(cases) == len(reader.captions)
  for caption, case in zip(reader.captions, cases, strict=True):
    assert caption.image_id == case['key']
    tags = texts.words([reader.tags(caption.image_id) if with_tags else ''], tokenizer)
    words = texts.words([caption.caption], tokenizer)
    layout = layouts.caption_layout(words, tags, 14, 24 if with_tags else 14, special)
    made = layouts.model_inputs(layout, *loaders.padded(reader.regions[case['key']]), 'caption')
    ids, mask, segments, regions, masked_pos, masked_ids = case['out']
    # Mask the same words; masking_test covers how they are drawn.
    masked_pos = np.array(masked_pos)
    original = made['input_ids'].numpy()[0][masked_pos == 1]
    np.testing.assert_array_equal(original, masked_ids[: len(original)])
    made['input_ids'] = tf.where(masked_pos == 1, ids, made['input_ids'])
    loaders.check([ids, mask, segments], made, mask, regions)


def test_a_caption_without_an_image_raises(data):
  loaders.edit(data / 'coco_caption/train_caption.json', lambda rows: rows[3].update(image_id='77'))
  with pytest.raises(
    ValueError, match="train_caption.json row 3: a caption of image '77', which is not"
  ):
    coco_caption.CocoCaption(data / 'coco_caption' / 'train.yaml')


def test_captions_may_lack_ids(data):
  """The official code does not read them."""
  path = data / 'coco_caption/train_caption.json'
  loaders.edit(path, lambda rows: [row.pop('id') for row in rows])
  path.write_text('\ufeff' + path.read_text(), encoding='utf-8')
  yaml = data / 'coco_caption' / 'train.yaml'
  yaml.write_text('\ufeff' + yaml.read_text(), encoding='utf-8')
  captions = coco_caption.CocoCaption(yaml).captions
  assert [caption.caption_id for caption in captions] == list(range(len(captions)))
  loaders.edit(path, lambda rows: rows[2].update(id='x'))
  with pytest.raises(ValueError, match="train_caption.json row 2: 'id' is 'x', expected a whole"):
    coco_caption.CocoCaption(yaml)


def test_features_and_labels_of_different_images_raise(data):
  path = data / 'coco_caption' / 'train.label.tsv'
  rows = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(b''.join(rows[:2] + rows[3:]))
  tsv.write_lineidx(path)
  with pytest.raises(
    ValueError, match="row 2 of .*feature.tsv is image '336699', but row 2 of .*label.tsv"
  ):
    coco_caption.CocoCaption(data / 'coco_caption' / 'train.yaml')


def test_a_damaged_description_raises(data):
  path = data / 'coco_caption' / 'train.yaml'
  path.write_text('label: train.label.tsv\n')
  with pytest.raises(ValueError, match="train.yaml: 'feature' is missing"):
    coco_caption.CocoCaption(path)
  path.write_text('feature: other.tsv\n')
  with pytest.raises(
    FileNotFoundError, match='train.yaml: feature is .*other.tsv, which does not exist'
  ):
    coco_caption.CocoCaption(path)
  path.write_text('feature: !!python/object/apply:os.system [ls]\n')
  with pytest.raises(ValueError, match='train.yaml cannot be read as YAML of plain values'):
    coco_caption.CocoCaption(path)
  path.write_text('- feature\n')
  with pytest.raises(ValueError, match='train.yaml: expected lines of `name: value`'):
    coco_caption.CocoCaption(path)


def test_a_split_without_labels_has_no_tags(data):
  (data / 'coco_caption' / 'train.yaml').write_text('feature: train.feature.tsv\n')
  reader = coco_caption.CocoCaption(data / 'coco_caption' / 'train.yaml')
  assert reader.tags(reader.image_ids[0]) == '' and reader.captions == []


def test_damaged_tags_raise(data):
  path = data / 'coco_caption' / 'train.label.tsv'
  rows = path.read_bytes().splitlines(keepends=True)
  path.write_bytes(b''.join([b'398288\t[{"conf": 1}]\n', b'134026\t{"a": 1}\n', *rows[2:]]))
  tsv.write_lineidx(path)
  reader = coco_caption.CocoCaption(data / 'coco_caption' / 'train.yaml')
  with pytest.raises(ValueError, match="train.label.tsv row 0, key '398288': 'class' is missing"):
    reader.tags('398288')
  with pytest.raises(ValueError, match="row 1, key '134026': expected a list of objects"):
    reader.tags('134026')

"""Retrieval inputs equal the official loader's; damaged files raise."""

import json
import random

import pytest

from oscar.datasets import coco_retrieval, region_files
from oscar.input import layouts, texts
from tests.oscar import loaders, plain


def retrieval_inputs(reader, caption, image_id, attention, with_tags, tokenizer, special):
  tags = texts.words([reader.tags(image_id) if with_tags else ''], tokenizer)
  layout = layouts.retrieval_layout(
    texts.words([caption], tokenizer), tags, loaders.LENGTH, special
  )
  return layouts.model_inputs(layout, *loaders.padded(reader.regions[image_id]), attention)


@pytest.mark.parametrize(
  'name', [name for name in loaders.OUTPUTS if name.startswith('retrieval/train')]
)
def test_retrieval_training_pairs(name, tokenizer, special):
  attention, with_tags = name.split('att=')[1].split('/')[0], name.endswith('od=1')
  reader = coco_retrieval.CocoRetrieval(loaders.DATA / 'coco_ir', 'train')
  pairs = reader.own_pairs(captions_per_image=2)
  for case in loaders.OUTPUTS[name]:
    pair, out = pairs[case['index']], case['out']
    caption = reader.captions[pair.caption_image_id][pair.caption_index]
    settings = attention, with_tags, tokenizer, special
    made = retrieval_inputs(reader, caption, pair.image_id, *settings)
    loaders.check(out, made, out[1], out[3])
    assert pair.label == out[4] == 1
    random.seed(case['seed'])
    other, caption_index = plain.retrieval_negative(case['index'] // 2, len(reader.image_ids), 2)
    other, image_id = reader.image_ids[other], pair.image_id
    if caption_index is None:
      image_id = other
    else:
      caption = reader.captions[other][caption_index]
    made = retrieval_inputs(reader, caption, image_id, *settings)
    loaders.check(out[5:], made, out[6], out[8])
    assert out[9] == 0


@pytest.mark.parametrize('name', ['retrieval/minival_rerank', 'retrieval/test_cross_image'])
def test_retrieval_evaluation_pairs(name, tokenizer, special):
  if 'rerank' in name:
    reader = coco_retrieval.CocoRetrieval(loaders.DATA / 'coco_ir', 'minival')
    pairs = reader.candidate_pairs('minival_caption_indexs_top20.pt', 4)
  else:
    reader = coco_retrieval.CocoRetrieval(loaders.DATA / 'coco_ir', 'test', 'test_img_keys.tsv')
    pairs = list(reader.cross_pairs(2))
  assert len(pairs) == len(loaders.OUTPUTS[name])
  for pair, (_, item) in zip(pairs, loaders.OUTPUTS[name], strict=True):
    caption = reader.captions[pair.caption_image_id][pair.caption_index]
    made = retrieval_inputs(reader, caption, pair.image_id, 'CLR', True, tokenizer, special)
    if len(item[0]) > loaders.LENGTH:
      # After a caption that fills the sequence the official code still appends tags, which makes
      # the item too long for a batch; here the tags are dropped.
      item = [
        item[0][: loaders.LENGTH],
        item[1][: loaders.LENGTH] + item[1][-loaders.REGIONS :],
        [0] * loaders.LENGTH,
        *item[3:],
      ]
    loaders.check(item, made, item[1], item[3])
    assert pair.label == item[4]


def test_captions_without_features_raise(data):
  loaders.edit(data / 'coco_ir' / 'imageid2idx.json', lambda index: index.pop('398288') and None)
  with pytest.raises(ValueError, match="captions of 1 images without features, first '398288'"):
    coco_retrieval.CocoRetrieval(data / 'coco_ir', 'train')


def test_missing_captions_candidates_or_tags_raise(data):
  folder = data / 'coco_ir'
  with pytest.raises(FileNotFoundError, match='val_captions.pt does not exist'):
    coco_retrieval.CocoRetrieval(folder, 'val')
  reader = coco_retrieval.CocoRetrieval(folder, 'minival')
  with pytest.raises(ValueError, match='2 captions, expected 3'):
    reader.own_pairs(3)
  with pytest.raises(ValueError, match='candidates, expected at least 40'):
    reader.candidate_pairs('minival_caption_indexs_top20.pt', 40)
  (folder / 'keys.tsv').write_text('1\n')
  with pytest.raises(ValueError, match="keys.tsv: image '1' has no captions in this split"):
    coco_retrieval.CocoRetrieval(folder, 'test', 'keys.tsv')
  with pytest.raises(region_files.UnknownImageError, match='predictions.tsv has no tags'):
    reader.tags('1')


@pytest.mark.parametrize(
  ('candidate', 'message'),
  [
    ([1], r'has the candidate \[1\]; expected an image number'),
    (['475094', -1], "names caption -1 of '475094', which does not exist"),
    (['475094', '0'], "names caption '0' of '475094', which does not exist"),
  ],
)
def test_damaged_candidates_raise(data, candidate, message):
  folder = data / 'coco_ir'
  reader = coco_retrieval.CocoRetrieval(folder, 'minival')
  (folder / 'best.json').write_text(json.dumps({key: [candidate] for key in reader.image_ids}))
  with pytest.raises(ValueError, match=f'best.json: image .* {message}'):
    reader.candidate_pairs('best.json', 1)


def test_a_caption_that_is_not_text_raises(data):
  (data / 'coco_ir' / 'val_captions.json').write_text('{"398288": ["A man.", 2]}')
  message = "val_captions.json, key '398288': the caption 2 is not text"
  with pytest.raises(ValueError, match=message):
    coco_retrieval.CocoRetrieval(data / 'coco_ir', 'val')

"""TFDS data sets built from the official samples equal the output of the readers."""

import importlib
import json
import os
import pickle
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from oscar.datasets import (
  builders,
  coco_caption,
  coco_retrieval,
  features,
  gqa,
  nlvr2,
  nocaps,
  pretrain_corpus,
  region_files,
  tsv,
  vqa,
)
from tests.oscar import loaders
from tests.oscar.datasets import features_test


@pytest.fixture(scope='module')
def store(tmp_path_factory):
  return str(tmp_path_factory.mktemp('tfds'))


def built(store, name, folder, split, part='regions'):
  """Prepares a sample; returns (builder, records of a split)."""
  builder = builders.prepare(name, str(loaders.DATA / folder), store, part)
  records = list(tfds.as_numpy(builder.as_dataset(split=split)))
  return builder, records


def texts(values):
  return [value.decode() for value in values]


@pytest.mark.parametrize(
  ('name', 'reader', 'split'),
  [
    ('vqa', vqa.Vqa, 'train'),
    ('vqa', vqa.Vqa, 'test-dev2015'),
    ('gqa', gqa.Gqa, 'test-dev'),
  ],
)
def test_questions(store, name, reader, split):
  builder, records = built(store, name, name, split.replace('-', '_'))
  expected = reader(loaders.DATA / name, split)
  assert builder.info.metadata['answers'] == expected.answers
  found = []
  for record in records:
    image = record['image_id'].decode()
    np.testing.assert_array_equal(record['regions'], expected.regions[image])
    fields = record['questions']
    answers, scores = (fields[key].to_list() for key in ('answers', 'scores'))
    for i in range(len(fields['question'])):
      found.append(
        vqa.Question(
          *texts([fields['question'][i], fields['tags'][i]]),
          image,
          int(fields['question_id'][i]),
          tuple(answers[i]),
          tuple(round(score, 6) for score in scores[i]),
          fields['id_text'][i].decode(),
        )
      )
  assert sorted(found, key=repr) == sorted(expected.questions, key=repr)


ZEROS = ('7', '07', '007')  # Keys that numbers would confuse.


def write_regions(path, caption=False):
  text = features.encode(features_test.regions(2)).decode()
  with tsv.TsvWriter(path) as writer:
    columns = [json.dumps({'num_boxes': 2, 'features': text})] if caption else [2, text]
    for key in ZEROS:
      writer.write(key, *columns)


def write_zeros(folder, name):
  """Turns a copy of a sample into one whose ids begin with zeros."""
  if name in ('vqa', 'gqa'):
    stem, path = {'vqa': ('val_img_frcnn_feats', 'val2014_qla_mrcnn.json'),
                  'gqa': ('gqa_img_frcnn_feats', 'gqa_bal_qla_val.json')}[name]  # fmt: skip
    row = json.loads((folder / path).read_text())[0]
    rows = [row | {'img_id': key, 'q_id': key} for key in ZEROS]
  elif name == 'nlvr2':
    stem, path = 'nlvr2_img_frcnn_feats', 'nlvr2_dev.json'
    row = json.loads((folder / path).read_text())[0]
    rows = [row | {'img_id': {'left': key, 'right': '7'}} for key in ZEROS]
  elif name == 'coco_caption':
    stem, path = 'v.feature', 'v_caption.json'
    rows = [{'image_id': key, 'id': i, 'caption': 'a dog'} for i, key in enumerate(ZEROS)]
  else:
    stem, path = 'features', 'val_captions.json'
    rows = {key: ['a dog'] for key in ZEROS}
  for old in folder.iterdir():
    kept = old.suffix not in ('.json', '.yaml', '.tsv') or 'label' in old.name
    if not kept or 'captions' in old.name:
      old.unlink()
  (folder / path).write_text(json.dumps(rows))
  write_regions(folder / f'{stem}.tsv', caption=name == 'coco_caption')
  if name == 'coco_caption':
    (folder / 'v.yaml').write_text(f'feature: {stem}.tsv\ncaption: {path}\n')
  if name == 'coco_retrieval':
    with tsv.TsvWriter(folder / 'predictions.tsv') as writer:
      for key in ZEROS:
        writer.write(key, '[{"class": "dog"}]')


@pytest.mark.parametrize(
  'name, sample',
  [('vqa', 'vqa'), ('gqa', 'gqa'), ('nlvr2', 'nlvr2'), ('coco_caption', 'coco_caption'),
   ('coco_retrieval', 'coco_ir')],
)  # fmt: skip
def test_ids_keep_their_zeros(data, tmp_path, name, sample):
  write_zeros(data / sample, name)
  builder = builders.prepare(name, str(data / sample), str(tmp_path / 'out'))
  records = list(tfds.as_numpy(builder.as_dataset(split=next(iter(builder.info.splits)))))
  images = [texts(r.get('image_ids', [r.get('image_id')])) for r in records]
  assert [image[0] for image in images] == list(ZEROS)
  if name in ('vqa', 'gqa'):
    assert [texts(r['questions']['id_text']) for r in records] == [[key] for key in ZEROS]
    assert all(r['questions']['question_id'].tolist() == [7] for r in records)


def test_nlvr2(store):
  _, records = built(store, 'nlvr2', 'nlvr2', 'train')
  expected, found = nlvr2.Nlvr2(loaders.DATA / 'nlvr2', 'train'), []
  for record in records:
    images = tuple(texts(record['image_ids']))
    for image, side in zip(images, ('first', 'second'), strict=True):
      np.testing.assert_array_equal(record[f'{side}_regions'], expected.regions[image])
    rows = record['statements']
    for statement, first, second, label in zip(
      *(rows[name] for name in ('statement', 'first_tags', 'second_tags', 'label')), strict=True
    ):
      tags = tuple(texts([first, second]))
      found.append(nlvr2.Statement(statement.decode(), images, tags, int(label)))
  assert sorted(found, key=repr) == sorted(expected.statements, key=repr)


def test_captions(store):
  _, records = built(store, 'coco_caption', 'coco_caption', 'train')
  expected, found = coco_caption.CocoCaption(loaders.DATA / 'coco_caption' / 'train.yaml'), []
  assert {record['image_id'].decode() for record in records} == set(expected.image_ids)
  for record in records:
    image = record['image_id'].decode()
    assert record['tags'].decode() == expected.tags(image)
    np.testing.assert_array_equal(record['regions'], expected.regions[image])
    rows = record['captions']
    for number, caption in zip(rows['caption_id'], texts(rows['caption']), strict=True):
      found.append(coco_caption.Caption(image, int(number), caption))
  assert sorted(found, key=repr) == sorted(expected.captions, key=repr)


def test_nocaps(store):
  builder, records = built(store, 'nocaps', 'coco_caption', 'test')
  assert list(builder.info.splits) == ['test']  # train.yaml has no constraints.
  expected = nocaps.NoCaps(loaders.DATA / 'coco_caption' / 'test.yaml')
  assert len(records) == len(expected.image_ids)
  for record in records:
    boxes = expected.constraint_boxes(record['image_id'].decode())
    assert tuple(texts(record['constraints']['class_name'])) == boxes.class_names
    np.testing.assert_array_equal(record['constraints']['box'], boxes.boxes)
    np.testing.assert_array_equal(record['constraints']['score'], boxes.scores)


def test_retrieval(store):
  builder, records = built(store, 'coco_retrieval', 'coco_ir', 'minival')
  assert set(builder.info.splits) == {'minival', 'test', 'train'}
  expected = coco_retrieval.CocoRetrieval(loaders.DATA / 'coco_ir', 'minival')
  for record in records:
    image = record['image_id'].decode()
    assert expected.image_ids[record['position']] == image
    assert texts(record['captions']) == expected.captions[image]
    assert record['tags'].decode() == expected.tags(image)
    np.testing.assert_array_equal(record['regions'], expected.regions[image])
  assert len(records) == len(expected.image_ids)


def test_pretraining(store):
  corpus = pretrain_corpus.PretrainCorpus(str(loaders.DATA / 'pretrain' / 'pretrain.yaml'))
  documents = list(corpus.documents())
  _, records = built(store, 'pretrain', 'pretrain', 'pretrain', 'documents')
  for record, document in zip(records, documents, strict=True):
    for name in ('document_id', 'image_id', 'text_a', 'text_b'):
      assert record[name].decode() == getattr(document, name)
    assert record['is_question'] == document.is_question
  _, images = built(store, 'pretrain', 'pretrain', 'pretrain')
  assert sorted(d for image in images for d in image['documents']) == list(range(len(documents)))
  for number, image in enumerate(images):
    np.testing.assert_array_equal(image['regions'], corpus.regions[image['image_id'].decode()])
    assert (image['height'], image['width']) == (480, 640)
    for document in image['documents']:
      assert documents[document].image_id == image['image_id'].decode()
      assert records[document]['record'] == number
  assert [image['image_id'] for image in images][-3:] == [
    b'cc_0_316412',
    b'cc_1_407809',
    b'cc_1_215068',
  ]


def test_a_selection_of_the_corpus_is_remembered(tmp_path):
  arguments = 'pretrain', str(loaders.DATA / 'pretrain'), str(tmp_path), 'documents'
  builder = builders.prepare(*arguments, use_gtlabels=False, chunks=range(1, 2))
  reader = pretrain_corpus.PretrainCorpus(
    str(loaders.DATA / 'pretrain' / 'pretrain.yaml'), use_gtlabels=False, chunks=[1]
  )
  found = {
    (record['document_id'].decode(), record['text_b'].decode())
    for record in tfds.as_numpy(builder.as_dataset(split='pretrain'))
  }
  assert found == {(document.document_id, document.text_b) for document in reader.documents()}
  builders.prepare(*arguments, use_gtlabels=False, chunks=range(1, 2))
  builders.prepare('pretrain', None, str(tmp_path), 'documents')  # No selection: any is accepted.
  prepared = r"was prepared with {'use_gtlabels': False, 'chunks': \['1'"
  with pytest.raises(ValueError, match=prepared):
    builders.prepare(*arguments, use_gtlabels=True, chunks=None)


def test_only_the_corpus_has_a_selection(tmp_path):
  with pytest.raises(ValueError, match='use_gtlabels: only for the data set pretrain, not for vqa'):
    builders.prepare('vqa', str(tmp_path), str(tmp_path), use_gtlabels=False)


def test_a_changed_byte_in_a_shard_raises(store):
  builder, _ = built(store, 'coco_caption', 'coco_caption', 'train')
  (shard,) = builder.info.splits['train'].filepaths
  data = bytearray(shard.read_bytes())
  data[len(data) // 2] ^= 1
  damaged = os.path.join(store, 'damaged.tfrecord')
  with open(damaged, 'wb') as file:
    file.write(data)
  with pytest.raises(tf.errors.DataLossError):
    list(tf.data.TFRecordDataset(damaged))


def test_a_failed_build_leaves_no_records(data, tmp_path):
  loaders.edit(data / 'gqa' / 'gqa_bal_qla_val.json', lambda rows: rows[0].update(img_id='x'))
  with pytest.raises(ValueError, match="gqa_img_frcnn_feats.pt has no features of image 'x'"):
    builders.prepare('gqa', str(data / 'gqa'), str(tmp_path / 'out'))
  left = [name for _, _, names in os.walk(tmp_path / 'out') for name in names]
  assert not any('tfrecord' in name for name in left)


def test_a_wrong_name_or_folder_raises(tmp_path, caplog):
  with pytest.raises(ValueError, match="Unknown data set 'vqa2': did you mean vqa"):
    builders.prepare('vqa2', str(tmp_path), str(tmp_path))
  with pytest.raises(FileNotFoundError, match='oscar_vqa.* is not yet in .*absent does not exist'):
    builders.prepare('vqa', str(tmp_path / 'absent'), str(tmp_path))
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'empty' / 'some.txt').touch()
  with pytest.raises(FileNotFoundError, match='has none of the files of oscar_vqa'):
    builders.prepare('vqa', str(tmp_path / 'empty'), str(tmp_path / 'out'))
  assert not caplog.messages  # TFDS would warn of folders that are not there yet.


def test_an_empty_split_is_named(data, tmp_path):
  (data / 'vqa' / 'train2014_qla_mrcnn.json').write_text('[]')
  with pytest.raises(ValueError, match="vqa: the split 'train' of oscar_vqa is empty"):
    builders.prepare('vqa', str(data / 'vqa'), str(tmp_path / 'out'))


def test_region_files_pickle_for_other_processes():
  corpus = pretrain_corpus.PretrainCorpus(str(loaders.DATA / 'pretrain' / 'pretrain.yaml'))
  for regions, key in (
    (region_files.CaptionRegionTsv(loaders.DATA / 'coco_caption' / 'train.feature.tsv'), '398288'),
    (region_files.RegionTensors(loaders.DATA / 'gqa' / 'gqa_img_frcnn_feats.pt'), '398288'),
    (corpus.regions, 'coco_train_398288'),
  ):
    copy = pickle.loads(pickle.dumps(regions))
    np.testing.assert_array_equal(copy[key], regions[key])


def test_preparing_needs_little_memory_and_keeps_the_order(tmp_path, monkeypatch):
  """Writes 30 MB with a shuffle buffer of 1 MB, TFDS's default being 1 GB."""
  rows = features_test.regions(50)
  text = features.encode(rows).decode()
  with tsv.TsvWriter(tmp_path / 'f.tsv') as writer:
    for i in range(72):
      writer.write(i, json.dumps({'num_boxes': 50, 'features': text}))
  (tmp_path / 'train.yaml').write_text('feature: f.tsv\n')
  shuffle = importlib.import_module('tensorflow_datasets.core.shuffle')
  monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 1 << 20)
  tracemalloc.start()
  builder = builders.prepare('coco_caption', str(tmp_path), str(tmp_path / 'out'))
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  records = [record['image_id'] for record in tfds.as_numpy(builder.as_dataset(split='train'))]
  assert records == [str(i).encode() for i in range(72)]
  assert peak < 12e6

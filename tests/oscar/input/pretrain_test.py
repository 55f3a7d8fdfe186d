"""Batches of the prepared corpus: official items, resumption, hosts, and errors."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar.datasets import builders, pretrain_corpus
from oscar.input import masking, pretrain, pretrain_batch
from oscar.input.regions import pad_regions
from tests.oscar import loaders, plain

OPTIONS = pretrain_batch.PretrainOptions(max_seq_length=18, max_img_seq_length=3)


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  folder = str(tmp_path_factory.mktemp('pretrain'))
  for part in ('documents', 'regions'):
    builders.prepare('pretrain', str(loaders.DATA / 'pretrain'), folder, part)
  return folder


def build(data_dir, tokenizer, options=OPTIONS, batch=4, **kwargs):
  return pretrain.PretrainInput(
    data_dir, tokenizer, options, train_batch_size=batch, eval_batch_size=batch,
    train_split='pretrain', eval_split='pretrain', **kwargs,
  )  # fmt: skip


def take(dataset, count):
  return list(itertools.islice(dataset.as_numpy_iterator(), count))


def rows(batches):
  """Joins batches into one dict of arrays."""
  return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def assert_equal(one, other):
  for name in one:
    np.testing.assert_array_equal(one[name], other[name], name)


@pytest.fixture
def nothing_drawn(monkeypatch):
  """Replaces the draws by ones that leave texts and words unchanged."""

  def draw(seed, host, position, batch, count):
    return tf.fill([batch, count], tf.constant(0.99, tf.float64))

  monkeypatch.setattr(masking, 'uniform', draw)


def test_every_document_equals_the_official_one(data_dir, tokenizer, nothing_drawn):
  """With draws that change nothing, evaluation returns each document's own tensors, once."""
  corpus = pretrain_corpus.PretrainCorpus(str(loaders.DATA / 'pretrain' / 'pretrain.yaml'))
  options = {'max_seq_length': 18, 'max_img_seq_length': 3, 'num_contrast_classes': 2,
             'texta_false_prob': 0.0, 'mask_loss_for_unmatched': 1}  # fmt: skip
  expected = []
  for document in corpus.documents():
    regions = corpus.regions[document.image_id]
    tokens = tokenizer.tokenize(document.text_a), tokenizer.tokenize(document.text_b)
    tensors = plain.convert(
      *tokens, 0, 0, min(len(regions), 3), tokenizer.vocab, options, mask=False
    )
    padded, _ = pad_regions(tf.constant(regions), 3)
    expected.append((tensors['input_ids'], tensors['input_mask'], padded.numpy().tolist()))
  found = rows(list(build(data_dir, tokenizer).eval_dataset().as_numpy_iterator()))
  real = found['weights'] == 1
  assert real.sum() == 13 and len(real) == 16
  names = ('input_ids', 'attention_mask', 'img_feats')
  found = list(zip(*(found[name][real].tolist() for name in names), strict=True))
  assert sorted(found, key=repr) == sorted(map(tuple, expected), key=repr)


def test_an_epoch_of_training_has_every_document_once(data_dir, tokenizer, nothing_drawn):
  made = rows(take(build(data_dir, tokenizer, batch=1).train_dataset(), 26))
  texts = [tuple(ids) for ids in made['input_ids'].tolist()]
  assert sorted(texts[:13]) == sorted(texts[13:]) and len(set(texts)) == 13
  assert texts[:13] != texts[13:]


def test_images_belong_to_their_texts(data_dir, tokenizer, nothing_drawn):
  """A document's text comes with its image's regions in any order."""
  evaluated = rows(list(build(data_dir, tokenizer).eval_dataset().as_numpy_iterator()))
  image_of = {
    tuple(ids): regions.tobytes()
    for ids, regions, weight in zip(
      *(evaluated[name] for name in ('input_ids', 'img_feats', 'weights')), strict=True
    )
    if weight
  }
  trained = rows(take(build(data_dir, tokenizer, batch=5, window=1).train_dataset(), 8))
  for ids, regions in zip(trained['input_ids'], trained['img_feats'], strict=True):
    assert image_of[tuple(ids)] == regions.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize('window', [1, 64])
def test_a_stopped_job_resumes_with_the_next_batch(data_dir, tokenizer, window):
  made = build(data_dir, tokenizer, window=window)
  whole = take(made.train_dataset(), 12)
  for start in (1, 4, 11):
    resumed = take(made.train_dataset(start_example=4 * start), 12 - start)
    for one, other in zip(whole[start:], resumed, strict=True):
      assert_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize('hosts', [1, 2])
def test_batches_of_another_size_resume_with_the_next_example(data_dir, tokenizer, hosts):
  where = context(hosts, hosts - 1, hosts)
  whole = rows(take(build(data_dir, tokenizer, batch=4).train_dataset(where), 9))
  before = take(build(data_dir, tokenizer, batch=4).train_dataset(where), 3)
  after = take(build(data_dir, tokenizer, batch=6).train_dataset(where, 3 * 4), 4)
  assert_equal(rows(before + after), whole)


def test_batches_of_another_size_hold_the_same_examples(data_dir, tokenizer):
  small = rows(take(build(data_dir, tokenizer, batch=3).train_dataset(), 8))
  large = rows(take(build(data_dir, tokenizer, batch=8).train_dataset(), 3))
  assert_equal(small, large)


def test_seeds_differ(data_dir, tokenizer):
  one, other = (
    rows(take(build(data_dir, tokenizer, seed=seed).train_dataset(), 6)) for seed in (1, 2)
  )
  assert not np.array_equal(one['input_ids'], other['input_ids'])


def context(pipelines, pipeline, replicas):
  return tf.distribute.InputContext(pipelines, pipeline, replicas)


@pytest.mark.slow
def test_hosts_share_the_documents(data_dir, tokenizer, nothing_drawn):
  whole = rows(list(build(data_dir, tokenizer).eval_dataset().as_numpy_iterator()))
  parts = [
    list(build(data_dir, tokenizer, batch=8).eval_dataset(context(2, i, 4)).as_numpy_iterator())
    for i in range(2)
  ]
  assert len(parts[0]) == len(parts[1]) and len(parts[0]) % 2 == 0
  assert {len(batch['weights']) for part in parts for batch in part} == {2}
  found = rows(parts[0] + parts[1])
  texts = [
    sorted(
      tuple(ids) for ids, weight in zip(made['input_ids'], made['weights'], strict=True) if weight
    )
    for made in (whole, found)
  ]
  assert texts[0] == texts[1] and len(texts[0]) == 13
  trained = [
    rows(take(build(data_dir, tokenizer, batch=8).train_dataset(context(2, i, 4)), 20))
    for i in range(2)
  ]
  sets = [{tuple(ids) for ids in made['input_ids'].tolist()} for made in trained]
  assert not sets[0] & sets[1] and len(sets[0] | sets[1]) == 13


def test_hosts_draw_differently():
  one, other = (masking.uniform(0, host, tf.constant(5, tf.int64), 2, 9) for host in (0, 1))
  assert not np.any(np.isin(one, other))


def test_evaluation_is_the_same_every_time(data_dir, tokenizer):
  made = build(data_dir, tokenizer)
  one, other = (rows(list(made.eval_dataset().as_numpy_iterator())) for _ in range(2))
  assert_equal(one, other)
  assert (one['masked_lm_labels'] != -1).any() and (one['next_sentence_label'] == 1).any()


def test_shapes_are_static(data_dir, tokenizer):
  options = dataclasses.replace(OPTIONS, gather_masked=True)
  spec = build(data_dir, tokenizer, options).train_dataset().element_spec
  shapes = {name: tuple(value.shape) for name, value in spec.items()}
  assert shapes == {
    'input_ids': (4, 18), 'token_type_ids': (4, 18), 'attention_mask': (4, 21),
    'img_feats': (4, 3, 2054), 'masked_positions': (4, 13), 'masked_lm_labels': (4, 13),
    'next_sentence_label': (4,), 'is_img_match': (4,),
  }  # fmt: skip


def test_the_model_takes_a_batch(data_dir, tokenizer):
  options = dataclasses.replace(OPTIONS, gather_masked=True)
  (batch,) = take(build(data_dir, tokenizer, options).train_dataset(), 1)
  config = oscar.OscarConfig(
    vocab_size=400,
    hidden_size=16,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=16,
    max_position_embeddings=18,
  )
  model = oscar.build_model(config, 'pretrain')
  labels = ('masked_lm_labels', 'next_sentence_label', 'is_img_match')
  outputs = model({name: value for name, value in batch.items() if name not in labels})
  assert outputs['prediction_scores'].shape == (4, 13, 400)


def test_counts(data_dir, tokenizer):
  made = build(data_dir, tokenizer)
  assert made.num_train_examples == made.num_eval_examples == 13


def test_missing_data_is_reported(data_dir, tokenizer, tmp_path):
  with pytest.raises(FileNotFoundError, match='oscar_pretrain/documents.* is not yet in'):
    build(str(tmp_path), tokenizer).train_dataset()
  made = pretrain.PretrainInput(data_dir, tokenizer, OPTIONS, train_batch_size=2)
  with pytest.raises(ValueError, match="has no split 'train'; it has pretrain"):
    made.train_dataset()
  with pytest.raises(ValueError, match='10 images for 11 hosts'):
    build(data_dir, tokenizer, batch=11).train_dataset(context(11, 0, 11))
  with pytest.raises(FileNotFoundError, match='oscar_pretrain/regions_70.* is not yet in'):
    build(data_dir, tokenizer, region_dim=70).train_dataset()


def test_wrong_texts_from_questions_need_questions(data, tmp_path, tokenizer):
  corpus = data / 'pretrain' / 'corpus.tsv'
  corpus.write_text(''.join(line for line in corpus.open() if '_qa_' not in line))
  corpus.with_suffix('.lineidx').unlink()
  for part in ('documents', 'regions'):
    builders.prepare('pretrain', str(data / 'pretrain'), str(tmp_path / 'out'), part)
  with pytest.raises(ValueError, match='textb_sample_mode=2 takes wrong texts from questions'):
    build(
      str(tmp_path / 'out'), tokenizer, pretrain_batch.PretrainOptions(textb_sample_mode=2)
    ).train_dataset()


def test_a_damaged_record_is_reported(data, tmp_path, tokenizer):
  for part in ('documents', 'regions'):
    builder = builders.prepare('pretrain', str(data / 'pretrain'), str(tmp_path / 'out'), part)
  (shard,) = builder.info.splits['pretrain'].filepaths
  content = bytearray(shard.read_bytes())
  content[len(content) // 2] ^= 1
  shard.write_bytes(content)
  made = build(str(tmp_path / 'out'), tokenizer)
  with pytest.raises(tf.errors.DataLossError) as raised:
    take(made.train_dataset(), 5)
  cause = made.explain(raised.value)
  assert isinstance(cause, ValueError)
  assert 'oscar_pretrain-pretrain.tfrecord-00000-of-00001, record ' in str(cause)
  assert made.explain(KeyError()) is None


def test_documents_are_read_record_by_record(data_dir, tokenizer):
  builder = builders.prepare('pretrain', None, data_dir, 'documents')
  documents, record = pretrain.read_documents(builder, 'pretrain', tokenizer)
  assert (np.diff(record) >= 0).all() and len(record) == 13
  cases = json.loads((loaders.GOLDENS / 'pretraining_data_step.json').read_text())['datasets'][0][
    'docs'
  ]
  images = [doc[0].split('|')[0] for doc in cases]
  order = sorted(range(13), key=lambda i: (images.index(images[i]), i))
  assert sorted(documents.questions.numpy()) == sorted(
    np.flatnonzero(['_qa_' in cases[i][0] for i in order])
  )

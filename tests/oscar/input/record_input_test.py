"""The record input with two small tasks: questions on an image, statements on image pairs."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from oscar.datasets import builders, nlvr2, vqa
from oscar.input import layouts, record_input, texts
from oscar.input.regions import pad_regions
from tests.oscar import loaders


def prepared(name, folder):
  return builders.prepare(name, str(loaders.DATA / name), str(folder))


class QuestionInput(record_input.RecordInput):
  """A task on questions: its texts, record by record, and its batch."""

  def __init__(self, builder, tokenizer, **settings):
    super().__init__(train_split='val', max_img_seq_length=3, **settings)
    self.builder, self.tokenizer = builder, tokenizer

  def open_split(self, name):
    records = record_input.RegionRecords(self.builder, name)
    questions = [r['questions'] for r in self.builder.as_dataset(name).as_numpy_iterator()]
    counts = np.array([len(q['question_id']) for q in questions])
    words = (
      texts.TokenTable.of([text.decode() for q in questions for text in q[field]], self.tokenizer)
      for field in ('question', 'tags')
    )
    question, tags = words
    ids = tf.constant(np.concatenate([q['question_id'] for q in questions]))
    special = texts.special_ids(self.tokenizer)

    def make_batch(rows):
      pair = (table.rows(rows.example, loaders.LENGTH) for table in (question, tags))
      layout = layouts.pair_layout(*pair, loaders.LENGTH, special)
      inputs = layouts.model_inputs(layout, *rows.regions['regions'])
      return inputs | {'question_id': tf.gather(ids, rows.example), 'draws': rows.draws}

    return record_input.Split(records, counts, make_batch, num_draws=3)


@pytest.fixture(scope='module')
def builder(tmp_path_factory):
  return prepared('vqa', tmp_path_factory.mktemp('vqa'))


def build(builder, tokenizer, batch=4, **settings):
  return QuestionInput(
    builder, tokenizer, train_batch_size=batch, eval_batch_size=batch, **settings
  )


def joined(batches):
  batches = list(batches)
  return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def take(dataset, count):
  return list(itertools.islice(dataset.as_numpy_iterator(), count))


def test_every_question_has_its_tokens_and_its_image(builder, tokenizer):
  reader = vqa.Vqa(loaders.DATA / 'vqa', 'val')
  source = build(builder, tokenizer)
  found = joined(source.eval_dataset().as_numpy_iterator())
  real = found['weights'] == 1
  questions = {question.question_id: question for question in reader.questions}
  assert sorted(found['question_id'][real]) == sorted(questions)
  assert source.num_eval_examples == source.num_train_examples == len(questions)
  assert source.num_eval_batches * 4 == len(real)
  for i in np.flatnonzero(real):
    question = questions[found['question_id'][i]]
    tokens = [*tokenizer.encode(question.question), *tokenizer.encode(question.tags)]
    ids = found['input_ids'][i]
    assert [t for t in ids if t not in (2, 3, 0)] == tokens[: loaders.LENGTH - 3]
    regions, _ = pad_regions(tf.constant(reader.regions[question.image_id]), 3)
    np.testing.assert_array_equal(found['img_feats'][i], regions)


@pytest.mark.slow
def test_training_resumes_with_the_next_example(builder, tokenizer):
  source = build(builder, tokenizer, window=1)
  whole = joined(take(source.train_dataset(), 9))
  rest = joined(take(source.train_dataset(start_example=16), 5))
  for name, values in rest.items():
    np.testing.assert_array_equal(whole[name][16:], values, name)
  epoch = source.num_train_examples
  first, second = whole['question_id'][:epoch], whole['question_id'][epoch : 2 * epoch]
  assert len(set(first)) == epoch and set(second) <= set(first)
  assert len(np.unique(whole['draws'])) == whole['draws'].size


@pytest.mark.slow
def test_hosts_evaluate_every_question_once(builder, tokenizer):
  hosts = [
    list(build(builder, tokenizer).eval_dataset(context).as_numpy_iterator())
    for context in (tf.distribute.InputContext(2, i, 4) for i in range(2))
  ]
  assert len(hosts[0]) == len(hosts[1]) and len(hosts[0]) % 2 == 0
  found = joined(hosts[0] + hosts[1])
  ids = found['question_id'][found['weights'] == 1]
  assert len(set(ids)) == len(ids) == build(builder, tokenizer).num_eval_examples


class PairInput(record_input.RecordInput):
  """Records with two images each, no random draws."""

  def __init__(self, builder, **settings):
    super().__init__(train_split='val', max_img_seq_length=3, **settings)
    self.builder = builder

  def open_split(self, name):
    fields = ('first_regions', 'second_regions')
    records = record_input.RegionRecords(self.builder, name, fields=fields)
    pairs = list(self.builder.as_dataset(name).as_numpy_iterator())

    def make_batch(rows):
      first, second = (rows.regions[field][0] for field in fields)
      return {'img_feats': tf.stack([first, second], axis=1), 'draws': rows.draws}

    counts = np.array([len(pair['statements']['label']) for pair in pairs])
    return record_input.Split(records, counts, make_batch)


def test_a_record_may_hold_two_images(tmp_path):
  builder = prepared('nlvr2', tmp_path)
  reader = nlvr2.Nlvr2(loaders.DATA / 'nlvr2', 'val')
  found = joined(PairInput(builder, eval_batch_size=2).eval_dataset().as_numpy_iterator())
  made = {pair.tobytes() for pair in found['img_feats'][found['weights'] == 1]}
  expected = {
    np.stack(
      [pad_regions(tf.constant(reader.regions[image]), 3)[0] for image in statement.image_ids]
    ).tobytes()
    for statement in reader.statements
  }
  assert made == expected and found['draws'].shape[1] == 0

"""Batches of questions equal the official loader's items; images are read once; errors."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from oscar.datasets import gqa_files, region_files, vqa_files
from oscar.input import questions, trimming
from tests.oscar import golden_models, loaders

FILES = vqa_files.VqaFiles(str(loaders.DATA / 'vqa'), data_label_type='mask')


def build(tokenizer, files=FILES, split='train', batch=4, **more):
  settings = {'max_seq_length': loaders.LENGTH, 'max_img_seq_length': loaders.REGIONS, **more}
  return questions.QuestionInput(
    files.open, files.open_regions, tokenizer, train_batch_size=batch, eval_batch_size=batch,
    train_split='train', eval_split=split, **settings,
  )  # fmt: skip


def items(dataset, count=None):
  """Returns the rows of weight 1 in the order of the file: {name: array}."""
  batches = list(itertools.islice(dataset.as_numpy_iterator(), count))
  rows = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
  kept = rows.pop('weights') == 1 if 'weights' in rows else slice(None)
  order = np.argsort(rows['row'][kept], kind='stable')
  return {name: values[kept][order] for name, values in rows.items()}


@pytest.mark.parametrize('name', [name for name in loaders.OUTPUTS if name.startswith('vqa')])
def test_items_equal_the_official_ones(name, tokenizer):
  processor, split = name.split('/')
  made = items(build(tokenizer, split=split, with_tags=processor == 'vqa_text').eval_dataset())
  expected = loaders.OUTPUTS[name]
  assert made['row'].tolist() == list(range(len(expected)))
  for row, item in enumerate(expected):
    one = {key: values[row : row + 1] for key, values in made.items()}
    loaders.check(item, one, item[1], item[5])
    if split.startswith('test'):
      assert 'targets' not in made
    else:
      assert [made['labels'][row]] == item[3]
      np.testing.assert_array_equal(made['targets'][row], np.float32(item[4]))


@pytest.mark.parametrize('name', [name for name in loaders.OUTPUTS if name.startswith('gqa')])
def test_items_of_gqa_equal_the_official_ones(name, tokenizer):
  split = name.split('/')[1]
  files = gqa_files.GqaFiles(str(loaders.DATA / 'gqa'))
  source = questions.QuestionInput(
    files.open, files.open_regions, tokenizer, train_batch_size=4, eval_batch_size=4,
    eval_split=split, max_seq_length=loaders.LENGTH, max_img_seq_length=loaders.REGIONS,
  )  # fmt: skip
  made, expected = items(source.eval_dataset()), loaders.OUTPUTS[name]
  assert made['row'].tolist() == list(range(len(expected)))
  for row, item in enumerate(expected):
    one = {key: values[row : row + 1] for key, values in made.items()}
    loaders.check(item, one, item[1], item[5])
    assert split == 'test' or [made['labels'][row]] == item[3] == item[4]


def test_an_epoch_of_training_has_every_question_once(tokenizer):
  source = build(tokenizer, batch=1)
  assert source.num_train_examples == 7
  made = [int(batch['row'][0]) for batch in source.train_dataset().take(14).as_numpy_iterator()]
  assert sorted(made[:7]) == sorted(made[7:]) == list(range(7)) and made[:7] != made[7:]


def test_trimmed_batches_give_the_same_answers(tokenizer):
  config = {**golden_models.CONFIG, 'img_feature_dim': 2054}
  whole, trimmed = (
    items(build(tokenizer, batch=1, trim=trim, max_seq_length=60).eval_dataset().take(1))
    for trim in (False, True)
  )
  assert whole['input_ids'].shape[1] == 60 and trimmed['input_ids'].shape[1] == 16
  model = golden_models.oscar.build_model(golden_models.oscar.OscarConfig(**config), 'vqa')
  names = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')
  logits = [model({name: made[name] for name in names})['logits'] for made in (whole, trimmed)]
  np.testing.assert_allclose(*logits, atol=1e-6)


def test_lengths_after_trimming_are_few():
  lengths = set()
  for used in range(1, 129):
    mask = tf.constant(np.arange(128) < used, tf.int32)[None]
    lengths.add(int(trimming._length(mask)))
    assert used <= int(trimming._length(mask)) <= 128
  assert lengths == {16 * i for i in range(1, 9)}
  assert int(trimming._length(tf.zeros([2, 5], tf.int32))) == 1


@pytest.mark.slow
@pytest.mark.parametrize('trim', [False, True])
def test_masked_regions_are_hidden_in_training_and_evaluation(tokenizer, trim):
  shown, hidden = (build(tokenizer, trim=trim, mask_regions=mask) for mask in (False, True))
  for name in ('train_dataset', 'eval_dataset'):
    (seen, *_), (masked, *_) = (
      list(getattr(s, name)().take(1).as_numpy_iterator()) for s in (shown, hidden)
    )
    words = seen['input_ids'].shape[1]
    assert seen['attention_mask'][:, words:].any()
    assert not masked['attention_mask'][:, words:].any()
    for key in ('input_ids', 'token_type_ids', 'targets', 'row'):
      np.testing.assert_array_equal(masked[key], seen[key])
    expected = seen['attention_mask'][:, :words]
    np.testing.assert_array_equal(masked['attention_mask'][:, :words], expected)


def test_the_dropout_rate_follows_the_position(tokenizer):
  source = build(tokenizer, batch=2, dropout_rate=lambda examples: tf.cast(examples, tf.float32))
  batches = source.train_dataset().take(3).as_numpy_iterator()
  assert [batch['dropout_rate'].tolist() for batch in batches] == [[0, 0], [2, 2], [4, 4]]
  (batch, *_) = source.eval_dataset().as_numpy_iterator()
  assert batch['dropout_rate'].tolist() == [0, 0]


def test_an_image_without_features_is_named(tokenizer, data):
  path = data / 'vqa' / 'train2014_qla_mrcnn.json'
  loaders.edit(path, lambda rows: rows[0].update(img_id=7))
  files = vqa_files.VqaFiles(str(data / 'vqa'), data_label_type='mask')
  message = "train_img_frcnn_feats.pt has no features of image '7'; 1 images of the texts"
  with pytest.raises(region_files.UnknownImageError, match=message):
    build(tokenizer, files).train_dataset()


def test_questions_without_any_answer_are_named(tokenizer, data):
  path = data / 'vqa' / 'train2014_qla_mrcnn.json'
  loaders.edit(path, lambda rows: [row.update(an=[], s=[]) for row in rows])
  files = vqa_files.VqaFiles(str(data / 'vqa'), data_label_type='mask')
  with pytest.raises(ValueError, match='train2014_qla_mrcnn.json: no question has a known answer'):
    build(tokenizer, files).train_dataset()


def test_a_damaged_image_is_explained(tokenizer, data):
  path = data / 'vqa' / 'val_img_frcnn_feats.tsv'
  lines = path.read_bytes().split(b'\n')
  lines[1] = lines[1][:40] + b'!' + lines[1][41:]
  path.write_bytes(b'\n'.join(lines))
  files = vqa_files.VqaFiles(str(data / 'vqa'), data_label_type='mask', img_feat_format='tsv')
  source = build(tokenizer, files, split='val')
  with pytest.raises(tf.errors.InvalidArgumentError) as error:
    list(source.eval_dataset())
  cause = source.explain(error.value)
  assert 'val_img_frcnn_feats.tsv, image ' in str(cause) and 'damaged base64' in str(cause)
  assert '\n' not in str(cause)

"""Captioning: one step against the official code, scores of written captions, result files."""

import json

import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import checkpoint_names, job, script_settings
from oscar.datasets import coco_caption
from oscar.input.captions import CaptionInput
from oscar.tasks import captioning
from tests.oscar import golden_models, loaders

FOLDER = loaders.DATA / 'coco_caption'
NO_DROPOUT = {'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0}


def make_trainer(model, task):
  settings = script_settings.OptimizationConfig(
    learning_rate=1e-3, weight_decay=0.05, warmup_steps=0, scheduler='constant', max_grad_norm=0.0
  )
  return job.make_trainer(tf.distribute.get_strategy(), model, task, settings, 10)


def golden_batch(case):
  """Returns the batch of an official case as `CaptionInput` makes it."""
  z = golden_models.load('caption_training.npz')
  names = ('input_ids', 'attention_mask', 'img_feats')
  batch = golden_models.inputs(z, *names, prefix=f'{case}/batch/')
  batch['token_type_ids'] = z[f'{case}/batch/segment_ids']
  batch['masked_ids'] = z[f'{case}/batch/masked_ids'].astype('int32')
  batch['masked_positions'] = np.zeros_like(batch['masked_ids'])
  for row, masked in enumerate(z[f'{case}/batch/masked_pos']):
    places = np.flatnonzero(masked)
    batch['masked_positions'][row, : len(places)] = places
  return batch


def test_a_step_has_the_official_loss_and_changes_what_has_a_gradient():
  """As officially, the pooler and frozen words get no gradient, and so do not decay either."""
  model = golden_models.build('captioning', tie_weights=True, freeze_embedding=True, **NO_DROPOUT)
  task = captioning.captioning_task(
    model, no_captions, label_smoothing=0.1, drop_worst_ratio=0.2, drop_worst_after=0
  )
  before = {variable.path: variable.numpy() for variable in model.variables}
  trainer = make_trainer(model, task)
  data = tf.data.Dataset.from_tensors(golden_batch('od')).repeat()
  logs = trainer.train(trainer.train_iterator(lambda context: data), 1)

  case = 'captioning_tied/od/ls0.1_dw0.2_after0'
  expected = golden_models.load('caption_training.npz')[f'{case}/loss']
  assert logs['caption_loss'] == pytest.approx(float(expected), rel=1e-5)
  norms = golden_models.load('caption_training_grad_norms.json')[case]
  none = {name for name, norm in norms.items() if norm is None}
  same = {v.path for v in model.variables if np.array_equal(v.numpy(), before[v.path])}
  names = {checkpoint_names.torch_name(path) for path in same if 'seed' not in path}
  assert names == none


def no_captions(model, batch):
  raise AssertionError('Training writes no captions.')


def test_words_are_dropped_after_the_given_number_of_passes():
  logits, words = np.random.default_rng(0).normal(size=[1, 8, 30]), np.arange(1, 9)[None]
  task = captioning.captioning_task(
    None, no_captions, drop_worst_ratio=0.5, drop_worst_after=6, forward_passes=2
  )
  batch = {'masked_ids': words}
  kept = [
    float(task.losses['caption_loss']({'logits': logits}, batch, tf.constant(step, tf.int64))[1])
    for step in range(5)
  ]
  assert kept == [8, 8, 8, 4, 4]  # The seventh pass is the first of step 3, counted from 0.


def test_masked_accuracy_counts_masked_words_alone():
  logits = np.eye(5, dtype=np.float32)[[[1, 2, 0], [3, 3, 0]]]
  right, total = captioning.masked_accuracy(
    {'logits': logits}, {'masked_ids': np.array([[1, 4, 0], [3, 0, 0]])}, None
  )
  assert (float(right), float(total)) == (2, 3)


@pytest.fixture(scope='module')
def written(tokenizer):
  """(captions of the split test, its `CocoCaption`, metrics of an evaluation)."""
  split = coco_caption.CocoCaption(FOLDER / 'test.yaml')
  text = {caption.image_id: caption.caption for caption in split.captions}
  ids = np.zeros([len(split.image_ids), 2, 20], np.int32)
  for row, image_id in enumerate(split.image_ids):
    words = tokenizer.encode_batch([text.get(image_id, 'a man')])[0]
    ids[row, 0, : len(words) + 2] = [tokenizer.cls_id, *words, tokenizer.sep_id]
    ids[row, 1, :3] = [tokenizer.cls_id, words[0], tokenizer.sep_id]

  def generate(model, batch):
    """Returns a caption of the image and one of its first word alone."""
    found = tf.gather(tf.constant(ids), batch['row'])
    return {'ids': found, 'logprobs': tf.fill([tf.shape(found)[0], 2], tf.math.log(0.25))}

  source = CaptionInput(
    lambda name: split, tokenizer, max_seq_length=24, max_seq_a_length=14, max_gen_length=20,
    eval_split='test', eval_batch_size=3, max_img_seq_length=3,
  )  # fmt: skip
  config = {**golden_models.CONFIG, 'num_hidden_layers': 1, 'img_feature_dim': 2054}
  model = oscar.build_model(oscar.OscarConfig(**config), 'captioning')

  def summarize(rows):
    made = captioning.records(split, tokenizer, rows)
    return captioning.evaluate(split, made, 'test', java=False).means

  trainer = make_trainer(model, captioning.captioning_task(model, generate, summarize=summarize))
  rows = trainer.predict(source.eval_dataset)
  return captioning.records(split, tokenizer, rows), split, trainer.evaluate(source.eval_dataset)


def test_written_captions_are_scored(written):
  made, split, metrics = written
  assert [record['image_id'] for record in made] == split.image_ids
  expected = captioning.evaluate(split, made, 'test', java=False)
  assert metrics == expected.means  # No loss: evaluation has no masked words.
  assert metrics[captioning.OBJECTIVE] > 2 and metrics['Bleu_1'] > 0.9


def test_predictions_are_written_as_officially(written, tmp_path):
  made, split, _ = written
  captioning.write_predictions(made, tmp_path / 'pred.tsv')
  lines = (tmp_path / 'pred.tsv').read_text().splitlines()
  assert [line.split('\t')[0] for line in lines] == split.image_ids
  captions = json.loads(lines[0].split('\t')[1])
  assert [set(caption) for caption in captions] == [{'caption', 'conf'}] * 2
  assert captions[0]['conf'] == pytest.approx(0.25)
  assert '[CLS]' not in captions[0]['caption'] and captions[0]['caption']


def test_images_without_captions_are_not_scored(written):
  made, split, _ = written
  bare = split.captions[0].image_id
  fewer = coco_caption.CocoCaption(FOLDER / 'test.yaml')
  fewer.captions = [caption for caption in split.captions if caption.image_id != bare]
  assert bare not in captioning.evaluate(fewer, made, 'test', java=False).by_image
  fewer.captions = []
  assert captioning.evaluate(fewer, made, 'test') is None
  with pytest.raises(ValueError, match=r'test: 1 images without caption'):
    captioning.evaluate(split, made[1:], 'test', java=False)

"""Self-critical training: rewards and losses of the official code, gradients, steps, learning."""

import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import decoding, job, script_settings
from oscar.datasets import coco_caption
from oscar.metrics import cider
from oscar.tasks import scst
from tests.oscar import loaders
from tests.oscar.decoding import captions
from tpu_utils.task import Task

FOLDER = loaders.DATA / 'coco_caption'
GOLDENS = pathlib.Path(__file__).parents[2] / 'goldens' / 'oscar'
GOLDEN = json.loads((GOLDENS / 'cider_scst.json').read_text())
SAMPLES = GOLDEN['samples_per_image']


@pytest.mark.parametrize('baseline', ['greedy', 'sample'])
@pytest.mark.parametrize('mode', ['corpus', 'cached'])
def test_rewards_and_losses_equal_the_official_ones(mode, baseline):
  frequencies = cider.read(GOLDENS / 'cider_cached_tokens.p') if mode == 'cached' else None
  drawn = np.reshape(GOLDEN['sample'], [-1, SAMPLES]).tolist()
  greedy = GOLDEN['greedy'] if baseline == 'greedy' else None
  reward, of_baseline = scst.rewards(GOLDEN['gt'], drawn, greedy, frequencies)
  expected = GOLDEN[f'{mode}/{baseline}']
  assert reward.mean() == pytest.approx(expected['mean_sample_score'], rel=1e-12)
  # One word for each caption: the log-probabilities are means already.
  means = np.reshape(GOLDEN['sample_logprobs'], [-1, SAMPLES, 1]).astype('float32')
  total, count = scst.policy_loss(
    tf.constant(means), tf.ones_like(means), (reward - of_baseline).astype('float32')
  )
  assert float(total) / float(count) == pytest.approx(expected['loss'], rel=1e-5)


# ---- the task


def drawing(**settings):
  return captions.config(do_sample=True, num_return_sequences=3, **settings)


def batch_of(images, batch=None, **rows):
  batch = captions.inputs(rows=slice(images)) if batch is None else batch
  nowhere = tf.zeros([images, 1], tf.int32)
  return {**batch, 'row': tf.range(images, dtype=tf.int64), 'masked_positions': nowhere, **rows}


@pytest.mark.slow
def test_a_rollout_draws_captions_and_searches_the_baseline():
  model, batch = captions.small_model(), batch_of(2, captions.small_inputs(2))
  both = scst.scst_task(model, no_reward, drawing(), captions.config())
  drawn_only = scst.scst_task(model, no_reward, drawing(), None)
  first = both.rollout(model, batch, tf.constant([1, 0]))
  again, other = (drawn_only.rollout(model, batch, tf.constant([1, seed])) for seed in (0, 1))
  assert first['ids'].shape == first['drawn_ids'].shape == (2, 3, captions.LENGTH)
  np.testing.assert_array_equal(first['ids'], again['ids'])
  assert not np.array_equal(first['ids'], other['ids'])
  assert set(again) == {'row', 'ids', 'drawn_ids'}
  greedy = decoding.generate(model, batch, captions.config())['ids'][:, 0]
  np.testing.assert_array_equal(first['baseline_ids'], greedy)


def no_reward(rows):
  raise AssertionError(rows)


@pytest.mark.slow
def test_the_gradient_is_that_of_the_official_steps():
  """One pass over all words against one forward pass for each word, with the words so far."""
  model, config = captions.model(), drawing(temperature=0.8)
  ids = decoding.generate(model, batch_of(2), config, [3, 4])['drawn_ids']
  advantage = tf.constant([[1.0, -0.5, 0.2], [0.0, -2.0, 0.7]])
  batch = batch_of(2, drawn_ids=ids, advantage=advantage)
  task = scst.scst_task(model, no_reward, config, None)
  # All layers have one; it reaches tags and regions, too.
  variables = [v.value for v in model.trainable_variables]
  with tf.GradientTape() as tape:
    total, count = task.losses['scst_loss']({}, batch, 0)
    found = total / tf.cast(count, tf.float32)
  gradients = tape.gradient(found, variables)
  with tf.GradientTape() as tape:
    expected = official_loss(model, batch, config, ids, advantage)
  official = tape.gradient(expected, variables)
  assert float(found) == pytest.approx(float(expected), abs=1e-5)
  for variable, mine, other in zip(variables, gradients, official, strict=True):
    assert (mine is None) == (other is None), variable.path
    if mine is not None:
      mine, other = tf.convert_to_tensor(mine), tf.convert_to_tensor(other)
      np.testing.assert_allclose(mine, other, atol=2e-5 * max(1, np.abs(other).max()), rtol=1e-3)


def official_loss(model, batch, config, ids, advantage):
  """Returns the loss from the log-probabilities of a pass for each word."""
  images, count, length = ids.shape
  flat = tf.reshape(ids, [-1, length])
  inputs = {name: tf.repeat(batch[name], count, axis=0) for name in (
    'input_ids', 'token_type_ids', 'attention_mask', 'img_feats',
  )}  # fmt: skip
  text, whole = inputs['input_ids'].shape[1], inputs['attention_mask'].shape[1]
  total, steps, going = 0.0, 0.0, tf.ones([images * count])
  for known in range(1, length):
    kept = [*range(known + 1), *range(length, whole)]
    words = [place for place in kept if place < text]
    shift = config.tags_start() - length
    places = [place + (shift if place >= length else 0) for place in words]
    mask = tf.fill([images * count, 1], config.mask_token_id)
    scores = model({
      'input_ids': tf.concat([flat[:, :known], mask, inputs['input_ids'][:, length:]], axis=1),
      'token_type_ids': tf.gather(inputs['token_type_ids'], words, axis=1),
      'attention_mask': tf.gather(tf.gather(inputs['attention_mask'], kept, axis=1), kept, axis=2),
      'img_feats': inputs['img_feats'],
      'position_ids': tf.constant([places] * (images * count)),
    })['prediction_scores'][:, known]
    word = flat[:, known]
    of_word = tf.gather(tf.nn.log_softmax(scores / config.temperature), word, batch_dims=1)
    total, steps = total + of_word * going, steps + going
    going *= tf.cast(word != config.eos_token_id, tf.float32)
  return -tf.reduce_mean(total / steps * tf.reshape(advantage, [-1]))


def test_captions_cut_at_the_last_word_have_not_ended():
  config = captions.config(max_gen_length=4)
  drawn = np.array([[2, 9, 3, 0], [2, 9, 8, 3], [2, 9, 8, 7]])
  assert scst.ended({'drawn_ids': drawn}, config).numpy().tolist() == [True, True, False]
  # The beams' [SEP] in the last place may stand for a word.
  assert scst.ended({'ids': drawn}, config).numpy().tolist() == [True, False, False]


# ---- the reward


def critic(split, frequencies=None, lower_case=True):
  words = {7: 'a', 8: 'dog', 9: 'cat', 10: 'runs'}
  decode = lambda ids: ' '.join(words[i] for i in ids if i in words)  # noqa: E731
  return scst.Critic(lambda: split, decode, lambda: frequencies, lower_case)


def split_of(*texts):
  """A split with an image for each list of captions."""
  split = coco_caption.CocoCaption(FOLDER / 'test.yaml')
  split.image_ids = [str(number) for number in range(len(texts))]
  split.captions = [
    coco_caption.Caption(str(number), 0, text)
    for number, of_image in enumerate(texts) for text in of_image
  ]  # fmt: skip
  return split


def test_the_reward_is_cider_above_the_baseline_of_the_image():
  split = split_of(['A dog runs.'], [], ['a cat', 'a cat runs'])
  frequencies = scst.document_frequencies(split, lower_case=True)
  assert frequencies.num_images == 2 and frequencies.counts[('a', 'dog')] == 1
  ids = np.array([[[2, 7, 9, 3], [2, 8, 3, 0]], [[2, 7, 8, 10], [2, 7, 9, 3]]])
  rows = {'row': np.array([2, 0]), 'ids': ids, 'baseline_ids': ids[:, 1]}
  found = critic(split, frequencies).reward(rows)
  assert found['reward'][0, 0] > found['reward'][0, 1] == 0
  assert found['reward'][1, 0] > found['reward'][1, 1]
  np.testing.assert_array_equal(found['baseline'], found['reward'][:, [1, 1]])
  np.testing.assert_allclose(found['advantage'], found['reward'] - found['baseline'], atol=1e-6)
  del rows['baseline_ids']
  others = critic(split, frequencies).reward(rows)
  np.testing.assert_array_equal(others['baseline'], found['reward'][:, ::-1])
  assert {values.dtype for values in found.values()} == {np.dtype('float32')}


def test_the_mean_reward_is_of_images_with_references():
  split = split_of(['A dog runs.'], [], ['a cat'])
  frequencies = scst.document_frequencies(split, lower_case=True)
  made = {'0': 'a dog runs', '1': 'a cat', '2': 'a dog'}
  found = critic(split, frequencies).mean_reward(split, made)
  cased = critic(split, frequencies, lower_case=False).mean_reward(split, made)
  assert 0 < cased < found < 10  # An uncased model writes no capital A.


def test_a_split_without_captions_has_no_document_frequencies():
  with pytest.raises(ValueError, match='there are no captions to count document frequencies'):
    scst.document_frequencies(split_of([]), lower_case=True)


# ---- training


def make_trainer(model, task, rate, **settings):
  settings = script_settings.OptimizationConfig(
    learning_rate=rate, weight_decay=0.0, warmup_steps=0, scheduler='constant',
    max_grad_norm=1.0, **settings,
  )  # fmt: skip
  return job.make_trainer(tf.distribute.get_strategy(), model, task, settings, 10, seed=1)


@pytest.mark.slow
@pytest.mark.long
def test_parts_of_a_batch_have_the_gradient_of_the_whole():
  batch = batch_of(4, captions.small_inputs(4))
  data = tf.data.Dataset.from_tensors(batch).repeat()
  model = captions.small_model()
  before = model.get_weights()
  logs = []
  for parts in (1, 2):
    model.set_weights(before)
    task = scst.scst_task(model, length_reward, drawing(), captions.config())
    trainer = make_trainer(model, task, 1e-3, gradient_accumulation_steps=parts)
    logs.append(trainer.train(trainer.train_iterator(lambda context: data), 1))
  model.set_weights(before)
  for name in ('loss', 'reward', 'baseline', 'ended', 'gradient_norm'):
    assert logs[0][name] == pytest.approx(logs[1][name], rel=1e-4), name
  assert logs[0]['loss'] == logs[0]['scst_loss']


def length_reward(rows):
  """Rewards the first half of the vocabulary."""
  reward = (rows['ids'] < 15).mean(axis=2).astype('float32')
  baseline = np.broadcast_to(
    (rows['baseline_ids'] < 15).mean(axis=1)[:, None], reward.shape
  ).astype('float32')
  return {'reward': reward, 'baseline': baseline, 'advantage': reward - baseline}


LENGTH, IMAGES = 7, 6


def toy_world():
  """Returns (model, batch, captions of the images, decode): each image has a sentence of words."""
  keras.utils.set_random_seed(0)
  config = oscar.OscarConfig(
    vocab_size=20, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=64, max_position_embeddings=16, img_feature_dim=IMAGES,
    initializer_range=0.2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
  )  # fmt: skip
  model = oscar.build_model(config, 'captioning')
  whole = LENGTH + 1
  mask = np.zeros([whole, whole], np.int32)
  mask[:LENGTH, :LENGTH] = np.tril(np.ones([LENGTH, LENGTH]))
  mask[:, -1] = 1
  batch = {
    'input_ids': np.full([IMAGES, LENGTH], 4, np.int32),
    'token_type_ids': np.zeros([IMAGES, LENGTH], np.int32),
    'attention_mask': np.tile(mask, [IMAGES, 1, 1]),
    'img_feats': 3 * np.eye(IMAGES, dtype=np.float32)[:, None],
    'masked_positions': np.zeros([IMAGES, 1], np.int32),
    'row': np.arange(IMAGES),
  }
  sentences = np.random.default_rng(0).integers(5, 20, [IMAGES, 3])
  return model, batch, sentences, lambda ids: ' '.join(f'w{i}' for i in ids if i > 4)


def noisy(batch, sentences):
  """Yields batches with captions [CLS] words [SEP] in which a third of the words is wrong."""
  draws = np.random.default_rng(1)
  while True:
    words = np.where(draws.random([IMAGES, 4, 3]) < 0.35, draws.integers(5, 20, [IMAGES, 4, 3]),
                     sentences[:, None])  # fmt: skip
    ids = np.pad(words, [(0, 0), (0, 0), (1, LENGTH - 4)])
    ids[..., 0], ids[..., 4] = 2, 3
    yield {**batch, 'drawn_ids': ids.astype('int32')}


@pytest.mark.slow
@pytest.mark.long
def test_it_learns_what_is_rewarded_and_sentences_still_end():
  """From captions learnt with a third of the words wrong, it learns to write the right ones."""
  model, batch, sentences, decode = toy_world()
  config = decoding.GenerationConfig(**captions.IDS, max_gen_length=LENGTH)

  def cross_entropy(outputs, batch, step):
    found = decoding.score_captions(model, batch, batch['drawn_ids'], config)
    return -tf.reduce_sum(found['logprobs']), tf.reduce_sum(found['weights'])

  def train(task, examples, rate, steps):
    spec = {k: tf.TensorSpec(v.shape, v.dtype) for k, v in next(examples()).items()}
    data = tf.data.Dataset.from_generator(examples, output_signature=spec)
    trainer = make_trainer(model, task, rate)
    return [trainer.train(iterator, 20) for iterator in [trainer.train_iterator(lambda c: data)]
            for _ in range(steps // 20)]  # fmt: skip

  train(Task(losses={'words': cross_entropy}), lambda: noisy(batch, sentences), 1e-2, 160)
  split = split_of(*([decode(words) + '.'] for words in sentences.tolist()))
  frequencies = scst.document_frequencies(split, lower_case=True)
  host = scst.Critic(lambda: split, decode, lambda: frequencies, True)
  drawn = config.replace(do_sample=True, num_return_sequences=5)
  task = scst.scst_task(model, host.reward, drawn, config)

  def images():
    while True:
      yield batch

  logs = train(task, images, 3e-3, 120)
  assert logs[0]['reward'] < 8 < 9 < logs[-1]['reward']
  assert logs[-1]['ended'] > 0.95

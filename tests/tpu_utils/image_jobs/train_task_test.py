"""The official classification task: its loss, accuracies and transposition."""
import keras
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import batch_norm
from tpu_utils.image_jobs.train import classification_task


def _model():
  images = keras.Input((2, 2, 3), name='images')
  x = batch_norm.BatchNormalization(name='norm')(images)
  x = keras.layers.Flatten(name='flatten')(x)
  return keras.Model(images, keras.layers.Dense(6, name='logits')(x))


@pytest.fixture
def batch():
  generator = np.random.default_rng(3)
  labels = np.eye(6, dtype='float32')[[0, 1, 2, 3]]
  return generator.normal(size=(4, 6)).astype('float32'), {'labels': labels}


def test_smoothed_cross_entropy_is_the_textbook_one(batch):
  logits, batch = batch
  task = classification_task(_model(), label_smoothing=0.1)
  total, weight = task.losses['cross_entropy'](logits, batch, 0)
  smoothed = batch['labels'] * 0.9 + 0.1 / 6
  log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  assert float(total) == pytest.approx(-(smoothed * log_softmax).sum(), rel=1e-5)
  assert float(weight) == 4


def test_padding_rows_weigh_nothing(batch):
  logits, batch = batch
  task = classification_task(_model())
  padded = {**batch, 'weights': np.array([1, 1, 0, 0], np.float32)}
  kept = {'labels': batch['labels'][:2]}
  for functions in (task.losses, task.metrics):
    for name, function in functions.items():
      expected = [float(x) for x in function(logits[:2], kept, 0)]
      assert [float(x) for x in function(logits, padded, 0)] == pytest.approx(expected), name


def test_accuracies_count_ranks(batch):
  _, batch = batch
  logits = np.tile(np.arange(6, dtype='float32'), (4, 1))  # Ranks of classes 0..3: sixth to third.
  task = classification_task(_model())
  assert [float(x) for x in task.metrics['top_1_accuracy'](logits, batch, 0)] == [0, 4]
  assert [float(x) for x in task.metrics['top_5_accuracy'](logits, batch, 0)] == [3, 4]


def test_weight_decay_leaves_batch_norm_alone():
  model = _model()
  kernel, bias = model.get_layer('logits').kernel, model.get_layer('logits').bias
  bias.assign(tf.ones(6))
  task = classification_task(model, weight_decay=0.1)
  expected = 0.05 * (np.square(kernel.numpy()).sum() + 6)
  assert float(task.regularization()) == pytest.approx(expected, rel=1e-5)


def test_weight_decay_on_batch_norm_too():
  model = _model()
  model.get_layer('norm').beta.assign([1.0, 2.0, 0.0])
  task = classification_task(model, weight_decay=0.1, decay_batch_norm=True)
  expected = 0.05 * (np.square(model.get_layer('logits').kernel.numpy()).sum() + 3 + 5)
  assert float(task.regularization()) == pytest.approx(expected, rel=1e-5)


def test_transposed_images_are_turned_back():
  # [batch, height, width, 3]
  images = np.arange(2 * 4 * 3 * 5, dtype='float32').reshape(5, 2, 4, 3)
  batch = {'images': images.transpose(1, 2, 3, 0), 'labels': np.zeros([5, 6])}
  task = classification_task(_model(), transposed=True)
  np.testing.assert_array_equal(task.prepare(batch)['images'], images)

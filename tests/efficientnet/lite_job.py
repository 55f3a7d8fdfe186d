"""A small Lite that is trained on the digits in a few seconds, and its checkpoint as of a job."""
import json
import types

import keras
import numpy as np
import tensorflow as tf

import efficientnet
from tpu_utils import checkpoints
from tpu_utils.export import model_files
from tpu_utils.images import spec

FLAGS = {
  'model_name': 'efficientnet-lite0',
  'input_image_size': 32,
  'width_coefficient': 0.5,
  'depth_coefficient': 0.3,
  'num_label_classes': 10,
}
SPEC = spec.PreprocessSpec(image_size=32, interpolation='bilinear', crop='whole')
DATA = types.SimpleNamespace(
  data_dir='', dataset=None, tfds_data_dir=None, eval_split=None, holdout_fraction=None,
  split_file=None,
)  # fmt: skip
STEPS = 80


def held_out():
  """Returns (images, one-hot labels) of all held-out digits."""
  return _concatenated(model_files.Images(DATA, SPEC, 10).batches('validation', 71, 355))


def _concatenated(batches):
  pairs = [(batch['images'], batch['labels']) for batch in batches]
  return tuple(map(np.concatenate, zip(*pairs, strict=True)))


def build_model(model_name='efficientnet-lite0'):
  """Builds a small network with fresh weights."""
  return efficientnet.build_model(
    model_name, num_classes=10, image_size=32,
    width_coefficient=FLAGS['width_coefficient'], depth_coefficient=FLAGS['depth_coefficient'],
    survival_prob=None, dropout_rate=0, batch_norm_momentum=0.8,
  )  # fmt: skip


def trained_model(model_name='efficientnet-lite0', steps=STEPS):
  """Builds a small network and trains it on the digits."""
  keras.utils.set_random_seed(0)
  model = build_model(model_name)
  optimizer = keras.optimizers.Adam(3e-3)
  optimizer.build(model.trainable_variables)
  data = model_files.Images(DATA, SPEC, 10)

  @tf.function
  def step(images, labels):
    with tf.GradientTape() as tape:
      logits = model(images, training=True)
      loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels, logits))
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))

  images, labels = _concatenated(data.batches('train', 64, 1442))
  chosen = np.random.default_rng(0).integers(0, len(images), (steps, 64))
  for batch in chosen:
    step(images[batch], labels[batch])
  return model


def write(model, directory):
  """Writes the model as the job's newest checkpoint, with the record of its flags."""
  directory.mkdir()
  values = {f'model/{variable.path}': variable.numpy() for variable in model.weights}
  checkpoints.write(str(directory / 'model.ckpt-1'), values, {'step': 1})
  (directory / 'checkpoint').write_text('model_checkpoint_path: "model.ckpt-1"\n')
  record = {'starts': [{'flags': {**FLAGS, 'data_dir': '', 'dataset': None, 'advprop': False}}]}
  (directory / 'run.json').write_text(json.dumps(record))

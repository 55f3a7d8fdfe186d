"""The scenes' detector: a small ResNeXt that is trained on crops of scenes to say digit and colour.

Its boxes are given, not found. What it says of them is its own, errors included: the digit is the
region's tag, the 2048 numbers behind its last pooling are the region's appearance. It learns the
colour too, so that the appearance knows of it, as the detectors of the official features learn
attributes.
"""

import random

import keras
import numpy as np
import tensorflow as tf

import resnext
from oscar import region_features
from oscar.scenes import canvas, graph
from tpu_utils import distribute, losses, optimizers, schedules, trainer

IMAGE_SIZE = 16
_BATCH = 64
_SCENES = 2500  # To train on, at most; none of them is in the corpus.
_LEARNING_RATE = 0.05
_NAMES = {'digit': graph.DIGITS, 'colour': tuple(graph.COLOURS)}  # Heads and their classes.


class Detector:
  """Says of crops what digit they show; a model for `oscar.region_features.extract`.

  Attributes:
    image_size: pixels a side of the crops.
    labels: the digits' names.
    model: `keras.Model` from `images` [n, 16, 16, 3] to a dict of `appearance` [n, 2048] and the
      logits `digit` and `colour`.
  """

  image_size = IMAGE_SIZE
  labels = graph.DIGITS

  def __init__(self):
    # Five stages of one block each: 2048 channels at little cost.
    body = resnext.build_model(
      'resnext-20-4x8d', image_size=IMAGE_SIZE, include_top=False, pooling='avg',
      stage_blocks=(1,) * 5, width=32, stem_width=32,
    )  # fmt: skip
    heads = {
      name: keras.layers.Dense(len(classes), name=name)(body.output)
      for name, classes in _NAMES.items()
    }
    self.model = keras.Model(body.input, {'appearance': body.output, **heads}, name='resnext-scenes')
    self._apply = tf.function(
      lambda images: self.model(images, training=False), reduce_retracing=True
    )

  def __call__(self, images):
    """(appearance [n, 2048], probabilities of the digits [n, 10]) of float32 [n, 16, 16, 3]."""
    found = self._apply(tf.convert_to_tensor(images))
    return found['appearance'].numpy(), tf.nn.softmax(found['digit']).numpy()

  def save(self, path):
    self.model.save_weights(path)

  def load(self, path):
    self.model.load_weights(path)


def train(inks, seed, steps):
  """A `Detector` trained on crops of scenes of their own, of the given digits.

  Args:
    inks: {digit: [uint8 [height, width]]}, as of `canvas.read_inks`.
    seed: of weights and scenes.
    steps: batches of 64 crops.
  """
  count = min(_SCENES, steps * _BATCH // min(graph.COUNTS))
  images, labels = _crops(inks, random.Random(f'{seed} detector'), count)
  strategy = distribute.create_strategy('one_device')
  keras.utils.set_random_seed(seed)
  with strategy.scope():
    detector = Detector()

  def cross_entropy(name):
    def loss(outputs, batch, step):
      del step
      per_example = losses.softmax_cross_entropy(batch[name], outputs[name])
      return tf.reduce_sum(per_example), tf.cast(tf.size(per_example), tf.float32)

    return loss

  teacher = trainer.Trainer(
    strategy,
    detector.model,
    trainer.Task(losses={name: cross_entropy(name) for name in _NAMES}),
    optimizers.build_optimizer('momentum', nesterov=True),
    schedules.build_learning_rate(
      _LEARNING_RATE, lr_decay_type='cosine', total_steps=steps, warmup_epochs=0
    ),
  )
  batches = tf.data.Dataset.from_tensor_slices({'images': images, **labels})
  batches = batches.shuffle(len(images), seed=seed).repeat().batch(_BATCH, drop_remainder=True)
  batches = batches.map(lambda b: {**b, 'images': tf.cast(b['images'], tf.float32)}).prefetch(2)
  teacher.train(teacher.train_iterator(lambda context: batches), steps)
  return detector


def _crops(inks, rng, count):
  """(uint8 [n, 16, 16, 3], {head: float32 one-hot [n, classes]}) of the things of `count` scenes."""
  scenes = [graph.sample(rng, str(number), inks) for number in range(count)]
  crops = [
    region_features.crop(canvas.paint(scene, inks), [t.box for t in scene.things], IMAGE_SIZE)
    for scene in scenes
  ]
  things = [thing for scene in scenes for thing in scene.things]
  labels = {
    name: np.eye(len(classes), dtype=np.float32)[
      [classes.index(getattr(thing, name)) for thing in things]
    ]
    for name, classes in _NAMES.items()
  }
  return np.concatenate(crops), labels

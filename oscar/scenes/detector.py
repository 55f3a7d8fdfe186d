"""The scenes' detector: a small ResNeXt trained on crops of scenes to classify digit and colour.

Boxes are ground truth, tags and features are predictions: a region's tag is the predicted digit,
its appearance the 2048 numbers after the last pooling. The colour head makes the appearance encode
colour, as detectors for the official features learn attributes.
"""

import os
import random
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

import resnext
from oscar.datasets import region_extraction
from oscar.scenes import canvas, graph
from tpu_utils import distribute, losses, optimizers, schedules, trainer

IMAGE_SIZE = 16
_BATCH = 64
_MAX_SCENES = 2500  # Training scenes; none of them is in the corpus.
_LEARNING_RATE = 0.05
# Unscaled, the appearance varies thirty times as much as the six numbers of the box beside it, and
# nothing learns where a digit is or how large.
_APPEARANCE_SCALE = 0.1
_CLASSES = {'digit': graph.DIGITS, 'colour': tuple(graph.COLOURS)}  # {head: its classes}.


class Detector:
  """A classifier of crops, callable as the model of `region_extraction.extract`.

  Attributes:
    image_size: height and width of the crops in pixels.
    labels: the digits' names.
    model: `keras.Model` from `images` [n, 16, 16, 3] to a dict of `appearance` [n, 2048] and the
      logits `digit` [n, 10] and `colour` [n, 6].
  """

  image_size = IMAGE_SIZE
  labels = graph.DIGITS

  def __init__(self) -> None:
    # At width 32 a fifth stage reaches 2048 channels; one block per stage keeps it cheap.
    body = resnext.build_model(
      'resnext-20-4x8d', image_size=IMAGE_SIZE, include_top=False, pooling='avg',
      stage_blocks=(1,) * 5, width=32, stem_width=32,
    )  # fmt: skip
    heads = {
      name: keras.layers.Dense(len(classes), name=name)(body.output)
      for name, classes in _CLASSES.items()
    }
    appearance = keras.layers.Rescaling(_APPEARANCE_SCALE, name='appearance')(body.output)
    outputs = {'appearance': appearance, **heads}
    self.model = keras.Model(body.input, outputs, name='resnext-scenes')
    self._apply = tf.function(
      lambda images: self.model(images, training=False), reduce_retracing=True
    )

  def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predicts appearance [n, 2048] and digit probabilities [n, 10] from float32 [n, 16, 16, 3]."""
    outputs = self._apply(tf.convert_to_tensor(images))
    return outputs['appearance'].numpy(), tf.nn.softmax(outputs['digit']).numpy()

  def save(self, path: str | os.PathLike[str]) -> None:
    """Writes the weights; the path ends in `.weights.h5`."""
    self.model.save_weights(path)

  def load(self, path: str | os.PathLike[str]) -> None:
    """Reads weights that `save` wrote."""
    self.model.load_weights(path)


def train(inks: Mapping[str, Sequence[np.ndarray]], seed: int, steps: int) -> Detector:
  """Trains a detector on crops of scenes made for this purpose.

  Args:
    inks: {digit: [uint8 [height, width]]} from `canvas.read_inks`.
    seed: decides initial weights, scenes and their order.
    steps: batches of 64 crops.
  """
  count = min(_MAX_SCENES, steps * _BATCH // min(graph.COUNTS))
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

  training = trainer.Trainer(
    strategy,
    detector.model,
    trainer.Task(losses={name: cross_entropy(name) for name in _CLASSES}),
    optimizers.build_optimizer('momentum', nesterov=True),
    schedules.build_learning_rate(
      _LEARNING_RATE, lr_decay_type='cosine', total_steps=steps, warmup_epochs=0
    ),
  )
  batches = tf.data.Dataset.from_tensor_slices({'images': images, **labels})
  batches = batches.shuffle(len(images), seed=seed).repeat().batch(_BATCH, drop_remainder=True)
  batches = batches.map(lambda b: {**b, 'images': tf.cast(b['images'], tf.float32)}).prefetch(2)
  training.train(training.train_iterator(lambda context: batches), steps)
  return detector


def _crops(inks, rng, count):
  """Crops the things of `count` new scenes.

  Returns:
    (uint8 [n, 16, 16, 3], {head: float32 one-hot [n, classes]})
  """
  scenes = [graph.sample(rng, str(number), inks) for number in range(count)]
  crops = [
    region_extraction.crop(canvas.paint(scene, inks), [t.box for t in scene.things], IMAGE_SIZE)
    for scene in scenes
  ]
  things = [thing for scene in scenes for thing in scene.things]
  labels = {
    name: np.eye(len(classes), dtype=np.float32)[
      [classes.index(getattr(thing, name)) for thing in things]
    ]
    for name, classes in _CLASSES.items()
  }
  return np.concatenate(crops), labels

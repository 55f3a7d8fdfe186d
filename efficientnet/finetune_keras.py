"""Process in which `efficientnet.finetune_comparison` fine-tunes as keras.io's guide does.

Argument: the JSON file that describes the training. Source of the recipe: keras.io, Image
classification via fine-tuning with EfficientNet. First a new classifier with batch norm, Adam at
0.01 for 25 epochs; then the last 20 layers without batch norms at 0.00001 for 4; batches of 64.
"""
import sys

from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

import keras
import numpy as np
from PIL import Image

import efficientnet
from tpu_utils import files

BATCH = 64
EPOCHS = 25, 4
RATES = 1e-2, 1e-5
LAYERS = 20  # That the second stage trains.


def read(pictures: list, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns (float32 [number, size, size, 3] from 0 to 255, int [number] classes)."""
  images = [
    Image.open(path).convert('RGB').resize((size, size), Image.Resampling.BILINEAR)
    for path, _ in pictures
  ]
  labels = np.array([label for _, label in pictures])
  return np.stack([np.asarray(image, np.float32) for image in images]), labels


class Batches(keras.utils.PyDataset):
  """Augmented batches in a new order each epoch; the last, incomplete one is dropped."""

  def __init__(self, images: np.ndarray, labels: np.ndarray, seed: int) -> None:
    super().__init__()
    self._images, self._labels = images, labels
    self._batch = min(BATCH, len(images))
    self._random = np.random.default_rng(seed)
    self._augmentation = [
      keras.layers.RandomRotation(0.15),
      keras.layers.RandomTranslation(0.1, 0.1),
      keras.layers.RandomFlip(),
      keras.layers.RandomContrast(0.1),
    ]
    self.on_epoch_end()

  def __len__(self) -> int:
    """Returns the number of batches."""
    return len(self._images) // self._batch

  def on_epoch_end(self) -> None:
    """Draws the order of the next epoch."""
    self._order = self._random.permutation(len(self._images))

  def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (images, labels) of a batch."""
    chosen = self._order[index * self._batch : (index + 1) * self._batch]
    images = self._images[chosen]
    for layer in self._augmentation:
      images = layer(images, training=True)
    return np.array(images), self._labels[chosen]


def build(model_name: str, image_size: int, classes: int) -> keras.Model:
  """Returns a frozen network with the guide's classifier."""
  base = efficientnet.build_model(
    model_name, image_size=image_size, weights='pretrained', include_top=False, pooling='avg'
  )
  base.trainable = False
  outputs = base.output
  for layer in (
    keras.layers.BatchNormalization(),
    keras.layers.Dropout(0.2),
    keras.layers.Dense(classes, activation='softmax'),
  ):
    outputs = layer(outputs)
  return keras.Model(base.input, outputs)


def main(path: str) -> None:
  """Trains and evaluates a model.

  Args:
    path: JSON of the pictures, model, seed, image size and output file.
  """
  job = files.read_json(path)
  keras.utils.set_random_seed(job['seed'])
  pictures = {part: read(found, job['image_size']) for part, found in job['pictures'].items()}
  batches = Batches(*pictures['train'], job['seed'])
  model = build(job['model_name'], job['image_size'], int(pictures['train'][1].max()) + 1)
  for stage, (rate, epochs) in enumerate(zip(RATES, EPOCHS, strict=True)):
    for layer in model.layers[-LAYERS:] if stage else ():
      if not isinstance(layer, keras.layers.BatchNormalization):
        layer.trainable = True
    optimizer = keras.optimizers.Adam(rate)
    model.compile(optimizer, 'sparse_categorical_crossentropy', metrics=['accuracy'])
    model.fit(batches, epochs=epochs, verbose=0)
  _, accuracy = model.evaluate(*pictures['validation'], batch_size=BATCH, verbose=0)
  files.append_json_line(job['output'], {'top_1_accuracy': float(accuracy)})


if __name__ == '__main__':
  main(sys.argv[1])

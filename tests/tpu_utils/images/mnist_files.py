"""Writes small data sets in MNIST's format."""
import gzip
import pathlib
import struct

import numpy as np


def idx(values):
  """Returns the bytes of an IDX file of unsigned bytes."""
  values = np.asarray(values, np.uint8)
  return struct.pack(f'>BBBB{values.ndim}I', 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def images(count, seed=0):
  """Returns uint8 [count, 5, 4] noise."""
  return np.random.default_rng(seed).integers(0, 256, [count, 5, 4], np.uint8)


def write(folder, train=(0, 1, 2, 3, 2, 1, 0), validation=(3, 0, 1)):
  """Writes images with these labels, compressed but for the training labels; returns the path."""
  folder = pathlib.Path(folder)
  folder.mkdir(exist_ok=True)
  (folder / 'train-images-idx3-ubyte.gz').write_bytes(gzip.compress(idx(images(len(train)))))
  (folder / 'train-labels-idx1-ubyte').write_bytes(idx(train))
  (folder / 't10k-images-idx3-ubyte.gz').write_bytes(
    gzip.compress(idx(images(len(validation), 1)))
  )
  (folder / 't10k-labels-idx1-ubyte.gz').write_bytes(gzip.compress(idx(validation)))
  return str(folder)

"""Batches cut from windows hold every row once, in order, with a static size."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from oscar.input import batching


@pytest.mark.parametrize('batch_size', [1, 3, 7, 40])
@pytest.mark.parametrize('skip', [0, 2])
def test_batches_hold_the_rows_in_order(batch_size, skip):
  rng = np.random.default_rng(1)
  sizes = [5, 0, 1, 12, 3, 20, 2]
  windows, rows = [], []
  for number, size in enumerate(sizes):
    values = np.array([f'{number}:{i}' for i in range(4)], object)
    slot = rng.integers(0, 4, size)
    windows.append((100 * number + np.arange(size), slot, (values, np.arange(4.0))))
    rows += zip(windows[-1][0], values[slot].tolist(), slot, strict=True)
  spec = (
    tf.TensorSpec([None], tf.int64),
    tf.TensorSpec([None], tf.int64),
    (tf.TensorSpec([None], tf.string), tf.TensorSpec([None], tf.float64)),
  )
  dataset = tf.data.Dataset.from_generator(lambda: iter(windows), output_signature=spec)
  batches = list(batching.batches(dataset, batch_size, skip).as_numpy_iterator())
  rows = rows[skip:]
  expected = [rows[i : i + batch_size] for i in range(0, len(rows) - batch_size + 1, batch_size)]
  assert len(batches) == len(expected)
  for batch, wanted in zip(batches, expected, strict=True):
    found = zip(batch[0], (value.decode() for value in batch[1]), batch[2], strict=True)
    assert [(a, b, int(c)) for a, b, c in found] == [(a, b, int(c)) for a, b, c in wanted]


def test_batches_have_a_static_size():
  windows = tf.data.Dataset.from_tensors(
    (tf.range(8, dtype=tf.int64),) * 2 + ((tf.zeros([8, 3]),),)
  )
  rows, values = batching.batches(windows, 4).element_spec
  assert rows.shape == [4] and values.shape == [4, 3]
  assert len(list(itertools.islice(batching.batches(windows.repeat(), 4), 5))) == 5

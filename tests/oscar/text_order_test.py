"""The order of training: every text once an epoch, resumable, for any counts and batches."""

import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from oscar import text_order


def stream(order, counts, first, last, windows):
  """(text, record) in the order of training, window by window; each checked for its position."""
  record_of = np.repeat(np.arange(len(counts)), counts)
  texts, position = [], 0
  for number in range(windows):
    window = order.window(tf.constant(number, tf.int64))
    assert int(window.position) == position
    records = np.concatenate(
      [np.arange(a, b) for a, b in zip(window.first, window.last, strict=True)]
    )
    np.testing.assert_array_equal(records[window.slot], record_of[window.text])
    texts.append(window.text.numpy())
    position += len(texts[-1])
  return np.concatenate(texts)


@settings(max_examples=30, deadline=None)
@given(
  counts=st.lists(st.integers(0, 5), min_size=1, max_size=40),
  block=st.integers(1, 6),
  window=st.integers(1, 5),
  seed=st.integers(0, 5),
  data=st.data(),
)
def test_an_epoch_has_every_text_once(counts, block, window, seed, data):
  first = data.draw(st.integers(0, len(counts) - 1))
  last = data.draw(st.integers(first + 1, len(counts)))
  order = text_order.TextOrder(counts, first, last, seed, block, window)
  windows = math.ceil(math.ceil((last - first) / block) / window)
  texts = stream(order, counts, first, last, 2 * windows)
  starts = np.concatenate([[0], np.cumsum(counts)])
  own = np.arange(starts[first], starts[last])
  n = order.num_texts
  assert n == len(own) and len(texts) == 2 * n
  np.testing.assert_array_equal(np.sort(texts[:n]), own)
  np.testing.assert_array_equal(np.sort(texts[n:]), own)
  for position in data.draw(st.lists(st.integers(0, max(2 * n - 1, 0)), max_size=4)) if n else []:
    number, place = order.window_at(position)
    assert order.window(tf.constant(number, tf.int64)).text[place] == texts[position]


def test_epochs_and_seeds_differ():
  counts = np.full(200, 3)
  orders = [text_order.TextOrder(counts, 0, 200, seed, 4, 10) for seed in (0, 1, 0)]
  streams = [stream(order, counts, 0, 200, 10) for order in orders]
  np.testing.assert_array_equal(streams[0], streams[2])
  for one, other in ((streams[0][:600], streams[0][600:]), (streams[0], streams[1])):
    assert np.mean(one == other) < 0.05


def test_texts_of_an_image_are_spread_over_their_window():
  """Neighbours in the stream are hardly ever of the same image."""
  counts = np.full(512, 5)
  order = text_order.TextOrder(counts, 0, 512, 0)
  record = order.window(tf.constant(0, tf.int64)).text.numpy() // 5
  assert np.mean(record[1:] == record[:-1]) < 0.02


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
  batches = list(text_order.batches(dataset, batch_size, skip).as_numpy_iterator())
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
  rows, values = text_order.batches(windows, 4).element_spec
  assert rows.shape == [4] and values.shape == [4, 3]
  assert len(list(itertools.islice(text_order.batches(windows.repeat(), 4), 5))) == 5

"""The shuffle order: permutations with long runs, a function of seed and position."""
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tpu_utils import order
from tpu_utils.images import stream


def window(shuffled, number):
  return shuffled.window(tf.constant(number, tf.int64))


def sequence(shuffled, windows, records_of=None):
  """Returns the examples of the first windows; checks position and slots of each window."""
  examples, position = [], 0
  for number in range(windows):
    found = window(shuffled, number)
    assert int(found.position) == position
    records = np.concatenate(
      [np.arange(a, b) for a, b in zip(found.first, found.last, strict=True)]
    )
    example = found.example.numpy()
    expected = example if records_of is None else records_of[example]
    np.testing.assert_array_equal(records[found.slot], expected)
    examples.append(example)
    position += len(examples[-1])
  return np.concatenate(examples)


# Stored orders: with any change, resumed jobs would read other examples.


def test_images_are_read_in_the_stored_order():
  small = stream.training_order(0, 70, 42)
  first, second = (window(small, number).example.numpy().tolist() for number in (0, 1))
  assert first[:12] == [17, 6, 0, 61, 26, 40, 58, 38, 37, 34, 51, 16]
  assert second[-10:] == [28, 43, 50, 8, 45, 42, 40, 63, 12, 17]
  large = window(stream.training_order(0, 5000, 3), 4)
  assert large.example.numpy()[:8].tolist() == [2818, 4021, 715, 2936, 2562, 1721, 2924, 3833]
  assert large.first.numpy()[:6].tolist() == [4192, 2208, 3328, 2784, 3808, 1856]
  assert int(large.position) == 7048


def test_texts_are_read_in_the_stored_order():
  counts = [3, 0, 2, 1, 4, 2, 1]
  shuffled = order.ShuffledOrder(1, 7, 42, block=2, window=2, counts=counts)
  found = [[x.numpy().tolist() for x in window(shuffled, number)] for number in range(4)]
  assert found == [
    [0, [1, 3], [3, 5], [1, 3, 2, 1, 3, 3, 3], [3, 8, 5, 4, 7, 6, 9]],
    [7, [5], [7], [0, 0, 1], [10, 11, 12]],
    [10, [5, 1], [7, 3], [3, 1, 3, 0, 0], [3, 12, 4, 10, 11]],
    [15, [3], [5], [0, 1, 1, 1, 1], [5, 6, 7, 8, 9]],
  ]


# One example per record: images.


def epoch_order(num_examples, epoch, seed=0):
  shuffled = stream.training_order(0, num_examples, seed)
  per_epoch = shuffled.num_windows
  windows = [window(shuffled, w) for w in range(epoch * per_epoch, (epoch + 1) * per_epoch)]
  examples = [w.example.numpy() for w in windows]
  positions = [int(w.position) for w in windows]
  starts = np.cumsum([0] + [len(e) for e in examples[:-1]]) + epoch * num_examples
  assert positions == starts.tolist()
  return np.concatenate(examples)


@pytest.mark.parametrize(
  'num_examples', [1, 31, 32, 33, 1442, stream.WINDOW, stream.WINDOW + 1, 10_007]
)
def test_an_epoch_has_each_image_once(num_examples):
  for epoch in (0, 1, 7):
    assert sorted(epoch_order(num_examples, epoch)) == list(range(num_examples))


def test_seeds_and_epochs_of_images_differ():
  orders = [epoch_order(1442, epoch, seed) for seed in (0, 1) for epoch in (0, 1)]
  for i, a in enumerate(orders):
    for b in orders[:i]:
      assert abs(np.corrcoef(a, b)[0, 1]) < 0.1
  np.testing.assert_array_equal(orders[0], epoch_order(1442, 0, 0))


def test_a_window_mixes_examples_of_the_whole_set():
  first_window = epoch_order(100_000, 0)[: stream.WINDOW]
  tenths = np.bincount(first_window // 10_000, minlength=10)
  assert (tenths > 0).all()
  assert abs(np.corrcoef(first_window[:-1], first_window[1:])[0, 1]) < 0.1


def test_blocks_are_read_in_one_piece():
  num_examples = 10_007
  shuffled = stream.training_order(0, num_examples, 3)
  seen = []
  for number in range(shuffled.num_windows):
    found = window(shuffled, number)
    runs = [list(range(a, b)) for a, b in zip(found.first.numpy(), found.last.numpy(), strict=True)]
    assert sorted(sum(runs, [])) == sorted(found.example.numpy())
    seen += [len(run) for run in runs]
  assert sorted(seen)[1:] == [stream.BLOCK] * (num_examples // stream.BLOCK)


def test_window_at_finds_every_position():
  num_examples = 5000
  shuffled = stream.training_order(0, num_examples, 0)
  examples = np.concatenate([epoch_order(num_examples, epoch) for epoch in range(3)])
  for position in (0, 1, stream.WINDOW - 1, stream.WINDOW, 4999, 5000, 7048, 14_999):
    number, place = shuffled.window_at(position)
    found = window(shuffled, number)
    assert found.example[place] == examples[position]
    assert int(found.position) + place == position


# Several examples per record: texts of images.


@settings(max_examples=30, deadline=None)
@given(
  counts=st.lists(st.integers(0, 5), min_size=1, max_size=40),
  block=st.integers(1, 6),
  width=st.integers(1, 5),
  seed=st.integers(0, 5),
  short_block_last=st.booleans(),
  data=st.data(),
)
def test_an_epoch_has_every_text_once(counts, block, width, seed, short_block_last, data):
  first = data.draw(st.integers(0, len(counts) - 1))
  last = data.draw(st.integers(first + 1, len(counts)))
  shuffled = order.ShuffledOrder(
    first, last, seed, block=block, window=width, counts=counts, short_block_last=short_block_last
  )
  windows = math.ceil(math.ceil((last - first) / block) / width)
  assert shuffled.num_windows == windows
  texts = sequence(shuffled, 2 * windows, np.repeat(np.arange(len(counts)), counts))
  starts = np.concatenate([[0], np.cumsum(counts)])
  own = np.arange(starts[first], starts[last])
  n = shuffled.num_examples
  assert n == len(own) and len(texts) == 2 * n
  np.testing.assert_array_equal(np.sort(texts[:n]), own)
  np.testing.assert_array_equal(np.sort(texts[n:]), own)
  for position in data.draw(st.lists(st.integers(0, max(2 * n - 1, 0)), max_size=4)) if n else []:
    number, place = shuffled.window_at(position)
    assert window(shuffled, number).example[place] == texts[position]


@pytest.mark.parametrize('short_block_last', [False, True])
def test_without_counts_a_record_is_an_example(short_block_last):
  one = {'block': 4, 'window': 3, 'short_block_last': short_block_last}
  shuffled = order.ShuffledOrder(3, 41, 7, **one)
  counted = order.ShuffledOrder(3, 41, 7, counts=[1] * 50, **one)
  for number in range(9):
    for a, b in zip(window(shuffled, number), window(counted, number), strict=True):
      np.testing.assert_array_equal(a, b)
  for position in (0, 5, 11, 12, 37, 38, 100):
    assert [int(x) for x in shuffled.window_at(position)] == [
      int(x) for x in counted.window_at(position)
    ]


def test_epochs_and_seeds_of_texts_differ():
  counts = np.full(200, 3)
  records_of = np.repeat(np.arange(200), 3)
  orders = [
    order.ShuffledOrder(0, 200, seed, block=4, window=10, counts=counts) for seed in (0, 1, 0)
  ]
  texts = [sequence(shuffled, 10, records_of) for shuffled in orders]
  np.testing.assert_array_equal(texts[0], texts[2])
  for one, other in ((texts[0][:600], texts[0][600:]), (texts[0], texts[1])):
    assert np.mean(one == other) < 0.05


def test_texts_of_an_image_are_spread_over_their_window():
  """Neighbours in the sequence hardly ever belong to one image."""
  shuffled = order.ShuffledOrder(0, 512, 0, block=8, window=64, counts=np.full(512, 5))
  record = window(shuffled, 0).example.numpy() // 5
  assert np.mean(record[1:] == record[:-1]) < 0.02

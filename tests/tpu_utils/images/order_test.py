"""Training's order: each epoch a permutation, in long runs, a function of seed and position."""
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils.images import order


def epoch_order(num_examples, epoch, seed=0):
  per_epoch = order.windows_per_epoch(num_examples)
  windows = [
    order.window_examples(tf.constant(w, tf.int64), num_examples, seed)
    for w in range(epoch * per_epoch, (epoch + 1) * per_epoch)
  ]
  examples = [w[0].numpy() for w in windows]
  positions = [int(w[1]) for w in windows]
  starts = np.cumsum([0] + [len(e) for e in examples[:-1]]) + epoch * num_examples
  assert positions == starts.tolist()
  return np.concatenate(examples)


@pytest.mark.parametrize('num_examples', [1, 31, 32, 33, 1442, order.WINDOW, order.WINDOW + 1, 10_007])
def test_an_epoch_has_each_example_once(num_examples):
  for epoch in (0, 1, 7):
    assert sorted(epoch_order(num_examples, epoch)) == list(range(num_examples))


def test_seeds_and_epochs_differ():
  orders = [epoch_order(1442, epoch, seed) for seed in (0, 1) for epoch in (0, 1)]
  for i, a in enumerate(orders):
    for b in orders[:i]:
      assert abs(np.corrcoef(a, b)[0, 1]) < 0.1
  np.testing.assert_array_equal(orders[0], epoch_order(1442, 0, 0))


def test_a_window_mixes_places_of_the_whole_set():
  first_window = epoch_order(100_000, 0)[: order.WINDOW]
  tenths = np.bincount(first_window // 10_000, minlength=10)
  assert (tenths > 0).all()
  assert abs(np.corrcoef(first_window[:-1], first_window[1:])[0, 1]) < 0.1


def test_blocks_are_runs():
  num_examples = 10_007
  seen = []
  for window in range(order.windows_per_epoch(num_examples)):
    first, last = order.window_blocks(tf.constant(window, tf.int64), num_examples, 3)
    runs = [list(range(a, b)) for a, b in zip(first.numpy(), last.numpy(), strict=True)]
    examples, _ = order.window_examples(tf.constant(window, tf.int64), num_examples, 3)
    assert sorted(sum(runs, [])) == sorted(examples.numpy())
    seen += [len(run) for run in runs]
  assert sorted(seen)[1:] == [order.BLOCK] * (num_examples // order.BLOCK)


def test_window_at_finds_every_position():
  num_examples = 5000
  stream = np.concatenate([epoch_order(num_examples, epoch) for epoch in range(3)])
  for position in (0, 1, order.WINDOW - 1, order.WINDOW, 4999, 5000, 7048, 14_999):
    window, place = order.window_at(position, num_examples)
    examples, start = order.window_examples(tf.constant(window, tf.int64), num_examples, 0)
    assert examples[place] == stream[position] and start + place == position

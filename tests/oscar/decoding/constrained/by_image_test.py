"""Batches of images with machines of different sizes find what each image finds alone."""
import numpy as np
import pytest
import tensorflow as tf

from oscar.decoding.constrained import by_image, machine, search
from tests.oscar.decoding import captions

CONSTRAINTS = [[], [((5,),), ((6,),)], [((5,), (6,)), ((7,), (8,)), ((9, 10),)]]


def search_alone(*arguments):
  return tf.function(lambda: search.generate(*arguments), autograph=False)()


@pytest.mark.slow
def test_each_batch_takes_the_smallest_search_that_holds_its_machines():
  model, config = captions.small_model(), captions.config(num_beams=2)
  machines = [machine.build(constraints) for constraints in CONSTRAINTS]
  table = by_image.ImageMachines(machines)
  assert [len(one.states) for one in machines] == [1, 4, 16] and table.sizes == [4, 16]
  batch = captions.small_inputs()
  alone = [
    search_alone(model, {k: v[i : i + 1] for k, v in batch.items()}, machine.stack([one]), config)
    for i, one in enumerate(machines)
  ]

  @tf.function(autograph=False)
  def generate(batch, rows):
    return table.generate(model, batch, rows, config)

  for rows in ([0, 1], [1, 2, 0]):
    found = generate({k: tf.gather(v, rows) for k, v in batch.items()}, tf.constant(rows))
    for i, row in enumerate(rows):
      for name in ('ids', 'constraints_met'):
        np.testing.assert_array_equal(found[name][i], alone[row][name][0])
      np.testing.assert_allclose(found['logprobs'][i], alone[row]['logprobs'][0], atol=1e-4)


def test_the_sizes_are_those_in_use():
  sizes = lambda *counts: by_image.ImageMachines(  # noqa: E731
    [machine.build([((5 + i,),) for i in range(count)]) for count in counts]
  ).sizes
  assert sizes(0) == [1] and sizes(0, 1) == [2]
  assert sizes(2, 2) == [4] and sizes(1, 3) == [4, 8] and sizes(4, 4) == [16]

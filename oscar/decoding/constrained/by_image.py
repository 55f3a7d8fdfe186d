"""Constrained search over a data set, where each image has a machine of its own.

The search costs in proportion to the states of a batch, and its graph needs their number. So it is
built for a few numbers of states, and each batch takes the smallest that holds its machines.
"""
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from oscar.decoding.config import GenerationConfig
from oscar.decoding.constrained import machine, search
from oscar.modeling import OscarModel

_LEAST_STATES = 4  # Of two constraints of one word.


class ImageMachines:
  """The machines of all images of a split.

  Args:
    machines: one for each image, in the order of the split; at least one.

  Attributes:
    sizes: the numbers of states that the search is built for, rising.
  """

  def __init__(self, machines: Sequence[machine.Machine]) -> None:
    states = [len(one.states) for one in machines]
    sizes, size = [max(states)], _LEAST_STATES
    while size < sizes[-1]:
      sizes.insert(-1, size)
      size *= 2
    fitting_size = [next(size for size in sizes if n <= size) for n in states]
    self.sizes = [size for size in sizes if size in fitting_size]
    empty = machine.build([])
    self._tables = []
    for size in self.sizes:
      fitting = [one if len(one.states) <= size else empty for one in machines]
      arrays = machine.stack(fitting, size)
      self._tables.append(machine.Machines(*(tf.constant(x) for x in arrays)))
    self._size_of = tf.constant([self.sizes.index(size) for size in fitting_size], tf.int32)

  def generate(
    self, model: OscarModel, batch: Mapping[str, Any], rows: Any, config: GenerationConfig
  ) -> dict[str, tf.Tensor]:
    """Writes a caption of each image of a batch; see `search.generate`.

    Args:
      model: a captioning model.
      batch: its inputs.
      rows: int [B], the places of the images among the machines.
      config: the settings.
    """

    def searching(table):
      return lambda: search.generate(
        model, batch, machine.Machines(*(tf.gather(x, rows) for x in table)), config
      )

    searches = [searching(table) for table in self._tables]
    if len(searches) == 1:
      return searches[0]()
    return tf.switch_case(tf.reduce_max(tf.gather(self._size_of, rows)), searches)

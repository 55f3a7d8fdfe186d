"""The order of predicted rows; whole passes over data are in `task_test.py`."""
import numpy as np
import tensorflow as tf

from tpu_utils import rows


class Pod:
  """A strategy with two hosts of two replicas each and one client, like `TPUStrategy`."""

  num_replicas_in_sync = 4

  def experimental_local_results(self, value):
    return value


def test_rows_are_ordered_by_host_and_padding_is_removed():
  collector = rows.RowCollector(Pod())
  dataset = collector.watch(lambda context: tf.data.Dataset.range(context.input_pipeline_id))
  assert [*dataset(tf.distribute.InputContext(2, 1, 4)).as_numpy_iterator()] == [0]
  # Host 0 reads rows 0 to 7, host 1 rows 8 to 12; each gives its batches to its replicas in turn.
  for step in range(2):
    own = [np.array([2 * r + 4 * step, 2 * r + 4 * step + 1]) for r in range(2)]
    batches = [*own, *(batch + 8 for batch in own)]
    keep = [(batch < 13).astype('int32') for batch in batches]
    collector.add({'row': tuple(batches), '_keep': tuple(keep)})
  assert collector.rows()['row'].tolist() == list(range(13))
  assert set(collector.rows()) == {'row'}


def test_without_batches_there_are_no_rows():
  assert rows.RowCollector(Pod()).rows() == {}


def test_text_is_allowed_in_a_single_process():
  found = rows.replica_rows(Pod(), {'answer': ['a', 'b']}, tf.constant([1.0, 0.0]))
  assert found['answer'].numpy().tolist() == [b'a', b'b']
  assert found['_keep'].numpy().tolist() == [1, 0]

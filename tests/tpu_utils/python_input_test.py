"""Data sets that call Python are found, and refused where they would run on other machines."""
import pytest
import tensorflow as tf

from tpu_utils import python_input


def _twice(x):
  return tf.ensure_shape(tf.numpy_function(lambda x: 2 * x, [x], tf.int64, name='twice'), [])


def _nested(x):
  return tf.data.Dataset.range(x).map(_twice)


PLAIN = tf.data.Dataset.range(3).map(lambda x: x + 1).flat_map(tf.data.Dataset.range)
WITH_PYTHON = {
  'map': tf.data.Dataset.range(3).map(_twice),
  'earlier': tf.data.Dataset.zip(PLAIN, tf.data.Dataset.range(3).map(_twice)).batch(2).prefetch(1),
  'inside': tf.data.Dataset.range(3).interleave(_nested).filter(lambda x: x > 1),
  'generator': tf.data.Dataset.from_generator(lambda: range(3), tf.int64),
}


def test_data_sets_without_python():
  assert python_input.python_ops(PLAIN.batch(2).prefetch(1)) == []


@pytest.mark.parametrize('kind', WITH_PYTHON)
def test_python_is_found(kind):
  assert python_input.python_ops(WITH_PYTHON[kind])


def test_python_is_refused_on_other_machines(monkeypatch):
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  context = tf.distribute.InputContext(4, 0, 8)
  data = WITH_PYTHON['map']
  assert python_input.without_python(strategy, lambda context: data)(context) is data
  monkeypatch.setattr(python_input, 'runs_remotely', lambda strategy: True)
  with pytest.raises(ValueError, match=r'calls Python \(twice\), which the 4 hosts of the TPU'):
    python_input.without_python(strategy, lambda context: data)(context)
  assert python_input.without_python(strategy, lambda context: PLAIN)(context) is PLAIN

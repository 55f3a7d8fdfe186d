"""Set-up that must come before TensorFlow starts."""
import gc
import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import hypothesis
import pytest
import tensorflow as tf

# Property tests try the same examples in every run, on every machine, however loaded it is. New ones are looked
# for by `pytest -m hypothesis --hypothesis-profile=search`, which prints the line to reproduce what it finds.
_SAME = {'database': None, 'deadline': None, 'suppress_health_check': [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile('same', derandomize=True, max_examples=50, **_SAME)
hypothesis.settings.register_profile('search', print_blob=True, max_examples=400, **_SAME)
hypothesis.settings.register_profile('long', print_blob=True, max_examples=2500, **_SAME)
hypothesis.settings.load_profile('same')


def pytest_configure(config):
  """Splits the CPU into four logical devices, which stand in for replicas."""
  del config
  cpu, = tf.config.list_physical_devices('CPU')
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)


def pytest_collection_finish(session):
  """Takes what the imports made out of Python's later searches for garbage: half a million objects."""
  del session
  gc.collect()
  gc.freeze()


@pytest.fixture(scope='module', autouse=True)
def _free_memory():
  """Frees the models of a module at its end: they hang in cycles, which Python collects too rarely."""
  yield
  gc.collect()


def _mirrored(replicas):
  # TensorFlow's collectives keep their keys for the whole process and every MirroredStrategy counts
  # from the same one, so a second strategy with tensors of other shapes would fail on CPUs.
  return tf.distribute.MirroredStrategy(
    [f'CPU:{i}' for i in range(replicas)], tf.distribute.ReductionToOneDevice()
  )


@pytest.fixture(scope='session')
def two_replicas():
  """A MirroredStrategy over two logical CPU devices."""
  return _mirrored(2)


@pytest.fixture(scope='session')
def four_replicas():
  """A MirroredStrategy over four logical CPU devices."""
  return _mirrored(4)

"""Fixtures for all tests, and settings that must precede the start of TensorFlow."""
import gc
import os
import signal

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
if 'PYTEST_XDIST_WORKER' in os.environ:
  # Workers share the cores; more threads in each only wait for one another, which costs a tenth.
  os.environ.setdefault('TF_NUM_INTRAOP_THREADS', '1')

import hypothesis
import pytest
import tensorflow as tf

from tpu_utils import distribute

# Property tests try the same examples in every run, on every machine, however loaded it is.
# `pytest -m hypothesis --hypothesis-profile=search` searches for new ones; for a failure it prints
# the line that reproduces it.
_COMMON = {
  'database': None, 'deadline': None, 'suppress_health_check': [hypothesis.HealthCheck.too_slow],
}  # fmt: skip
hypothesis.settings.register_profile('same', derandomize=True, max_examples=50, **_COMMON)
hypothesis.settings.register_profile('search', print_blob=True, max_examples=400, **_COMMON)
hypothesis.settings.register_profile('long', print_blob=True, max_examples=2500, **_COMMON)
hypothesis.settings.load_profile('same')


def pytest_configure(config):
  """Splits the CPU into four logical devices, which stand in for replicas."""
  del config
  gc.disable()  # Until the tests are imported; see `pytest_collection_finish`.
  # Shells ignore Ctrl-C in commands that run in the background; tests send it, and so would hang.
  signal.signal(signal.SIGINT, signal.default_int_handler)
  cpu, = tf.config.list_physical_devices('CPU')
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)
  tf.data.Dataset._apply_debug_options = _without_autotuning


def _without_autotuning(dataset):
  """Returns a dataset with a fixed number of parallel calls; replaces tf.data's debug options.

  tf.data's tuner sleeps for up to twice as long as its iterator has lived. Deleting the iterator
  wakes it a moment before the flag is set that it looks for, so that it often sleeps on, and the
  test waits for it: 10 or 20 s in some.
  """
  options = tf.data.Options()
  options.autotune.enabled = False
  return dataset.with_options(options)


def pytest_collection_modifyitems(items):
  """Skips the tests that need XLA for the CPU in TensorFlow's TPU build."""
  if distribute.has_tpu_kernels():
    skip = pytest.mark.skip(reason="tensorflow-tpu's XLA compiles for TPUs alone")
    for item in items:
      if item.get_closest_marker('host_xla'):
        item.add_marker(skip)


def pytest_make_parametrize_id(config, val, argname):
  """Names bytes by their argument, since two processes may serialize a record's map differently.

  pytest-xdist refuses to run if its workers collect tests of different names.
  """
  del config
  return argname if isinstance(val, bytes) else None


def pytest_collection_finish(session):
  """Makes garbage collections rare: they took a quarter of the tests' time.

  Excludes the half million objects of imported modules, and lets a hundred thousand new ones come
  together; `_free_memory` collects after each module.
  """
  del session
  gc.collect()
  gc.freeze()
  gc.set_threshold(100_000, 20, 20)
  gc.enable()


@pytest.fixture(scope='module', autouse=True)
def _free_memory():
  """Frees a module's models: reference cycles, which Python collects too rarely."""
  yield
  gc.collect()


def _mirrored(replicas):
  # TensorFlow's collectives keep their keys for the whole process, and all MirroredStrategies start
  # from the same key, so a second strategy with tensors of other shapes would fail on CPUs.
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

"""Set-up that must come before TensorFlow starts."""
import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')

import pytest
import tensorflow as tf


def pytest_configure(config):
  """Splits the CPU into four logical devices, which stand in for replicas."""
  del config
  cpu, = tf.config.list_physical_devices('CPU')
  tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 4)


# One strategy for the whole session: two on the same devices would share TensorFlow's collective keys.
@pytest.fixture(scope='session')
def two_replicas():
  """A MirroredStrategy over two logical CPU devices."""
  return tf.distribute.MirroredStrategy(['CPU:0', 'CPU:1'])


@pytest.fixture(scope='session')
def four_replicas():
  """A MirroredStrategy over four logical CPU devices."""
  return tf.distribute.MirroredStrategy([f'CPU:{i}' for i in range(4)])

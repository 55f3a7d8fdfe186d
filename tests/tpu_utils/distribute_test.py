"""Tests of the strategies for each value of the flags."""
import json
import time
import types
from importlib import metadata

import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from tests.tpu_utils import simulated_tpu
from tpu_utils import distribute


def test_auto_is_one_device_on_a_plain_machine(monkeypatch):
  monkeypatch.delenv('TF_CONFIG', raising=False)
  strategy = distribute.create_strategy()
  assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
  assert distribute.describe(strategy) == 'OneDeviceStrategy, 1 replica'
  assert distribute.is_chief(strategy)


def test_the_chief_of_a_tpu_is_the_process_on_host_0(monkeypatch):
  strategy = simulated_tpu.make_strategy()
  monkeypatch.delenv('TPU_LAUNCH_HOST', raising=False)
  assert distribute.is_chief(strategy)  # A single process drives all hosts.
  for host, chief in (('0', True), ('1', False), ('10', False)):
    monkeypatch.setenv('TPU_LAUNCH_HOST', host)
    assert distribute.is_chief(strategy) == chief
    assert distribute.is_chief(distribute.create_strategy())  # Has no hosts.


def test_replicas_on_cpus_are_told_from_those_on_accelerators(two_replicas):
  for strategy in (distribute.create_strategy(), two_replicas, tf.distribute.get_strategy()):
    assert distribute.on_cpus(strategy)
  device = '/job:worker/replica:0/task:0/device:TPU:0'
  extended = types.SimpleNamespace(worker_devices=(device,))
  assert not distribute.on_cpus(types.SimpleNamespace(extended=extended))


def test_mirrored_takes_all_local_devices():
  strategy = distribute.create_strategy('mirrored')
  assert strategy.num_replicas_in_sync == len(tf.config.list_logical_devices('CPU')) == 4


def test_an_unknown_strategy_names_the_nearest():
  with pytest.raises(ValueError, match='did you mean mirrored'):
    distribute.create_strategy('mirored')


def is_tpu_build():
  try:
    return bool(metadata.version('tensorflow-tpu'))
  except metadata.PackageNotFoundError:
    return False


needs_tpu_build = pytest.mark.skipif(not is_tpu_build(), reason='needs tensorflow-tpu')


@pytest.mark.skipif(is_tpu_build(), reason='needs TensorFlow without TPU kernels')
@pytest.mark.parametrize('tpu', ['local', 'my-tpu', 'grpc://10.0.0.2:8470'])
def test_a_tpu_without_kernels_is_refused_without_the_network(tpu):
  start = time.monotonic()
  message = rf'--tpu={tpu}.*has no TPU kernels.*requirements-tpu.txt'
  with pytest.raises(ValueError, match=message) as error:
    distribute.create_strategy(tpu=tpu)
  assert '\n' not in str(error.value)
  assert time.monotonic() - start < 60  # A lookup of the TPU would try for minutes.


def test_the_tpu_build_is_recognised_by_its_kernels():
  """Against the installed package: both builds run these tests."""
  assert distribute.has_tpu_kernels() == is_tpu_build()


@needs_tpu_build
def test_the_tpu_build_says_that_there_is_no_tpu():
  with pytest.raises(ValueError, match='^--tpu=local: no TPU was found') as error:
    distribute.create_strategy(tpu='local')
  assert '\n' not in str(error.value)


def tpu_build(monkeypatch):
  """Pretends that this is TensorFlow's TPU build, as its registry of kernels looks."""
  registered = {'_ConfigureDistributedTPU': ['TPU_SYSTEM'], 'ConfigureDistributedTPU': []}

  def kernels_of(op):
    devices = [types.SimpleNamespace(device_type=device) for device in registered[op]]
    return types.SimpleNamespace(kernel=devices)

  monkeypatch.setattr(kernels, 'get_registered_kernels_for_op', kernels_of)


def test_a_name_is_looked_up_with_project_and_zone(monkeypatch):
  """Off Google Cloud, without its client: the errors of both ways are one line."""
  tpu_build(monkeypatch)
  monkeypatch.setenv('GCE_METADATA_HOST', 'localhost:9')  # Refuses connections.
  monkeypatch.delenv('KUBE_GOOGLE_CLOUD_TPU_ENDPOINTS', raising=False)
  with pytest.raises(ValueError, match='--gcp_project and --tpu_zone .*; give both') as error:
    distribute.create_strategy(tpu='my-tpu', tpu_zone='us-central1-a')
  assert '\n' not in str(error.value)
  with pytest.raises(ValueError, match='--tpu=my-tpu cannot be looked up: .*Google API') as error:
    distribute.create_strategy(tpu='my-tpu', tpu_zone='us-central1-a', gcp_project='p')
  assert '\n' not in str(error.value)


class ForeignError(Exception):
  """An error of a library that TensorFlow calls."""


@pytest.mark.parametrize(
  'settings, asked',
  [
    ({'tpu': 'local'}, ('local', None, None, 'worker')),
    ({'tpu': 'grpc://10.0.0.2:8470'}, ('grpc://10.0.0.2:8470', None, None, 'worker')),
    (
      {'tpu': 'a', 'tpu_zone': 'z', 'gcp_project': 'p', 'tpu_job_name': 'j'},
      ('a', 'z', 'p', 'j'),
    ),
  ],
)
def test_the_tpu_is_connected_initialised_and_given_to_the_strategy(monkeypatch, settings, asked):
  """In this order, with the flags; what each call does needs a TPU."""
  tpu_build(monkeypatch)
  calls = []

  class Resolver:
    def __init__(self, tpu, zone=None, project=None, job_name='worker'):
      calls.append((tpu, zone, project, job_name))

    def cluster_spec(self):
      return tf.train.ClusterSpec({})

  monkeypatch.setattr(tf.distribute.cluster_resolver, 'TPUClusterResolver', Resolver)
  for module, function in (
    (tf.config, 'experimental_connect_to_cluster'),
    (tf.tpu.experimental, 'initialize_tpu_system'),
  ):
    monkeypatch.setattr(module, function, lambda resolver, name=function: calls.append(name))
  monkeypatch.setattr(tf.distribute, 'TPUStrategy', lambda resolver: resolver)
  assert isinstance(distribute.create_strategy(**settings), Resolver)
  assert calls == [asked, 'experimental_connect_to_cluster', 'initialize_tpu_system']


# The answer of libtpu 0.0.31 on a machine without a TPU.
OFF_A_TPU = 'Graph execution error:\n\nDetected at node x:\n<stack traces unavailable>\nRET_CHECK a'


@pytest.mark.parametrize(
  'error, message',
  [
    (tf.errors.NotFoundError(None, None, 'no\nTPU'), 'no TPU was found.*(no TPU)'),
    (tf.errors.InternalError(None, None, OFF_A_TPU), 'no TPU was found.*(RET_CHECK a)'),
    (tf.errors.UnavailableError(None, None, 'a\nb'), '--tpu=local cannot be reached: a b$'),
  ],
)
def test_failures_to_initialise_are_one_line(monkeypatch, error, message):
  tpu_build(monkeypatch)
  monkeypatch.setattr(tf.tpu.experimental, 'initialize_tpu_system', raising(error))
  with pytest.raises(ValueError, match=message) as raised:
    distribute.create_strategy(tpu='local')
  assert '\n' not in str(raised.value)


def test_errors_of_googles_client_are_one_line(monkeypatch):
  tpu_build(monkeypatch)
  resolver = tf.distribute.cluster_resolver.TPUClusterResolver
  monkeypatch.setattr(resolver, 'cluster_spec', raising(ForeignError('no\ncredentials')))
  with pytest.raises(ValueError, match='--tpu=local cannot be looked up: no credentials'):
    distribute.create_strategy(tpu='local')


def raising(error):
  def raise_it(*arguments):
    raise error

  return raise_it


def test_use_tpu_false_ignores_the_tpu():
  strategy = distribute.create_strategy(tpu='my-tpu', use_tpu=False)
  assert isinstance(strategy, tf.distribute.OneDeviceStrategy)


def test_strategies_name_missing_settings(monkeypatch):
  monkeypatch.delenv('TF_CONFIG', raising=False)
  with pytest.raises(ValueError, match='--strategy=tpu needs --tpu'):
    distribute.create_strategy('tpu')
  with pytest.raises(ValueError, match='TF_CONFIG'):
    distribute.create_strategy('multi_worker')


def test_a_cluster_of_workers_is_found(monkeypatch):
  cluster = {'cluster': {'worker': ['a:1', 'b:2']}, 'task': {'type': 'worker', 'index': 1}}
  monkeypatch.setenv('TF_CONFIG', json.dumps(cluster))
  assert distribute._automatic(None) == 'multi_worker'


def test_evaluating_and_exporting_use_one_process(monkeypatch):
  cluster = {'cluster': {'worker': ['a:1', 'b:2']}, 'task': {'type': 'worker', 'index': 1}}
  monkeypatch.setenv('TF_CONFIG', json.dumps(cluster))
  strategy = distribute.create_strategy(several_workers=False)
  assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
  with pytest.raises(ValueError, match='multi_worker only trains'):
    distribute.create_strategy('multi_worker', several_workers=False)

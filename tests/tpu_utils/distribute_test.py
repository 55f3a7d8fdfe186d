"""Tests of the strategies for each value of the flags."""
import json
import time
import types

import pytest
import tensorflow as tf
from tensorflow.python.framework import kernels

from tpu_utils import distribute


def test_auto_is_one_device_on_a_plain_machine(monkeypatch):
  monkeypatch.delenv('TF_CONFIG', raising=False)
  strategy = distribute.create_strategy()
  assert isinstance(strategy, tf.distribute.OneDeviceStrategy)
  assert distribute.describe(strategy) == 'OneDeviceStrategy, 1 replica'
  assert distribute.is_chief(strategy)


def test_mirrored_takes_all_local_devices():
  strategy = distribute.create_strategy('mirrored')
  assert strategy.num_replicas_in_sync == len(tf.config.list_logical_devices('CPU')) == 4


def test_an_unknown_strategy_names_the_nearest():
  with pytest.raises(ValueError, match='did you mean mirrored'):
    distribute.create_strategy('mirored')


@pytest.mark.parametrize('tpu', ['local', 'my-tpu'])
def test_a_tpu_without_kernels_is_refused_without_the_network(tpu):
  start = time.monotonic()
  message = rf'--tpu={tpu}.*has no TPU kernels.*requirements-tpu.txt'
  with pytest.raises(ValueError, match=message) as error:
    distribute.create_strategy(tpu=tpu)
  assert '\n' not in str(error.value)
  assert time.monotonic() - start < 60  # A lookup of the TPU would try for minutes.


def test_the_tpu_build_is_recognised_by_the_op_that_it_has_kernels_for(monkeypatch):
  """In `tensorflow-tpu` 2.20.0 the public op has no kernel, and the rewritten one has."""
  in_tpu_build = {'_ConfigureDistributedTPU': ['TPU_SYSTEM'], 'ConfigureDistributedTPU': []}

  def registered(op):
    return types.SimpleNamespace(kernel=in_tpu_build[op])

  assert not distribute._has_tpu_kernels()
  monkeypatch.setattr(kernels, 'get_registered_kernels_for_op', registered)
  assert distribute._has_tpu_kernels()


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

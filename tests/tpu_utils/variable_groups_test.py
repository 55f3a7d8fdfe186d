"""Variables that are read and assigned singly or together, on one and on two replicas."""
import types

import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import variable_groups


def _variables(strategy):
  with strategy.scope():
    return {
      'kernel': tf.Variable(np.ones([40, 50], np.float32)),
      'seed': tf.Variable(np.array([7, 3], np.int64)),
    }


@pytest.mark.parametrize('together', [False, True])
def test_values_stay_as_they_were_when_read(two_replicas, together):
  for strategy in (tf.distribute.OneDeviceStrategy('CPU:0'), two_replicas):
    variables = _variables(strategy)
    reader = variable_groups.VariableReader(variables, together)
    values = reader.read()

    @tf.function
    def update(variables=variables):
      tf.raw_ops.ResourceApplyGradientDescent(  # In place, as optimizers do.
        var=variables['kernel'].handle, alpha=1.0, delta=tf.ones([40, 50])
      )
      tf.raw_ops.AssignVariableOp(resource=variables['seed'].handle, value=tf.zeros([2], tf.int64))

    strategy.run(update)
    np.testing.assert_array_equal(values['kernel'], np.ones([40, 50]))
    assert np.asarray(values['seed']).tolist() == [7, 3]
    np.testing.assert_array_equal(reader.read()['kernel'], np.zeros([40, 50]))
    assert not together or reader._read.experimental_get_tracing_count() == 1
    assert reader.reads(dict(variables)) and not reader.reads(_variables(strategy))


@pytest.mark.parametrize('together', [False, True])
def test_every_replica_gets_the_values(two_replicas, together):
  variables = _variables(two_replicas)
  values = {'kernel': np.full([40, 50], 2.0), 'seed': np.array([1, 2]), 'other': np.zeros(1)}
  variable_groups.assign(variables, values, together)
  for name, variable in variables.items():
    copies = two_replicas.experimental_local_results(variable)
    assert len(copies) == 2
    for copy in copies:
      np.testing.assert_array_equal(copy.numpy(), values[name], err_msg=name)


def test_variables_in_the_memory_of_the_host_are_told_from_those_of_accelerators(two_replicas):
  for strategy in (tf.distribute.OneDeviceStrategy('CPU:0'), two_replicas):
    variables = list(_variables(strategy).values())
    assert variable_groups.on_cpus(variables)
    elsewhere = types.SimpleNamespace(device='/job:worker/replica:0/task:0/device:TPU:3')
    assert not variable_groups.on_cpus([*variables, elsewhere])

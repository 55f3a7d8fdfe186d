"""Variables that are read and assigned together, on one and on two replicas."""
import numpy as np
import tensorflow as tf

from tpu_utils import variable_groups


def _variables(strategy):
  with strategy.scope():
    return {
      'kernel': tf.Variable(np.ones([40, 50], np.float32)),
      'seed': tf.Variable(np.array([7, 3], np.int64)),
    }


def test_values_are_read_in_one_call_and_stay_as_they_were(two_replicas):
  for strategy in (tf.distribute.OneDeviceStrategy('CPU:0'), two_replicas):
    variables = _variables(strategy)
    reader = variable_groups.VariableReader(variables)
    values = reader.read()

    @tf.function
    def update(variables=variables):
      tf.raw_ops.ResourceApplyGradientDescent(  # In place, as optimizers do.
        var=variables['kernel'].handle, alpha=1.0, delta=tf.ones([40, 50])
      )
      tf.raw_ops.AssignVariableOp(resource=variables['seed'].handle, value=tf.zeros([2], tf.int64))

    strategy.run(update)
    np.testing.assert_array_equal(values['kernel'], np.ones([40, 50]))
    assert values['seed'].numpy().tolist() == [7, 3]
    np.testing.assert_array_equal(reader.read()['kernel'], np.zeros([40, 50]))
    assert reader._read.experimental_get_tracing_count() == 1
    assert reader.reads(dict(variables)) and not reader.reads(_variables(strategy))


def test_every_replica_gets_the_values(two_replicas):
  variables = _variables(two_replicas)
  values = {'kernel': np.full([40, 50], 2.0), 'seed': np.array([1, 2]), 'other': np.zeros(1)}
  variable_groups.assign(variables, values)
  for name, variable in variables.items():
    copies = two_replicas.experimental_local_results(variable)
    assert len(copies) == 2
    for copy in copies:
      np.testing.assert_array_equal(copy.numpy(), values[name], err_msg=name)

"""SavedModels with ops that reach files: refused, wherever the op stands."""
import pytest
import tensorflow as tf

from tpu_utils.image_jobs import loading, saved_model_ops
from tpu_utils.images.spec import PreprocessSpec

SPEC = tf.TensorSpec([None, 8, 8, 3])


class Network(tf.Module):
  """A classifier with a variable, so that the file has ops that save and restore."""

  def __init__(self, effect=lambda: None):
    self.kernel, self.effect = tf.Variable(tf.ones([3, 2])), effect

  @tf.function(input_signature=[SPEC])
  def __call__(self, images):
    self.effect()
    return {'logits': tf.reduce_mean(images, (1, 2)) @ self.kernel}


def save(module, path):
  tf.saved_model.save(module, str(path), signatures=module.__call__)
  return str(path)


def test_a_network_without_such_ops_passes(tmp_path):
  saved_model_ops.check(save(Network(), tmp_path / 'm'))


def effects(path):
  def in_a_branch():
    tf.cond(
      tf.random.uniform([]) < 2,
      lambda: [tf.io.write_file(f'{path}/out', 'x')] and 1, lambda: 0,
    )  # fmt: skip

  def table():
    tf.lookup.StaticHashTable(
      tf.lookup.TextFileInitializer('/etc/hostname', tf.string, 0, tf.int64, 1), -1
    )

  return {
    'WriteFile': lambda: tf.io.write_file(f'{path}/out', 'x'),
    'ReadFile': lambda: tf.io.read_file('/etc/hostname'),
    'MatchingFiles': lambda: tf.io.matching_files('/etc/*'),
    'PrintV2': lambda: tf.print('x', output_stream=f'file://{path}/out'),
    'SaveV2': lambda: tf.raw_ops.SaveV2(
      prefix=f'{path}/out', tensor_names=['a'], shape_and_slices=[''], tensors=[tf.ones(2)]
    ),
    'RestoreV2': lambda: tf.raw_ops.RestoreV2(
      prefix=f'{path}/out', tensor_names=['a'], shape_and_slices=[''], dtypes=[tf.float32]
    ),
    'TextLineDataset': lambda: tf.data.TextLineDataset('/etc/hostname'),
    'StatelessIf.*WriteFile|WriteFile': in_a_branch,
    'InitializeTableFromTextFile': table,
  }


@pytest.mark.parametrize('op', effects('x'))
def test_ops_that_reach_files_are_refused(tmp_path, op):
  effect = effects(tmp_path)[op]
  if op == 'InitializeTableFromTextFile':
    network = Network()
    network.table = tf.lookup.StaticHashTable(
      tf.lookup.TextFileInitializer('/etc/hostname', tf.string, 0, tf.string, 0), ''
    )
  else:
    network = Network(effect)
  path = save(network, tmp_path / 'm')
  with pytest.raises(ValueError, match=f'm has ops that can read or write.*({op})') as error:
    loading.from_file(path, PreprocessSpec(8))
  assert '\n' not in str(error.value)
  assert not list(tmp_path.glob('out*'))


def test_a_file_in_parts_is_refused(tmp_path):
  path = save(Network(), tmp_path / 'm')
  (tmp_path / 'm' / 'saved_model.cpb').write_bytes(b'')
  with pytest.raises(ValueError, match='saved_model.cpb, whose ops cannot be checked'):
    saved_model_ops.check(path)


def test_files_of_tensorflow_1(tmp_path):
  """Their variables are restored by ops of the graph itself."""

  def write(path, save_in_signature):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
      images = tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 3])
      kernel = tf.compat.v1.get_variable('kernel', [3, 2], use_resource=True)
      logits = tf.reduce_mean(images, (1, 2)) @ kernel
      if save_in_signature:
        save = tf.raw_ops.SaveV2(
          prefix=f'{tmp_path}/out', tensor_names=['a'], shape_and_slices=[''], tensors=[kernel]
        )
        with tf.control_dependencies([save]):
          logits = tf.identity(logits)
      session.run(tf.compat.v1.global_variables_initializer())
      tf.compat.v1.saved_model.simple_save(session, path, {'images': images}, {'logits': logits})

  write(str(tmp_path / 'good'), False)
  assert loading.from_file(str(tmp_path / 'good'), PreprocessSpec(8)).num_classes == 2
  write(str(tmp_path / 'bad'), True)
  with pytest.raises(ValueError, match='bad has ops that .*SaveV2'):
    loading.from_file(str(tmp_path / 'bad'), PreprocessSpec(8))

"""The SavedModel for TPUs, tested without one.

The CPU runs its graph for TPUs, after the operations that only TPUs know are replaced.
"""
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.tpu_utils.export import tiny
from tpu_utils import export
from tpu_utils.export import tpu

NAMES = ['cat, black', 'tab\there', 'line\nbreak', 'naïve 猫', 'x']


@pytest.fixture(scope='module')
def written(tmp_path_factory):
  model = tiny.build_model()
  directory = tmp_path_factory.mktemp('export') / 'tpu'
  tpu.write(model, tiny.preprocess, str(directory), NAMES)
  return model, directory


def load(meta_graph, directory, tags, values):
  """Returns {signature: outputs} of a graph, for `values`: (signature, input, value)."""
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    loaded = tf.compat.v1.saved_model.load(session, tags, str(directory))
    signature = (meta_graph or loaded).signature_def
    outputs = {}
    for name, key, value in values:
      inputs = {signature[name].inputs[key].name: value} if key else {}
      names = {k: tensor.name for k, tensor in signature[name].outputs.items()}
      outputs[name] = session.run(names, inputs)
    return outputs


def requests(images):
  files = [tf.io.encode_png(image).numpy() for image in images]
  return [
    ('images', 'images', images.astype(np.float32)),
    ('serve', 'images', images.astype(np.float32)),
    ('image_bytes', 'image_bytes', files),
    ('serving_default', 'image_bytes', files),
    ('class_names', None, None),
  ]


def check(model, images, outputs):
  expected = model(images.astype(np.float32), training=False).numpy()
  names = outputs.pop('class_names')['class_names']
  assert [name.decode() for name in names] == NAMES
  assert set(outputs) == {'images', 'serve', 'image_bytes', 'serving_default'}
  for got in outputs.values():
    atol = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(got['logits'], expected, rtol=0, atol=atol)
    np.testing.assert_array_equal(got['classes'], expected.argmax(-1))
    np.testing.assert_allclose(got['probabilities'], tf.nn.softmax(expected), atol=1e-5)


def test_serve_graph_gives_the_models_outputs(written):
  model, directory = written
  images = tiny.images(3)
  check(model, images, load(None, directory, ['serve'], requests(images)))
  check_empty(directory, ['serve'])
  files = requests(images)[2][2]
  with pytest.raises(tf.errors.InvalidArgumentError, match=r'image_bytes\[1\] is no image'):
    load(None, directory, ['serve'], [('image_bytes', 'image_bytes', [files[0], files[1][:-30]])])


def test_tpu_graph_computes_the_same(written, tmp_path):
  model, directory = written
  proto = saved_model_pb2.SavedModel.FromString((directory / 'saved_model.pb').read_bytes())
  assert [list(m.meta_info_def.tags) for m in proto.meta_graphs] == [['serve'], ['serve', 'tpu']]
  graph = proto.meta_graphs[1].graph_def
  calls = [node for node in graph.node if node.op == 'TPUPartitionedCall']
  assert len(calls) == 2  # One for pixels, one for files.
  without_tpu(graph)
  copy = tmp_path / 'cpu'
  copy.mkdir()
  (copy / 'variables').symlink_to(directory / 'variables')
  (copy / 'saved_model.pb').write_bytes(proto.SerializeToString())
  images = tiny.images(3)
  check(model, images, load(None, copy, ['serve', 'tpu'], requests(images)))
  check_empty(copy, ['serve', 'tpu'])


def check_empty(directory, tags):
  requested = requests(tiny.images(1))
  empty = [(name, key, values[:0]) for name, key, values in requested if key]
  for got in load(None, directory, tags, empty).values():
    assert {k: v.shape for k, v in got.items()} == {
      'logits': (0, 5), 'probabilities': (0, 5), 'classes': (0,),
    }  # fmt: skip


def test_network_is_on_the_tpu_and_decoding_on_the_host(written):
  _, directory = written
  proto = saved_model_pb2.SavedModel.FromString((directory / 'saved_model.pb').read_bytes())
  graph = proto.meta_graphs[1].graph_def
  called = {n.attr['f'].func.name for n in graph.node if n.op == 'TPUPartitionedCall'}
  bodies = [f for f in graph.library.function if f.signature.name in called]
  for body in bodies:
    on_tpu = [n for n in body.node_def if n.attr['_tpu_replicate'].s]
    assert 'Conv2D' in {n.op for n in on_tpu} and 'MatMul' in {n.op for n in on_tpu}
    assert 'TPUReplicateMetadata' in {n.op for n in body.node_def}
  assert 'Conv2D' not in {n.op for n in graph.node}


def without_tpu(graph):
  """Replaces the operations that only a TPU's compiler knows by equivalents for one core."""
  for node in graph.node:
    if node.op == 'TPUPartitionedCall':
      node.op = 'StatefulPartitionedCall'
      node.input.pop()  # The number of the core.
      node.attr.pop('autotuner_thresh', None)
    elif node.op == 'TPUOrdinalSelector':
      node.op = 'Const'
      node.attr['dtype'].type = tf.int32.as_datatype_enum
      node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto([0]))
  for function in graph.library.function:
    dropped = ('TPUReplicateMetadata', 'TPUCompilationResult')
    kept = [n for n in function.node_def if n.op not in dropped]
    for node in kept:
      if node.op in ('TPUReplicatedInput', 'TPUReplicatedOutput'):
        node.op = 'Identity'
        for name in [name for name in node.attr if name != 'T']:
          del node.attr[name]
    names = {n.name for n in kept}
    for node in kept:
      inputs = [i for i in node.input if not i.startswith('^') or i[1:] in names]
      del node.input[:]
      node.input.extend(i.replace(':outputs:', ':output:') for i in inputs)
      node.attr.pop('_tpu_replicate', None)
    del function.node_def[:]
    function.node_def.extend(kept)


def test_export_with_tpu(tmp_path):
  model = tiny.build_model()
  export.export(model, tmp_path / 'export', tiny.preprocess, tiny.PREPROCESSING, to_tpu=True)
  assert (tmp_path / 'export' / 'tpu' / 'saved_model.pb').exists()
  # The ordinary SavedModel is still there.
  loaded = tf.saved_model.load(str(tmp_path / 'export'))
  assert 'images' in loaded.signatures

"""A model's inference as one TensorFlow graph that programs of others can convert."""
import keras
import tensorflow as tf

from tpu_utils.export.constants import constant_function
from tpu_utils.export.quiet import quiet

INPUT = 'images'
OUTPUTS = ('logits', 'probabilities')


def frozen_graph(model: keras.Model) -> tf.Graph:
  """Returns the inference of a model as a graph of plain operations.

  Weights are constants and functions are inlined. Nothing is left of custom gradients: they keep
  intermediate results alive, which converters would take for outputs.

  Args:
    model: model from one tensor of images to logits, its batch norm folded.

  Returns:
    Graph with the placeholder `images`, float32 [batch, height, width, 3] for any batch size, and
    the operations `logits` and `probabilities`, float32 [batch, classes].
  """
  # TensorFlow has no public function for it; its TFLite converter uses this one, too.
  from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

  function = constant_function(model, outputs=_named)
  with quiet():
    nodes = convert_variables_to_constants_v2(function).graph.as_graph_def()
    for node in nodes.node:
      if node.op == 'IdentityN':
        _keep_first(node)
    nodes = tf.compat.v1.graph_util.extract_sub_graph(nodes, list(OUTPUTS))
  with tf.Graph().as_default() as graph:
    tf.import_graph_def(nodes, name='')
  return graph


def _named(logits):
  logits = tf.cast(logits, tf.float32)
  probabilities = tf.nn.softmax(logits)
  # No operation reads those with names: OpenVINO takes the ends of a graph for its outputs.
  return {
    'logits': tf.identity(logits, name='logits'),
    'probabilities': tf.identity(probabilities, name='probabilities'),
  }


def _keep_first(node):
  """Makes an IdentityN an Identity of its first input; the others are for gradients."""
  dtype = node.attr['T'].list.type[0]
  node.op = 'Identity'
  del node.input[1:]
  node.attr.clear()
  node.attr['T'].type = dtype

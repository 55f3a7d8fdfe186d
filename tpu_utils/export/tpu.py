"""A SavedModel for TPUs: two graphs over the same weights, tagged `serve` and `serve, tpu`.

The first runs on CPUs and GPUs. In the second the network is one call that a TPU compiles and runs
(`TPUPartitionedCall` of a computation rewritten for a TPU); image files are decoded on the host.
TPUEstimator wrote this format, and servers on TPUs load it (`--saved_model_tags=serve,tpu`). It
needs TF1 graphs: TensorFlow 2 writes and loads only one graph a SavedModel. Writing needs no TPU,
running the second graph does.

Source: tensorflow/tpu, models/official/efficientnet/main.py (`--export_to_tpu`);
tensorflow/estimator, python/estimator/tpu/tpu_estimator.py (`inference_on_tpu`).
"""
import functools
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tpu_utils.export import serving
from tpu_utils.export.quiet import quiet

_OUTPUTS = ('classes', 'probabilities', 'logits')


def write(
  model: keras.Model,
  preprocess: Callable[[tf.Tensor], tf.Tensor],
  directory: str,
  class_names: Sequence[str] | None = None,
  endpoint: str | None = None,
) -> None:
  """Writes the SavedModel to `directory`, which must not exist.

  Args:
    model: model from images to logits, or to an endpoint.
    preprocess: function from one image file's contents, a string scalar, to the model's input.
    directory: folder to create.
    class_names: names of the classes for the signature `class_names`; None for no such signature.
    endpoint: name of the endpoint; None for logits.
  """
  with quiet():
    _write(model, preprocess, directory, class_names, endpoint)


def _write(model, preprocess, directory, class_names, endpoint):
  values = [variable.numpy() for variable in model.variables]
  builder = tf.compat.v1.saved_model.Builder(directory)
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    variables = _variables(model)
    signatures = _signatures(model, preprocess, variables, _directly, endpoint)
    signatures |= _naming_signature(class_names)
    initial = [variable.initializer.inputs[1] for variable in variables]
    session.run([v.initializer for v in variables], dict(zip(initial, values, strict=True)))
    builder.add_meta_graph_and_variables(
      session, [tf.saved_model.SERVING], signature_def_map=signatures, strip_default_attrs=True
    )
  with tf.Graph().as_default():
    signatures = _signatures(model, preprocess, _variables(model), _on_tpu, endpoint)
    signatures |= _naming_signature(class_names)
    builder.add_meta_graph(
      [tf.saved_model.SERVING, tf.saved_model.TPU],
      signature_def_map=signatures,
      strip_default_attrs=True,
    )
  builder.save()


def _variables(model):
  """Creates TF1 variables in the current graph, with the order and names of the model's."""
  zeros = tf.compat.v1.zeros_initializer()
  with tf.compat.v1.variable_scope('', use_resource=True):
    return [
      tf.compat.v1.get_variable(v.path, v.shape, v.dtype, initializer=zeros)
      for v in model.variables
    ]


def _signatures(model, preprocess, variables, run, endpoint):
  """Returns {name: SignatureDef} in the current graph; `run(infer, images)` calls the network."""
  names = (serving.OUTPUT,) if endpoint else _OUTPUTS

  def infer(images):
    mapping = [(k, v.read_value()) for k, v in zip(model.variables, variables, strict=True)]
    with keras.StatelessScope(state_mapping=mapping):
      outputs = serving.predictions(model, images, endpoint)
    return [outputs[name] for name in names]

  shape = model.inputs[0].shape[1:]
  decode = serving.decoder(preprocess, shape)
  served = {}
  for spec in (serving.images_spec(shape), serving.IMAGE_BYTES_SPEC):
    inputs = tf.compat.v1.placeholder(spec.dtype, spec.shape, spec.name)
    images = decode(inputs) if spec.dtype == tf.string else inputs
    answers = serving.for_any_batch(functools.partial(run, infer), images)
    outputs = dict(zip(names, answers, strict=True))
    served[spec.name] = tf.compat.v1.saved_model.predict_signature_def(
      {spec.name: inputs}, outputs
    )
  return serving.signatures(served)


def _naming_signature(class_names):
  """Returns {name: SignatureDef} of the signature that names the classes; {} without names."""
  if class_names is None:
    return {}
  names = tf.constant(list(class_names), tf.string, name=serving.CLASS_NAMES)
  # Not `predict_signature_def`, which insists on inputs.
  output = tf.compat.v1.saved_model.build_tensor_info(names)
  signature = tf.compat.v1.saved_model.build_signature_def(
    {}, {serving.CLASS_NAMES: output}, tf.saved_model.PREDICT_METHOD_NAME
  )
  return {serving.CLASS_NAMES: signature}


def _directly(infer, images):
  return infer(images)


def _on_tpu(infer, images):
  """Calls `infer` on a free TPU core."""
  from tensorflow.python.framework import function  # TensorFlow has no public equivalent.

  # The variables must stay references in the call: the runtime then puts them on the TPU once.
  @function.Defun(capture_resource_var_by_value=False)
  def computation():
    return tf.compat.v1.tpu.rewrite(infer, [images])

  computation.add_to_graph(tf.compat.v1.get_default_graph())
  return tf.raw_ops.TPUPartitionedCall(
    args=computation.captured_inputs,
    device_ordinal=tf.raw_ops.TPUOrdinalSelector(),
    Tout=[argument.type for argument in computation.definition.signature.output_arg],
    f=computation,
  )

"""Folds batch norm into the convolutions before it, for inference.

With moving statistics, batch norm scales and shifts each channel. A convolution before it can do
both: the scale multiplies its kernel, the shift is its bias.
"""
import keras
import numpy as np

_LINEAR = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)


def fold_batch_norm(model: keras.Model) -> keras.Model:
  """Returns a copy with the same outputs at inference and with fewer batch norms.

  A batch norm is folded if its input is the output of a convolution (depthwise and grouped ones,
  too) or dense layer that no other layer reads. Others stay, such as those after an addition in
  pre-activated blocks.

  Args:
    model: functional model; it is not changed.

  Returns:
    A new model with the same name, inputs, outputs and layer names. It must not be trained: the
    statistics are part of its weights.
  """
  folded = _folded_norms(model)
  linear = {source.name: norm for norm, source in folded.items()}
  norm_names = {norm.name for norm in folded}

  def copy(layer):
    settings = layer.get_config()
    if layer.name in linear:
      settings['use_bias'] = True
    return layer.__class__.from_config(settings)

  def call(layer, *args, **kwargs):
    return args[0] if layer.name in norm_names else layer(*args, **kwargs)

  clone = keras.models.clone_model(model, clone_function=copy, call_function=call)
  for original in model.layers:
    if original.name in linear:
      weights = _folded_weights(original, linear[original.name])
    else:
      weights = original.get_weights()
    if weights and original.name not in norm_names:
      clone.get_layer(original.name).set_weights(weights)
  return clone


def _folded_norms(model):
  """Returns {batch norm: layer to fold it into}."""
  outputs = {id(tensor) for tensor in model.outputs}
  pairs = {}
  for norm in model.layers:
    if not isinstance(norm, keras.layers.BatchNormalization) or len(norm._inbound_nodes) != 1:
      continue
    tensor = norm.input
    source = tensor._keras_history.operation
    if (
      isinstance(source, _LINEAR)
      and _channels_last(source)
      and norm.axis in (-1, len(tensor.shape) - 1)
      and len(source._inbound_nodes) == 1
      and len(source._outbound_nodes) == 1
      and source.activation is keras.activations.linear
      and id(tensor) not in outputs
    ):
      pairs[norm] = source
  return pairs


def _channels_last(layer):
  return getattr(layer, 'data_format', 'channels_last') == 'channels_last'


def _folded_weights(layer, norm):
  """Returns [kernel, bias] of `layer` followed by `norm`, computed in double precision."""
  kernel, *bias = (np.asarray(w, np.float64) for w in layer.get_weights())
  mean = norm.moving_mean.numpy().astype(np.float64)
  factor = 1.0 / np.sqrt(norm.moving_variance.numpy().astype(np.float64) + norm.epsilon)
  if norm.scale:
    factor *= norm.gamma.numpy()
  offset = norm.beta.numpy() if norm.center else 0.0
  # A depthwise kernel is [height, width, channels, multiplier], its outputs in that order.
  depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
  kernel *= factor.reshape(kernel.shape[2:]) if depthwise else factor
  return [kernel, offset + ((bias[0] if bias else 0.0) - mean) * factor]

"""Parameters and multiply-adds of a network without building it.

The network is connected as ever (`efficientnet_model.connect`), but by a scope that adds up instead of making
layers. So even L2 is counted in milliseconds and takes no memory. `tpu_utils.profile.flops` counts the same
for any Keras model, from the operations of its graph.
"""
import dataclasses
import math

from efficientnet import efficientnet_model, model_builder_factory
from tpu_utils.functional_model import height_and_width


@dataclasses.dataclass
class Counts:
  """Size and cost of a network.

  `parameters` are the trainable ones, which papers count; `moving_statistics` are batch norm's.
  `multiply_adds` are those of convolutions and matrix products for one image.
  """

  parameters: int = 0
  moving_statistics: int = 0
  multiply_adds: int = 0


def count(model_name, image_size=None, **overrides):
  """The `Counts` of a named model.

  Args:
    model_name: such as 'efficientnet-b0'.
    image_size: pixels a side, or (height, width); None is the size that the model was made for.
    **overrides: fields of `efficientnet_model.GlobalParams`, as for `build_model`.

  Raises:
    ValueError: an unknown model or override (the nearest names are given).
  """
  builder = model_builder_factory.get_model_builder(model_name)
  blocks_args, global_params = builder.get_model_params(model_name, overrides)
  if image_size is None:
    image_size = model_builder_factory.get_model_input_size(model_name)
  return count_connected(
    lambda x, make_scope: efficientnet_model.connect(x, blocks_args, global_params, make_scope),
    image_size,
  )


def count_connected(connect, image_size):
  """The `Counts` of the network that `connect(normalised images, make_scope)` connects.

  Args:
    connect: see `efficientnet_model.connect`.
    image_size: pixels a side, or (height, width).
  """
  height, width = height_and_width(image_size)
  scope = _CountingScope()
  connect(_Features((1, height, width, 3)), lambda name: scope)
  return scope.counts


@dataclasses.dataclass(frozen=True)
class _Features:
  """What `connect` sees of a tensor."""

  shape: tuple


class _CountingScope:
  """Has the methods of `layers.Scope`; they add to `counts` and return `_Features`."""

  def __init__(self):
    self.counts = Counts()

  def sub(self, name):
    del name
    return self

  def conv(self, x, filters, kernel_size, strides=(1, 1), use_bias=False, routing_weights=None):
    self.counts.parameters += filters if use_bias else 0
    kernel = (kernel_size, kernel_size, x.shape[-1], filters)
    return self._filtered(x, filters, math.prod(kernel), strides, routing_weights)

  def depthwise_conv(self, x, kernel_size, strides, routing_weights=None):
    kernel = (kernel_size, kernel_size, x.shape[-1])
    return self._filtered(x, x.shape[-1], math.prod(kernel), strides, routing_weights)

  def _filtered(self, x, filters, kernel_numbers, strides, routing_weights):
    """Every number of a kernel meets every place of the output; an expert's takes part in the mix."""
    _, height, width, _ = x.shape
    height, width = -(-height // strides[0]), -(-width // strides[1])
    self.counts.multiply_adds += height * width * kernel_numbers
    if routing_weights is None:
      self.counts.parameters += kernel_numbers
    else:
      experts = routing_weights.shape[-1]
      self.counts.parameters += experts * kernel_numbers
      self.counts.multiply_adds += experts * kernel_numbers
    return _Features((1, height, width, filters))

  def batch_norm(self, x):
    self.counts.parameters += 2 * x.shape[-1]
    self.counts.moving_statistics += 2 * x.shape[-1]
    return x

  def activation(self, x, function):
    del function
    return x

  def max_pool(self, x, size, strides):
    del size
    _, height, width, channels = x.shape
    return _Features((1, -(-height // strides), -(-width // strides), channels))

  def spatial_mean(self, x, keepdims):
    del keepdims
    return _Features((1, 1, 1, x.shape[-1]))

  def routing_weights(self, x, num_experts):
    return self.classifier(x, num_experts)

  def classifier(self, x, num_classes):
    self.counts.multiply_adds += x.shape[-1] * num_classes
    self.counts.parameters += x.shape[-1] * num_classes + num_classes
    return _Features((1, num_classes))

  def layer(self, layer_class, *args, **kwargs):
    """The other layers have no weights and keep the shape of their first input."""
    del layer_class, args, kwargs
    return lambda inputs: inputs[0] if isinstance(inputs, list) else inputs

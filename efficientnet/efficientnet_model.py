"""EfficientNet's graph of Keras layers: a stem, MBConv blocks and a head.

Source: arXiv 1905.11946; tensorflow/tpu, models/official/efficientnet/efficientnet_model.py.

Layers are named after the official variable scopes with `/` written as `_`, so their names in
checkpoints follow.
"""
from collections.abc import Sequence

import keras

from efficientnet import layers
from efficientnet.network_params import (
  BlockArgs,
  GlobalParams,
  block_survival_prob,
  round_filters,
  scale_blocks,
  se_reduced_filters,
)


def _squeeze_excite(x, reduced_filters, relu_fn, scope):
  """Applies squeeze-and-excitation (arXiv 1709.01507, Section 4), with 1x1 convolutions."""
  scope = scope.sub('se')
  se = scope.spatial_mean(x, keepdims=True)
  se = scope.activation(scope.conv(se, reduced_filters, 1, use_bias=True), relu_fn)
  se = scope.activation(scope.conv(se, x.shape[-1], 1, use_bias=True), 'sigmoid')
  return scope.layer(keras.layers.Multiply)([x, se])


def _mbconv_expansion(x, block, global_params, relu_fn, scope, routing_weights):
  """Applies MBConv up to its projection: expansion, depthwise, squeeze-and-excitation."""
  if block.space2depth == 1:
    folded = scope.sub('space2depth')
    x = folded.conv(x, block.input_filters, 2, strides=(2, 2))
    x = folded.activation(folded.batch_norm(x), relu_fn)
  if block.fused_conv:
    x = scope.conv(
      x, block.expanded_filters, block.kernel_size, block.strides, routing_weights=routing_weights
    )
  else:
    if block.expand_ratio != 1:
      x = scope.conv(x, block.expanded_filters, 1, routing_weights=routing_weights)
      x = scope.activation(scope.batch_norm(x), relu_fn)
    x = scope.depthwise_conv(x, block.kernel_size, block.strides, routing_weights)
  x = scope.activation(scope.batch_norm(x), relu_fn)
  reduced_filters = se_reduced_filters(block, global_params)
  if reduced_filters:
    x = _squeeze_excite(x, reduced_filters, relu_fn, scope)
  return x


def _plain_expansion(x, block, relu_fn, scope):
  """Expands by one 3x3 convolution, in blocks without depthwise convolution (EdgeTPU)."""
  if block.expand_ratio == 1:
    return x
  x = scope.conv(x, block.expanded_filters, 3, block.strides)
  return scope.activation(scope.batch_norm(x), relu_fn)


def _block(inputs, block, survival_prob, global_params, scope):
  """Applies a block; returns its output and the expanded features before the projection."""
  relu_fn = block.activation_fn or global_params.relu_fn
  routing_weights = None
  if block.conv_type == 1:
    expansion = _plain_expansion(inputs, block, relu_fn, scope)
    same_filters = block.input_filters == block.output_filters
  else:
    if block.condconv:
      routing_weights = scope.routing_weights(inputs, global_params.condconv_num_experts)
    expansion = _mbconv_expansion(inputs, block, global_params, relu_fn, scope, routing_weights)
    same_filters = inputs.shape[-1] == block.output_filters
  x = scope.conv(expansion, block.output_filters, 1, routing_weights=routing_weights)
  x = scope.batch_norm(x)
  if global_params.clip_projection_output:
    x = scope.layer(layers.Clip, -6.0, 6.0)(x)
  if block.id_skip and same_filters and tuple(block.strides) == (1, 1):
    if survival_prob and survival_prob < 1:
      x = scope.layer(layers.DropConnect, survival_prob)(x)
    x = scope.layer(keras.layers.Add)([x, inputs])
  return x, expansion


def _features(x, blocks, global_params, policy):
  """Applies stem and blocks; returns the official endpoints up to `features`."""
  scope = layers.Scope('stem', global_params, policy)
  filters = round_filters(32, global_params, global_params.fix_head_stem)
  x = scope.conv(x, filters, 3, strides=(2, 2))
  x = scope.activation(scope.batch_norm(x), global_params.relu_fn)
  endpoints = {'stem': x}
  reduction = 0
  if blocks[0].space2depth == 1:
    # The first block halves the resolution, so the stem's output is the last at its resolution.
    reduction = 1
    endpoints['reduction_1'] = x
  for i, block in enumerate(blocks):
    scope = layers.Scope(f'blocks_{i}', global_params, policy)
    survival_prob = block_survival_prob(i, len(blocks), global_params)
    x, expansion = _block(x, block, survival_prob, global_params, scope)
    names = [f'block_{i}']
    starts_folded = i == 0 and block.space2depth == 1
    if not starts_folded and (i + 1 == len(blocks) or blocks[i + 1].strides[0] > 1):
      reduction += 1
      names.append(f'reduction_{reduction}')
    endpoints.update({name: x for name in names})
    endpoints.update({f'{name}/expansion_output': expansion for name in names})
  endpoints['features'] = x
  return endpoints


def _head(x, global_params, policy):
  """Applies 1x1 convolution, pooling, dropout and classifier; returns the endpoints."""
  scope = layers.Scope('head', global_params, policy)
  x = scope.conv(x, round_filters(1280, global_params, global_params.fix_head_stem), 1)
  x = scope.activation(scope.batch_norm(x), global_params.relu_fn)
  endpoints = {'head_1x1': x}
  x = scope.spatial_mean(x, keepdims=False)
  endpoints['pooled_features'] = x
  if global_params.dropout_rate:
    x = scope.layer(keras.layers.Dropout, global_params.dropout_rate)(x)
  endpoints['global_pool'] = x
  if global_params.num_classes:
    if global_params.local_pooling:
      x = scope.layer(keras.layers.Flatten)(x)
    x = scope.classifier(x, global_params.num_classes)
  endpoints['head'] = x
  return endpoints


def build_network(
  images: keras.KerasTensor,
  blocks_args: Sequence[BlockArgs],
  global_params: GlobalParams,
  dtype: str | keras.DTypePolicy = 'float32',
  with_head: bool = True,
) -> dict[str, keras.KerasTensor]:
  """Builds the graph of a network.

  Args:
    images: [batch, height, width, 3] float32 Keras tensor in [0, 255].
    blocks_args: the network's stages.
    global_params: the network's other parameters.
    dtype: Keras dtype policy or its name. With a 16-bit policy, normalisation and classifier still
      compute in float32.
    with_head: False ends at the endpoint `features`.

  Returns:
    {official endpoint name: Keras tensor}, in the official order. `head` is the logits,
    [batch, num_classes]; `pooled_features` is [batch, C], or [batch, 1, 1, C] with `local_pooling`.

  Raises:
    ValueError: a CondConv block without `condconv_num_experts`; an unknown dtype policy.
  """
  blocks = scale_blocks(blocks_args, global_params)
  if any(block.condconv for block in blocks) and not global_params.condconv_num_experts:
    raise ValueError('A block is marked cc (CondConv), so condconv_num_experts must be at least 1.')
  policy = keras.dtype_policies.get(dtype)
  x = layers.normalized(images, global_params, policy)
  endpoints = _features(x, blocks, global_params, policy)
  if with_head:
    endpoints.update(_head(endpoints['features'], global_params, policy))
  return endpoints

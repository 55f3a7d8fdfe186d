"""ResNeXt and ResNet networks as Keras functional graphs.

Source: arXiv 1611.05431; facebookresearch/ResNeXt, models/resnext.lua; for pre-activated blocks
facebook/fb.resnet.torch, models/preresnet.lua. Layers are named after torchvision's modules with
`.` written as `_` (`layer1_0_conv2`).
"""
import keras

from resnext import block_forms, layers
from resnext.network_params import Block, NetworkParams, network_blocks


def _shortcut(x, block, params, make):
  """Builds the shortcut of a block; returns the tensor to add to its transformation."""
  channels = x.shape[-1]
  name = f'{block.name}_downsample'
  if params.shortcut_type == 'C' or (params.shortcut_type == 'B' and channels != block.filters):
    strides, first = block.strides, 0
    if params.average_shortcut:
      # timm counts the pooling as module 0, even where it is the identity.
      strides, first = 1, 1
      if block.strides > 1:
        # 'same' excludes the padding from the mean, as timm does.
        x = make.layer(
          keras.layers.AveragePooling2D, 2, block.strides, 'same', 'channels_last', name=f'{name}_0'
        )(x)
    x = make.conv(x, block.filters, 1, strides, name=f'{name}_{first}')
    if params.preactivation:
      return x
    return make.norm(x, name=f'{name}_{first + 1}')
  if channels != block.filters:
    return make.padded_identity(x, block.filters, block.strides, name=name)
  return x


def _add_shortcut(y, x, block, params, make):
  """Adds the shortcut of `x` to `y`, the block's transformation."""
  if not params.residual:
    return y
  shortcut = _shortcut(x, block, params, make)
  return make.layer(keras.layers.Add, name=f'{block.name}_add')([y, shortcut])


def original_block(
  x: keras.KerasTensor, block: Block, params: NetworkParams, make: layers.LayerMaker
) -> keras.KerasTensor:
  """Applies the original block: ReLU after the addition."""
  y = make.norm(block_forms.transform(x, block, make), name=f'{block.name}_bn3')
  return make.relu(_add_shortcut(y, x, block, params, make), name=f'{block.name}_relu')


def preactivated_block(
  x: keras.KerasTensor,
  block: Block,
  params: NetworkParams,
  make: layers.LayerMaker,
  *,
  first_of_stage: bool,
  activated: bool,
) -> keras.KerasTensor:
  """Applies a pre-activated block: batch norm and ReLU before each convolution, none after the sum.

  In the first block of a stage, the shortcut starts after the first batch norm and ReLU. The block
  omits these two if its input is `activated`, the output of a ReLU in the stem.
  """
  y = x
  if not activated:
    y = make.norm_relu(x, norm=f'{block.name}_bn1', relu=f'{block.name}_relu')
    if first_of_stage:
      x = y
  return _add_shortcut(block_forms.transform(y, block, make), x, block, params, make)


def _stem(images, params, make):
  """Builds the stem; returns (its endpoints in order, whether the output went through a ReLU)."""
  width = params.stem_width
  if params.stem == 'cifar':
    x = make.conv(images, width, 3, name='conv1')
    if params.preactivation:
      return {'conv1': x}, False
    norm = make.norm(x, name='bn1')
    return {'conv1': x, 'bn1': norm, 'relu': make.relu(norm, name='relu')}, True
  if params.stem == 'deep':
    x = make.conv(images, width // 2, 3, 2, name='conv1_0')
    x = make.norm_relu(x, norm='conv1_1', relu='conv1_2')
    x = make.conv(x, width // 2, 3, name='conv1_3')
    x = make.norm_relu(x, norm='conv1_4', relu='conv1_5')
    x = make.conv(x, width, 3, name='conv1_6')
  else:
    x = make.conv(images, width, 7, 2, name='conv1')
  norm = make.norm(x, name='bn1')
  relu = make.relu(norm, name='relu')
  # After a ReLU, padding with zeros has the same effect as padding with minus infinity.
  pool = make.pad(relu, 1, name='maxpool_pad')
  pool = make.layer(
    keras.layers.MaxPooling2D, 3, 2, 'valid', 'channels_last', name='maxpool'
  )(pool)
  return {'conv1': x, 'bn1': norm, 'relu': relu, 'maxpool': pool}, True


def _features(images, params, make):
  """Builds stem and stages; returns the endpoints up to `features`."""
  endpoints, activated = _stem(images, params, make)
  x = list(endpoints.values())[-1]
  reduction = 0
  if params.stem != 'cifar':
    endpoints['reduction_1'] = endpoints['relu']
    reduction = 2
  for stage, blocks in enumerate(network_blocks(params)):
    for i, block in enumerate(blocks):
      if params.preactivation:
        x = preactivated_block(
          x, block, params, make, first_of_stage=i == 0, activated=activated
        )
        activated = False
      else:
        x = original_block(x, block, params, make)
      endpoints[block.name] = x
    endpoints[f'layer{stage + 1}'] = x
    endpoints[f'reduction_{reduction + stage}'] = x
  if params.preactivation:
    x = make.norm_relu(x, norm='norm', relu='norm_relu')
  endpoints['features'] = x
  return endpoints


def build_network(
  images: keras.KerasTensor,
  params: NetworkParams,
  dtype: str | keras.DTypePolicy = 'float32',
) -> dict[str, keras.KerasTensor]:
  """Builds the graph of a network.

  Args:
    images: [batch, height, width, 3] float32 in [0, 255].
    params: the architecture.
    dtype: Keras dtype policy or its name. With a 16-bit policy, normalisation and classifier still
      compute in float32.

  Returns:
    {endpoint: Keras tensor}: `conv1`, `bn1`, `relu` and `maxpool` of the stem, each block
    (`layer1_0`), each stage (`layer1`), the last output of each resolution (`reduction_2` at 1/4 of
    the image size), `features` (the last feature map, after its ReLU), `avgpool`, and `fc`, the
    logits [batch, num_classes]. Endpoints that a network lacks are omitted.
  """
  policy = keras.dtype_policies.get(dtype)
  full_dtype = 'float32' if policy.compute_dtype in ('bfloat16', 'float16') else policy
  x = keras.layers.Rescaling(
    scale=[1.0 / s for s in params.stddev_rgb],
    offset=[-m / s for m, s in zip(params.mean_rgb, params.stddev_rgb, strict=True)],
    name='normalization',
    dtype=full_dtype,
  )(images)
  endpoints = _features(x, params, layers.LayerMaker(policy))
  x = keras.layers.GlobalAveragePooling2D(
    data_format='channels_last', name='avgpool', dtype=full_dtype
  )(endpoints['features'])
  endpoints['avgpool'] = x
  if params.num_classes:
    endpoints['fc'] = keras.layers.Dense(
      params.num_classes,
      kernel_initializer=layers.dense_kernel_initializer(),
      name='fc',
      dtype=full_dtype,
    )(x)
  return endpoints

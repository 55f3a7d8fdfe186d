"""Parameters and multiply-adds of a network, counted from its parameters without building it."""
import dataclasses

from resnext import network_params


@dataclasses.dataclass(frozen=True)
class Counts:
  """Learnable parameters, and multiply-adds of convolutions and classifier on one image."""

  parameters: int
  multiply_adds: int


def network_counts(params, image_size=None):
  """Counts a network without building it.

  Args:
    params: `network_params.NetworkParams`.
    image_size: pixels a side; None is the size that the network is made for.

  Returns:
    `Counts`.
  """
  counter = _Counter(image_size or params.image_size)
  _count_stem(counter, params)
  channels = params.stem_width
  for blocks in network_params.network_blocks(params):
    for i, block in enumerate(blocks):
      _count_block(counter, channels, block, params, index_in_stage=i)
      channels = block.filters
  if params.preactivation:
    counter.norm(channels)
  counter.parameters += (channels + 1) * params.num_classes
  counter.multiply_adds += channels * params.num_classes
  return Counts(counter.parameters, counter.multiply_adds)


class _Counter:
  """Adds up layers, and knows the side of the feature map."""

  def __init__(self, side):
    self.side = side
    self.parameters = 0
    self.multiply_adds = 0

  def shrink(self):
    self.side = -(-self.side // 2)

  def conv(self, inputs, filters, kernel_size, groups=1):
    """A convolution whose output is as large as the feature map now is."""
    weights = kernel_size**2 * inputs // groups * filters
    self.parameters += weights
    self.multiply_adds += weights * self.side**2

  def norm(self, channels):
    self.parameters += 2 * channels

  def conv_norm(self, inputs, filters, kernel_size, groups=1):
    self.conv(inputs, filters, kernel_size, groups)
    self.norm(filters)


def _count_stem(counter, params):
  width = params.stem_width
  if params.stem == 'cifar':
    counter.conv(3, width, 3)
    if not params.preactivation:
      counter.norm(width)
    return
  counter.shrink()
  if params.stem == 'deep':
    counter.conv_norm(3, width // 2, 3)
    counter.conv_norm(width // 2, width // 2, 3)
    counter.conv_norm(width // 2, width, 3)
  else:
    counter.conv_norm(3, width, 7)
  counter.shrink()  # Max pooling.


def _count_block(counter, channels, block, params, index_in_stage):
  width = block.path_width * block.cardinality
  if params.preactivation:
    behind_stem = params.stem != 'cifar' and block.name == 'layer1_0'
    counter.norm(0 if behind_stem else channels)
  else:
    counter.norm(block.filters)
  counter.conv_norm(channels, width, 1)
  if block.strides > 1:
    counter.shrink()
  counter.conv_norm(width, width, 3, block.cardinality)
  counter.conv(width, block.filters, 1)
  projected = params.shortcut_type == 'C' or (
    params.shortcut_type == 'B' and channels != block.filters
  )
  if params.residual and projected:
    counter.conv(channels, block.filters, 1)
    counter.norm(0 if params.preactivation else block.filters)

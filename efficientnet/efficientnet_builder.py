"""EfficientNet-B0 to B8 and L2: the table of scaled models, and the notation of their stages.

Source: tensorflow/tpu, models/official/efficientnet/efficientnet_builder.py.
"""
import dataclasses
import re

from efficientnet import efficientnet_model
from efficientnet.efficientnet_model import BlockArgs, GlobalParams
from tpu_utils.names import check_name

MEAN_RGB = efficientnet_model.IMAGENET_MEAN_RGB
STDDEV_RGB = efficientnet_model.IMAGENET_STDDEV_RGB
INTERPOLATION = 'bicubic'

# (width_coefficient, depth_coefficient, resolution, dropout_rate)
PARAMS = {
  'efficientnet-b0': (1.0, 1.0, 224, 0.2),
  'efficientnet-b1': (1.0, 1.1, 240, 0.2),
  'efficientnet-b2': (1.1, 1.2, 260, 0.3),
  'efficientnet-b3': (1.2, 1.4, 300, 0.3),
  'efficientnet-b4': (1.4, 1.8, 380, 0.4),
  'efficientnet-b5': (1.6, 2.2, 456, 0.4),
  'efficientnet-b6': (1.8, 2.6, 528, 0.5),
  'efficientnet-b7': (2.0, 3.1, 600, 0.5),
  'efficientnet-b8': (2.2, 3.6, 672, 0.5),
  'efficientnet-l2': (4.3, 5.3, 800, 0.5),
}

DEFAULT_BLOCKS_ARGS = (
  'r1_k3_s11_e1_i32_o16_se0.25',
  'r2_k3_s22_e6_i16_o24_se0.25',
  'r2_k5_s22_e6_i24_o40_se0.25',
  'r3_k3_s22_e6_i40_o80_se0.25',
  'r3_k5_s11_e6_i80_o112_se0.25',
  'r4_k5_s22_e6_i112_o192_se0.25',
  'r1_k3_s11_e6_i192_o320_se0.25',
)


def efficientnet_params(model_name):
  """(width_coefficient, depth_coefficient, resolution, dropout_rate) of a model."""
  check_name('model_name', model_name, PARAMS)
  return PARAMS[model_name]


def get_model_params(model_name, overrides=None):
  """Stages and parameters of a model.

  Args:
    model_name: a key of `PARAMS`.
    overrides: {field of `GlobalParams`: value}, see `override`.

  Returns:
    (list of `BlockArgs`, one a stage; `GlobalParams`).
  """
  width, depth, _, dropout_rate = efficientnet_params(model_name)
  global_params = GlobalParams(
    blocks_args=DEFAULT_BLOCKS_ARGS,
    width_coefficient=width,
    depth_coefficient=depth,
    dropout_rate=dropout_rate,
  )
  return override(global_params, overrides)


def override(global_params, overrides):
  """Applies a caller's overrides to a family's parameters.

  `drop_connect_rate`, the older name, is 1 - `survival_prob`. `blocks_args` may hold block strings or
  `BlockArgs`.

  Returns:
    (list of `BlockArgs`, `GlobalParams`).

  Raises:
    ValueError: a field that doesn't exist, with the nearest names; a value out of range.
  """
  overrides = dict(overrides or {})
  if 'drop_connect_rate' in overrides:
    rate = overrides.pop('drop_connect_rate')
    if 'survival_prob' in overrides:
      raise ValueError('Give survival_prob or drop_connect_rate (1 - survival_prob), not both.')
    overrides['survival_prob'] = 1.0 - (rate or 0.0)
  fields = [field.name for field in dataclasses.fields(GlobalParams)]
  for name in overrides:
    check_name('model parameter', name, [*fields, 'drop_connect_rate'])
  global_params = dataclasses.replace(global_params, **overrides)
  return BlockDecoder().decode(global_params.blocks_args), global_params


class BlockDecoder:
  """Between `BlockArgs` and the notation `r2_k3_s22_e6_i16_o24_se0.25`.

  r repeats, k kernel size, s strides, e expansion, i and o filters, se squeeze ratio, c block type,
  f fused convolution, d space to depth, a activation (0 relu, 1 swish); `noskip` and `cc` (CondConv)
  are flags.
  """

  def decode(self, block_strings):
    """A list of `BlockArgs` from block strings; entries that are `BlockArgs` stay as they are."""
    if isinstance(block_strings, str) or not block_strings:
      raise ValueError(f'blocks_args={block_strings!r} must be a list of block strings, not empty.')
    return [s if isinstance(s, BlockArgs) else _decode_block_string(s) for s in block_strings]

  def encode(self, blocks_args):
    """A list of block strings. The notation has no word for the official `a` option on the way back.

    Raises:
      ValueError: a block without se_ratio, for which the official encoder fails too.
    """
    return [_encode_block(block) for block in blocks_args]


def _decode_block_string(block_string):
  options = {}
  for part in block_string.split('_'):
    pieces = re.split(r'(\d.*)', part)
    if len(pieces) >= 2:
      options[pieces[0]] = pieces[1]
  missing = [key for key in 'rkseio' if key not in options]
  if missing:
    raise ValueError(
      f'Block string {block_string!r} lacks {", ".join(missing)}; it should look like '
      'r1_k3_s11_e1_i32_o16_se0.25.'
    )
  if not re.fullmatch(r'\d\d', options['s']):
    raise ValueError(
      f'Block string {block_string!r} has strides {options["s"]!r}; they must be two digits, as s22.'
    )
  activation = options.get('a')
  try:
    return BlockArgs(
      kernel_size=int(options['k']),
      num_repeat=int(options['r']),
      input_filters=int(options['i']),
      output_filters=int(options['o']),
      expand_ratio=int(options['e']),
      id_skip='noskip' not in block_string,
      se_ratio=float(options['se']) if 'se' in options else None,
      strides=(int(options['s'][0]), int(options['s'][1])),
      conv_type=int(options.get('c', 0)),
      fused_conv=int(options.get('f', 0)),
      space2depth=int(options.get('d', 0)),
      condconv='cc' in block_string,
      activation_fn=None if activation is None else ('swish' if int(activation) else 'relu'),
    )
  except ValueError as error:
    raise ValueError(f'Block string {block_string!r}: {error}') from error


def _encode_block(block):
  if block.se_ratio is None:
    raise ValueError(f'{block} has no se_ratio, which the block notation needs; set it to 0 for none.')
  parts = [
    f'r{block.num_repeat}',
    f'k{block.kernel_size}',
    f's{block.strides[0]}{block.strides[1]}',
    f'e{block.expand_ratio}',
    f'i{block.input_filters}',
    f'o{block.output_filters}',
    f'c{block.conv_type}',
    f'f{block.fused_conv}',
    f'd{block.space2depth}',
  ]
  if 0 < block.se_ratio <= 1:
    parts.append(f'se{block.se_ratio}')
  if block.id_skip is False:
    parts.append('noskip')
  if block.condconv:
    parts.append('cc')
  return '_'.join(parts)

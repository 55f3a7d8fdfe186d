"""EfficientNet-B0 to B8 and L2, the record of a family (`Family`), and the notation for stages.

Source: tensorflow/tpu, models/official/efficientnet/efficientnet_builder.py.
"""
import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from efficientnet.network_params import BlockArgs, GlobalParams
from tpu_utils.images import spec
from tpu_utils.names import check_name


class Scale(NamedTuple):
  """Scale of one model: the official four numbers, and `GlobalParams` in which it is special.

  `resolution` is in pixels a side; None keeps the family's value.
  """

  width_coefficient: float
  depth_coefficient: float
  resolution: int
  dropout_rate: float
  se_coefficient: float | None = None
  condconv_num_experts: int | None = None
  blocks_args: tuple | None = None


@dataclasses.dataclass(frozen=True)
class Family:
  """Models that share stages, parameters and preprocessing and differ in scale.

  Attributes:
    scales: {model name: `Scale`}, in the order in which models are listed.
    global_params: the shared `GlobalParams`, including the stages (`blocks_args`).
    interpolation: resizing method for images, 'bicubic' or 'bilinear'.
  """

  scales: Mapping[str, Scale]
  global_params: GlobalParams
  interpolation: str = 'bicubic'

  def scale(self, model_name: str) -> Scale:
    """Returns the `Scale` of a model.

    Raises:
      ValueError: an unknown model; the message names the nearest ones.
    """
    check_name('model_name', model_name, self.scales)
    return self.scales[model_name]

  def get_model_params(
    self, model_name: str, overrides: Mapping[str, Any] | None = None
  ) -> tuple[list[BlockArgs], GlobalParams]:
    """Returns the stages and parameters of a model.

    Args:
      model_name: a key of `scales`.
      overrides: {field of `GlobalParams`: value}, see `override`.

    Returns:
      (list of `BlockArgs`, one a stage; `GlobalParams`).

    Raises:
      ValueError: an unknown model, or as `override`.
    """
    fields = self.scale(model_name)._asdict()
    del fields['resolution']
    special = {name: value for name, value in fields.items() if value is not None}
    return override(dataclasses.replace(self.global_params, **special), overrides)

  def get_preprocess_spec(self, model_name: str) -> spec.PreprocessSpec:
    """Returns the preprocessing of a model's images, for training, evaluation and export.

    Raises:
      ValueError: an unknown model.
    """
    return spec.PreprocessSpec(
      image_size=self.scale(model_name).resolution,
      mean_rgb=tuple(self.global_params.mean_rgb),
      stddev_rgb=tuple(self.global_params.stddev_rgb),
      interpolation=self.interpolation,
    )


DEFAULT_BLOCKS_ARGS = (
  'r1_k3_s11_e1_i32_o16_se0.25',
  'r2_k3_s22_e6_i16_o24_se0.25',
  'r2_k5_s22_e6_i24_o40_se0.25',
  'r3_k3_s22_e6_i40_o80_se0.25',
  'r3_k5_s11_e6_i80_o112_se0.25',
  'r4_k5_s22_e6_i112_o192_se0.25',
  'r1_k3_s11_e6_i192_o320_se0.25',
)

FAMILY = Family(
  scales={
    'efficientnet-b0': Scale(1.0, 1.0, 224, 0.2),
    'efficientnet-b1': Scale(1.0, 1.1, 240, 0.2),
    'efficientnet-b2': Scale(1.1, 1.2, 260, 0.3),
    'efficientnet-b3': Scale(1.2, 1.4, 300, 0.3),
    'efficientnet-b4': Scale(1.4, 1.8, 380, 0.4),
    'efficientnet-b5': Scale(1.6, 2.2, 456, 0.4),
    'efficientnet-b6': Scale(1.8, 2.6, 528, 0.5),
    'efficientnet-b7': Scale(2.0, 3.1, 600, 0.5),
    'efficientnet-b8': Scale(2.2, 3.6, 672, 0.5),
    'efficientnet-l2': Scale(4.3, 5.3, 800, 0.5),
  },
  global_params=GlobalParams(blocks_args=DEFAULT_BLOCKS_ARGS),
)


def override(
  global_params: GlobalParams, overrides: Mapping[str, Any] | None
) -> tuple[list[BlockArgs], GlobalParams]:
  """Applies a caller's overrides to a family's parameters.

  `drop_connect_rate`, the older name, is 1 - `survival_prob`. `blocks_args` may hold block strings
  or `BlockArgs`.

  Returns:
    (list of `BlockArgs`, `GlobalParams`).

  Raises:
    ValueError: an unknown field (the message names the nearest ones), or a value out of range.
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
  """Translator between `BlockArgs` and the notation `r2_k3_s22_e6_i16_o24_se0.25`.

  r: repeats, k: kernel size, s: strides, e: expansion, i and o: filters, se: squeeze ratio,
  c: block type, f: fused convolution, d: space to depth, a: activation (0 relu, 1 swish); the flags
  `noskip` and `cc` (CondConv).
  """

  def decode(self, block_strings: Sequence[str | BlockArgs]) -> list[BlockArgs]:
    """Decodes block strings; entries that are `BlockArgs` already stay as they are.

    Raises:
      ValueError: not a list, an empty one, or a string that is not in the notation.
    """
    if isinstance(block_strings, str) or not block_strings:
      raise ValueError(f'blocks_args={block_strings!r} must be a non-empty list of block strings.')
    return [s if isinstance(s, BlockArgs) else _decode_block_string(s) for s in block_strings]

  def encode(self, blocks_args: Sequence[BlockArgs]) -> list[str]:
    """Encodes `BlockArgs` as block strings, without activations like the official encoder.

    Raises:
      ValueError: a block without se_ratio, on which the official encoder fails, too.
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
      f'Block string {block_string!r} has strides {options["s"]!r}; they must be two digits, '
      'such as s22.'
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
    raise ValueError(
      f'{block} has no se_ratio, which the block notation needs; 0 means no squeeze-and-excitation.'
    )
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

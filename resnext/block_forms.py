"""The three equivalent forms of a ResNeXt block (Figure 3), and conversion of weights between them.

(a) every path has its own 1x1, 3x3 and 1x1 convolution, and the paths are summed;
(b) the paths are concatenated before one common 1x1 convolution;
(c) the paths are the groups of one grouped 3x3 convolution.

Batch norm follows the first two convolutions of each path, and then the sum of the paths.
Normalising each path before the sum would compute a different function.
"""
import functools
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from resnext import checkpoint_names as names
from resnext.layers import LayerMaker
from resnext.network_params import Block
from tpu_utils import assignment
from tpu_utils.names import unknown_name

_AGGREGATES = {'sum': keras.layers.Add, 'concatenate': keras.layers.Concatenate}


def aggregated_transform(
  x: Any,
  transforms: Iterable[Callable[[Any], Any]],
  aggregate: str = 'sum',
  *,
  name: str | None = None,
  dtype: str | keras.DTypePolicy | None = None,
) -> Any:
  """Applies all transforms to `x` and merges their outputs (Equation 2).

  Args:
    x: the input of every transform, usually [batch, height, width, channels].
    transforms: functions of `x`; their outputs have the same shape.
    aggregate: 'sum', or 'concatenate' along the channels (the early concatenation of form b).
    name: name of the merging layer.
    dtype: dtype policy of that layer, or the policy's name.

  Returns:
    The merged tensor.

  Raises:
    ValueError: no transform, or an unknown `aggregate`.
  """
  if aggregate not in _AGGREGATES:
    raise unknown_name('aggregate', aggregate, _AGGREGATES)
  outputs = [transform(x) for transform in transforms]
  if not outputs:
    raise ValueError('aggregated_transform got no transforms; it needs at least one.')
  if len(outputs) == 1:
    return outputs[0]
  return _AGGREGATES[aggregate](name=name, dtype=dtype)(outputs)


def transform(x: keras.KerasTensor, block: Block, make: LayerMaker) -> keras.KerasTensor:
  """Applies a block's transformation in the block's form, without the batch norm after it.

  Args:
    x: [batch, height, width, channels].
    block: the block.
    make: maker of the layers.

  Returns:
    [batch, height / strides, width / strides, block.filters].
  """
  if block.form == 'c':
    x = _embed(x, block, make, prefix=block.name, paths=block.cardinality)
    return make.conv(x, block.filters, 1, name=f'{block.name}_conv3')
  prefixes = [f'{block.name}_path{i}' for i in range(block.cardinality)]
  if block.form == 'b':
    embeds = [functools.partial(_embed, block=block, make=make, prefix=p) for p in prefixes]
    x = aggregated_transform(
      x, embeds, 'concatenate', name=f'{block.name}_concatenate', dtype=make.dtype
    )
    return make.conv(x, block.filters, 1, name=f'{block.name}_conv3')
  paths = [functools.partial(_path, block=block, make=make, prefix=p) for p in prefixes]
  return aggregated_transform(x, paths, name=f'{block.name}_sum', dtype=make.dtype)


def _embed(x, block, make, prefix, paths=1):
  """Applies the 1x1 and the 3x3 convolution of `paths` paths."""
  width = block.path_width * paths
  x = make.conv(x, width, 1, name=f'{prefix}_conv1')
  x = make.norm_relu(x, norm=f'{prefix}_{block.inner_norms[0]}', relu=f'{prefix}_relu1')
  x = make.conv(x, width, 3, block.strides, groups=paths, name=f'{prefix}_conv2')
  return make.norm_relu(x, norm=f'{prefix}_{block.inner_norms[1]}', relu=f'{prefix}_relu2')


def _path(x, block, make, prefix):
  """Applies one path of form (a)."""
  x = _embed(x, block, make, prefix)
  return make.conv(x, block.filters, 1, name=f'{prefix}_conv3')


def convert_weights(source: keras.Model, target: keras.Model) -> None:
  """Copies all variables from `source` to `target`, models that differ only in `block_form`.

  Raises:
    ValueError: the models differ in more than the form; `target` is unchanged.
  """

  def error(mismatch):
    return ValueError(
      f'{source.name} and {target.name} differ in more than the block form: {mismatch.text(5)} '
      f'(variables of {source.name}). Build both with the same settings.'
    )

  sources, targets = _merged_variables(source), _merged_variables(target)
  assignment.assign(
    targets,
    {path: merged.value() for path, merged in sources.items() if path in targets},
    error,
    unexpected=[path for path in sources if path not in targets],
  )


class _Merged:
  """The variables of one or all paths that form (c) concatenates to one, as that one."""

  def __init__(self, variables, axis):
    self._variables, self._axis = variables, axis
    self.shape = list(variables[0].shape)
    if len(variables) > 1:
      self.shape[axis] *= len(variables)

  def value(self):
    arrays = [ops.convert_to_numpy(variable) for variable in self._variables]
    return np.concatenate(arrays, self._axis) if len(arrays) > 1 else arrays[0]

  def assign(self, value):
    count = len(self._variables)
    parts = np.split(value, count, self._axis) if count > 1 else [value]
    for variable, part in zip(self._variables, parts, strict=True):
      variable.assign(part)


def _merged_variables(model):
  """Returns {path in form (c): `_Merged`}."""
  variables = {}
  for variable in model.weights:
    path, _ = names.merged_path(variable.path)
    variables.setdefault(path, []).append(variable)
  return {path: _Merged(parts, names.path_axis(path)) for path, parts in variables.items()}

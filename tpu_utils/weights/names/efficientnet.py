"""Names of EfficientNet's variables in other programs' checkpoints.

Our layers are named after the official variable scopes with `/` written as `_`, so the official name
follows from the layer's: `blocks_3_se_conv2d_1/kernel` is `<model>/blocks_3/se/conv2d_1/kernel`.
"""
import re

from tpu_utils.weights.assign import Rule

_SCOPES = re.compile(r'(stem|head|blocks_\d+)_(?:(se|space2depth)_)?(.+)')
_BATCH_NORM = 'tpu_batch_normalization'
# The batch norm of the official code under --optimizer=lars has another name.
_LARS_BATCH_NORM = 'batch_normalization'


def official_name(variable_path, model_name):
  """The TF1 name of one of our variables."""
  layer, variable = variable_path.rsplit('/', 1)
  scopes = [scope for scope in _SCOPES.fullmatch(layer).groups() if scope]
  if 'depthwise_conv2d' in layer and variable == 'kernel':
    variable = 'depthwise_kernel'
  return '/'.join([model_name, *scopes, variable])


def tf1(model, names):
  """Rules for an official TF1 checkpoint with these `names`, trained with any optimizer."""
  lars = not any(_BATCH_NORM in name for name in names)

  def rule(path):
    name = official_name(path, model.name)
    return Rule(name.replace(_BATCH_NORM, _LARS_BATCH_NORM) if lars else name)

  return {v.path: rule(v.path) for v in model.weights}


NAME_MAPS = {'tf1': tf1}

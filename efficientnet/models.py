"""Lists every model: parameters, multiply-adds, resolution and published accuracy.

    python -m efficientnet.models                                  # all of them
    python -m efficientnet.models --model_name=efficientnet-lite0  # one
    python -m efficientnet.models --model_name='*-x-tpu-*'         # by a pattern

Parameters and multiply-adds (one image, native resolution) are counted from the networks as this package
builds them. Accuracy is ImageNet top-1 in percent as published, with its source.
"""
import dataclasses
import fnmatch
import functools

from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.names import unknown_name
from tpu_utils.text_table import text_table

_PAPER = 'arXiv 1905.11946v5, Table 2'
_ADVPROP = 'official README, AdvProp + AutoAugment'
_NOISY_STUDENT = 'official README, NoisyStudent with 300M further images'
_LITE = 'official lite/README'
_EDGETPU = 'official edgetpu/README, float'
_CONDCONV = 'official condconv/README'

# {model: (ImageNet top-1 in percent, source)}; EfficientNet-X and -H have no numbers in the official code.
PUBLISHED = {
  'efficientnet-b0': (77.1, _PAPER),
  'efficientnet-b1': (79.1, _PAPER),
  'efficientnet-b2': (80.1, _PAPER),
  'efficientnet-b3': (81.6, _PAPER),
  'efficientnet-b4': (82.9, _PAPER),
  'efficientnet-b5': (83.6, _PAPER),
  'efficientnet-b6': (84.0, _PAPER),
  'efficientnet-b7': (84.3, _PAPER),
  'efficientnet-b8': (85.5, _ADVPROP),
  'efficientnet-l2': (88.4, _NOISY_STUDENT),
  'efficientnet-lite0': (75.1, _LITE),
  'efficientnet-lite1': (76.7, _LITE),
  'efficientnet-lite2': (77.6, _LITE),
  'efficientnet-lite3': (79.8, _LITE),
  'efficientnet-lite4': (81.5, _LITE),
  'efficientnet-edgetpu-S': (77.23, _EDGETPU),
  'efficientnet-edgetpu-M': (78.69, _EDGETPU),
  'efficientnet-edgetpu-L': (80.62, _EDGETPU),
  'efficientnet-condconv-b0-4e': (77.8, _CONDCONV),
  'efficientnet-condconv-b0-8e': (78.3, _CONDCONV),
  'efficientnet-condconv-b0-8e-depth': (79.5, _CONDCONV),
}


@dataclasses.dataclass(frozen=True)
class ModelsConfig(settings.Checked):
  """Which models are listed."""

  model_name: str = setting('*', 'A model, or a pattern with * and ?.')


def rows(pattern='*'):
  """A list of (name, parameters, multiply-adds, pixels, top-1 or None, its source or None).

  Raises:
    ValueError: no model is called so; the nearest names are given.
  """
  from efficientnet import model_builder_factory
  from tpu_utils import profile

  known = model_builder_factory.model_names()
  names = fnmatch.filter(known, pattern)
  if not names:
    raise unknown_name('model_name', pattern, known)
  listed = []
  for name in names:
    counts = profile.count(functools.partial(model_builder_factory.build_model, name))
    size = model_builder_factory.get_model_input_size(name)
    published = PUBLISHED.get(name, (None, None))
    listed.append((name, counts.parameters, counts.multiply_adds, size, *published))
  return listed


def run(resolved: settings.Resolved):
  """Prints the list."""
  (config,) = resolved
  listed = rows(config.model_name)
  header = ['model', 'parameters', 'multiply-adds', 'pixels', 'top-1', 'source']
  lines = [
    [name, f'{parameters:,}', f'{adds:,}', size, '-' if top_1 is None else f'{top_1:g}', source or '-']
    for name, parameters, adds, size, top_1, source in listed
  ]
  print(text_table(header, lines, left_columns=(0, 5)))


SCRIPT = Script(__doc__, (ModelsConfig,), run)


if __name__ == '__main__':
  SCRIPT.main()

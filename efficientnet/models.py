"""Lists every model: parameters, multiply-adds, resolution and published accuracy.

    python -m efficientnet.models                                  # all of them
    python -m efficientnet.models --model_name=efficientnet-lite0  # one
    python -m efficientnet.models --model_name='*-x-tpu-*'         # by a pattern

Parameters and multiply-adds (one image at the model's own resolution) are counted from the networks
that this package builds; all models take about half a minute, and each is printed when it is
counted. Accuracy is ImageNet top-1 in percent as published, with its source.
"""
import dataclasses
import fnmatch
import functools
from collections.abc import Iterator
from typing import NamedTuple

from efficientnet import published
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.names import unknown_name


def _published():
  """Returns {model: (ImageNet top-1 in percent, source)}."""
  official = published.checkpoints(published.ADVPROP), published.checkpoints(
    published.NOISY_STUDENT
  )
  found = {
    f'efficientnet-{name.lower()}': (value, 'arXiv 1905.11946v5, Table 2')
    for name, value in published.accuracies(published.LATER).items()
  }
  found['efficientnet-b8'] = official[0]['B8'], 'official README, AdvProp + AutoAugment'
  found['efficientnet-l2'] = (
    official[1]['L2'], 'official README, NoisyStudent with 300M further images'
  )  # fmt: skip
  for family, column, source in (
    ('Lite', 'top1_fp32', 'official lite/README'),
    ('EdgeTPU', 'top1_float', 'official edgetpu/README, float'),
    ('CondConv', 'top1', 'official condconv/README'),
  ):
    for name, value in published.by_model(f'Official {family} table', column).items():
      own = {
        'Lite': f'efficientnet-{name}',
        'EdgeTPU': f'efficientnet-edgetpu-{name}',
        'CondConv': f'efficientnet-{name.lower()}',
      }[family]
      if not name.startswith('EfficientNet'):  # CondConv's table has plain ones to compare with.
        found[own] = value, source
  return found


# {model: (ImageNet top-1 in percent, source)}. The official code has no numbers for EfficientNet-X
# and -H.
PUBLISHED = _published()


@dataclasses.dataclass(frozen=True)
class ModelsConfig(settings.Checked):
  """Selection of models."""

  model_name: str = setting('*', 'A model, or a pattern with * and ?.')


class Row(NamedTuple):
  """Size, cost and published accuracy of a model.

  Attributes:
    name: the model.
    parameters: trainable parameters.
    multiply_adds: multiply-adds for one image.
    size: pixels a side of the image.
    top_1: published ImageNet top-1 accuracy in percent, or None.
    source: where it is published, or None.
  """

  name: str
  parameters: int
  multiply_adds: int
  size: int
  top_1: float | None
  source: str | None


def rows(pattern: str = '*') -> Iterator[Row]:
  """Returns an iterator over the rows of matching models; each is counted when it is reached.

  Args:
    pattern: a model name, or a pattern with * and ?.

  Raises:
    ValueError: no model matches; the message names the nearest ones.
  """
  from efficientnet import model_builder_factory

  known = model_builder_factory.model_names()
  names = fnmatch.filter(known, pattern)
  if not names:
    raise unknown_name('model_name', pattern, known)
  return map(_count, names)


def _count(name):
  from efficientnet import model_builder_factory
  from tpu_utils import profile

  counts = profile.count(functools.partial(model_builder_factory.build_model, name))
  size = model_builder_factory.get_model_input_size(name)
  top_1, source = PUBLISHED.get(name, (None, None))
  return Row(name, counts.parameters, counts.multiply_adds, size, top_1, source)


def run(resolved: settings.Resolved) -> None:
  """Prints the table line by line, because counting all models takes half a minute."""
  (config,) = resolved
  listed = rows(config.model_name)
  # Columns as wide as the largest model's cells.
  line = '{:<33}  {:>11}  {:>15}  {:>6}  {:>5}  {}'.format
  print(line('model', 'parameters', 'multiply-adds', 'pixels', 'top-1', 'source'), flush=True)
  for name, parameters, multiply_adds, size, top_1, source in listed:
    accuracy = '-' if top_1 is None else f'{top_1:g}'
    cells = (name, f'{parameters:,}', f'{multiply_adds:,}', size, accuracy, source or '-')
    print(line(*cells), flush=True)


SCRIPT = Script(__doc__, (ModelsConfig,), run)


if __name__ == '__main__':
  SCRIPT.main()

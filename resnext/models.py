"""Lists the paper's networks with parameters, multiply-adds and published errors.

    python -m resnext.models
    python -m resnext.models --model_name=resnext-50-16x8d

The second command lists one network, which need not be the paper's.
"""
import dataclasses
import functools
from collections.abc import Iterable

from resnext import network_params, published
from tpu_utils.command_line import settings
from tpu_utils.command_line.progress import Progress
from tpu_utils.command_line.script import Script
from tpu_utils.text_table import text_table

# Top-1 error in percent: ImageNet, one 224-pixel crop (Tables 3 and 4); CIFAR-10 (Table 7).
# The paper's ResNet-200 is the pre-activated one, which has slightly fewer batch-norm parameters.
PAPER_ERRORS = published.errors()


@dataclasses.dataclass(frozen=True)
class ModelsConfig(settings.Checked):
  """Networks to list."""

  model_name: str = settings.setting(None, 'One network instead of the list.', type=str)


def table(names: Iterable[str]) -> str:
  """Formats the list of networks; shows progress on standard error, as counting takes seconds.

  Raises:
    ValueError: an unknown name, with the nearest ones.
  """
  networks = {name: network_params.from_name(name) for name in names}  # Before slow imports.
  from resnext import resnext_builder
  from tpu_utils import profile

  rows = []
  with Progress(len(networks), 'count', unit='network') as progress:
    for name, params in networks.items():
      size = profile.count(functools.partial(resnext_builder.build_model, name))
      error = f'{PAPER_ERRORS[name]} %' if name in PAPER_ERRORS else '-'
      multiply_adds = f'{size.multiply_adds / 1e9:.3f}G'
      rows.append([name, f'{size.parameters:,}', multiply_adds, params.image_size, error])
      progress.update(len(rows))
  header = ['model', 'parameters', 'multiply-adds', 'image size', 'top-1 error in the paper']
  return text_table(header, rows)


def run(resolved: settings.Resolved) -> None:
  """Prints the list."""
  (config,) = resolved
  print(table([config.model_name] if config.model_name else network_params.model_names()))


SCRIPT = Script(__doc__, (ModelsConfig,), run)


if __name__ == '__main__':
  SCRIPT.main()

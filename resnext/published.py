"""The published numbers of ResNeXt: tables of the paper and of the official README.

All of this package's published numbers are in `paper_tables.json`; `python -m resnext.paper_tables`
prints them beside ours. Does not import TensorFlow.
"""
import pathlib
from collections.abc import Mapping
from typing import Any

from tpu_utils import paper_table

_PERCENT = (
  'top1_error', 'top5_error', 'with', 'without', 'top1_224', 'top5_224', 'top1_320_or_299',
  'top5_320_or_299', 'top1_5k', 'top5_5k', 'top1_1k', 'top5_1k', 'cifar10', 'cifar100', 'AP50',
  'AP',
)  # fmt: skip
PAPER = paper_table.load(
  pathlib.Path(__file__).with_name('paper_tables.json'),
  {
    **dict.fromkeys(_PERCENT, '%'),
    **dict.fromkeys(('flops_B', 'gflops'), 'billion multiply-adds'),
    'seconds': 's',
    'macs_exact': 'multiply-adds',
  },
)


def model_name(row: Mapping[str, Any]) -> str | None:
  """Returns our name of the network of a row; None for networks that are not of this family.

  Args:
    row: {'model': 'ResNeXt-50', 'setting': '32x4d'}, or both in 'model'.
  """
  family, *settings = row['model'].split()
  paths = row.get('setting', settings[-1] if settings else '1x64d')
  if family.startswith('ResNeXt-'):
    return f'{family.lower()}-{paths}'
  if family.startswith('ResNet-'):
    return family.lower() if paths == '1x64d' else f'{family.lower()}-{paths}'
  return None


def errors() -> dict[str, float]:
  """Returns {our name of a network: top-1 error in percent}.

  ImageNet with one 224-pixel crop (Tables 3 and 4); CIFAR-10 (Table 7).
  """
  found = {}
  for table_id, column in (('Table 3', 'top1_error'), ('Table 4', 'top1_error'),
                           ('Table 7', 'cifar10')):  # fmt: skip
    for row in PAPER[table_id].values():
      name = model_name(row)
      if name is not None:
        found[name] = row[column]
  return found

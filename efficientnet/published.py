"""The published numbers of EfficientNet: tables of the paper and of the official READMEs.

All of this package's published numbers are in `paper_tables.json`; `python -m
efficientnet.paper_tables` prints them beside ours. Does not import TensorFlow.
"""
import pathlib
from typing import Any

from tpu_utils import paper_table

EARLIER, LATER = 'Table 2 (earlier version)', 'Table 2 (later version, v5)'
CHECKPOINTS = 'Official README: checkpoints'
BASELINE, AUTOAUGMENT, RANDAUGMENT, ADVPROP, NOISY_STUDENT = (
  'Baseline (ResNet) preprocessing', 'AutoAugment', 'RandAugment', 'AdvProp + AutoAugment',
  'NoisyStudent + RandAugment',
)  # fmt: skip
_PERCENT = (
  'top1', 'top5', 'our_acc', 'their_acc', 'top1_fp32', 'top1_int8', 'top1_float', 'top1_quantized',
  *(f'B{i}' for i in range(9)), 'L2-475', 'L2',
)  # fmt: skip
PAPER = paper_table.load(
  pathlib.Path(__file__).with_name('paper_tables.json'),
  {
    **dict.fromkeys(_PERCENT, '%'),
    'flops_B': 'billion multiply-adds',
    'madds_M': 'million multiply-adds',
    'search_target_flops_M': 'million multiply-adds',
    **dict.fromkeys(('speedup', 'params_ratio', 'flops_ratio'), 'times'),
  },
)


def accuracies(table_id: str) -> dict[str, float]:
  """Returns {'B0': top-1 accuracy in percent, ...} of the EfficientNets in one of `Table 2`."""
  top_1 = PAPER[table_id].column('top1', by='model')
  prefix = 'EfficientNet-'
  return {m.removeprefix(prefix): value for m, value in top_1.items() if m.startswith(prefix)}


def checkpoints(recipe: str) -> dict[str, float]:
  """Returns {'B0': top-1 accuracy in percent, ...} of the official checkpoints of a recipe.

  RandAugment has two rows, one a model; they are joined.
  """
  rows = [row for row in PAPER[CHECKPOINTS].values() if row['recipe'] == recipe]
  return {name: value for row in rows for name, value in row.items() if name != 'recipe'}


def by_model(table_id: str, column: str) -> dict[str, Any]:
  """Returns {name in print: value} of a column in a table of models."""
  return PAPER[table_id].column(column, by='model')


def listed(values: dict[str, Any]) -> str:
  """Formats {name: number} as text: 'B0 77.1, B1 79.1'."""
  return ', '.join(f'{name} {value}' for name, value in values.items())

"""The published numbers of OSCAR: tables of the paper and of the official README and MODEL_ZOO.

All of this package's published numbers are in `paper_tables.json`; `python -m oscar.paper_tables`
prints them beside ours. Does not import TensorFlow.
"""
import pathlib

from tpu_utils import paper_table

_SCORES = (
  *(f'{way}{size}_R{k}' for way in ('ir', 'tr', 't2i', 'i2t') for size in ('', '1k', '5k')
    for k in (1, 5, 10)),
  *(f'{kind}_{metric}' for kind in ('cap', 'nocaps', 'ce', 'cider', 'in', 'near', 'out', 'all')
    for metric in ('B4', 'M', 'C', 'S')),
  'vqa_test_std', 'nlvr2_test_P', 'gqa_test_std', 'test_dev', 'test_std', 'dev', 'test_P',
  'vqa_dev', 'B4', 'M', 'C', 'S', 'at_least_1', 'at_least_2', 'at_least_3',
)  # fmt: skip
PAPER = paper_table.load(
  pathlib.Path(__file__).with_name('paper_tables.json'), dict.fromkeys(_SCORES, '%')
)

"""Prints every table of the paper, of the official README and MODEL_ZOO beside our numbers.

    python -m oscar.paper_tables --list
    python -m oscar.paper_tables --tables='Table 2a;Table 2c'
    python -m oscar.paper_tables --output_dir=tables        # Markdown and CSV
    python -m oscar.paper_tables --checkpoint_dir=CKPTS --data_dir=DATA --output_dir=out
    python -m oscar.paper_tables --figure_4=runs/oscar-scenes/export --output_dir=tables

Settings of the published trainings are those of this project's recipes; sums and gains are computed
from the printed numbers. The fourth command also evaluates the checkpoints CKPTS/retrieval_base,
CKPTS/nlvr2_base, ... (named like the recipes that train them; --list names them, missing ones are
left out) on the official files in DATA/coco_ir, DATA/nlvr2, ..., with the scripts of the tasks.
Results are kept in out/results.jsonl, so the same command resumes; --results=FILE shows those of
another run. VQA's test splits, GQA's and NoCaps' test split are scored by servers only: add their
answers to a file for --results.

The last command also draws Figure 4: a map (t-SNE) of the tags and regions of 60 images, as that
model represents them. The images are those of --figure_4_data, official files of COCO retrieval
with tags, or by default of the generated scenes.
"""
from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any

from oscar import paper_figures, published
from oscar.config import OscarConfig
from oscar.recipes import RECIPES
from tpu_utils import files
from tpu_utils.command_line import job_flags, paper_script
from tpu_utils.paper_table import FROM_PRINT, Evaluation, Measured, Plan

# ---- Evaluation

_CAPTIONS = {'eval_split': 'test', 'num_beams': 5, 'max_gen_length': 20}
_RANKING = {
  'eval_split': 'test', 'cross_image_eval': True, 'num_captions_per_img_val': 5,
  # Not as in the job's own evaluations, which re-rank the candidates of minival.
  'eval_caption_index_file': '', 'eval_folds': 1,
}  # fmt: skip
# {start of the recipe's name: {set: (script, folder below --data_dir, flags)}}.
_SETS: dict[str, dict[str, tuple[str, str, dict[str, Any]]]] = {
  'retrieval': {
    '1k': (
      'oscar.run_retrieval', 'coco_ir', {**_RANKING, 'eval_img_keys_file': 'test_img_keys_1k.tsv'}
    ),
    '5k': (
      'oscar.run_retrieval', 'coco_ir', {**_RANKING, 'eval_img_keys_file': 'test_img_keys.tsv'}
    ),
  },
  'captioning': {
    'test': ('oscar.run_captioning', 'coco_caption', {**_CAPTIONS, 'test_yaml': 'test.yaml'})
  },
  'nocaps': {
    'beams': ('oscar.run_captioning', 'nocaps', {**_CAPTIONS, 'test_yaml': 'val.yaml'}),
    'cbs': (
      'oscar.run_captioning', 'nocaps', {**_CAPTIONS, 'test_yaml': 'val.yaml', 'use_cbs': True}
    ),
  },
  'vqa': {'val': ('oscar.run_vqa', 'vqa', {'eval_split': 'val'})},
  'gqa': {'test-dev': ('oscar.run_gqa', 'gqa', {'eval_split': 'test-dev'})},
  'nlvr2': {
    'dev': ('oscar.run_nlvr', 'nlvr2', {'eval_split': 'val'}),
    'test1': ('oscar.run_nlvr', 'nlvr2', {'eval_split': 'test1'}),
  },
}  # fmt: skip
_METRICS = {'B4': 'Bleu_4', 'M': 'METEOR', 'C': 'CIDEr', 'S': 'SPICE'}
_DOMAINS = {'in': '/in-domain', 'near': '/near-domain', 'out': '/out-domain', 'all': ''}
_TAGS = {'none (baseline)': 'no_tags', 'OI': 'oi_tags', 'VG': 'vg_tags'}


def _set_of(name):
  """Returns (script, data folder, flags) of an evaluation 'RECIPE:SET'."""
  recipe, _, of_set = name.partition(':')
  return _SETS[os.path.basename(recipe).split('_')[0]][of_set]


def _data(name):
  return _set_of(name)[1]


def _flags(name, data_dir):
  script, _, flags = _set_of(name)
  recipe = RECIPES.get(os.path.basename(name.partition(':')[0]))
  of_data = {
    flag: recipe.settings[flag]
    for flag in ('data_label_type', 'eval_data_type')
    if recipe is not None and flag in recipe.settings
  }
  flags = {'mode': 'eval', **of_data, **flags, 'data_dir': data_dir, 'strategy': 'one_device'}
  return script, {**flags, 'eval_name': f'paper_tables_{name.partition(":")[2]}'}


def evaluate(
  name: str, checkpoint: str, data_dir: str, work_dir: str
) -> tuple[dict[str, float], str]:
  """Evaluates a checkpoint on a set; returns (scores in percent, the command).

  Args:
    name: 'RECIPE:SET'.
    checkpoint: folder of a job, an official checkpoint, or an export.
    data_dir: folder with the task's official files.
    work_dir: folder for the results, unless the checkpoint is a job's, which keeps them itself.

  Raises:
    ValueError, OSError: as the task's script.
  """
  from tpu_utils import eval_history

  script, flags = _flags(name, data_dir)
  if job_flags.of_checkpoint(checkpoint) is not None:
    flags |= {'output_dir': checkpoint, 'archive_ckpt': False}
  else:
    flags |= {'model_name_or_path': checkpoint, 'output_dir': work_dir}
  history = eval_history.history_path(flags['output_dir'], f'eval_{flags["eval_name"]}')
  files.remove(history)  # Another checkpoint's or other data's.
  importlib.import_module(script).SCRIPT.call(
    [f'--{flag}={value}' for flag, value in flags.items()]
  )
  lines = files.read_json_lines(history)
  if not lines:
    raise ValueError(f'{checkpoint}: the evaluation wrote no results to {history}.')
  scores = {
    metric: 100 * value for metric, value in lines[-1].items() if isinstance(value, float)
  }
  return scores, paper_script.command_text(script, flags)


def _evaluation(name, metric):
  script, flags = _flags(name, 'DATA')
  flags = {**flags, 'model_name_or_path': 'CHECKPOINT', 'output_dir': 'RUN'}
  return Evaluation(name, metric, paper_script.command_text(script, flags))


def _size(row, column):
  """Returns 'base' or 'large' for a row of OSCAR, else None."""
  return {'Oscar_B': 'base', 'Oscar_L': 'large'}.get(row.get(column, ''))


def _ranking(prefix, name, row):
  """Returns the evaluations of columns such as tr5k_R1 (texts) or ir5k_R1 (images)."""
  ways = {'tr': 'i2t', 'i2t': 'i2t', 'ir': 't2i', 't2i': 't2i'}
  return {
    f'{way}{prefix}_R{k}': _evaluation(name, f'{metric}_R@{k}')
    for way, metric in ways.items()
    for k in (1, 5, 10)
    if f'{way}{prefix}_R{k}' in row
  }


def _overall(row):
  size = _size(row, 'row')
  if size is None:
    return {}
  captions = {
    f'cap_{letter}': _evaluation(f'captioning_{size}_scst:test', metric)
    for letter, metric in _METRICS.items()
  }
  return {
    **_ranking('', f'retrieval_{size}:5k', row),
    **captions,
    'nlvr2_test_P': _evaluation(f'nlvr2_{size}:test1', 'accuracy'),
  }


def _retrieval(row):
  size = {'B': 'base', 'L': 'large'}.get(row['size']) if row['model'] == 'Oscar' else None
  if size is None:
    return {}
  name = f'retrieval_{size}'
  return {**_ranking('1k', f'{name}:1k', row), **_ranking('5k', f'{name}:5k', row)}


def _captioning(row):
  size = _size(row, 'model')
  if size is None:
    return {}
  return {
    f'{stage}_{letter}': _evaluation(f'captioning_{size}{suffix}:test', metric)
    for stage, suffix in (('ce', ''), ('cider', '_scst'))
    for letter, metric in _METRICS.items()
  }


def _nocaps(row):
  model, *stages = row['model'].split('+')
  size = {'Oscar_B': 'base', 'Oscar_L': 'large'}.get(model)
  if size is None:
    return {}
  suffix, search = '_scst' if 'SCST' in stages else '', 'cbs' if 'CBS' in stages else 'beams'
  name = f'nocaps_{size}{suffix}:{search}'
  return {
    f'{domain}_{letter}': _evaluation(name, f'{_METRICS[letter]}{ending}')
    for domain, ending in _DOMAINS.items()
    for letter in 'CS'
  }


def _statements(row):
  size = _size(row, 'model')
  if size is None:
    return {}
  return {
    column: _evaluation(f'nlvr2_{size}:{of_set}', 'accuracy')
    for column, of_set in (('dev', 'dev'), ('test_P', 'test1'))
  }


def _gqa(row):
  starred = row['model'] == 'Oscar_B*'
  return {'test_dev': _evaluation('gqa_base:test-dev', 'accuracy')} if starred else {}


def _tags(row):
  folder = _TAGS[row['tags']]
  captions = {
    letter: _evaluation(f'{folder}/captioning_base:test', metric)
    for letter, metric in _METRICS.items()
  }
  return {
    'vqa_dev': _evaluation(f'{folder}/vqa_base:val', 'vqa_score'),
    **_ranking('', f'{folder}/retrieval_base:1k', row),
    **captions,
  }


# ---- From the printed numbers


def _gains(table_id):
  """Returns a function(row) -> the gains of OSCAR's best row over the best of the others."""

  def compute(row):
    if row['row'] != 'gain':
      return {}
    rows = published.PAPER[table_id].values()

    def best(column, ours):
      return max(r[column] for r in rows if column in r and r['row'].startswith('Oscar') is ours
                 and r['row'] != 'gain')  # fmt: skip

    return {
      column: Measured(round(best(column, True) - best(column, False), 2), FROM_PRINT)
      for column in row
      if column != 'row'
    }

  return compute


def number(text: str) -> float:
  """Reads a printed number such as '112K' or '3.0M'.

  Raises:
    ValueError: it is not one.
  """
  return float(text[:-1]) * {'K': 1e3, 'M': 1e6}[text[-1].upper()]


def _corpus(row):
  """Adds up the corpora; VQA's images are COCO's and count once."""
  if row['source'] != 'total':
    return {}
  parts = [r for r in published.PAPER['Table 5 (corpus)'].values() if r['source'] != 'total']
  images = sum(number(r['images']) for r in parts if r['source'] != 'VQA (train)')
  texts = sum(number(r['texts']) for r in parts)
  return {
    name: Measured(f'{total / 1e6:.1f}M', FROM_PRINT)
    for name, total in (('images', images), ('texts', texts))
  }


# ---- Settings


def _same(text, *conditions):
  """Returns a printed text if what it says holds for our settings, else 'otherwise'."""
  return text if all(conditions) else 'otherwise'


def _pretraining(row):
  """Returns the settings of --recipe=oscar_base and --recipe=oscar_large."""
  from oscar.input import masking

  found = {}
  for size, least in (('base', 1_000_000), ('large', 900_000)):
    flags, config = RECIPES[f'oscar_{size}'].settings, OscarConfig.from_name(size)
    text = row[size]
    values = {
      'BERT hidden size': config.hidden_size,
      'token sequence length (w+q)': flags['max_seq_length'],
      'region sequence length': flags['max_img_seq_length'],
      'steps': _same(text, flags['train_steps'] >= least),
      'learning rate': flags['learning_rate'],
      'batch': flags['train_batch_size'],
      'region feature': _same(text, config.img_feature_dim == 2048 + 6),
      'mask probability': masking.MASK_PROB,
      'tag replacement probability (contrastive)': Measured(
        None, 'checked by tests/oscar/input/pretrain_test.py'
      ),
      'optimizer': Measured(None, 'checked by tests/oscar/job_optimizer_test.py'),
    }
    found[size] = values[row['item']]
  return found


_TASKS = {
  'VQA': 'vqa',
  'GQA': 'gqa',
  'NLVR2': 'nlvr2',
  'retrieval': 'retrieval',
  'captioning CE': 'captioning',
  'captioning CIDEr': 'captioning',
  'NoCaps CE': 'nocaps',
  'NoCaps CIDEr': 'nocaps',
}
# {column: flag} of the tables of commands.
COMMAND_FLAGS = {
  'learning_rate': 'learning_rate',
  'batch_per_gpu': 'per_gpu_train_batch_size',
  'epochs': 'num_train_epochs',
  'max_seq_length': 'max_seq_length',
  'max_img_seq_length': 'max_img_seq_length',
  'weight_decay': 'weight_decay',
  'dropout': 'drop_out',
  'warmup_steps': 'warmup_steps',
}


def recipe_name(row: Mapping[str, Any], prefix: str = '') -> str:
  """Returns the recipe of a row {'task', 'size'}; `prefix` is 'vinvl_' for the successor's."""
  suffix = '_scst' if row['task'].endswith('CIDEr') else ''
  return f'{prefix}{_TASKS[row["task"]]}_{row["size"]}{suffix}'


def _commands(prefix: str = '') -> Callable[[Mapping[str, Any]], dict[str, Any]]:
  """Returns a function(row) -> the settings of the row's recipe."""

  def compute(row):
    recipe = RECIPES[recipe_name(row, prefix)]
    flags = recipe.settings
    found = {column: flags[flag] for column, flag in COMMAND_FLAGS.items() if flag in flags}
    found['loss'] = 'scst' if flags.get('scst') else flags['loss_type']
    if 'gpus' in row:
      count, card, memory = row['gpus'].replace(' x', '').split()
      stated = f'{count} {card} of {memory[:-1]} GB'
      found['gpus'] = _same(row['gpus'], stated in recipe.cost)
    return found

  return compute


def _appendix(row):
  """Returns the settings of the recipes, which follow the published commands."""
  flags = RECIPES[recipe_name(row)].settings if recipe_name(row) in RECIPES else None
  if flags is None:
    return {}
  rate, printed = flags['learning_rate'], row['learning_rate']
  if isinstance(printed, str):  # 'One of several': of the search for the best.
    choices = [float(text) for text in printed.replace(' or ', ', ').split(', ')]
    rate = _same(printed, rate in choices)
  return {'learning_rate': rate, 'epochs': flags['num_train_epochs']}


def _oscarplus(row):
  flags = RECIPES['oscarplus'].settings
  names = {
    'max_iters': 'train_steps',
    'ckpt_period': 'save_checkpoints_steps',
    'train_batch_size (script default)': 'train_batch_size',
  }
  name = names.get(row['argument'], row['argument'])
  return {'value': flags[name]} if name in flags else {}


# ---- Plans

_SERVERS = (
  "VQA's test splits, GQA's test split and NoCaps' test split have no public answers: their scores "
  'come from servers.'
)
_JAVA = 'METEOR and SPICE need Java and pycocoevalcap, as officially.'
_GAIN = (
  'Gains: the best row of OSCAR minus the best of the others. For CIDEr the print has 10.7, from '
  "SoTA_B's 129.3; SoTA_S has 129.8, which gives 10.2."
)
_RECIPES_NOTE = 'Ours are the settings of the recipes of --recipe=list in each script.'
_COMMAND_LABELS = ('task', 'size')
PLANS = {
  'Table 5 (corpus)': Plan(
    ('source',), _corpus,
    notes=('Total: VQA\'s 83K images are among COCO\'s and count once.',),
  ),
  'VinVL corpus (Table 16 of VinVL)': Plan(('source',)),
  'Table 1': Plan(('row',), _gains('Table 1'), _overall, (_GAIN, _SERVERS, _JAVA)),
  'MODEL_ZOO overall': Plan(
    ('row',), _gains('MODEL_ZOO overall'), _overall, (_GAIN, _SERVERS, _JAVA)
  ),
  'README overall (later)': Plan(('row',), evaluations=_overall, notes=(_SERVERS, _JAVA)),
  'Table 2a': Plan(('model', 'size'), evaluations=_retrieval),
  'Table 2e': Plan(('model',), evaluations=_captioning, notes=(_JAVA,)),
  'Table 2f': Plan(('model',), evaluations=_nocaps, notes=(_JAVA,)),
  'Table 2b': Plan(('model',), notes=(_SERVERS,)),
  'Table 2c': Plan(('model',), evaluations=_statements),
  'Table 2d': Plan(('model',), evaluations=_gqa, notes=(_SERVERS,)),
  'Table 3': Plan(
    ('w_v', 'w_q', 'v_q'),
    notes=('The official code has no flag for these masks either.',),
  ),
  'Table 4': Plan(('tags',), evaluations=_tags, notes=(_JAVA,)),
  'Shared-object statistic': Plan(()),
  'Pre-training settings (paper)': Plan(
    ('item',), _pretraining,
    notes=('Ours are the settings of --recipe=oscar_base and --recipe=oscar_large.',),
  ),
  'Fine-tuning commands (MODEL_ZOO.md)': Plan(
    _COMMAND_LABELS, _commands(), notes=(_RECIPES_NOTE,)
  ),
  'Fine-tuning settings (paper appendix A)': Plan(
    _COMMAND_LABELS, _appendix,
    notes=('Ours are the settings of the recipes, which follow the published commands; where these '
           'contradict the appendix, so do ours.',),
  ),
  'VinVL commands (VinVL_MODEL_ZOO.md)': Plan(
    _COMMAND_LABELS, _commands('vinvl_'), notes=(_RECIPES_NOTE,)
  ),
  'Oscar+ pre-training command': Plan(
    ('argument',), _oscarplus,
    notes=('Ours are the settings of --recipe=oscarplus; the command is for 8 examples a GPU, '
           'while our batches are global.',),
  ),
}  # fmt: skip

TABLES = paper_script.Tables(
  published.PAPER, PLANS, evaluate, _data, config=paper_figures.TablesConfig,
  draw_from={'figure_4.png': paper_figures.figure_4},
  folders=('checkpoint_dir', 'data_dir', 'figure_4', 'figure_4_data'),
)  # fmt: skip
SCRIPT = TABLES.script(__doc__, 'oscar.paper_tables')


if __name__ == '__main__':
  SCRIPT.main()

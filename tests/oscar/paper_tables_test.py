"""The paper's tables: plans, sums and gains, settings, evaluations."""
import importlib
import json

import pytest

from oscar import paper_tables, published, run_nlvr
from oscar.recipes import RECIPES
from tests import script_jobs
from tests.oscar import loaders

TABLES = paper_tables.TABLES


def differing(table_id):
  lines = TABLES.compare(table_id)
  return [(line.label, line.column) for line in lines if line.as_printed is False]


def test_every_table_has_a_plan():
  assert list(paper_tables.PLANS) == list(published.PAPER.tables) and len(paper_tables.PLANS) == 19


def test_differences_are_the_explained_ones():
  found = {table_id: cells for table_id in paper_tables.PLANS if (cells := differing(table_id))}
  assert found.pop('Table 1') == found.pop('MODEL_ZOO overall') == [('gain', 'cap_C')]
  assert found == {
    'Fine-tuning settings (paper appendix A)': [
      ('retrieval, base', 'epochs'), ('retrieval, large', 'epochs'),
      ('captioning CE, base', 'epochs'), ('captioning CIDEr, base', 'learning_rate'),
      ('captioning CIDEr, large', 'learning_rate'), ('captioning CIDEr, large', 'epochs'),
    ]
  }  # fmt: skip
  assert all(paper_tables.PLANS[table_id].notes for table_id in (*found, 'Table 1'))


@pytest.mark.parametrize('text, value', [('112K', 112e3), ('3.0M', 3e6), ('545k', 545e3)])
def test_numbers_in_print(text, value):
  assert paper_tables.number(text) == value


def test_sums_are_the_printed_ones():
  lines = [x for x in TABLES.compare('Table 5 (corpus)') if x.measured is not None]
  assert [(x.label, x.measured.value) for x in lines] == [('total', '4.1M'), ('total', '6.5M')]
  assert all(x.as_printed for x in lines)


def test_facts_that_tests_check_name_files_that_exist():
  for line in TABLES.compare('Pre-training settings (paper)'):
    if line.measured.value is None:
      assert (script_jobs.ROOT / line.measured.how.removeprefix('checked by ')).exists()


def test_evaluations_have_flags_of_the_tasks_scripts():
  wanted = TABLES.evaluations(paper_tables.PLANS)
  assert {'retrieval_base:1k', 'nlvr2_large:test1', 'oi_tags/vqa_base:val'} <= set(wanted)
  for name in wanted:
    recipe = name.partition(':')[0].rpartition('/')[2]
    # The published results without a recipe of ours: NoCaps with the large model.
    assert recipe in RECIPES or recipe in ('nocaps_large', 'nocaps_large_scst')
    script, flags = paper_tables._flags(name, 'DATA')
    parsed, words = importlib.import_module(script).SCRIPT.parse(
      [f'--{flag}={value}' for flag, value in flags.items()]
    )
    assert not words and parsed['mode'] == 'eval'


@pytest.mark.slow
@pytest.mark.long  # One training and four evaluations.
def test_evaluates_jobs_and_exports(tiny, tmp_path):
  """NLVR2, whose dev split a training evaluates, too: both give the same accuracy."""
  run, export = tmp_path / 'ckpts' / 'nlvr2_base', tmp_path / 'ckpts' / 'nlvr2_large'
  script_jobs.in_process(
    run_nlvr.SCRIPT, f'--data_dir={loaders.DATA}/nlvr2', f'--config={tiny}/config.json',
    f'--vocab_file={tiny}', f'--output_dir={run}', f'--export_dir={export}',
    '--max_seq_length=20', '--max_img_seq_length=3', '--data_label_type=all',
    '--eval_data_type=all', '--per_gpu_train_batch_size=2', '--strategy=one_device',
    '--do_train', '--num_train_epochs=1', '--use_pair', '--classifier=mlp',
  )  # fmt: skip
  compared = paper_tables.SCRIPT.call([
    '--nocompute', '--tables=Table 2c', f'--checkpoint_dir={tmp_path}/ckpts',
    f'--data_dir={loaders.DATA}', f'--output_dir={tmp_path}/out',
  ])  # fmt: skip
  cells = {(line.label, line.column): line.measured for line in compared['Table 2c']}
  trained = json.loads((run / 'eval' / 'results.jsonl').read_text().splitlines()[-1])
  for model in ('Oscar_B', 'Oscar_L'):
    assert cells[model, 'dev'].value == pytest.approx(100 * trained['accuracy'])
    assert 0 <= cells[model, 'test_P'].value <= 100
    assert 'python -m oscar.run_nlvr --mode=eval' in cells[model, 'dev'].how
  assert cells['UNITER_B', 'dev'] is None

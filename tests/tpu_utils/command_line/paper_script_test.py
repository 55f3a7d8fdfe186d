"""The script of a paper's tables: selection, results, evaluations that resume, files."""
import json

import pytest

from tpu_utils import paper_table
from tpu_utils.command_line import paper_script
from tpu_utils.paper_table import Evaluation, Plan


def cell(value):
  return {'value': value, 'source': 'print'}


CONTENT = {
  'paper': 'Widgets', 'arxiv': '1234.5678', 'sources': {'print': 'the print'},
  'tables': [
    {
      'id': name, 'caption': f'Accuracy {name}', 'columns': ['model', 'top1'], 'notes': None,
      'rows': [{'model': cell(model), 'top1': cell(77.1)} for model in ('a', 'b')],
    }
    for name in ('Table 1', 'Table 2 (old)', 'Table 2 (new)', 'Table 10')
  ],
}  # fmt: skip


class Evaluator:
  """Stands in for a paper's evaluation; `broken` names fail like a wrong checkpoint."""

  def __init__(self):
    self.calls, self.broken = [], ()

  def __call__(self, name, checkpoint, data_dir, work_dir):
    if name in self.broken:
      raise ValueError(f'{checkpoint} does not fit.')
    self.calls.append((name, checkpoint, data_dir))
    return {'top1': 77.0 + len(self.calls)}, f'python -m evaluate --ckpt_dir={checkpoint}'


@pytest.fixture
def made(tmp_path):
  path = tmp_path / 'tables.json'
  path.write_text(json.dumps(CONTENT))
  plan = Plan(
    ('model',), evaluations=lambda row: {'top1': Evaluation(f'{row["model"]}:val', 'top1')}
  )
  evaluator = Evaluator()
  tables = paper_script.Tables(
    paper_table.load(path),
    {t['id']: plan for t in CONTENT['tables']},
    evaluator,
    lambda name: 'images',
    {'none.png': lambda lines, folder: None},
  )
  for folder in ('ckpts/a', 'ckpts/b', 'data'):
    (tmp_path / folder).mkdir(parents=True)
  return tables, evaluator, tables.script('Doc.', 'widgets.paper_tables')


def flags(folder, *more):
  return [
    '--nocompute', f'--checkpoint_dir={folder}/ckpts', f'--data_dir={folder}/data',
    f'--output_dir={folder}/out', '--tables=Table 1', *more,
  ]  # fmt: skip


def test_selection(made):
  tables, *_ = made
  assert tables.selected('') == [t['id'] for t in CONTENT['tables']]
  assert tables.selected('Table 1') == ['Table 1']  # Not Table 10.
  assert tables.selected('Table 10; Table 2') == ['Table 2 (old)', 'Table 2 (new)', 'Table 10']
  with pytest.raises(ValueError, match='Unknown table of --tables .Tabel 1.: did you mean Table 1'):
    tables.selected('Tabel 1')


def test_list_names_the_checkpoints_and_their_data(made, capsys):
  made[2].call(['--list', '--tables=Table 1'])
  out = capsys.readouterr().out
  assert 'Accuracy Table 1' in out and 'Table 2' not in out
  assert [line.split() for line in out.splitlines()[-2:]] == [
    ['a', 'DATA_DIR/images', 'val', 'top1'], ['b', 'DATA_DIR/images', 'val', 'top1'],
  ]  # fmt: skip


def test_a_stopped_evaluation_resumes(made, tmp_path, capsys):
  _, evaluator, script = made
  evaluator.broken = ('b:val',)
  with pytest.raises(ValueError, match='ckpts/b does not fit'):
    script.call(flags(tmp_path))
  evaluator.broken = ()
  compared = script.call(flags(tmp_path))
  assert [name for name, *_ in evaluator.calls] == ['a:val', 'b:val']
  assert evaluator.calls[0] == ('a:val', f'{tmp_path}/ckpts/a', f'{tmp_path}/data/images')
  assert 'a:val: evaluated before' in capsys.readouterr().out
  assert [line.measured.value for line in compared['Table 1']] == [78.0, 79.0]
  assert 'python -m evaluate' in compared['Table 1'][0].measured.how
  written = (tmp_path / 'out' / 'tables.md').read_text()
  assert written.startswith('# Widgets (arXiv 1234.5678)')
  assert '| a | top1 | 77.1 | 78.000 |' in written
  assert (tmp_path / 'out' / 'tables.csv').exists() and not (tmp_path / 'out' / 'none.png').exists()
  # Other data are another evaluation.
  (tmp_path / 'other').mkdir()
  script.call([*flags(tmp_path), f'--data_dir={tmp_path}/other'])
  assert len(evaluator.calls) == 4


def test_missing_checkpoints_are_not_run(made, tmp_path):
  (tmp_path / 'ckpts' / 'b').rmdir()
  compared = made[2].call(flags(tmp_path))
  assert [line.cells()[6][:10] for line in compared['Table 1']][1] == 'not run he'
  (tmp_path / 'ckpts' / 'a').rmdir()
  (tmp_path / 'ckpts' / 'b.h5').write_text('')
  assert made[2].call(flags(tmp_path))['Table 1'][1].measured
  (tmp_path / 'ckpts' / 'b.h5').unlink()
  with pytest.raises(ValueError, match='holds no checkpoint.*such as a, b'):
    made[2].call(flags(tmp_path))


def test_results_of_earlier_runs(made, tmp_path):
  about = {'date': '2026-01-02', 'command': 'python -m x'}
  rows = [
    {'evaluation': 'a:val', 'values': {'top1': 76.9}, **about},
    {'table': 'Table 1', 'row': {'model': 'b'}, 'values': {'top1': 70.5}, **about},
  ]
  path = tmp_path / 'results.jsonl'
  path.write_text('\n'.join(map(json.dumps, rows)))
  compared = made[2].call(['--nocompute', f'--results={path}'])
  assert [line.measured.value for line in compared['Table 1']] == [76.9, 70.5]
  assert compared['Table 1'][0].measured.how == '2026-01-02: python -m x'
  assert compared['Table 10'][0].measured.value == 76.9 and compared['Table 10'][1].measured is None


@pytest.mark.parametrize(
  'row, message',
  [
    ({'evaluation': 'a:val', 'values': {'top1': 1}}, 'result 1 is .*expected'),
    ({'evaluation': 'c', 'values': {}, 'date': '', 'command': ''}, "Unknown evaluation 'c'"),
    ({'evaluation': 'a:val', 'values': {'top1': 'x'}, 'date': '', 'command': ''}, "a value is 'x'"),
    (
      {'table': 'Table 1', 'row': {'model': 'z'}, 'values': {'top1': 1}, 'date': '', 'command': ''},
      'Table 1 has 0 rows',
    ),
    (
      {'table': 'Table 1', 'row': {'model': 'a'}, 'values': {'f1': 1}, 'date': '', 'command': ''},
      "Unknown column of Table 1 'f1'",
    ),
    ({'table': 'Table 3', 'row': {}, 'values': {}, 'date': '', 'command': ''}, "table 'Table 3'"),
  ],
)  # fmt: skip
def test_wrong_results_name_file_and_line(made, tmp_path, row, message):
  path = tmp_path / 'results.jsonl'
  path.write_text(json.dumps(row))
  with pytest.raises(ValueError, match=f'{path}: .*{message}'):
    made[2].call(['--nocompute', f'--results={path}'])


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--results=/nowhere.jsonl'], '--results=/nowhere.jsonl: no such file'),
    (['--checkpoint_dir=x'], '--checkpoint_dir and --data_dir go together'),
    (['--checkpoint_dir=x', '--data_dir=y'], 'need --output_dir'),
    (['--checkpoint_dir=/no', '--data_dir=/no', '--output_dir=z'], '--checkpoint_dir=/no does not'),
    (['--tables=Figure 9'], 'Unknown table'),
  ],
)
def test_wrong_flags(made, arguments, message):
  with pytest.raises(ValueError, match=message):
    made[2].call(arguments)

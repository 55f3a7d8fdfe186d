"""Published tables as data: reading, comparison, output."""
import csv
import io
import json

import pytest

from tpu_utils import paper_table
from tpu_utils.paper_table import Evaluation, Line, Measured, PaperRow, Plan

CONTENT = {
  'paper': 'Widgets', 'arxiv': '1234.5678', 'sources': {'print': 'the print'},
  'tables': [
    {
      'id': 'Table 1', 'caption': 'Sizes', 'columns': ['model', 'params_M', 'top1', 'kind'],
      'rows': [
        {
          'model': {'value': 'A', 'source': 'print'},
          'params_M': {'value': 5.3, 'source': 'print'},
          'top1': {'value': 77.1, 'source': 'unconfirmed'},
          'kind': {'value': 'plain', 'source': 'print'},
        },
        {'model': {'value': 'B', 'source': 'print'}, 'params_M': {'value': 9, 'source': 'print'}},
      ],
      'notes': 'A note of the print.',
    }
  ],
}  # fmt: skip


@pytest.fixture
def paper(tmp_path):
  path = tmp_path / 'tables.json'
  path.write_text(json.dumps(CONTENT))
  return paper_table.load(path, {'top1': '%'})


PLAN = Plan(
  ('model',),
  lambda row: {'params_M': {'A': 5.289, 'B': 9.7}[row['model']], 'kind': 'fancy'},
  lambda row: {'top1': Evaluation(f'net-{row["model"]}', 'top1', 'python -m evaluate')},
  ('We count otherwise.',),
)


def test_reads_rows_with_units(paper):
  table = paper['Table 1']
  assert table.rows[0]['params_M'] == PaperRow(5.3, 'million', 'print')
  assert table.rows[0]['top1'].unit == '%' and table.rows[0]['kind'].unit == ''
  assert table.row(model='B') == {'model': 'B', 'params_M': 9}
  assert table.column('top1', by='model') == {'A': 77.1}
  with pytest.raises(ValueError, match='0 rows'):
    table.row(model='C')
  with pytest.raises(ValueError, match="'Table 2'.*Table 1"):
    paper['Table 2']


@pytest.mark.parametrize(
  'printed, measured, as_printed',
  [
    (5.3, 5.289, True), (5.3, 5.35, True), (5.3, 5.351, False), (26, 25.557, True),
    (37, 37.75, False), (1e-05, 1e-05, True),
    (5e-06, 1e-06, False), (64, 64, True), ('swish', 'swish', True),
    ('swish', 'relu', False), (True, True, True), (True, False, False),
  ],
)  # fmt: skip
def test_agreement_is_that_of_the_printed_digits(printed, measured, as_printed):
  line = Line('T', {}, 'x', PaperRow(printed, '', 's'), Measured(measured))
  assert line.as_printed is as_printed


def test_compares(paper):
  results = {('net-A', 'top1'): Measured(76.5, '2026-01-01: python -m evaluate')}
  lines = paper_table.compare(paper['Table 1'], PLAN, results)
  cells = {(line.label, line.column): line.cells() for line in lines}
  assert cells['A', 'params_M'][2:7] == ['5.3', '5.289', '-0.011', 'yes', 'computed']
  assert cells['A', 'top1'][2:7] == ['77.1', '76.500', '-0.600', 'no', results['net-A', 'top1'].how]
  assert cells['A', 'kind'][2:6] == ['plain', 'fancy', '-', 'no']
  assert cells['B', 'params_M'][2:6] == ['9', '9.70', '+0.70', 'no']
  assert lines[1].paper.command == 'python -m evaluate'
  assert paper_table.summary(lines) == '4 values: 1 as printed, 3 otherwise, 0 not run here'


def test_without_results_it_is_not_run(paper):
  lines = paper_table.compare(paper['Table 1'], PLAN)
  (line,) = (line for line in lines if line.column == 'top1')
  assert line.cells()[3:] == ['-', '-', '-', 'not run here', 'unconfirmed']
  # A measurement of the cell itself comes first.
  own = {('Table 1', ('A',), 'params_M'): Measured(5.0, 'by hand')}
  lines = paper_table.compare(paper['Table 1'], PLAN, {}, own)
  assert lines[0].measured == Measured(5.0, 'by hand')


def test_facts_that_tests_check_have_no_value(paper):
  plan = Plan(('model',), lambda row: {'kind': Measured(None, 'checked by tests/x_test.py')})
  lines = paper_table.compare(paper['Table 1'], plan)
  (line,) = (line for line in lines if line.column == 'kind')
  assert line.as_printed is None
  assert line.cells()[3:7] == ['-', '-', '-', 'checked by tests/x_test.py']
  assert '1 checked by tests' in paper_table.summary(lines)


def test_output(paper):
  table = paper['Table 1']
  lines = paper_table.compare(table, PLAN)
  text = paper_table.as_text(table, lines, PLAN.notes)
  assert text.startswith('Table 1: Sizes\nrow  quantity')
  assert 'Note: We count otherwise.\nNote: A note of the print.' in text
  markdown = paper_table.as_markdown(table, lines, PLAN.notes, paper.sources)
  assert '| A | params_M [million] | 5.3 | 5.289 | -0.011 | yes | computed | print |' in markdown
  assert '- Source `print`: the print' in markdown
  assert '- Source `unconfirmed`: from memory' in markdown
  assert 'python -m evaluate' in markdown
  rows = list(csv.DictReader(io.StringIO(paper_table.as_csv(lines))))
  assert (rows[0]['row'], rows[0]['measured'], rows[0]['unit']) == ('A', '5.289', 'million')
  assert rows[1]['how'] == 'not run here' and rows[1]['measured'] == ''

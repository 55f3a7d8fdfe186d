"""Tables and plots of growth."""
from tpu_utils.benchmarking import growth

CURVES = growth.Curves(
  'Speed by batch', 'images', 'images/s', {'a': {1: 10.0, 8: 123.4}, 'b': {1: 0.5}}, 'A note.'
)


def test_table_has_a_row_for_each_size():
  assert CURVES.table().splitlines() == [
    '### Speed by batch', '', 'A note.', '',
    '| images | a, images/s | b, images/s |', '| --- | ---: | ---: |',
    '| 1 | 10 | 0.5 |', '| 8 | 123 | - |',
  ]  # fmt: skip


def test_report_writes_tables_and_a_picture(tmp_path):
  folder = tmp_path / 'new' / 'folder'
  text = growth.report('## Head', [CURVES, CURVES], str(folder))
  assert (folder / 'growth.md').read_text() == f'{text}\n'
  assert text.startswith('## Head\n\n### Speed by batch')
  assert (folder / 'growth.png').read_bytes().startswith(b'\x89PNG')
  assert growth.report('## Head', [CURVES], '') and not (tmp_path / 'growth.md').exists()

"""Scalars for TensorBoard, and folders that cannot be written; `runner_test.py` tests their use."""
from tpu_utils import curves, summaries


def test_scalars_are_written_by_folder_and_step(tmp_path):
  written = summaries.Summaries(str(tmp_path))
  written.write('', {'loss': 2.0}, 1)
  written.write('', {'loss': 1.0}, 2)
  written.write('eval', {'loss': 3.0}, 2)
  assert curves.read(str(tmp_path)) == {'loss': {1: 2.0, 2: 1.0}}
  assert curves.read(str(tmp_path / 'eval')) == {'loss': {2: 3.0}}


def test_a_folder_that_cannot_be_written_is_reported_once(tmp_path, capsys):
  (tmp_path / 'eval').write_text('a file')
  written = summaries.Summaries(str(tmp_path))
  for step in (1, 2):
    written.write('eval', {'loss': 1.0}, step)
    written.write('', {'loss': 1.0}, step)
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith(f'{tmp_path}/eval: summaries cannot be written; training continues')
  assert set(curves.read(str(tmp_path))['loss']) == {1, 2}

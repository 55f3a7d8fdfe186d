"""Runs the notebooks as a reader would, in an empty folder; they are stored without outputs."""
import json
import os
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
NOTEBOOKS = ('efficientnet/own_pictures.ipynb', 'oscar/scenes.ipynb', 'resnext/three_forms.ipynb')
# Pictures that each shows at least.
PICTURES = dict(zip(NOTEBOOKS, (4, 2, 3), strict=True))


def test_all_notebooks_are_tested():
  packages = ('efficientnet', 'resnext', 'oscar', 'tpu_utils')
  found = [path for package in packages for path in (ROOT / package).rglob('*.ipynb')]
  assert {path.relative_to(ROOT).as_posix() for path in found} == set(NOTEBOOKS)


@pytest.mark.parametrize('notebook', NOTEBOOKS)
def test_notebooks_are_stored_without_outputs(notebook):
  cells = json.loads((ROOT / notebook).read_text(encoding='utf-8'))['cells']
  code = [cell for cell in cells if cell['cell_type'] == 'code']
  assert code and all(not cell['outputs'] and cell['execution_count'] is None for cell in code)
  assert cells[0]['source'][0].startswith('# ')


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize('notebook', NOTEBOOKS)
def test_notebooks_run(notebook, tmp_path, monkeypatch):
  nbclient = pytest.importorskip('nbclient', reason="needs pip install -e '.[test]'")
  nbformat = pytest.importorskip('nbformat', reason="needs pip install -e '.[test]'")
  monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')]))
  book = nbformat.read(ROOT / notebook, as_version=4)
  nbformat.validate(book)
  resources = {'metadata': {'path': str(tmp_path)}}
  nbclient.NotebookClient(book, timeout=600, kernel_name='python3', resources=resources).execute()
  outputs = [output for cell in book.cells for output in cell.get('outputs', ())]
  pictures = [output for output in outputs if 'image/png' in output.get('data', ())]
  assert len(pictures) >= PICTURES[notebook]

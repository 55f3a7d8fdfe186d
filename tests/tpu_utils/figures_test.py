"""Figures in local and remote files."""
import pytest
from matplotlib.figure import Figure

from tests import remote
from tpu_utils import figures


@pytest.mark.parametrize('name, start', [
  ('a.png', b'\x89PNG'), ('a.PDF', b'%PDF'), ('a.svg', b'<?xml'), ('a', b'\x89PNG'),
])  # fmt: skip
def test_the_ending_is_the_format(tmp_path, name, start):
  figures.save(Figure(), tmp_path / name)
  assert (tmp_path / name).read_bytes().startswith(start)
  path = f'{remote.new_folder()}/{name}'
  figures.save(Figure(), path, dpi=50)
  assert remote.read(path).startswith(start)


def test_an_unknown_format_leaves_no_file(tmp_path):
  with pytest.raises(ValueError, match='nosuch'):
    figures.save(Figure(), tmp_path / 'a.nosuch')
  assert not list(tmp_path.iterdir())


def test_panels_are_drawn_in_a_row_with_grids(tmp_path):
  drawn = []
  figures.save_panels(tmp_path / 'a.svg', ['x', 'y'], lambda *args: drawn.append(args))
  assert [panel for _, panel in drawn] == ['x', 'y']
  assert drawn[0][0].figure is drawn[1][0].figure and drawn[0][0].figure.get_size_inches()[0] == 10
  assert (tmp_path / 'a.svg').read_bytes().startswith(b'<?xml')

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

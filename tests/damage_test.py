"""Tests that readers return values or raise one line that names the file, whatever the damage."""
import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests import damage


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """Function(name) -> (folder, {path: contents}) with the intact files for a reader."""
  written = {}

  def write(name):
    if name not in written:
      folder = tmp_path_factory.mktemp(name)
      damage.READERS[name].write(folder)
      paths = [path for path in folder.rglob('*') if path.is_file()]
      written[name] = folder, {path: path.read_bytes() for path in paths}
    return written[name]

  return write


@pytest.mark.parametrize('name', damage.READERS)
def test_intact_files_are_read(whole, name):
  damage.READERS[name].read(whole(name)[0])


@pytest.mark.parametrize('name', damage.READERS)
@given(seed=st.integers(0, 2**32))
@example(seed=0)
def test_damaged_files_give_values_or_one_line(whole, name, seed):
  damage.check(damage.READERS[name], *whole(name), random.Random(seed))

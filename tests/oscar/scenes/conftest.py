"""Fixtures for the tests of scenes."""

import numpy as np
import pytest

from tests.oscar.scenes import reader


@pytest.fixture(scope='session')
def blocks():
  """Blocks of several widths in place of handwritten digits, for tests of positions and words."""
  shapes = [np.full((8, width), 240, np.uint8) for width in (2, 5, 8)]
  return {name: shapes for name in reader.DIGITS}

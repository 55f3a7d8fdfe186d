"""Fixtures of the scenes' tests."""

import numpy as np
import pytest

from tests.oscar.scenes import reader


@pytest.fixture(scope='session')
def blocks():
  """In place of handwriting, where only places and words matter: blocks of several shapes."""
  return {name: [np.full((8, width), 240, np.uint8) for width in (2, 5, 8)] for name in reader.DIGITS}

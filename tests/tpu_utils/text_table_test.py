"""Tests of the alignment of text tables."""
import pytest

from tpu_utils.text_table import text_table


def test_numbers_are_aligned_to_the_right():
  table = text_table(['a', 'bcd'], [['long', 1], ['x', 12.5]])
  assert table == 'a      bcd\nlong     1\nx     12.5'


def test_columns_of_text_to_the_left():
  table = text_table(['n', 'name'], [[10, 'x'], [2, 'long name'], [3, '']], left_columns=(1,))
  assert table == ' n  name\n10  x\n 2  long name\n 3'


def test_a_header_alone():
  assert text_table(['model', 'top-1'], []) == 'model  top-1'


def test_a_row_with_a_cell_too_few_is_an_error():
  with pytest.raises(ValueError, match='zip'):
    text_table(['a', 'b'], [['x']])

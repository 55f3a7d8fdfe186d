"""Tests of which errors become one line about the file, and which pass unchanged."""
import struct
import zlib

import pytest

from tpu_utils.reading import check_unpacked, reading


def raised(error, **settings):
  guard = reading('some.file', 'a zip file', **settings)
  with pytest.raises(Exception) as caught, guard:  # noqa: B017, PT011
    raise error
  return caught.value


@pytest.mark.parametrize(
  'error',
  [
    ValueError('odd'), EOFError(), RecursionError('deep'), NotImplementedError('method 99'),
    OverflowError('big'), MemoryError(), struct.error('short'), zlib.error('bits'),
    OSError('truncated file'), OSError(22, 'Invalid'),
    UnicodeDecodeError('utf-8', b'\x80', 0, 1, 'invalid start byte'), ZeroDivisionError('by zero'),
  ],
  ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_errors_of_damage_name_the_file(error):
  result = raised(error)
  assert type(result) is ValueError and result.__cause__ is error
  assert str(result).startswith('some.file cannot be read as a zip file (')
  assert '()' not in str(result)


@pytest.mark.parametrize(
  'error', [KeyError('a'), TypeError('b'), AttributeError('c'), AssertionError()]
)
def test_programming_errors_pass_except_around_libraries(error):
  assert raised(error) is error
  assert str(raised(error, foreign=True)).startswith('some.file cannot be read as a zip file')


def test_errors_that_name_the_file_pass():
  named = FileNotFoundError(2, 'No such file', 'other.file')
  for error in (ValueError('some.file is empty'), named):
    assert raised(error) is error and raised(error, foreign=True) is error


def test_keyboard_interrupts_pass():
  with pytest.raises(KeyboardInterrupt), reading('some.file', 'a zip file', foreign=True):
    raise KeyboardInterrupt


def test_the_reason_is_one_short_printable_line():
  text = str(raised(ValueError('\n\x00first\x1b line\nsecond' + 'x' * 999)))
  assert '(?first? line)' in text and 'second' not in text
  assert len(str(raised(ValueError('x' * 9999)))) < 400


def test_contents_that_exceed_both_bounds_are_refused():
  check_unpacked('x', 64 * 2**20, 1)
  check_unpacked('x', 20 * 2**24, 2**24)
  with pytest.raises(ValueError, match='x would take 67,108,865 bytes of memory from 1 in'):
    check_unpacked('x', 64 * 2**20 + 1, 1)
  with pytest.raises(ValueError, match='at most 20 times'):
    check_unpacked('x', 20 * 2**24 + 1, 2**24)

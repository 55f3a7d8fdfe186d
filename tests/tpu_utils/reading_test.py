"""The guard of readers: which errors become lines about the file, and which stay as they are."""
import struct
import zlib

import pytest

from tpu_utils.reading import reading


def raised(error, **settings):
  with pytest.raises(Exception) as caught, reading('some.file', 'a zip file', **settings):  # noqa: B017, PT011
    raise error
  return caught.value


@pytest.mark.parametrize(
  'error',
  [
    ValueError('odd'), EOFError(), RecursionError('deep'), NotImplementedError('method 99'), OverflowError('big'),
    MemoryError(), struct.error('short'), zlib.error('bits'), OSError('truncated file'), OSError(22, 'Invalid'),
    UnicodeDecodeError('utf-8', b'\x80', 0, 1, 'invalid start byte'), ZeroDivisionError('by zero'),
  ],
  ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_errors_of_damage_name_the_file(error):
  found = raised(error)
  assert type(found) is ValueError and found.__cause__ is error
  assert str(found).startswith('some.file cannot be read as a zip file (') and '()' not in str(found)


@pytest.mark.parametrize('error', [KeyError('a'), TypeError('b'), AttributeError('c'), AssertionError()])
def test_programming_errors_stay_visible_but_around_libraries(error):
  assert raised(error) is error
  assert str(raised(error, foreign=True)).startswith('some.file cannot be read as a zip file')


def test_errors_that_name_the_file_stay_as_they_are():
  for error in (ValueError('some.file is empty'), FileNotFoundError(2, 'No such file', 'other.file')):
    assert raised(error) is error and raised(error, foreign=True) is error


def test_nobody_is_kept_from_stopping_the_program():
  with pytest.raises(KeyboardInterrupt), reading('some.file', 'a zip file', foreign=True):
    raise KeyboardInterrupt


def test_the_reason_is_one_short_printable_line():
  text = str(raised(ValueError('\n\x00first\x1b line\nsecond' + 'x' * 999)))
  assert '(?first? line)' in text and 'second' not in text
  assert len(str(raised(ValueError('x' * 9999)))) < 400

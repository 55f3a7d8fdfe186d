"""Tests of single lines from exceptions' messages."""
import pytest
import tensorflow as tf

from tpu_utils.errors import first_line, one_line, printable

GRAPH_ERROR = tf.errors.AbortedError(
  None, None,
  'Graph execution error:\n\nDetected at node x\n\n  File "a.py", line 1\n\n'
  'all_reduce aborted by task 1',
)


@pytest.mark.parametrize('error, text', [
  (ValueError('two\n  lines; give another\n'), 'two lines; give another'),
  (FileNotFoundError(2, 'No such file', '/nowhere'), '/nowhere: No such file'),
  (OSError('disk is full'), 'disk is full'),
  (tf.errors.NotFoundError(None, None, 'a.index:\nnot found'), 'a.index: not found'),
  (ValueError(), ''),
  (ValueError('caf\udce9.jpg'), r'caf\xe9.jpg'),
  (FileNotFoundError(2, 'No such file', '/caf\udce9.jpg'), r'/caf\xe9.jpg: No such file'),
])
def test_one_line_joins_the_message(error, text):
  assert one_line(error) == text


@pytest.mark.parametrize('error, text', [
  (ValueError('\nbad magic number\nin file'), 'bad magic number'),
  (ValueError('  indented\n    twice'), 'indented'),
  (EOFError(), 'EOFError'),
  (RuntimeError(' \n'), 'RuntimeError'),
  (GRAPH_ERROR, 'Graph execution error:'),
])
def test_first_line_leaves_the_rest_out(error, text):
  assert first_line(error) == text


def test_first_line_of_no_message():
  assert first_line(EOFError(), default='the file ends') == 'the file ends'


def test_first_line_prefers_a_marked_line():
  assert first_line(GRAPH_ERROR, marked='aborted by') == 'all_reduce aborted by task 1'
  assert first_line(GRAPH_ERROR, marked='timed out') == 'Graph execution error:'


@pytest.mark.parametrize('text, shown', [
  ('caf\u00e9 \u4e16.jpg', 'caf\u00e9 \u4e16.jpg'),
  ('caf\udce9.jpg', r'caf\xe9.jpg'),
  ('half \ud83d', r'half \ud83d'),
])
def test_printable_text_can_be_encoded(text, shown):
  assert printable(text) == shown

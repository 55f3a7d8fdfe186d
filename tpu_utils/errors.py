"""One line of text from an exception."""


def one_line(error: BaseException) -> str:
  """Returns the whole message of an exception as one line; a system's error as `file: reason`."""
  if isinstance(error, OSError) and error.strerror and error.filename:
    return f'{error.filename}: {error.strerror}'
  return ' '.join(_message(error).split())


def first_line(error: BaseException, marked: str = '', default: str = '') -> str:
  """Returns the first line of an exception's message.

  Libraries append tracebacks and lists of graph nodes, which are indented and passed over.

  Args:
    error: the exception.
    marked: text by which a later line is recognised as the better one.
    default: text for an exception without a message; the name of its class if empty.
  """
  lines = [line for line in _message(error).splitlines() if line.strip()]
  lines = [line for line in lines if not line[0].isspace()] or [line.strip() for line in lines]
  if not lines:
    return default or type(error).__name__
  return next((line for line in lines if marked in line), lines[0])


def _message(error):
  # Where an error of TensorFlow knows its graph node, only `message` is without the node's history.
  return str(getattr(error, 'message', None) or error)

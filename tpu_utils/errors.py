"""Single lines of text from exceptions, for messages."""


def one_line(error: BaseException) -> str:
  """Returns an exception's whole message as one line; an OS error as `file: reason`."""
  if isinstance(error, OSError) and error.strerror and error.filename:
    return printable(f'{error.filename}: {error.strerror}')
  return ' '.join(_message(error).split())


def first_line(error: BaseException, marked: str = '', default: str = '') -> str:
  """Returns the first line of an exception's message.

  Indented lines are skipped: libraries append tracebacks and lists of graph nodes.

  Args:
    error: the exception.
    marked: prefer the first line that contains this text.
    default: text for an exception without a message; if empty, the name of its class.
  """
  lines = [line for line in _message(error).splitlines() if line.strip()]
  lines = [line for line in lines if not line[0].isspace()] or [line.strip() for line in lines]
  if not lines:
    return default or type(error).__name__
  return next((line for line in lines if marked in line), lines[0])


def printable(text: str) -> str:
  r"""Escapes bytes of file names that are not UTF-8, such as caf\xe9.jpg, for messages."""
  try:
    return text.encode('utf-8', 'surrogateescape').decode('utf-8', 'backslashreplace')
  except UnicodeEncodeError:  # Half of a pair of UTF-16, which is no byte of a name.
    return text.encode('utf-8', 'backslashreplace').decode('utf-8')


def _message(error):
  # TensorFlow's errors have `message`, which leaves out the history of the graph node.
  return printable(str(getattr(error, 'message', None) or error))

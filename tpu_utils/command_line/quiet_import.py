"""Imports of a library without the remarks that it writes to standard error meanwhile.

TensorFlow 2.21 reports at each import which instructions it uses and what it does not find, before it
looks at `TF_CPP_MIN_LOG_LEVEL`; a user's mistake would be printed below six lines of that.
"""
import contextlib
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Information in the format of absl's C++ logging, its own warning, and that there is no GPU, which
# counts as an error there. Anything else is let through.
_REMARK = re.compile(rb'I\d{4} |WARNING: All log messages before absl::InitializeLog|E\d{4} .*call to cuInit')


def import_quietly(name: str) -> None:
  """Imports a module without its remarks; later imports of it, in whatever form, find it loaded."""
  if name not in sys.modules:
    with without_remarks():
      importlib.import_module(name)


@contextlib.contextmanager
def without_remarks() -> Iterator[None]:
  """Holds back output to file descriptor 2, and at the end writes all but the remarks."""
  sys.stderr.flush()
  original = os.dup(2)
  with tempfile.TemporaryFile() as held:
    os.dup2(held.fileno(), 2)
    try:
      yield
    finally:
      sys.stderr.flush()
      os.dup2(original, 2)
      os.close(original)
      held.seek(0)
      for line in held:
        if not _REMARK.match(line):
          os.write(2, line)

"""Imports libraries fast and without the log messages that they write to standard error meanwhile.

TensorFlow 2.21 logs at each import which CPU instructions it uses and which libraries are missing,
before it reads `TF_CPP_MIN_LOG_LEVEL`; without this module, errors follow six such lines. A quarter
of the import's time are garbage collections, which find nothing.
"""
import contextlib
import gc
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Messages to drop: those at level INFO of absl's C++ logging, absl's warning about itself, and the
# lack of a GPU, logged as an error.
_REMARK = re.compile(
  rb'I\d{4} |WARNING: All log messages before absl::InitializeLog|E\d{4} .*call to cuInit'
)


def import_quietly(name: str) -> None:
  """Imports a module without its log messages, so that later imports of it are silent, too."""
  if name not in sys.modules:
    with without_remarks(), _without_collections():
      importlib.import_module(name)


@contextlib.contextmanager
def _without_collections():
  """Collects no garbage meanwhile, and leaves what was created out of all later collections."""
  was_enabled = gc.isenabled()
  gc.disable()
  try:
    yield
  finally:
    gc.freeze()
    if was_enabled:
      gc.enable()


@contextlib.contextmanager
def without_remarks(remark: re.Pattern = _REMARK) -> Iterator[None]:
  """Buffers output to file descriptor 2; at the end writes all but some lines.

  Args:
    remark: bytes pattern of the beginnings of lines to drop; by default log messages of imports.
  """
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
        if not remark.match(line):
          os.write(2, line)

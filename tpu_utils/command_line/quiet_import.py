"""Imports of a library without the remarks that it writes to standard error meanwhile.

TensorFlow 2.21 tells at each import which instructions it uses and what it does not find, before it looks at
`TF_CPP_MIN_LOG_LEVEL`; a user's mistake would come out below six lines of that.
"""
import contextlib
import importlib.util
import os
import re
import sys
import tempfile

# Information in the format of absl's C++ logging, what that says of itself, and that there is no GPU, which counts as an
# error there. Anything else is let through.
_REMARK = re.compile(rb'I\d{4} |WARNING: All log messages before absl::InitializeLog|E\d{4} .*call to cuInit')


def quiet_import(name):
  """From now on the first import of the module `name`, whoever it is by, makes no remarks."""
  if name not in sys.modules:
    sys.meta_path.insert(0, _Finder(name))


class _Finder:
  """Finds one module, once, as the other finders do, and has it executed `without_remarks`."""

  def __init__(self, name):
    self._name = name

  def find_spec(self, name, path=None, target=None):
    del path, target
    if name != self._name:
      return None
    sys.meta_path.remove(self)
    spec = importlib.util.find_spec(name)
    if spec is not None:
      spec.loader.exec_module = _quiet(spec.loader.exec_module)
    return spec


def _quiet(function):
  def call(*args):
    with without_remarks():
      return function(*args)

  return call


@contextlib.contextmanager
def without_remarks():
  """Holds back what is written to file descriptor 2, and at the end writes what of it is no remark."""
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

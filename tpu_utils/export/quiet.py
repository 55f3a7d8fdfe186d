"""Silence while TensorFlow's exporters work."""
import contextlib
import warnings

from absl import logging


@contextlib.contextmanager
def quiet():
  """Without their advice to callers: they deprecate what has no successor in the installed versions."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(logging.ERROR)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore', UserWarning)
      yield
  finally:
    logging.set_verbosity(verbosity)

"""Silence while TensorFlow's exporters work."""
import contextlib
import logging
import warnings


@contextlib.contextmanager
def quiet():
  """Holds back their advice: it deprecates calls without a successor in the installed versions."""
  # absl's logger, by which TensorFlow's Python code warns, and the root, from which it may inherit.
  loggers = [logging.getLogger('absl'), logging.getLogger()]
  levels = [logger.level for logger in loggers]
  for logger in loggers:
    logger.setLevel(logging.ERROR)
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore', UserWarning)
      yield
  finally:
    for logger, level in zip(loggers, levels, strict=True):
      logger.setLevel(level)

"""Silences TensorFlow's exporters."""
import contextlib
import logging
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Hides warnings: they deprecate functions that have no successor in the installed versions."""
  # TensorFlow's Python code warns through absl's logger, which may inherit from the root.
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

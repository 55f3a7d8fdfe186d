"""Silences TensorFlow's exporters."""
import contextlib
import logging
import re
import warnings
from collections.abc import Iterator

from tpu_utils.command_line import quiet_import

# What TFLite's converter and interpreter write to standard error.
_REMARK = re.compile(
  rb'[IW]\d{4} |E\d{4} .*call to cuInit|fully_quantize: '
  rb'|INFO: (Created|Initialized) TensorFlow Lite'
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Hides what exporters write: settings of the converter, and warnings.

  The warnings deprecate functions that have no successor in the installed versions.
  """
  # TensorFlow's Python code warns through absl's logger, which may inherit from the root.
  loggers = [logging.getLogger('absl'), logging.getLogger()]
  levels = [logger.level for logger in loggers]
  for logger in loggers:
    logger.setLevel(logging.ERROR)
  try:
    with quiet_import.without_remarks(_REMARK), warnings.catch_warnings():
      warnings.simplefilter('ignore', UserWarning)
      yield
  finally:
    for logger, level in zip(loggers, levels, strict=True):
      logger.setLevel(level)

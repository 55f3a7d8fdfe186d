"""Interruption of a script, and TensorFlow's import without its log messages."""
import os

from absl import logging

from tpu_utils.command_line.quiet_import import import_quietly

EXIT_INTERRUPTED = 143  # 128 + SIGTERM; launchers restart such a job.
EXIT_KEYBOARD = 130  # 128 + SIGINT: Ctrl-C where there is nothing to save.


class Interrupted(Exception):  # noqa: N818 - not an error: the job saved and stopped.
  """Raised when a job received SIGTERM or Ctrl-C and has saved its state."""


def import_tensorflow() -> None:
  """Imports TensorFlow, and suppresses its log messages now and later."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  logging.set_verbosity(logging.WARNING)
  import_quietly('tensorflow')

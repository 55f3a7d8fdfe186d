"""Around a script's work: interruption, and quiet libraries. See `script` for the script itself."""
import os

from absl import logging

from tpu_utils.command_line.quiet_import import import_quietly

EXIT_INTERRUPTED = 143  # 128 + SIGTERM: launchers start such a job again.


class Interrupted(Exception):  # noqa: N818 - no error: the job was asked to stop, and saved.
  """The job was asked to stop (SIGTERM) and has saved its state."""


def import_tensorflow():
  """Imports TensorFlow and keeps its own remarks out of the output, then and later."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  logging.set_verbosity(logging.WARNING)
  import_quietly('tensorflow')

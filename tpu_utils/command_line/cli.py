"""What every script does around its work: one line for a user's mistake, exit codes."""
import os
import sys

from absl import app, flags, logging

from tpu_utils.command_line.quiet_import import import_quietly
from tpu_utils.errors import one_line

EXIT_INTERRUPTED = 143  # 128 + SIGTERM: launchers start such a job again.


class Interrupted(Exception):  # noqa: N818 - no error: the job was asked to stop, and saved.
  """The job was asked to stop (SIGTERM) and has saved its state."""


def run(main, flags_parser, *, uses_tensorflow=True):
  """Runs `main(argv)` as an absl app; `ValueError` and `OSError` end in one line and exit code 1.

  Library code raises these two for what a user can mend (unknown names, unreadable files). Set
  `--traceback` to see where one came from; every other exception is ours and keeps its traceback.
  Unless `uses_tensorflow` is False, TensorFlow is imported once the flags are parsed.
  """

  def guarded(argv):
    try:
      if uses_tensorflow:
        import_tensorflow()
      return main(argv)
    except Interrupted as e:
      print(e, file=sys.stderr)
      return EXIT_INTERRUPTED
    except (ValueError, OSError) as e:
      if flags.FLAGS['traceback'].value:
        raise
      print(f'Error: {one_line(e)}', file=sys.stderr)
      return 1

  flags.DEFINE_bool('traceback', False, 'Show the traceback of errors in the input, too.')
  app.run(guarded, flags_parser=flags_parser)


def import_tensorflow():
  """Imports TensorFlow and keeps its own remarks out of the output, then and later."""
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  logging.set_verbosity(logging.WARNING)
  import_quietly('tensorflow')

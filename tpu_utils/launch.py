r"""Runs a training script on a Cloud TPU: creates it, installs, runs, resumes, collects, deletes.

  python -m tpu_utils.launch --name=b0 --accelerator_type=v3-8 --zone=europe-west4-a --spot \
    efficientnet.main -- --data_dir=gs://BUCKET/imagenet --model_dir=gs://BUCKET/b0

The words after the flags are the script; those after `--` are its own flags. Add --dry_run to see
every command and run none. Needs the gcloud program, logged in; tpu_utils/launching/README.md
leads from an empty project to a running job and says what each step costs.

The job survives dropped connections. If a spot TPU is taken away, the job resumes on another one.
Ctrl-C ends the launcher, not the job: the same command follows it again. At the end the launcher
asks whether to delete the TPU (--delete: it does not ask), and it always says what still costs
money.
"""
from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence

from tpu_utils import files
from tpu_utils.command_line import cli
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import Resolved
from tpu_utils.launching import commands, launcher, settings
from tpu_utils.launching import state as states


def _order(resolved, words):
  if not words:
    raise ValueError(
      'Expected a main script to run, such as: python -m tpu_utils.launch --zone=ZONE '
      'efficientnet.main -- --model_dir=gs://BUCKET/RUN'
    )
  order = settings.Order(*resolved, script=words[0], flags=tuple(words[1:]))
  settings.check(order)
  for flag, path in (('collect_dir', order.end.collect_dir), ('state_dir', order.how.state_dir)):
    files.check_local(flag, path, 'give a local folder')
  return order


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
  """Makes signals that would end the process silently raise `cli.Interrupted`."""
  def interrupt(number, frame):
    raise cli.Interrupted(f'Stopped by {signal.Signals(number).name}.')

  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
  try:
    yield
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def run(resolved: Resolved, words: Sequence[str]) -> None:
  """Launches a job; see `launcher.Launcher.run`.

  Args:
    resolved: the settings.
    words: the script and its flags.

  Raises:
    ValueError, OSError: the job failed, or something that the user can correct.
  """
  order = _order(resolved, words)
  path = states.path_of(order)
  if order.how.dry_run:
    for line in commands.plan(order, os.path.splitext(path)[0]):
      print(line)
    return
  with states.locked(path), _interruptible():
    launcher.Launcher(order, states.load(path), launcher.terminal()).run()


SCRIPT = Script(
  doc=__doc__, groups=settings.GROUPS, run=run, words=True, words_are_paths=False,
  uses_tensorflow=False, module='tpu_utils.launch',
)  # fmt: skip

if __name__ == '__main__':
  SCRIPT.main()

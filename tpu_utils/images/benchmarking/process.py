"""Runs an input in a process of its own, which is stopped while others have their turn.

Inputs prefetch in the background: in a shared process that work would count for another contestant.
"""
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tpu_utils.benchmarking import peer_process

_COMMAND = 'batches'


class InputProcess(peer_process.PeerProcess):
  """A context manager that runs `python -m module` with settings as a JSON argument.

  Args:
    module: module that calls `serve` when it is run.
    settings: JSON-able dict.
    python: the interpreter; None for the current one.

  Raises:
    ValueError: the process ended; from `with` and from `run`.
  """

  def __init__(self, module: str, settings: Mapping[str, Any], python: str | None = None):
    super().__init__(module, [json.dumps(settings)], 'see --help', name=module, python=python)

  def run(self, batches: int) -> float:
    """Makes `batches` batches; returns the process's seconds of processor time since the last call.

    Raises:
      ValueError: the process ended; has the last line that it printed.
    """
    return self.measure(_COMMAND, batches).numbers['processor']


def serve(batches: Iterator[Any]) -> None:
  """Serves batches to `InputProcess.run` until standard input ends.

  Args:
    batches: endless iterator. The first batch is taken before the first answer, so that no turn
      includes work that is done once (tracing functions, filling the first buffers).
  """
  next(batches)
  last = time.process_time()

  def make(count):
    nonlocal last
    for _ in range(count):
      next(batches)
    before, last = last, time.process_time()
    return {'processor': last - before}

  peer_process.serve_steps({_COMMAND: make})

"""Several worker processes of one multi-worker job on this machine."""
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


def run(arguments, timeout=900):
  """Runs one worker for each element of `arguments` and waits for all.

  Args:
    arguments: the Python interpreter's arguments for each worker; the first worker is the chief.
    timeout: seconds for all together.

  Returns:
    A `subprocess.CompletedProcess` for each worker, with text output.
  """
  with contextlib.ExitStack() as stack:
    workers = start(stack, arguments)
    outputs = [worker.communicate(timeout=timeout) for worker in workers]
  return [
    subprocess.CompletedProcess(worker.args, worker.returncode, *output)
    for worker, output in zip(workers, outputs, strict=True)
  ]


def start(stack, arguments):
  """Starts the workers (see `run`); when `stack` closes, it kills those still running."""
  addresses = [f'127.0.0.1:{port}' for port in _free_ports(len(arguments))]
  workers = []
  for index, own in enumerate(arguments):
    task = {'cluster': {'worker': addresses}, 'task': {'type': 'worker', 'index': index}}
    # A proxy must not be used for this machine's own addresses.
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')}
    environment |= {'TF_CONFIG': json.dumps(task), 'TF_CPP_MIN_LOG_LEVEL': '2'}
    process = subprocess.Popen(
      [sys.executable, *own],
      env=environment, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )
    stack.callback(_end, process)
    workers.append(process)
  return workers


def _end(process):
  if process.poll() is None:
    process.kill()
    process.communicate()


def _free_ports(count):
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for own in sockets:
      own.bind(('127.0.0.1', 0))
    return [own.getsockname()[1] for own in sockets]

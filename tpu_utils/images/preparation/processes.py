"""A parallel map over worker processes that use TensorFlow."""
import concurrent.futures.process
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from tpu_utils.command_line import cli, quiet_import

_Task = TypeVar('_Task')
_Result = TypeVar('_Result')


def map_unordered(
  function: Callable[[_Task], _Result], tasks: Sequence[_Task], num_processes: int
) -> Iterator[_Result]:
  """Yields `function(task)` for each task, in the order in which they finish.

  Args:
    function: a module-level function. An exception that it raises cancels the other tasks.
    tasks: picklable arguments.
    num_processes: number of parallel processes; 1 for this process alone.

  Raises:
    OSError: a worker process died.
  """
  if num_processes == 1 or len(tasks) < 2:
    yield from map(function, tasks)
    return
  # Spawned, since TensorFlow's threads do not survive a fork.
  context = multiprocessing.get_context('spawn')
  workers = min(num_processes, len(tasks))
  pool = concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker)
  try:
    futures = [pool.submit(function, task) for task in tasks]
    for future in concurrent.futures.as_completed(futures):
      yield future.result()
  except concurrent.futures.process.BrokenProcessPool:
    raise OSError(
      'A worker process died, most likely for lack of memory: use fewer --num_processes. The same '
      'command resumes from here.'
    ) from None
  finally:
    pool.shutdown(cancel_futures=True)


def _start_worker():
  cli.import_tensorflow()
  import tensorflow as tf

  with quiet_import.without_remarks():
    tf.config.set_visible_devices([], 'GPU')  # Looks for one, and logs that there is none.
  # One core for each process.
  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1)
  threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent():
  """Ends this worker with its parent; after a kill of the parent it would wait forever."""
  multiprocessing.parent_process().join()
  os._exit(1)

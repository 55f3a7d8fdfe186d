"""Does the same work on many things in several processes."""
import concurrent.futures.process
import multiprocessing
import os
import threading


def map_unordered(function, tasks, num_processes):
  """Yields `function(task)` for each task, as they are done.

  Args:
    function: of a module; the ValueError or OSError that it raises ends the work.
    tasks: list of what it takes.
    num_processes: how many work side by side; with 1 it is this process.
  """
  if num_processes == 1 or len(tasks) < 2:
    yield from map(function, tasks)
    return
  # Forked processes would share TensorFlow's threads, which don't survive that.
  context = multiprocessing.get_context('spawn')
  workers = min(num_processes, len(tasks))
  pool = concurrent.futures.ProcessPoolExecutor(workers, context, _start_worker)
  try:
    futures = [pool.submit(function, task) for task in tasks]
    for future in concurrent.futures.as_completed(futures):
      yield future.result()
  except concurrent.futures.process.BrokenProcessPool:
    raise OSError(
      'A worker process died, most likely for lack of memory: use fewer --num_processes. The same command '
      'goes on from here.'
    ) from None
  finally:
    pool.shutdown(cancel_futures=True)


def _start_worker():
  import tensorflow as tf

  # Each process is to use one core.
  tf.config.threading.set_intra_op_parallelism_threads(1)
  tf.config.threading.set_inter_op_parallelism_threads(1)
  threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent():
  """A killed parent would leave its workers waiting for ever."""
  multiprocessing.parent_process().join()
  os._exit(1)

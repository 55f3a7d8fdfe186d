"""A worker process that runs several scripts one after another, for `worker_scripts_test.py`.

    python -m tests.worker_scripts SCRIPTS

SCRIPTS are JSON: a list of [module, arguments] each. TF_CONFIG selects the worker. A
process can have one `MultiWorkerMirroredStrategy` only, so all scripts share it. A third element
{'stop': step} stops a script at the step, {'kill': [worker, step]} ends that worker with SIGKILL.
"""
import contextlib
import importlib
import json
import os
import signal
import sys

import tensorflow as tf

from tpu_utils import distribute
from tpu_utils.runner import Runner


class _StoppedError(Exception):
  """Ends a script between two training loops."""


def main(scripts):
  strategy = distribute.create_strategy('multi_worker')
  distribute.create_strategy = lambda *_, **__: strategy
  train = Runner._train_loop
  for module, arguments, *more in scripts:
    Runner._train_loop = _ending(train, strategy, **more[0]) if more else train
    with contextlib.suppress(_StoppedError):
      importlib.import_module(module).SCRIPT.call(arguments)


def _ending(train, strategy, stop=None, kill=None):
  """Returns `Runner._train_loop` that ends the script, or the worker, before a loop."""

  def train_loop(self, *args):
    step = self.trainer.step
    if kill and kill[0] == strategy.cluster_resolver.task_id and step >= kill[1]:
      os.kill(os.getpid(), signal.SIGKILL)
    if stop and step >= stop:
      raise _StoppedError
    return train(self, *args)

  return train_loop


def like_two_hosts(runner, train_input, context):
  """Opens the training data of a process with two replicas as two workers read it.

  It replaces `Runner._open_training`.
  """
  del context
  runner._position.read_by(2, getattr(train_input, 'resizing_note', ''))
  contexts = [tf.distribute.InputContext(2, host, 2) for host in range(2)]
  hosts = [train_input.train_dataset(own, runner._position.examples) for own in contexts]
  return tf.data.Dataset.choose_from_datasets(hosts, tf.data.Dataset.range(2).repeat())


if __name__ == '__main__':
  main(json.loads(sys.argv[1]))

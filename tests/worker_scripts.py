"""A worker process that runs several scripts one after another, for `worker_scripts_test.py`.

    python -m tests.worker_scripts SCRIPTS

SCRIPTS are JSON: a list of [module, arguments] each. TF_CONFIG selects the worker. A
process can have one `MultiWorkerMirroredStrategy` only, so all scripts share it. A third element
{'kill': [worker, step]} ends that worker with SIGKILL at the step.
"""
import importlib
import json
import os
import signal
import sys

import tensorflow as tf

from tpu_utils import distribute
from tpu_utils.runner import Runner


def main(scripts):
  strategy = distribute.create_strategy('multi_worker')
  distribute.create_strategy = lambda *_, **__: strategy
  for module, arguments, *more in scripts:
    if more:
      worker, step = more[0]['kill']
      if worker == strategy.cluster_resolver.task_id:
        _kill_at(step)
    importlib.import_module(module).SCRIPT.call(arguments)


def _kill_at(step):
  """Lets `Runner` end this process before the loop that begins at a step."""
  train = Runner._train_loop

  def train_loop(self, *args):
    if self.trainer.step >= step:
      os.kill(os.getpid(), signal.SIGKILL)
    return train(self, *args)

  Runner._train_loop = train_loop


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

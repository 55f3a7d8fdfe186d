"""Process in which `oscar.benchmark` times this project's pre-training model.

Arguments: config.json, an .npz file with the batch, 1 for a single thread or 0.
"""
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from tpu_utils.benchmarking import peer_process
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

if TYPE_CHECKING:
  import numpy as np

  import oscar


def main(config_file: str, batch_file: str, one_thread: str) -> None:
  """Serves the kinds of `our_contestants` until standard input ends."""
  import numpy as np

  import oscar

  config = oscar.OscarConfig.from_json(config_file)
  peer_process.serve(our_contestants(config, dict(np.load(batch_file)), one_thread == '1'))


def our_contestants(
  config: 'oscar.OscarConfig', batch: Mapping[str, 'np.ndarray'], one_thread: bool = False
) -> dict[str, Callable[[], Any]]:
  """Returns {kind: function} of this project."""
  import tensorflow as tf

  if one_thread:  # Before any operation: TensorFlow creates its threads once.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)

  from oscar import job, modeling, script_settings
  from oscar.tasks.pretrain import pretrain_task

  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  with strategy.scope():
    model = modeling.build_model(config, 'pretrain')
  trainer = job.make_trainer(
    strategy, model, pretrain_task(), script_settings.OptimizationConfig(), train_steps=10**6
  )
  dataset = tf.data.Dataset.from_tensors(batch).repeat()
  iterator = trainer.train_iterator(lambda context: dataset)
  predict = tf.function(lambda inputs: model(inputs, training=False)['prediction_scores'])
  names = ['input_ids', 'token_type_ids', 'attention_mask', 'img_feats']
  inputs = {name: tf.constant(batch[name]) for name in names}
  masked = inputs | {'masked_positions': tf.constant(batch['masked_positions'])}
  return {
    'forward': lambda: predict(inputs).numpy(),
    'forward, masked': lambda: predict(masked).numpy(),
    'training step': lambda: trainer.train(iterator, 1),
  }


if __name__ == '__main__':
  main(*sys.argv[1:])

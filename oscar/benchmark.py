"""Times the pre-training model against PyTorch: forward and training step, as ratios.

    python -m oscar.benchmark --official_dir=Oscar  # against the official code
    python -m oscar.benchmark                       # against a plain BERT in torch
    python -m oscar.benchmark --backend=jax         # on a GPU or TPU, against transformers' BERT
    python -m oscar.benchmark_input                 # the input pipeline, against the official one

The contestants take turns, in reverse order every other round. Compare ratios, which vary
less than times by day and machine. Run nothing else meanwhile. The peer is a separate process.
CPU, float32, one random batch, dropout on in training; both sides take a step of AdamW.

`forward` is the same work on both sides: words predicted at all positions. In training this project
predicts them at the masked positions only, which gives the same losses and gradients; the official
code cannot. `forward, masked` shows how much that saves without gradients.

`--official_dir` is a clone of microsoft/Oscar with its submodule transformers, or with the folder
pytorch_transformers of the PyPI package pytorch-transformers 1.0.0 in Oscar/transformers/. It needs
torch, anytree, boto3, regex and sentencepiece.
"""
import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from oscar.recipes import RECIPES
from tpu_utils import files
from tpu_utils.benchmarking import device_benchmark
from tpu_utils.benchmarking.device_benchmark import DeviceConfig
from tpu_utils.command_line import cli, settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting

if TYPE_CHECKING:
  import numpy as np

  import oscar

_MASKED_SHARE = 0.15  # Of the words.


@dataclasses.dataclass(frozen=True)
class BenchmarkConfig(settings.Checked):
  """The model, the batch and the peer to time."""

  config: str = setting('base', 'base, large, tiny, or a config.json.')
  batch_size: int = setting(8, 'Examples per step.', at_least=1)
  text_length: int = setting(70, 'Word pieces per example.', at_least=10)
  regions: int = setting(50, 'Regions per example.', at_least=1)
  rounds: int = setting(10, 'Times that each contestant runs.', at_least=1)
  one_thread: bool = setting(
    False,
    'Give each side one thread and count processor time: for a busy machine (Linux).',
  )
  official_dir: str = setting(
    None,
    'Clone of microsoft/Oscar; without it a plain BERT of the same operations is timed.',
    type=str,
  )


def random_batch(
  config: 'oscar.OscarConfig', options: BenchmarkConfig, seed: int = 0
) -> dict[str, 'np.ndarray']:
  """Returns a random pre-training batch, {name: array}, with labels for the masked words alone."""
  import numpy as np

  rng = np.random.default_rng(seed)
  batch, text, regions = options.batch_size, options.text_length, options.regions
  masked = max(1, round(text * _MASKED_SHARE))
  positions = np.stack([rng.choice(text, masked, replace=False) for _ in range(batch)])
  return {
    'input_ids': rng.integers(config.vocab_size, size=(batch, text), dtype=np.int32),
    'token_type_ids': np.repeat(np.arange(text)[None] >= text // 2, batch, axis=0).astype('int32'),
    'attention_mask': np.ones((batch, text + regions), np.int32),
    'img_feats': rng.standard_normal((batch, regions, config.img_feature_dim), np.float32),
    'masked_positions': np.sort(positions).astype('int32'),
    'masked_lm_labels': rng.integers(config.vocab_size, size=(batch, masked), dtype=np.int32),
    'next_sentence_label': rng.integers(2, size=batch, dtype=np.int32),
  }


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


def benchmark(options: BenchmarkConfig) -> dict[str, dict[str, list[float]]]:
  """Times both sides.

  Returns:
    {kind: {contestant: [seconds of each round]}}; contestants are 'ours' and the name of the peer.

  Raises:
    ValueError: the peer cannot run, for example for a missing package.
  """
  import numpy as np

  import oscar
  from tpu_utils.benchmarking import timing
  from tpu_utils.benchmarking.peer_process import PeerProcess

  config = oscar.OscarConfig.from_name(options.config)
  batch: dict[str, Any] = random_batch(config, options)
  peer = 'official' if options.official_dir else 'plain torch'
  with tempfile.TemporaryDirectory() as folder:
    config_file, batch_file = (os.path.join(folder, name) for name in ('config.json', 'batch.npz'))
    config.to_json(config_file)
    np.savez(batch_file, **batch)
    arguments = [config_file, batch_file, options.official_dir or '', str(int(options.one_thread))]
    clock: dict[str, Any] = {}
    if options.one_thread:
      clock = {'clock': time.process_time, 'elsewhere': (peer,)}
    with PeerProcess('oscar.benchmark_torch', arguments, 'see --help for what it needs') as process:
      return {
        kind: timing.take_turns(
          {'ours': work, peer: lambda kind=kind: process.run(kind.split(',')[0])},
          options.rounds,
          **clock,
        )
        for kind, work in our_contestants(config, batch, options.one_thread).items()
      }


def check(resolved: settings.Resolved) -> None:
  """Checks that the official code is local.

  Raises:
    ValueError: it is remote.
  """
  path = resolved[0].official_dir
  files.check_local('official_dir', path, 'clone the official code into a local folder')


def run(resolved: settings.Resolved) -> None:
  """Times the contestants and prints their ratios."""
  config, device = resolved
  if device.backend == 'jax':
    from oscar.benchmark_jax import SUITE

    device_benchmark.run(device, SUITE, config.rounds)
    return
  cli.import_tensorflow()
  results = benchmark(config)

  from tpu_utils.benchmarking import timing

  print(
    f'{config.config}, batch {config.batch_size}, {config.text_length} words and {config.regions} '
    f'regions, median of {config.rounds} rounds'
    + (', processor time on one thread' if config.one_thread else '')
  )
  for kind, times in results.items():
    for name, median in timing.medians(times).items():
      print(f'{kind:16} {name:12} {1000 * median:9.1f} ms')
    peer = next(name for name in times if name != 'ours')
    print(f'{kind:16} {peer} takes {timing.ratio(times, peer, "ours"):.2f} times as long as ours')


SCRIPT = Script(
  __doc__,
  (BenchmarkConfig, DeviceConfig),
  run,
  module='oscar.benchmark',
  recipes=RECIPES,
  check=check,
  uses_tensorflow=False,  # --backend=jax does without; `run` imports it for the other.
)


if __name__ == '__main__':
  SCRIPT.main()

"""Times the pre-training model against PyTorch: forward and training step, as ratios.

    python -m oscar.benchmark --official_dir=Oscar  # the official code among the peers
    python -m oscar.benchmark                       # BERT of transformers, and a plain one in torch
    python -m oscar.benchmark --growth --output_dir=growth
    python -m oscar.benchmark --backend=jax         # on a GPU or TPU, against transformers' BERT
    python -m oscar.benchmark_input                 # the input pipeline, against the official one

Peers: BERT of the package transformers, with torch's fused attention (SDPA), eager and compiled,
over words and regions; a plain BERT of the same operations in torch; and the official code.

The contestants take turns, in reverse order every other round, each in a process of its own that is
stopped during the turns of others. Compare ratios, which vary less than times by day and machine.
Run nothing else meanwhile. CPU, float32, one random batch, dropout on in training; all sides take a
step of AdamW. A peer that is not installed is left out; --torch_python names an interpreter that
has torch and transformers.

`forward` is the same work on all sides: words predicted at all positions. In training this project
predicts them at the masked positions only, which gives the same losses and gradients; the others
cannot. `forward, masked` shows how much that saves without gradients.

`--official_dir` is a clone of microsoft/Oscar with its submodule transformers, or with the folder
pytorch_transformers of the PyPI package pytorch-transformers 1.0.0 in Oscar/transformers/. It needs
torch, anytree, boto3, regex, requests and sentencepiece.

--growth: the time of captions by their length, and the input's memory by the size of the corpus.
"""
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from oscar.benchmark_jax import SUITE
from oscar.recipes import RECIPES
from tpu_utils import files
from tpu_utils.benchmarking import device_benchmark
from tpu_utils.benchmarking import settings as shared
from tpu_utils.benchmarking.contest import Contestant
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
  one_thread: bool = setting(
    False,
    'Give each side one thread: for a busy machine, where processor time counts (Linux).',
  )
  official_dir: str = setting(
    None,
    'Clone of microsoft/Oscar, to time the official code, too.',
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


def contestants(
  options: BenchmarkConfig, python: str | None, config_file: str, batch_file: str
) -> list[Contestant]:
  """Returns this project's contestant and the peers.

  Args:
    options: settings of the benchmark.
    python: interpreter with torch; None for the current one.
    config_file: an `OscarConfig` as JSON.
    batch_file: an .npz file with the arrays of `random_batch`.
  """
  one_thread = str(int(options.one_thread))
  ours = Contestant('ours', 'oscar.benchmark_ours', (config_file, batch_file, one_thread))
  peers = {
    'plain torch': ('plain', ('torch',)),
    'transformers': ('transformers', ('torch', 'transformers')),
    'transformers, compiled': ('transformers, compiled', ('torch', 'transformers')),
  }
  if options.official_dir:
    peers['official'] = ('official', ('torch', 'anytree', 'boto3', 'regex', 'requests'))
  return [ours] + [
    Contestant(
      name, 'oscar.benchmark_torch',
      (config_file, batch_file, kind, options.official_dir or '', one_thread),
      packages, 'see --help for what it needs', python,
    )
    for name, (kind, packages) in peers.items()
  ]  # fmt: skip


def multiply_adds(config: 'oscar.OscarConfig', options: BenchmarkConfig, predicted: int) -> int:
  """Counts the multiply-adds of the forward pass for a batch.

  Args:
    config: of the model.
    options: sizes of the batch.
    predicted: positions of each example at which words are predicted.
  """
  width, positions = config.hidden_size, options.text_length + options.regions
  layer = positions * width * (4 * width + 2 * config.intermediate_size + 2 * positions)
  regions = options.regions * config.img_feature_dim * width
  words = predicted * width * (width + config.vocab_size)
  return options.batch_size * (config.num_hidden_layers * layer + regions + words + width**2)


def tables(
  options: BenchmarkConfig, rounds: int, python: str | None = None
) -> Iterator[str]:
  """Yields the limits in words, then a Markdown table for each kind of work.

  Args:
    options: settings of the benchmark.
    rounds: turns of each contestant.
    python: interpreter with torch; None for the current one.

  Raises:
    ValueError: our contestant fails.
  """
  import numpy as np

  import oscar
  from tpu_utils.benchmarking import contest, machine

  limits = machine.measure_limits()
  yield f'{limits.text}.'
  config = oscar.OscarConfig.from_name(options.config)
  batch: dict[str, Any] = random_batch(config, options)
  everywhere = multiply_adds(config, options, options.text_length + options.regions)
  masked = multiply_adds(config, options, batch['masked_positions'].shape[1])
  work = {'forward': everywhere, 'forward, masked': masked, 'training step': 3 * masked}
  with tempfile.TemporaryDirectory() as folder:
    config_file, batch_file = (os.path.join(folder, name) for name in ('config.json', 'batch.npz'))
    config.to_json(config_file)
    np.savez(batch_file, **batch)
    entered = contestants(options, python, config_file, batch_file)
    with contest.Contest(entered) as held:
      for kind, count in work.items():
        own = contest.Work(kind.capitalize(), kind, options.batch_size, 'examples', count)
        yield contest.table(own, held.hold(kind, rounds), limits)


def check(resolved: settings.Resolved) -> None:
  """Checks that the official code is local.

  Raises:
    ValueError: it is remote.
  """
  path = resolved[0].official_dir
  files.check_local('official_dir', path, 'clone the official code into a local folder')


def run(resolved: settings.Resolved) -> None:
  """Times the contestants and prints their ratios."""
  options, shared_options, device = resolved
  if device.backend == 'jax':
    device_benchmark.run(device, SUITE, shared_options.rounds)
    return
  cli.import_tensorflow()
  if shared_options.growth:
    from oscar.benchmarking import growth_report

    print(growth_report.report(options.config, shared_options.output_dir))
    return
  head = (
    f'## OSCAR {options.config}\n\n{shared.heading()} Batch {options.batch_size}, '
    f'{options.text_length} words and {options.regions} regions; medians of '
    f'{shared_options.rounds} rounds{", on one thread" if options.one_thread else ""}. Shares of '
    'the limit count words at masked positions only, where a training step of ours predicts them.'
  )
  found = tables(options, shared_options.rounds, device.torch_python or None)
  shared.write_report(head, found, shared_options.output_dir)


SCRIPT = Script(
  __doc__,
  (BenchmarkConfig, shared.ContestConfig, DeviceConfig),
  run,
  module='oscar.benchmark',
  recipes=RECIPES,
  uses_tensorflow=False,  # --backend=jax does without; `run` imports it for the other.
  check=check,
)


if __name__ == '__main__':
  SCRIPT.main()

"""Times the downstream tasks against the official PyTorch code, as ratios.

    python -m oscar.benchmark_tasks --official_dir=Oscar
    python -m oscar.benchmark_tasks --official_dir=Oscar --kinds=vqa,retrieval --rounds=10

Kinds of work, with random weights and random inputs of natural lengths, float32, on the CPU:

    vqa         a training step with AdamW: at most 128 word pieces and 50 regions
    retrieval   scores of pairs of image and caption: at most 70 word pieces and 50 regions
    captioning  captions of 20 tokens by beams of 5, from 50 regions and no tags; against the
                official generation, which computes everything anew for each word, and against its
                cached path (`output_hidden_states`), whose beams continue words of other beams
    scst        a step of self-critical training with AdamW: a greedy caption and 5 drawn ones of 20
                tokens for each image. Rewards are given numbers on both sides: the host scores
                captions alike. Officially drawing and its gradient go word by word, with all of
                them in memory (about 20 GB for a batch of 2: give --batch_size=1); here
                one pass scores what was drawn.

The official code pads all batches to the same length. Here the padding that a whole batch shares is
cut, which changes no number. Captions have the full length: random weights do not end sentences.

Both sides take turns, in reverse order every other round. Compare ratios, which vary less than
times by day and machine. Run nothing else meanwhile. The peer is a separate process.

`--official_dir` is a clone of microsoft/Oscar with its submodule transformers, or with the folder
pytorch_transformers of the PyPI package pytorch-transformers 1.0.0 in Oscar/transformers/. It needs
torch, anytree, boto3, regex, requests and sentencepiece.
"""
import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from oscar.benchmarking import task_work
from tpu_utils import files
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.names import listed_names

if TYPE_CHECKING:
  import numpy as np

  import oscar

# Word pieces of a question with the tags of its image, of a caption with them, and regions: mean
# and deviation of the lengths drawn here. Inputs are padded to the second number of `_SIZES`.
_TEXT, _REGIONS = (45, 10), (42, 8)
_SIZES = {'vqa': (128, 50), 'retrieval': (70, 50), 'captioning': (20, 50), 'scst': (20, 50)}
_CLIP = 1.0  # Norm of the gradient, as in the official fine-tuning.
KINDS = tuple(_SIZES)
# The peers of each kind: {kind: commands of `oscar.benchmark_tasks_torch`}.
PEERS = {'captioning': ('official', 'official, cached')}


@dataclasses.dataclass(frozen=True)
class TasksBenchmarkConfig(settings.Checked):
  """The model, the batch and the work to time."""

  official_dir: str = setting(None, 'Clone of microsoft/Oscar, see above.', type=str)
  kinds: str = setting(','.join(KINDS), 'Kinds of work, separated by commas.')
  config: str = setting('base', 'base, large, tiny, or a config.json.')
  batch_size: int = setting(8, 'Examples per step.', at_least=1)
  rounds: int = setting(5, 'Times that each contestant runs.', at_least=1)
  torch_python: str = setting('', 'A Python that has torch and the rest; if not given, this one.')

  def kind_list(self) -> list[str]:
    """Returns the names in `kinds`.

    Raises:
      ValueError: one is unknown.
    """
    return listed_names('kind of --kinds', self.kinds, KINDS)


def random_batch(
  kind: str, config: 'oscar.OscarConfig', batch_size: int, seed: int = 0
) -> dict[str, 'np.ndarray']:
  """Returns random inputs of a kind of work, {name: array}, padded to its fixed lengths.

  Captioning and `scst` have an int32 `attention_mask` [batch, S + R, S + R] and no words; the
  others an int32 [batch, S + R]. VQA has float32 `targets` [batch, answers], self-critical training
  float32 `advantage` [batch, drawn captions], reward - baseline.
  """
  import numpy as np

  rng = np.random.default_rng(seed)
  words, regions = _SIZES[kind]
  batch = {
    'img_feats': rng.standard_normal((batch_size, regions, config.img_feature_dim), np.float32),
    'token_type_ids': np.zeros((batch_size, words), np.int32),
  }
  if kind == 'scst':
    batch['advantage'] = rng.standard_normal((batch_size, task_work.NUM_SAMPLES), np.float32)
  if kind in ('captioning', 'scst'):
    ids = np.zeros((batch_size, words), np.int32)
    return {**batch, 'input_ids': ids, 'attention_mask': _caption_mask(batch_size, words, regions)}
  lengths = [
    np.clip(rng.normal(*drawn, batch_size).astype(int), 5, most)
    for drawn, most in ((_TEXT, words), (_REGIONS, regions))
  ]
  shown = [np.arange(most) < n[:, None] for most, n in zip(_SIZES[kind], lengths, strict=True)]
  ids = rng.integers(config.vocab_size, size=(batch_size, words), dtype=np.int32)
  batch |= {
    'input_ids': ids * shown[0],
    'attention_mask': np.concatenate(shown, axis=1).astype(np.int32),
    'img_feats': batch['img_feats'] * shown[1][..., None],
  }
  if kind == 'vqa':
    batch['targets'] = (rng.random((batch_size, task_work.NUM_ANSWERS)) < 1e-3).astype(np.float32)
  return batch


def _caption_mask(batch_size, words, regions):
  """Returns the mask of captions: words see earlier words and regions; regions see regions."""
  import numpy as np

  mask = np.zeros((words + regions, words + regions), np.int32)
  mask[:words, :words] = np.tril(np.ones((words, words)))
  mask[:, words:] = 1
  return np.tile(mask, (batch_size, 1, 1))


def _vqa(config, batch):
  import tensorflow as tf

  from oscar import job, modeling, script_settings, task_settings
  from oscar.input import trimming
  from oscar.tasks.vqa import vqa_task

  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  with strategy.scope():
    model = modeling.build_model(config, 'vqa', num_labels=task_work.NUM_ANSWERS)
  task = vqa_task(task_settings.VqaData(loss_type='bce'))
  trainer = job.make_trainer(
    strategy, model, task, script_settings.OptimizationConfig(max_grad_norm=_CLIP), 10**6
  )
  dataset = tf.data.Dataset.from_tensors(batch).repeat().map(trimming.trimmed)
  iterator = trainer.train_iterator(lambda context: dataset)
  return lambda: trainer.train(iterator, 1)


def _retrieval(config, batch):
  import tensorflow as tf

  from oscar import modeling
  from oscar.input import trimming

  model = modeling.build_model(config, 'retrieval', num_labels=2)
  score = tf.function(lambda inputs: tf.nn.softmax(model(inputs, training=False)['logits']))
  return lambda: score(trimming.trimmed({k: tf.constant(v) for k, v in batch.items()})).numpy()


def _captioning(config, batch):
  import tensorflow as tf

  from oscar import decoding, modeling

  model = modeling.build_model(config, 'captioning', tie_weights=True)
  settings_ = decoding.GenerationConfig(
    101, 102, 0, 103, max_gen_length=_SIZES['captioning'][0], num_beams=task_work.NUM_BEAMS
  )
  generate = tf.function(lambda inputs: decoding.generate(model, inputs, settings_)['ids'])
  inputs = {name: tf.constant(array) for name, array in batch.items()}
  return lambda: generate(inputs).numpy()


def _scst(config, batch):
  import numpy as np
  import tensorflow as tf

  from oscar import decoding, job, modeling, script_settings
  from oscar.tasks.scst import scst_task

  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  with strategy.scope():
    model = modeling.build_model(config, 'captioning', tie_weights=True)
  greedy = decoding.GenerationConfig(101, 102, 0, 103, max_gen_length=_SIZES['scst'][0])
  drawing = greedy.replace(do_sample=True, num_return_sequences=task_work.NUM_SAMPLES)
  count = len(batch['advantage'])

  def reward(rows):
    baseline = np.zeros_like(batch['advantage'])
    advantage = batch['advantage'][rows['row']]
    return {'reward': advantage, 'baseline': baseline, 'advantage': advantage}

  trainer = job.make_trainer(
    strategy, model, scst_task(model, reward, drawing, greedy),
    script_settings.OptimizationConfig(max_grad_norm=_CLIP), train_steps=10**6,
  )  # fmt: skip
  own = {name: array for name, array in batch.items() if name != 'advantage'}
  own |= {'row': np.arange(count), 'masked_positions': np.zeros((count, 1), np.int32)}
  dataset = tf.data.Dataset.from_tensors(own).repeat()
  iterator = trainer.train_iterator(lambda context: dataset)
  return lambda: trainer.train(iterator, 1)


def our_contestant(
  kind: str, config: 'oscar.OscarConfig', batch: Mapping[str, 'np.ndarray']
) -> Callable[[], Any]:
  """Returns the function that does the work of a kind once, with this project."""
  made = {'vqa': _vqa, 'retrieval': _retrieval, 'captioning': _captioning, 'scst': _scst}
  return made[kind](config, batch)


def benchmark(options: TasksBenchmarkConfig) -> Iterator[tuple[str, dict[str, list[float]]]]:
  """Times both sides, one kind after the other.

  Yields:
    (kind, {contestant: [seconds of each round]}); contestants are 'ours' and the official ones.

  Raises:
    ValueError: the peer cannot run, for example for a missing package.
  """
  import numpy as np

  import oscar
  from tpu_utils.benchmarking import timing
  from tpu_utils.benchmarking.peer_process import PeerProcess

  config = oscar.OscarConfig.from_name(options.config)
  for kind in options.kind_list():
    batch: dict[str, Any] = random_batch(kind, config, options.batch_size)
    with tempfile.TemporaryDirectory() as folder:
      config_file, batch_file = (os.path.join(folder, name) for name in ('config.json', 'in.npz'))
      config.to_json(config_file)
      np.savez(batch_file, **batch)
      arguments = [kind, config_file, batch_file, options.official_dir]
      program = 'oscar.benchmark_tasks_torch'
      remedy, python = 'see --help for what it needs', options.torch_python or None
      with PeerProcess(program, arguments, remedy, python) as process:
        contestants: dict[str, Callable] = {'ours': our_contestant(kind, config, batch)}
        for peer in PEERS.get(kind, ('official',)):
          contestants[peer] = lambda peer=peer: process.measure(peer)
        yield kind, timing.take_turns(contestants, options.rounds)


def check(resolved: settings.Resolved) -> None:
  """Checks the kinds and the folder of the official code.

  Raises:
    ValueError: a kind is unknown, or the official code is missing or remote.
  """
  (config,) = resolved
  config.kind_list()
  if not config.official_dir:
    raise ValueError('--official_dir is missing: give a clone of microsoft/Oscar; see --help.')
  files.check_local(
    'official_dir', config.official_dir, 'clone the official code into a local folder'
  )


def run(resolved: settings.Resolved) -> None:
  """Times the contestants and prints their ratios."""
  (config,) = resolved
  from tpu_utils.benchmarking import timing

  print(f'{config.config}, batch {config.batch_size}, median of {config.rounds} rounds')
  for kind, times in benchmark(config):
    for name, median in timing.medians(times).items():
      rate = config.batch_size / median
      print(f'{kind:12} {name:18} {1000 * median:9.1f} ms {rate:9.2f} examples/s', flush=True)
    for peer in times:
      if peer != 'ours':
        ratio = timing.ratio(times, peer, 'ours')
        print(f'{kind:12} {peer} takes {ratio:.2f} times as long as ours', flush=True)


SCRIPT = Script(
  __doc__, (TasksBenchmarkConfig,), run, module='oscar.benchmark_tasks', check=check
)


if __name__ == '__main__':
  SCRIPT.main()

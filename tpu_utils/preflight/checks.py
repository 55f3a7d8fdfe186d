"""Runs a preflight: lowers and compiles the steps of a trainer, reports, and finds a batch size."""
import dataclasses
import os
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tpu_utils import files
from tpu_utils.preflight import comparing, lowering, report
from tpu_utils.preflight.compiling import TpuCompiler
from tpu_utils.runner import Input, prepare_model_dir
from tpu_utils.trainer import Trainer

RESULT, COMPARISON = 'preflight.json', 'preflight_comparison.json'
ROLLOUT = 'rollout'  # Name of the step that samples from the model.
_BATCHES_READ = 16  # To see the shapes of batches where the data set does not tell.
_SIZES = (1, 2, 4, 8, 16, 32, 64, *range(128, 4097, 128))  # Per core, for --find_batch_size.


@dataclasses.dataclass
class Preflight:
  """The steps of a trainer on a topology.

  Attributes:
    compiler: the TPU compiler.
    trainer: the trainer, under `lowering.tpu_like_strategy`.
    source: its data.
    train_batch_size: global batch size.
    eval_batch_size: global batch size of the evaluation.
    unit: plural noun for examples.
  """

  compiler: TpuCompiler
  trainer: Trainer
  source: Input
  train_batch_size: int
  eval_batch_size: int
  unit: str

  def run(self, model_dir: str | None, find_batch_size: bool = False) -> None:
    """Compiles all steps, prints the report and writes it as JSON.

    Args:
      model_dir: folder for the JSON file; None for none.
      find_batch_size: whether to search the largest training batch that fits.

    Raises:
      ValueError: a step does not lower, or does not fit.
    """
    topology = self.compiler.topology
    steps = [*self.rollout_steps(), self.train_step(), self.eval_step()]
    layers = [self.trainer.model.name, *_layer_names(self.trainer.model)]
    content = report.as_json(steps, topology, layers, self.compiler.versions)
    if find_batch_size:
      content['largest_batch_per_core'] = self.find_batch_size()
    print(report.text(content, self.unit))
    if find_batch_size:
      print(self._found(content['largest_batch_per_core']))
    if model_dir:
      prepare_model_dir(model_dir)
      path = os.path.join(model_dir, RESULT)
      files.write_json(path, content)
      print(f'Report: {path}')
    for step in steps:
      if not step.fits(topology):
        raise ValueError(_misfit(step, topology))

  def compare(self, peer: 'Preflight', model_dir: str | None) -> None:
    """Compiles the training steps of both, prints them side by side and writes them as JSON.

    Args:
      peer: the preflight of the network from Keras' layers.
      model_dir: folder for the JSON file; None for none.

    Raises:
      ValueError: a step does not lower.
    """
    topology = self.compiler.topology
    content = comparing.as_json(self.train_step(), peer.train_step(), topology)
    content |= {'topology': topology.name, 'compiler': dict(self.compiler.versions)}
    print(comparing.text(content, self.unit))
    if model_dir:
      prepare_model_dir(model_dir)
      path = os.path.join(model_dir, COMPARISON)
      files.write_json(path, content)
      print(f'Comparison: {path}')

  def train_step(self, batch_per_core: int | None = None) -> report.Step:
    """Lowers and compiles the training step, for another batch per core if given."""
    weights = self.trainer.model.trainable_variables
    return self._step(
      'train',
      self._train_dataset,
      self.train_batch_size,
      batch_per_core or self.train_batch_size // self.compiler.topology.cores,
      4 * lowering.count(weights) if self.compiler.topology.cores > 1 else 0,
    )

  def rollout_steps(self, batch_per_core: int | None = None) -> list[report.Step]:
    """Lowers and compiles what samples from the model before a training step; [] for no such task.

    The host's reward between both is not compiled.
    """
    if self.trainer.task.rollout is None:
      return []
    size = batch_per_core or self.train_batch_size // self.compiler.topology.cores
    return [self._step(ROLLOUT, self._train_dataset, self.train_batch_size, size)]

  def _train_dataset(self, context):
    return self.source.train_dataset(context, 0)

  def eval_step(self) -> report.Step:
    """Lowers and compiles the evaluation step, with the decoding of a task that decodes."""
    size = self.eval_batch_size // self.compiler.topology.cores
    return self._step('eval', self.source.eval_dataset, self.eval_batch_size, size)

  def find_batch_size(self) -> int:
    """Returns the largest batch per core whose training step fits; 0 if none does."""
    topology = self.compiler.topology
    return largest(
      _SIZES,
      lambda size: all(
        step.fits(topology) for step in (*self.rollout_steps(size), self.train_step(size))
      ),
      self.train_batch_size // topology.cores,
    )

  def _step(self, name, dataset_fn, batch_size, batch_per_core, gradient_bytes=0):
    spec = lowering.scaled_spec(dataset_fn, batch_size, batch_per_core)
    varying, concerns = lowering.open_dimensions(spec), []
    if varying:
      spec, count = self._largest_shapes(dataset_fn)
      concerns.append(
        f'shapes that vary between batches ({", ".join(varying)}; {count} kinds in the first '
        f'{_BATCHES_READ}), each of which a TPU compiles anew: pad them to one'
      )
    print(f'Lowering the {name} step for {batch_per_core} {self.unit} ...', flush=True)
    if name == ROLLOUT:
      function = self.trainer.rollout_fn(spec, jit_compile=True)
    else:
      if name == 'train' and self.trainer.task.rollout is not None:
        spec = self._with_reward(spec, dataset_fn)
      function = self.trainer.step_fn(spec, training=name == 'train', jit_compile=True)
    try:
      text = lowering.lower(function, spec)
    except lowering.NotLoweredError as e:
      raise ValueError(f'The {name} step cannot run on a TPU: {e}') from e
    compiled = self.compiler.compile(text, f'the {name} step')
    concerns += lowering.concerns(text)
    return report.Step(name, compiled, batch_per_core, gradient_bytes, concerns)

  def _with_reward(self, spec, dataset_fn):
    """Returns the shapes of a batch with the entries of its rollout and the host's reward.

    Samples of zeros are rewarded, with what the rollout hands on of a batch: shapes and types of
    rewards do not depend on the samples.
    """
    traced = self.trainer.rollout_fn(spec).get_concrete_function()
    rollout = {
      name: tf.TensorSpec(value.shape, value.dtype)
      for name, value in traced.structured_outputs.items()
    }
    context = tf.distribute.InputContext(num_replicas_in_sync=self.compiler.topology.cores)
    batch = next(iter(dataset_fn(context)))
    size = len(next(iter(batch.values())))
    rows = {
      name: batch[name].numpy() if name in batch
      else np.zeros([size, *each.shape[1:]], each.dtype.as_numpy_dtype)
      for name, each in rollout.items()
    }  # fmt: skip
    per_core = next(iter(rollout.values())).shape[0]
    rewards = {name: np.asarray(value) for name, value in self.trainer.task.reward(rows).items()}
    given = {
      name: tf.TensorSpec([per_core, *value.shape[1:]], value.dtype)
      for name, value in rewards.items()
    }
    return {**spec, **rollout, **given}

  def _largest_shapes(self, dataset_fn):
    """Returns the largest shapes of the first batches, and how many kinds of batches there are."""
    context = tf.distribute.InputContext(num_replicas_in_sync=self.compiler.topology.cores)
    kinds, largest_of = set(), {}
    for batch in dataset_fn(context).take(_BATCHES_READ):
      kinds.add(tuple((name, tuple(batch[name].shape)) for name in sorted(batch)))
      for name, value in batch.items():
        before = largest_of.get(name, value)
        sizes = [max(pair) for pair in zip(value.shape, before.shape, strict=True)]
        largest_of[name] = tf.TensorSpec(sizes, value.dtype)
    if not kinds:
      raise ValueError('--mode=preflight: the data set is empty.')
    return largest_of, len(kinds)

  def _found(self, size):
    cores = self.compiler.topology.cores
    if not size:
      return 'No batch fits, not even one example per core.'
    return (
      f'The largest batch that fits: {size} {self.unit} per core, --train_batch_size={size * cores}'
    )


def largest(sizes: tuple[int, ...], fits: Callable[[int], bool], guess: int) -> int:
  """Returns the largest size that fits, or 0; every smaller one fits, too.

  Args:
    sizes: candidates, rising.
    fits: expensive; called about 2 log2 of the distance between guess and result.
    guess: where to begin.
  """
  place = max((i for i, size in enumerate(sizes) if size <= guess), default=0)
  low, high, stride = -1, len(sizes), 1  # `low` fits, `high` does not.
  while high - low > 1:
    if fits(sizes[place]):
      low = place
    else:
      high = place
    if low >= 0 and high < len(sizes):
      place = (low + high) // 2
    elif low >= 0:
      place, stride = min(low + stride, len(sizes) - 1), 2 * stride
    else:
      place, stride = max(high - stride, 0), 2 * stride
  return sizes[low] if low >= 0 else 0


def open_trainer(
  compiler: TpuCompiler,
  build_model: Callable[[], keras.Model],
  make_trainer: Callable[[tf.distribute.Strategy, keras.Model], Trainer],
) -> Trainer:
  """Returns a trainer whose layers believe to be on a TPU.

  Args:
    compiler: announced before the model is built.
    build_model: function() -> model, called in the strategy's scope.
    make_trainer: function(strategy, model) -> its trainer.
  """
  topology, versions = compiler.topology, compiler.versions
  print(
    f'Preflight for {topology.name} ({topology.cores} cores) with the compiler of libtpu '
    f'{versions["libtpu"]}.'
  )
  strategy = lowering.tpu_like_strategy()
  with strategy.scope():
    model = build_model()
  print(f'{model.name}: {model.count_params():,} parameters')
  return make_trainer(strategy, model)


def _layer_names(model):
  return [layer.name for layer in model._flatten_layers(include_self=False)]


def _misfit(step, topology):
  available = topology.hbm_bytes / 2**30
  batch = 'eval' if step.name == 'eval' else 'train'
  if step.compiled.error and not step.compiled.needed:
    return f'--mode=preflight: the {step.name} step does not compile: {step.compiled.error}'
  return (
    f'--mode=preflight: the {step.name} step of {step.batch_per_core} examples per core needs '
    f'{step.compiled.memory / 2**30:.2f} GiB, and a core of {topology.name} has {available:.2f}; '
    f'lower --{batch}_batch_size (--find_batch_size searches one that fits).'
  )

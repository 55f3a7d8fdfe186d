"""Preflight of a small trainer: without a compiler, with a stand-in, and with the real one."""
import importlib.util
import json
import os
import re
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils import toy_tasks
from tpu_utils import config, optimizers, profile
from tpu_utils import job as jobs
from tpu_utils.preflight import checks, compiler, compiling, lowering, topology
from tpu_utils.trainer import Task, Trainer

WIDTH, BATCH = 256, 512


class Vectors:
  """Batches of vectors, the batch last as in transposed images."""

  num_train_examples = BATCH

  def __init__(self, sizes=(WIDTH,)):
    self.sizes = sizes

  def train_dataset(self, context, start_example=0):
    size = context.get_per_replica_batch_size(BATCH)
    batches = [{'vectors': np.zeros((n, size), np.float32)} for n in self.sizes]
    kinds = {'vectors': tf.TensorSpec([self.sizes[0] if len(self.sizes) == 1 else None, size])}
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=kinds)

  def eval_dataset(self, context):
    return self.train_dataset(context)


def square(outputs, batch, step):
  return tf.reduce_sum(outputs**2), tf.cast(tf.shape(outputs)[0], tf.float32)


def build_model():
  vectors = keras.Input((WIDTH,), name='vectors')
  hidden = keras.layers.Dense(WIDTH, name='hidden')(vectors)
  return keras.Model(vectors, keras.layers.Dense(WIDTH, name='output')(hidden), name='toy')


def make_trainer(strategy, model, loss=square):
  task = Task({'square': loss}, prepare=lambda batch: {'vectors': tf.transpose(batch['vectors'])})
  return Trainer(strategy, model, task, optimizers.build_optimizer('sgd'), lambda step: 0.1)


def trainer(loss=square):
  strategy = lowering.tpu_like_strategy()
  with strategy.scope():
    model = build_model()
  return make_trainer(strategy, model, loss)


class StandIn:
  """A compiler of which each example takes 1 GiB / 128, and the weights 1 GiB."""

  versions = {'jax': '0', 'libtpu': '0'}
  topology = topology.Topology('v5e:2x2', 4)

  def __init__(self):
    self.texts = []

  def compile(self, text, what):
    self.texts.append(text)
    size = int(text.split(f'@main(%arg0: tensor<{WIDTH}x')[1].split('x')[0])
    return compiling.Compiled(arguments=2**30, temporaries=size * 2**23, flops=1, hbm_bytes=1)


def preflight(**changes):
  values = {'compiler': StandIn(), 'source': Vectors(), 'trainer': None}
  values.update(changes)
  values['trainer'] = values['trainer'] or trainer()
  sizes = {'train_batch_size': BATCH, 'eval_batch_size': BATCH, 'unit': 'vectors'}
  return checks.Preflight(**values, **sizes)


def test_steps_are_lowered_and_reported(tmp_path, capsys):
  run = preflight()
  run.run(str(tmp_path))
  train, evaluation = run.compiler.texts
  assert 'stablehlo.dot' in evaluation and 'f64' not in train
  assert 'mhlo.copy' not in compiler.without_copies(train)
  report = json.loads((tmp_path / checks.RESULT).read_text())
  assert report['fits'] and report['steps']['train']['batch_per_core'] == BATCH // 4
  assert report['steps']['train']['memory']['arguments'] == 2**30
  assert 'most traffic in train' in capsys.readouterr().out


def a_job(tmp_path, **changes):
  settings = config.JobConfig(mode='preflight', model_dir=str(tmp_path))
  hardware = {
    'use_bfloat16': False,
    'preflight_python': python_with_jax() or '',
    'preflight_cache': str(tmp_path / 'cache'),
    **changes.pop('hardware', {}),
  }
  return jobs.Job(
    settings=settings,
    hardware=config.HardwareConfig(**hardware),
    batches=jobs.Batches(BATCH, BATCH),
    identity={},
    run_info={},
    unit='vectors',
    objective='square',
    open_input=Vectors,
    build_model=lambda policy: build_model(),
    make_trainer=lambda strategy, model, source: make_trainer(strategy, model),
    export=None,
    **changes,
  )


def test_a_job_is_compared_with_its_peer(tmp_path, monkeypatch, capsys):
  built = []

  def build_peer(policy):
    built.append(policy)
    return build_model()

  stand_in = StandIn()
  monkeypatch.setattr(compiling, 'TpuCompiler', lambda *settings: stand_in)
  jobs.run(a_job(tmp_path, hardware={'compare': 'keras'}, build_peer=build_peer))
  assert built == [None] and len(stand_in.texts) == 2  # The training steps alone.
  found = json.loads((tmp_path / checks.COMPARISON).read_text())
  assert found['hbm_bytes_ratio'] == 1.0 and found['topology'] == 'v5e:2x2'
  assert 'temporaries MiB' in capsys.readouterr().out


def test_a_job_without_a_peer_cannot_be_compared(tmp_path):
  with pytest.raises(ValueError, match='--compare=keras: this job has no network of Keras'):
    jobs.run(a_job(tmp_path, hardware={'compare': 'keras'}))


def test_the_largest_batch_is_found_and_a_step_that_does_not_fit_is_an_error(capsys, tmp_path):
  run = preflight()
  run.run(str(tmp_path), find_batch_size=True)
  # 15 GiB are left for examples: 15 * 128.
  assert '--train_batch_size=7680' in capsys.readouterr().out
  run.compiler.compile = lambda text, what: compiling.Compiled(needed=20 * 2**30, error='no')
  with pytest.raises(ValueError, match='needs 20.00 GiB, and a core of v5e:2x2 has 16.00; lower'):
    run.run(str(tmp_path))


@pytest.mark.parametrize('limit', [0, 1, 5, 127, 128, 500, 9999])
@pytest.mark.parametrize('guess', [1, 100, 4096])
def test_the_search_asks_little_and_ends_at_the_largest(limit, guess):
  asked = []
  found = checks.largest(checks._SIZES, lambda size: asked.append(size) or size <= limit, guess)
  assert found == max((size for size in checks._SIZES if size <= limit), default=0)
  assert len(asked) == len({*asked}) <= 12


def test_a_rollout_is_compiled_and_its_rewards_reach_the_step():
  class Source:
    num_train_examples = 32

    def train_dataset(self, context, start_example=0):
      return toy_tasks.contexts(context)

  strategy = lowering.tpu_like_strategy()
  taught = toy_tasks.make_trainer(strategy, toy_tasks.reward_task(), units=3)
  texts = {}

  class Compiler:
    topology = StandIn.topology

    def compile(self, text, what):
      texts[what] = text
      return compiling.Compiled(arguments=1)

  run = checks.Preflight(Compiler(), taught, Source(), 32, 32, 'contexts')
  (rollout,), train = run.rollout_steps(), run.train_step()
  assert rollout.name == 'rollout' and rollout.batch_per_core == train.batch_per_core == 8
  # The training step takes the drawn actions; drawing them needs random numbers.
  assert 'stablehlo.rng_bit_generator' in texts['the rollout step']
  assert 'stablehlo.rng_bit_generator' not in texts['the train step']
  assert 'tensor<8xi32>' in texts['the train step'].split('@main')[1].split('{')[0]


def test_varying_shapes_are_counted_and_the_largest_is_compiled():
  run = preflight(source=Vectors((WIDTH, WIDTH)))
  step = run.eval_step()
  assert 'vectors [None, 128]; 1 kinds in the first 16' in step.concerns[0]


def test_an_operation_without_xla_is_named():

  def loss(outputs, batch, step):
    with tf.name_scope('ranking'):
      text = tf.strings.as_string(outputs)
    return tf.reduce_sum(tf.strings.to_number(text)), 1.0

  with pytest.raises(ValueError, match='step cannot run on a TPU: .*AsString in ranking'):
    preflight(trainer=trainer(loss)).eval_step()


def test_layers_see_a_tpu():
  with lowering.tpu_like_strategy().scope():
    assert 'TPU' in tf.distribute.get_strategy().extended.worker_devices[0]


def test_out_of_memory_is_read_from_the_error_of_the_compiler():
  error = 'RESOURCE_EXHAUSTED: Ran out of memory. Used 20.50G of 15.75G hbm. Exceeded by 4.75G.'
  found = compiling._result({'error': error}, '')
  assert found.needed == 20.5 * 2**30 and found.error == error


class UnreadablePrograms:
  """What the compiler returns where jax does not know the form of an operation."""

  def hlo_modules(self):
    raise RuntimeError('async-update instruction should have 1 operands but sees 3')


def test_a_program_that_jax_cannot_read_is_taken_as_libtpu_wrote_it(tmp_path):
  with pytest.raises(RuntimeError, match='async-update'):
    compiler._text(UnreadablePrograms(), str(tmp_path))
  for name, text in (
    ('module_1.small.after_codegen.txt', 'part'),
    ('module_0.step.after_codegen.txt', 'HloModule step'),
    ('module_0.step.before_optimizations.txt', 'a longer text than the others'),
  ):
    (tmp_path / name).write_text(text, encoding='utf-8')
  assert compiler._text(UnreadablePrograms(), str(tmp_path)) == 'HloModule step'


def test_missing_packages_are_named_with_the_mend(tmp_path):
  python = tmp_path / 'python'
  python.write_text(
    '#!/bin/sh\necho \'{"missing": "No package jax"}\' > "$5"\n', encoding='utf-8'
  )
  python.chmod(0o755)
  with pytest.raises(ValueError, match=r"needs jax and libtpu .*: pip install '.\[preflight\]'"):
    compiling.TpuCompiler('v5e:2x2', '', str(python))
  with pytest.raises(ValueError, match='--preflight_python=/nowhere does not start'):
    compiling.TpuCompiler('v5e:2x2', '', '/nowhere')


# ---- the real compiler


def python_with_jax():
  if os.environ.get('PREFLIGHT_PYTHON'):
    return os.environ['PREFLIGHT_PYTHON']
  if all(importlib.util.find_spec(name) for name in ('jax', 'libtpu')):
    return sys.executable
  return None


needs_compiler = pytest.mark.skipif(
  python_with_jax() is None,
  reason="jax and libtpu are missing: pip install '.[preflight]', or PREFLIGHT_PYTHON",
)


@needs_compiler
@pytest.mark.slow
def test_the_tpu_compiler_agrees_with_what_is_known(tmp_path):
  cache = str(tmp_path / 'cache')
  real = compiling.TpuCompiler('v5e:2x2', cache, python_with_jax())
  assert real.topology.cores == 4
  run = preflight(compiler=real)
  step = run.eval_step()
  compiled = step.compiled
  assert not compiled.error and step.fits(real.topology)
  # Weights, biases and the batch, in whole tiles.
  weights = 4 * 2 * (WIDTH * WIDTH + WIDTH)
  assert weights <= compiled.arguments - 4 * WIDTH * BATCH // 4 < 1.1 * weights
  expected = BATCH // 4 * profile.flops(run.trainer.model)
  assert compiled.flops / 2 == pytest.approx(expected, rel=0.05)
  assert compiled.hbm_bytes >= weights
  texts, compile_text = [], real.compile
  real.compile = lambda text, what: texts.append(text) or compile_text(text, what)
  double = run._step('eval', run.source.eval_dataset, BATCH, BATCH // 2).compiled
  assert double.flops == pytest.approx(2 * compiled.flops, rel=0.05)
  # The same program under another name comes from the cache.
  real._run = None
  assert compile_text(re.sub(r'module @\S+', 'module @other_7', texts[0]), 'again') == double


@needs_compiler
@pytest.mark.slow
def test_a_job_runs_it(tmp_path, capsys):
  jobs.run(a_job(tmp_path))
  report = json.loads((tmp_path / checks.RESULT).read_text())
  assert report['fits'] and {*report['steps']} == {'train', 'eval'}
  assert 'hidden' in report['steps']['train']['layers']
  assert 'Report: ' in capsys.readouterr().out


@needs_compiler
@pytest.mark.slow
def test_random_numbers_are_drawn_by_the_tpus_generator(tmp_path):
  """They take no memory but the state and the result; Philox takes many times the array."""
  seeds = keras.random.SeedGenerator(1)
  shape = [128, 4096]
  step = tf.function(
    lambda batch, step: keras.random.dropout(batch['x'], 0.1, seed=seeds), jit_compile=True
  )
  text = lowering.lower(step, {'x': tf.TensorSpec(shape, tf.float32)})
  compiled = compiling.TpuCompiler('v5e:2x2', '', python_with_jax()).compile(text, 'dropout')
  array = 4 * 128 * 4096
  assert not compiled.error and 2 * array <= compiled.hbm_bytes < 4.5 * array

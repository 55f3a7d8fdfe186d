"""Learning rates against those of the official graph."""
import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tpu_utils import schedules

GOLDENS = json.loads(
  (pathlib.Path(__file__).parent.parent / 'goldens/efficientnet/lr_schedules.json').read_text()
)
CASES = [
  (setting, kind)
  for setting, case in GOLDENS.items() if setting != 'note'
  for kind in case['lr']
]


def build(setting, kind):
  case = GOLDENS[setting]
  settings = dict(case['settings'])
  del settings['base_learning_rate'], settings['train_batch_size']
  schedule = schedules.build_learning_rate(case['scaled_lr'], lr_decay_type=kind, **settings)
  return schedule, case['steps'], np.array(case['lr'][kind], np.float32)


@pytest.mark.parametrize(('setting', 'kind'), CASES)
def test_equals_the_official_graph(setting, kind):
  schedule, steps, expected = build(setting, kind)
  eager = [schedule(step) for step in steps]
  assert all(lr.dtype == tf.float32 and lr.shape == () for lr in eager)
  in_a_step = tf.function(schedule)
  in_graph = [in_a_step(tf.constant(step, tf.int64)) for step in steps]
  np.testing.assert_array_max_ulp(np.array(eager), expected, maxulp=2)
  np.testing.assert_array_max_ulp(np.array(in_graph), expected, maxulp=2)


@pytest.mark.host_xla
@pytest.mark.parametrize('kind', GOLDENS['small']['lr'])
def test_compiled_by_xla_it_is_the_same_to_rounding(kind):
  schedule, steps, expected = build('small', kind)
  compiled = tf.function(schedule, jit_compile=True)
  got = [float(compiled(tf.constant(step, tf.int64))) for step in steps]
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-9)


def test_a_stair_may_be_a_fraction_of_a_step():
  schedule = schedules.build_learning_rate(
    1.0, steps_per_epoch=1.5, decay_epochs=1, decay_factor=0.5, warmup_epochs=0
  )
  lrs = [float(schedule(step)) for step in range(7)]
  assert lrs == [1.0, 1.0, 0.5, 0.25, 0.25, 0.125, 0.0625]


def test_a_warmup_shorter_than_a_step_is_left_out():
  schedule = schedules.build_learning_rate(0.3, steps_per_epoch=3, warmup_epochs=0.2)
  assert schedule(0).numpy() == np.float32(0.3)


def test_poly_ends_at_the_official_end_even_from_below():
  schedule = schedules.build_learning_rate(
    0.01, steps_per_epoch=2, lr_decay_type='poly', total_steps=10, warmup_epochs=1
  )
  lrs = [float(schedule(step)) for step in range(2, 30)]
  assert lrs == sorted(lrs)
  assert lrs[-1] == np.float32(0.1)


def test_a_schedule_consists_of_plain_settings():
  schedule = schedules.build_learning_rate(0.5, 4, 'cosine', total_steps=40, warmup_epochs=1)
  assert dataclasses.asdict(schedule) == {
    'initial_lr': 0.5, 'warmup_steps': 4, 'after': {'initial_lr': 0.5, 'total_steps': 40}
  }


@pytest.mark.parametrize(('warmup', 'order', 'expected'), [
  (2, 'optimizer_first', [0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0]),
  (2, 'scheduler_first', [0.5, 1, 0.75, 0.5, 0.25, 0, 0, 0]),
  (0, 'optimizer_first', [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0, 0]),
  (6, 'optimizer_first', [0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 0, 0]),
])
def test_linear_equals_the_official_formula(warmup, order, expected):
  """Compares with pytorch-transformers' formula for 6 steps, in both orders of OSCAR's scripts."""
  schedule = schedules.build_linear(2.0, 6, warmup, order)
  found = [float(schedule(step)) for step in range(8)]
  np.testing.assert_allclose(found, 2 * np.array(expected), rtol=1e-6)


def test_linear_warmup_alone():
  schedule = schedules.build_linear(2.0, 6, 2, decay=False)
  assert [float(schedule(step)) for step in range(4)] == [0, 1, 2, 2]


@pytest.mark.parametrize(('settings', 'said'), [
  ({'order': 'optimiser_first'}, "did you mean optimizer_first"),
  ({'warmup_steps': 0.5}, 'warmup_steps must be a whole number'),
  ({'total_steps': 0}, 'total_steps must be a positive number'),
])
def test_wrong_settings_of_linear_are_refused(settings, said):
  with pytest.raises(ValueError, match=said):
    schedules.build_linear(**{'initial_lr': 0.1, 'total_steps': 5, **settings})


@pytest.mark.parametrize(('settings', 'said'), [
  ({'lr_decay_type': 'exponental'}, "Unknown lr_decay_type 'exponental': did you mean exponential"),
  ({'lr_decay_type': 'zigzag'}, 'Choose one of constant, cosine, exponential, poly'),
  ({}, 'needs steps_per_epoch'),
  ({'lr_decay_type': 'constant'}, 'warmup_epochs=5 needs steps_per_epoch'),
  ({'lr_decay_type': 'cosine', 'warmup_epochs': 0}, 'needs total_steps'),
  ({'lr_decay_type': 'poly', 'steps_per_epoch': 4}, 'needs total_steps'),
  (
    {'lr_decay_type': 'poly', 'steps_per_epoch': 4, 'total_steps': 19},
    'between 0 and total_steps=19',
  ),
  ({'steps_per_epoch': 0}, 'steps_per_epoch must be a positive number, got 0'),
  ({'steps_per_epoch': 4, 'warmup_epochs': -1}, 'warmup_epochs must be zero or more, got -1'),
  ({'steps_per_epoch': 4, 'decay_factor': 0}, 'decay_factor must be a positive number'),
  ({'steps_per_epoch': 4, 'decay_epochs': -2.4}, 'decay_steps must be a positive number'),
  ({'steps_per_epoch': 4, 'initial_lr': float('nan')}, 'initial_lr must be a finite number'),
  ({'steps_per_epoch': 4, 'initial_lr': -0.1}, 'initial_lr must be a finite number'),
])
def test_wrong_settings_are_refused_before_training(settings, said):
  with pytest.raises(ValueError, match='.') as error:
    schedules.build_learning_rate(**{'initial_lr': 0.1, **settings})
  assert said in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('jit_compile', [False, pytest.param(True, marks=pytest.mark.host_xla)])
def test_steps_begin_with_their_epochs(jit_compile):
  schedule = schedules.build_learning_rate(
    0.1, 2.5, 'step', decay_factor=0.1, warmup_epochs=0, step_epochs=(1, 2, 3)
  )
  compiled = tf.function(schedule, jit_compile=jit_compile)
  got = [float(compiled(tf.constant(step, tf.int64))) for step in range(10)]
  # Epochs begin at 0, 2.5, 5 and 7.5; computed in float64 like Lua, then rounded once.
  drops = [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]
  np.testing.assert_array_equal(np.float32(got), np.float32([0.1 * 0.1**n for n in drops]))


def test_steps_after_a_warmup():
  schedule = schedules.build_learning_rate(1.0, 4, 'step', 0.1, warmup_epochs=1, step_epochs=(2,))
  assert [float(schedule(step)) for step in (0, 2, 4, 7)] == [0.0, 0.5, 1.0, 1.0]
  assert float(schedule(8)) == pytest.approx(0.1)


@pytest.mark.parametrize('step_epochs', [(30, 30), (0, 30), (60, 30)])
def test_steps_must_rise(step_epochs):
  with pytest.raises(ValueError, match='boundaries must be rising positive numbers'):
    schedules.build_learning_rate(0.1, 10, 'step', warmup_epochs=0, step_epochs=step_epochs)

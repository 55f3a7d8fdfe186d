"""Tasks in the trainer: on one replica, on two replicas of a process, on two workers."""
import contextlib
import json

import numpy as np
import pytest
import tensorflow as tf

from tests import local_cluster
from tests.tpu_utils import toy_tasks
from tpu_utils.trainer import Task

pytestmark = pytest.mark.slow

KINDS = ('one', 'two', 'chief', 'other')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp('contract')


@pytest.fixture(scope='module')
def found(folder, two_replicas):
  """Returns {strategy: results of the tasks}; 'chief' and 'other' are workers of one job."""
  with contextlib.ExitStack() as stack:
    workers = local_cluster.start(stack, [['-m', 'tests.tpu_utils.toy_tasks', str(folder)]] * 2)
    results = {
      'one': toy_tasks.outcomes(tf.distribute.OneDeviceStrategy('CPU:0'), folder / 'one'),
      'two': toy_tasks.outcomes(two_replicas, folder / 'two'),
    }
    for worker in workers:
      _, err = worker.communicate(timeout=900)
      assert worker.returncode == 0, err
  for number, kind in enumerate(('chief', 'other')):
    results[kind] = json.loads((folder / f'{number}.json').read_text())
  return results


def history(folder):
  return [json.loads(line) for line in (folder / 'eval' / 'results.jsonl').read_text().splitlines()]


@pytest.mark.parametrize('kind', KINDS)
def test_rows_come_in_order_without_padding(found, kind):
  rows = found[kind]['rows']
  assert rows['row'] == list(range(toy_tasks.NUM_EVAL))
  pairs = toy_tasks.Pairs()
  assert [bool(r) for r in rows['relevant']] == (pairs.relevant > 0.5).tolist()
  kernel = np.linspace(-1, 1, 4, dtype='float32')
  np.testing.assert_allclose(rows['score'], pairs.images @ kernel, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_a_metric_may_use_all_rows(found, kind):
  results = found[kind]['results']
  pairs = toy_tasks.Pairs()
  scores = pairs.images @ np.linspace(-1, 1, 4, dtype='float32')
  shape = (toy_tasks.QUERIES, toy_tasks.CANDIDATES)
  best = scores.reshape(shape).argmax(1)
  recall = pairs.relevant.reshape(shape)[np.arange(toy_tasks.QUERIES), best].mean()
  error = np.square(scores - pairs.relevant).mean()
  assert results['squared_error'] == pytest.approx(error, rel=1e-5)
  if kind == 'other':  # Only the chief calls `summarize`.
    assert 'recall_at_1' not in results
  else:
    assert results['recall_at_1'] == pytest.approx(recall) and 0 < recall < 1


@pytest.mark.parametrize('kind', KINDS)
def test_a_task_learns_from_a_reward_of_the_host(found, kind):
  rewards = found[kind]['rewards']
  assert rewards[0] < 0.75
  assert rewards[-1] > 0.9
  assert found[kind]['greedy'] == {'greedy': 1}  # Without rollout: no loss, no reward.


def test_workers_learn_the_same_policy(found):
  assert found['chief']['policy'] == found['other']['policy']


@pytest.mark.parametrize('kind', KINDS)
def test_a_loss_may_depend_on_the_step(found, kind):
  assert found[kind]['late_steps'] == [0, 1, 2, 3]
  assert found[kind]['late_evaluation'] == 4
  kernels = found[kind]['late_kernels']
  start = np.linspace(-1, 1, 4, dtype='float32').tolist()
  assert kernels[0] == kernels[1] == start
  assert kernels[1] != kernels[2] != kernels[3]


@pytest.mark.parametrize('kind', KINDS)
def test_an_evaluator_may_choose_the_best_checkpoint(found, folder, kind):
  assert found[kind]['best'] == 'model.ckpt-4'
  entries = history(folder / {'chief': 'workers', 'other': 'workers'}.get(kind, kind))
  assert [entry['step'] for entry in entries] == [2, 4, 6]
  assert [entry['nearness'] for entry in entries] == [-2, 0, -2]
  assert entries[2]['loss'] < entries[1]['loss'] < entries[0]['loss']
  assert {entry['seen'] for entry in entries} == {toy_tasks.NUM_EVAL}
  assert all('recall_at_1' in entry for entry in entries)


# ---- a single step


def test_step_fn_updates_like_train():
  pairs, ends = toy_tasks.Pairs(), []
  context = tf.distribute.InputContext()
  dataset = pairs.train_dataset(context, 0)
  for alone in (False, True):
    trainer = toy_tasks.make_trainer(
      tf.distribute.OneDeviceStrategy('CPU:0'), toy_tasks.recall_task()
    )
    if alone:
      step = trainer.step_fn(dataset.element_spec)
      logs = step(next(iter(dataset)), tf.constant(0, tf.int64)).numpy()
      loss = logs[0, 0] / logs[0, 1]
    else:
      loss = trainer.train(trainer.train_iterator(lambda context: dataset), 1)['loss']
    ends.append((loss, trainer.model.get_layer('score').kernel.numpy()))
  assert ends[0][0] == pytest.approx(ends[1][0])
  np.testing.assert_array_equal(ends[0][1], ends[1][1])


def test_step_fn_traces_from_the_signature_alone(two_replicas):
  """Checks both steps, on one replica and on two; compiled by XLA on one."""
  pairs = toy_tasks.Pairs()
  context = tf.distribute.InputContext()
  one_device = tf.distribute.OneDeviceStrategy('CPU:0')
  specs = {
    True: pairs.train_dataset(context, 0).element_spec,
    False: pairs.eval_dataset(context).element_spec,
  }
  for strategy in (one_device, two_replicas):
    trainer = toy_tasks.make_trainer(strategy, toy_tasks.recall_task())
    for training, spec in specs.items():
      concrete = trainer.step_fn(spec, training=training).get_concrete_function()
      assert concrete.graph.get_operations()
  batch = next(iter(pairs.train_dataset(context, 0)))
  trainer = toy_tasks.make_trainer(one_device, toy_tasks.recall_task())
  compiled = trainer.step_fn(specs[True], jit_compile=True)
  text = compiled.experimental_get_compiler_ir(batch, tf.constant(0, tf.int64))(stage='stablehlo')
  assert 'stablehlo' in text


# ---- refusals


def test_a_missing_function_of_a_task_is_named():
  task = Task({'squared_error': toy_tasks.squared_error})
  trainer = toy_tasks.make_trainer(tf.distribute.OneDeviceStrategy('CPU:0'), task)
  with pytest.raises(ValueError, match='Task.predict is missing'):
    trainer.predict(toy_tasks.Pairs().eval_dataset)
  with pytest.raises(ValueError, match='summarize needs predict'):
    Task({}, summarize=len)
  with pytest.raises(ValueError, match='rollout and reward need each other'):
    Task({}, reward=len)


def test_a_reward_of_another_length_is_refused():
  task = toy_tasks.reward_task()
  task = Task(task.losses, rollout=task.rollout, reward=lambda rows: {'reward': np.ones(3)})
  trainer = toy_tasks.make_trainer(tf.distribute.OneDeviceStrategy('CPU:0'), task, units=3)
  with pytest.raises(ValueError, match=r'Task.reward: reward has shape \(3,\); .* 32 rows'):
    trainer.train(trainer.train_iterator(toy_tasks.contexts), 1)


def test_a_metric_name_that_is_taken_is_refused():
  task = toy_tasks.recall_task()
  task = Task(task.losses, predict=task.predict, summarize=lambda rows: {'squared_error': 1})
  trainer = toy_tasks.make_trainer(tf.distribute.OneDeviceStrategy('CPU:0'), task)
  message = "Task.summarize: the metric 'squared_error' is there already"
  with pytest.raises(ValueError, match=message):
    trainer.evaluate(toy_tasks.Pairs().eval_dataset)

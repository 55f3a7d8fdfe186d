"""Pre-training on replicas and in bfloat16."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import job, modeling, script_settings
from oscar.datasets import builders
from oscar.input import pretrain, pretrain_batch
from oscar.tasks.pretrain import pretrain_task
from tests.oscar import loaders

OPTIONS = pretrain_batch.PretrainOptions(
  max_seq_length=18, max_img_seq_length=3, texta_false_prob=0.25, gather_masked=True
)
SMALL = {
  'vocab_size': 400, 'hidden_size': 32, 'num_hidden_layers': 2, 'num_attention_heads': 2,
  'intermediate_size': 64, 'num_contrast_classes': 3, 'hidden_dropout_prob': 0.0,
  'attention_probs_dropout_prob': 0.0,
}  # fmt: skip


@pytest.fixture(scope='module')
def source(tmp_path_factory, tokenizer):
  folder = str(tmp_path_factory.mktemp('pretrain'))
  for part in ('documents', 'regions'):
    builders.prepare('pretrain', str(loaders.DATA / 'pretrain'), folder, part)
  return pretrain.PretrainInput(
    folder, tokenizer, OPTIONS, train_batch_size=8, eval_batch_size=8, train_split='pretrain',
    eval_split='pretrain',
  )  # fmt: skip


def train(source, strategy, steps=4, dtype_policy=None, **settings):
  """Returns (trainer, logs) after some steps of a small model."""
  settings = {'learning_rate': 1e-3, 'max_grad_norm': 1.0, **settings}
  keras.utils.set_random_seed(0)
  with strategy.scope():
    model = modeling.build_model(oscar.OscarConfig(**SMALL), 'pretrain', dtype_policy=dtype_policy)
  trainer = job.make_trainer(
    strategy, model, pretrain_task(), script_settings.OptimizationConfig(**settings), train_steps=8
  )
  iterator = trainer.train_iterator(lambda context: source.train_dataset(context, 0))
  return trainer, trainer.train(iterator, steps)


@pytest.fixture(scope='module')
def one(source):
  return train(source, tf.distribute.OneDeviceStrategy('CPU:0'))


@pytest.mark.slow
def test_two_replicas_give_the_numbers_of_one(source, one, two_replicas):
  expected, logs = one
  found, other_logs = train(source, two_replicas)
  for name in logs:
    if name != 'input_wait':
      np.testing.assert_allclose(other_logs[name], logs[name], rtol=1e-5, err_msg=name)
  values = found.variables()
  for name, variable in expected.variables().items():
    if 'attention_self_key/bias' in name:  # Its true gradient is zero.
      continue
    np.testing.assert_allclose(values[name].numpy(), variable.numpy(), atol=2e-5, err_msg=name)
  results, others = (trainer.evaluate(source.eval_dataset) for trainer in (expected, found))
  for name, result in results.items():
    np.testing.assert_allclose(others[name], result, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_accumulation_equals_the_official_micro_batches(source, one):
  """Each part's loss is the mean over its own words; the parts' means are averaged."""
  parts, logs = train(
    source, tf.distribute.OneDeviceStrategy('CPU:0'), steps=1, gradient_accumulation_steps=2
  )
  assert np.isfinite(logs['loss']) and parts.step == 1
  batch = next(iter(source.train_dataset()))
  keras.utils.set_random_seed(0)
  model = modeling.build_model(oscar.OscarConfig(**SMALL), 'pretrain')
  names = [tensor.name for tensor in model.inputs]
  terms = []
  for half in (slice(0, 4), slice(4, 8)):
    rows = {name: value[half] for name, value in batch.items()}
    outputs = model({name: rows[name] for name in names})
    task = pretrain_task()
    sums = [term(outputs, rows, 0) for term in task.losses.values()]
    terms.append([float(total / weight) for total, weight in sums])
  np.testing.assert_allclose(logs['loss'], np.sum(np.mean(terms, axis=0)), rtol=1e-5)


@pytest.mark.slow
def test_bfloat16_learns_about_the_same(source, one):
  _, logs = one
  trainer, other = train(
    source, tf.distribute.OneDeviceStrategy('CPU:0'), dtype_policy='mixed_bfloat16'
  )
  assert {v.dtype for v in trainer.model.trainable_variables} == {'float32'}
  assert trainer.model.bert.layers[0].query.compute_dtype == 'bfloat16'
  np.testing.assert_allclose(other['loss'], logs['loss'], rtol=5e-3)

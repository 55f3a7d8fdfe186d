"""VQA through the trainer: official losses, gradients, steps and score; schedules; results."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from oscar import checkpoint_names as names
from oscar import job, run_vqa, script_settings, task_settings
from oscar.tasks import vqa
from tests.oscar import golden_models, loaders
from tpu_utils.optimizers import build_optimizer
from tpu_utils.trainer import Trainer

INPUTS = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')
NO_DROPOUT = {'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0}
HEADS = {
  'vqa_linear': {'classifier': 'linear'},
  'vqa_mlp2': {'classifier': 'mlp', 'cls_hidden_scale': 2},
  'vqa_mlp3': {'classifier': 'mlp', 'cls_hidden_scale': 3},
}


def one_device():
  return tf.distribute.OneDeviceStrategy('CPU:0')


def trainer_of(data, **overrides):
  strategy = one_device()
  with strategy.scope():
    model = golden_models.build('vqa', **NO_DROPOUT, **overrides)
  return Trainer(strategy, model, vqa.vqa_task(data), build_optimizer('adamw'), lambda step: 0.0)


def batch_of(z):
  batch = golden_models.inputs(z, *INPUTS, prefix='vqa/')
  return batch | {
    'targets': z['vqa/targets'],
    'labels': z['vqa/hard_labels'].ravel(),
    'row': np.arange(6),
  }


def step_once(trainer, batch):
  dataset = tf.data.Dataset.from_tensors(batch).repeat()
  return trainer.train(trainer.train_iterator(lambda context: dataset), 1)


@pytest.mark.parametrize('variant', HEADS)
@pytest.mark.parametrize('loss_type', ['bce', 'xe'])
def test_losses_score_and_gradients_are_the_official_ones(variant, loss_type):
  z = golden_models.load('task_heads.npz')
  trainer = trainer_of(task_settings.VqaData(loss_type=loss_type), num_labels=7, **HEADS[variant])
  batch = batch_of(z)
  logs = step_once(trainer, batch)
  np.testing.assert_allclose(logs['loss'], z[f'vqa/{variant}/{loss_type}_loss'], rtol=1e-5)
  expected = z[f'vqa/{variant}/score_per_example'].mean()
  np.testing.assert_allclose(logs['vqa_score'], expected, rtol=1e-6)
  if loss_type == 'bce':
    norms = golden_models.load('task_heads_grad_norms.json')[f'vqa/{variant}']
    total = np.sqrt(sum(norm**2 for norm, _ in norms.values()))
    np.testing.assert_allclose(logs['gradient_norm'], total, rtol=1e-5)
  rows = trainer.predict(lambda context: tf.data.Dataset.from_tensors(batch))
  assert rows['label'].tolist() == z[f'vqa/{variant}/logits'].argmax(1).tolist()


def test_the_kl_loss_is_the_official_one():
  z = golden_models.load('task_heads.npz')
  batch = batch_of(z)
  targets = np.zeros([6, 3129], np.float32)
  targets[tuple(z['vqa_kl/target_index'].T)] = z['vqa_kl/target_value']
  batch['targets'] = targets
  trainer = trainer_of(task_settings.VqaData(loss_type='kl'), num_labels=3129)
  np.testing.assert_allclose(step_once(trainer, batch)['loss'], z['vqa_kl/kl_loss'], rtol=1e-5)
  trainer = trainer_of(task_settings.VqaData(loss_type='bce'), num_labels=3129)
  expected = z['vqa_kl/bce_loss_same_targets']
  np.testing.assert_allclose(step_once(trainer, batch)['loss'], expected, rtol=1e-5)


def test_the_loss_becomes_bce_at_its_epoch():
  z = golden_models.load('task_heads.npz')
  batch = batch_of(z)
  flags = {'loss_type': 'xe', 'adjust_loss': True, 'adjust_loss_epoch': 2}
  data = task_settings.VqaData(**flags)
  object.__setattr__(data, 'steps_per_epoch', 3)
  trainer = trainer_of(data, num_labels=7)
  dataset = tf.data.Dataset.from_tensors(batch).repeat()
  iterator = trainer.train_iterator(lambda context: dataset)
  found = [trainer.train(iterator, 1)['loss'] for _ in range(8)]
  expected = [z[f'vqa/vqa_linear/{name}_loss'] for name in ('xe', 'bce')]
  np.testing.assert_allclose(found, np.repeat(expected, [6, 2]), rtol=1e-4)
  from_the_start = dataclasses.replace(data, adjust_loss_epoch=-1)
  trainer = trainer_of(from_the_start, num_labels=7)
  np.testing.assert_allclose(step_once(trainer, batch)['loss'], expected[1], rtol=1e-5)


def test_dropout_changes_in_the_fourth_epoch():
  data = task_settings.VqaData(adjust_dp=True, train_batch_size=4)
  object.__setattr__(data, 'steps_per_epoch', 5)
  rate = vqa.dropout_schedule(data, 0.1)
  found = [round(float(rate(tf.constant(4 * step, tf.int64))), 6) for step in (0, 14, 15, 40)]
  assert found == [0.1, 0.1, 0.3, 0.3]


def test_the_dropout_rate_of_a_batch_replaces_the_embeddings_only():
  z = golden_models.load('task_heads.npz')
  batch = golden_models.inputs(z, *INPUTS, prefix='vqa/')
  model = golden_models.build('vqa', num_labels=7, **NO_DROPOUT)
  clean = model(batch)['logits']
  for rate, same in ((0.0, True), (0.5, False)):
    rates = np.full(6, rate, np.float32)
    dropped = tf.function(lambda x: model(x, training=True)['logits'])(
      batch | {'dropout_rate': tf.constant(rates)}
    )
    assert np.allclose(dropped, clean, atol=1e-5) == same
  assert 'dropout_rate' not in model.input
  model.takes_dropout_rate = True
  assert list(model.input)[-1] == 'dropout_rate'


@pytest.mark.parametrize('mode', ['warmup2_official', 'warmup0_official', 'constant_warmup2'])
def test_six_steps_of_the_script_are_the_official_ones(mode):
  """Flags of the script, its task and its optimizer."""
  z, run = golden_models.load('optimizer.npz'), golden_models.load('optimizer.json')[mode]
  wanted = run['settings']
  resolved = run_vqa.SCRIPT.resolve(
    {
      'data_dir': 'x', 'model_dir': 'y', 'loss_type': 'bce', 'learning_rate': wanted['lr'],
      'warmup_steps': wanted['warmup_steps'], 'weight_decay': wanted['wd'],
      'scheduler': 'constant' if 'constant' in mode else 'linear',
    }
  )  # fmt: skip
  data, flags = resolved.get(task_settings.VqaData), resolved.get(task_settings.OptimizationConfig)
  fields = [field.name for field in dataclasses.fields(script_settings.OptimizationConfig)]
  optimization = script_settings.OptimizationConfig(**{f: getattr(flags, f) for f in fields})
  strategy = one_device()
  with strategy.scope():
    model = golden_models.build(
      'vqa', num_labels=7, classifier='mlp', cls_hidden_scale=3, **NO_DROPOUT
    )
  trainer = job.make_trainer(strategy, model, vqa.vqa_task(data), optimization, wanted['T'])
  batches = [
    golden_models.inputs(z, *INPUTS, 'targets', prefix=f'step{number}/') for number in range(1, 7)
  ]
  columns = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
  dataset = tf.data.Dataset.from_tensor_slices(columns)
  iterator = trainer.train_iterator(lambda context: dataset)
  for number, expected in enumerate(run['steps'], start=1):
    logs = trainer.train(iterator, 1)
    np.testing.assert_allclose(logs['learning_rate'], expected['lr_used'], rtol=1e-6)
    np.testing.assert_allclose(logs['loss'], expected['loss'], rtol=1e-5)
    np.testing.assert_allclose(logs['gradient_norm'], expected['grad_norm_before_clip'], rtol=1e-4)
    if f'{mode}/after{number}/bert.pooler.dense.bias' in z:
      for variable in model.trainable_variables:
        compare(variable, z[f'{mode}/after{number}/{names.torch_name(variable.path)}'])


def compare(variable, expected):
  # Its true gradient is zero, so Adam makes steps of full size from rounding noise.
  if 'attention_self_key/bias' in variable.path:
    return
  value = variable.numpy().astype('float64')
  value = value.T if variable.path.endswith('kernel') else value
  found = [value.mean(), value.std(), np.linalg.norm(value), *value.ravel()[:8]]
  np.testing.assert_allclose(found, expected, atol=2e-6, rtol=0, err_msg=variable.path)


# ---- metrics over a split, and result files


def annotations(folder):
  rows = json.loads((folder / 'val2014_qla_mrcnn.json').read_text())
  texts = {5000: ['red'] * 10, 5001: ['yes'] * 3 + ['no'] * 7, 5010: ['dog'] * 10}
  made = [
    {
      'question_id': row['q_id'], 'answer_type': 'other', 'multiple_choice_answer': 'red',
      'answers': [{'answer': answer} for answer in texts.get(row['q_id'], ['unknown'] * 10)],
    }
    for row in rows
  ]  # fmt: skip
  path = folder / 'v2_mscoco_val2014_annotations.json'
  path.write_text(json.dumps({'annotations': made}))


def flags_of(folder, **more):
  return task_settings.VqaData(
    data_dir=str(folder), data_label_type='mask', eval_split='val', **more
  )


def made_for(answers):
  ids = (5000, 5001, 5010)
  return [{'question_id': i, 'answer': answer} for i, answer in zip(ids, answers, strict=True)]


def test_score_and_accuracy_of_a_split_are_both_named(data, tmp_path):
  annotations(data / 'vqa')
  flags = flags_of(data / 'vqa', annotations_dir=str(data / 'vqa'))
  path = tmp_path / 'val_results.json'
  found = vqa.write_results(flags, made_for(['red', 'yes', 'red']), str(path))
  # Of four questions one has no known answer: Oscar leaves it out, the official evaluation not.
  assert found['vqa_score'] == pytest.approx((1 + 0.9 + 0) / 3)
  assert found['vqa_accuracy'] == pytest.approx((1 + 0.9 + 0) / 4)
  assert json.loads(path.read_text())[1] == {'question_id': 5001, 'answer': 'yes'}


def test_scores_by_kind_where_the_rows_name_it(data, tmp_path):
  path = data / 'vqa' / 'val2014_qla_mrcnn.json'
  loaders.edit(path, lambda rows: [row.update(kind=f'kind{row["q_id"] % 10}') for row in rows])
  found = vqa.write_results(
    flags_of(data / 'vqa'), made_for(['red', 'yes', 'two']), str(tmp_path / 'r.json')
  )
  assert found['vqa_score_kind1'] == pytest.approx(0.3) and found['vqa_score_kind0'] > 0.7
  assert 'vqa_accuracy' not in found


def test_no_result_file_for_predictions_of_another_split(data, tmp_path):
  path = tmp_path / 'val_results.json'
  with pytest.raises(ValueError, match='1 questions without prediction'):
    vqa.write_results(flags_of(data / 'vqa'), made_for(['red', 'yes', 'two'])[:2], str(path))
  assert not path.exists()

"""VQA through the trainer: official losses, gradients, steps and score; schedules; results."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from oscar import checkpoint_names as names
from oscar import job, losses, run_vqa, script_settings, task_settings
from oscar.tasks import kept, vqa
from tests.oscar import golden_models, loaders

INPUTS = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')
NO_DROPOUT = {'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0}
HEADS = {
  'vqa_linear': {'classifier': 'linear'},
  'vqa_mlp2': {'classifier': 'mlp', 'cls_hidden_scale': 2},
  'vqa_mlp3': {'classifier': 'mlp', 'cls_hidden_scale': 3},
}


def one_device():
  return tf.distribute.OneDeviceStrategy('CPU:0')


def batch_of(z):
  batch = golden_models.inputs(z, *INPUTS, prefix='vqa/')
  return batch | {
    'targets': z['vqa/targets'],
    'labels': z['vqa/hard_labels'].ravel(),
    'row': np.arange(6),
  }


def loss_of(loss_type, outputs, batch, step=0, **flags):
  data = task_settings.VqaData(loss_type=loss_type, **flags)
  object.__setattr__(data, 'steps_per_epoch', 3)
  return losses.mean(vqa.vqa_task(data).losses['answer_loss'](outputs, batch, step))


@pytest.mark.parametrize('variant', HEADS)
def test_losses_score_and_gradients_are_the_official_ones(variant):
  z = golden_models.load('task_heads.npz')
  model = golden_models.build('vqa', num_labels=7, **NO_DROPOUT, **HEADS[variant])
  batch = batch_of(z)
  with tf.GradientTape() as tape:
    outputs = model({name: batch[name] for name in INPUTS})
    loss = loss_of('bce', outputs, batch)
  np.testing.assert_allclose(outputs['logits'], z[f'vqa/{variant}/logits'], atol=1e-4)
  np.testing.assert_allclose(loss, z[f'vqa/{variant}/bce_loss'], rtol=1e-5)
  np.testing.assert_allclose(
    loss_of('xe', outputs, batch), z[f'vqa/{variant}/xe_loss'], rtol=1e-5
  )
  total, count = vqa.score(outputs, batch, 0)
  np.testing.assert_allclose(total, z[f'vqa/{variant}/score_per_example'].sum(), rtol=1e-6)
  assert count == 6
  rows = vqa.vqa_task(task_settings.VqaData()).predict(outputs, batch)
  assert rows['label'].numpy().tolist() == z[f'vqa/{variant}/logits'].argmax(1).tolist()
  norms = golden_models.load('task_heads_grad_norms.json')[f'vqa/{variant}']
  gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
  for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
    expected, _ = norms[names.torch_name(variable.path)]
    norm = np.linalg.norm(tf.convert_to_tensor(gradient))
    np.testing.assert_allclose(norm, expected, rtol=1e-4, atol=1e-6, err_msg=variable.path)


def test_the_kl_loss_is_the_official_one():
  z = golden_models.load('task_heads.npz')
  targets = np.zeros([6, 3129], np.float32)
  targets[tuple(z['vqa_kl/target_index'].T)] = z['vqa_kl/target_value']
  outputs, batch = {'logits': tf.constant(z['vqa_kl/logits'])}, {'targets': targets}
  np.testing.assert_allclose(loss_of('kl', outputs, batch), z['vqa_kl/kl_loss'], rtol=1e-5)
  expected = z['vqa_kl/bce_loss_same_targets']
  np.testing.assert_allclose(loss_of('bce', outputs, batch), expected, rtol=1e-5)


def test_the_loss_becomes_bce_at_its_epoch():
  z = golden_models.load('task_heads.npz')
  outputs, batch = {'logits': tf.constant(z['vqa/vqa_linear/logits'])}, batch_of(z)
  flags = {'adjust_loss': True, 'adjust_loss_epoch': 2}
  found = [loss_of('xe', outputs, batch, step, **flags) for step in range(8)]
  expected = [z[f'vqa/vqa_linear/{name}_loss'] for name in ('xe', 'bce')]
  np.testing.assert_allclose(found, np.repeat(expected, [6, 2]), rtol=1e-4)
  from_the_start = loss_of('xe', outputs, batch, adjust_loss=True)
  np.testing.assert_allclose(from_the_start, expected[1], rtol=1e-5)


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
    dropped = model(batch | {'dropout_rate': tf.constant(rates)}, training=True)['logits']
    assert np.allclose(dropped, clean, atol=1e-5) == same
  assert 'dropout_rate' not in model.input
  model.takes_dropout_rate = True
  assert list(model.input)[-1] == 'dropout_rate'


@pytest.mark.slow
def test_six_steps_of_the_script_are_the_official_ones():
  """Flags of the script, its task and its optimizer."""
  mode = 'warmup2_official'  # job_test.py has the others.
  z, run = golden_models.load('optimizer.npz'), golden_models.load('optimizer.json')[mode]
  wanted = run['settings']
  resolved = run_vqa.SCRIPT.resolve(
    {
      'data_dir': 'x', 'model_dir': 'y', 'loss_type': 'bce', 'learning_rate': wanted['lr'],
      'warmup_steps': wanted['warmup_steps'], 'weight_decay': wanted['wd'],
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
  flags = flags_of(
    data / 'vqa', annotations_dir=str(data / 'vqa'), label_source='annotations'
  )
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


def test_questions_without_ids_are_scored_without_a_file(data, tmp_path, capsys):
  path, out = data / 'vqa' / 'val2014_qla_mrcnn.json', tmp_path / 'r.json'
  expected = vqa.write_results(flags_of(data / 'vqa'), made_for(['red', 'yes', 'two']), str(out))
  assert 0 < expected['vqa_score'] < 1
  out.unlink()
  kept.forget()
  loaders.edit(path, lambda rows: [row.pop('q_id') for row in rows])
  made = [{'question_id': 0, 'answer': answer} for answer in ('red', 'yes', 'two')]
  assert vqa.write_results(flags_of(data / 'vqa'), made, str(out)) == expected
  assert not out.exists() and "val2014_qla_mrcnn.json have a 'q_id'" in capsys.readouterr().out


@pytest.mark.slow
def test_two_replicas_predict_what_one_does(two_replicas, tokenizer, tiny):
  """Trimmed batches of the replicas may have different lengths."""
  data = flags_of(loaders.DATA / 'vqa', max_seq_length=30, train_batch_size=2, eval_batch_size=2)
  data = dataclasses.replace(data, eval_split='train', train_split='train')
  found = []
  for strategy in (one_device(), two_replicas):
    with strategy.scope():
      model = golden_models.oscar.build_model(
        str(tiny), 'vqa', num_labels=7, img_feature_dim=2054, **NO_DROPOUT
      )
      for variable in model.trainable_variables:
        variable.assign(golden_models.weights.value(variable.path, variable.shape))
    source = vqa._open_input(data, tokenizer, model.config, 0)
    settings = script_settings.OptimizationConfig(learning_rate=0.0)
    trainer = job.make_trainer(strategy, model, vqa.vqa_task(data, source), settings, 10)
    if strategy is two_replicas:
      trainer.train(trainer.train_iterator(source.train_dataset), 1)  # With a rate of zero.
    rows = trainer.predict(source.eval_dataset)
    found.append(rows['label'][np.argsort(rows['row'])].tolist())
  assert found[0] == found[1] and len(found[0]) == 7

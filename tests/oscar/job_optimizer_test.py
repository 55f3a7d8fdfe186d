"""AdamW, its decay groups, schedules and clipping equal the official training runs."""
import numpy as np
import pytest
import tensorflow as tf

from oscar import checkpoint_names as names
from oscar import job, losses
from tests.oscar import golden_models
from tpu_utils import optimizers, schedules

MODES = golden_models.load('optimizer.json')


def schedule_of(mode):
  settings = MODES[mode]['settings']
  order = 'optimizer_first' if settings['order'] == 'opt_first' else 'scheduler_first'
  return schedules.build_linear(
    settings['lr'], settings['T'], settings['warmup_steps'], order, decay='constant' not in mode
  )


def summary(value):
  value = value.astype('float64')
  return np.array([value.mean(), value.std(), np.linalg.norm(value), *value.ravel()[:8]])


@pytest.mark.parametrize('mode', MODES)
def test_trajectory_equals_the_official_one(mode):
  z, run = golden_models.load('optimizer.npz'), MODES[mode]
  settings = run['settings']
  model = golden_models.build('vqa', num_labels=7, classifier='mlp', cls_hidden_scale=3)
  variables = model.trainable_variables
  skip = job.undecayed(model)
  optimizer = optimizers.build_optimizer(
    'adamw', epsilon=settings['eps'], weight_decay=settings['wd'], skip=skip
  )
  optimizer.build(variables)
  assert {names.torch_name(v.path) for v in variables if optimizer.decays(v)} == set(run['decayed'])
  schedule = schedule_of(mode)

  @tf.function
  def step(inputs, targets, number):
    with tf.GradientTape() as tape:
      logits = model(inputs)['logits']
      loss = losses.mean(losses.classification(logits, targets, 'bce'))
    gradients = tape.gradient(loss, [v.value for v in variables])
    gradients, norm = optimizers.clip_by_global_norm(gradients, settings['clip'], epsilon=1e-6)
    optimizer.apply(gradients, schedule(number))
    return loss, norm

  inputs = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')
  for number, expected in enumerate(run['steps']):
    prefix = f'step{number + 1}/'
    batch = {k: tf.constant(v) for k, v in golden_models.inputs(z, *inputs, prefix=prefix).items()}
    np.testing.assert_allclose(schedule(number), expected['lr_used'], rtol=1e-6)
    loss, norm = step(batch, tf.constant(z[prefix + 'targets']), tf.constant(number, tf.int64))
    np.testing.assert_allclose(loss, expected['loss'], rtol=1e-5)
    np.testing.assert_allclose(norm, expected['grad_norm_before_clip'], rtol=1e-4)
    if f'{mode}/after{number + 1}/bert.pooler.dense.bias' in z:
      for variable in variables:
        compare(variable, z[f'{mode}/after{number + 1}/{names.torch_name(variable.path)}'])


def compare(variable, expected):
  # Its true gradient is zero, so Adam makes steps of full size from rounding noise.
  if 'attention_self_key/bias' in variable.path:
    return
  value = variable.numpy()
  found = summary(value.T if variable.path.endswith('kernel') else value)
  np.testing.assert_allclose(found, expected, atol=2e-6, rtol=0, err_msg=variable.path)


def test_the_norm_in_the_pair_classifier_decays():
  model = golden_models.build('nlvr2', classifier='mlp', use_img_layernorm=True)
  skipped = {v.path for v in job.undecayed(model)}
  assert 'classifier_2/gamma' not in skipped
  assert {'classifier_2/beta', 'bert/LayerNorm/gamma', 'bert/pooler_dense/bias'} <= skipped

"""The models of all tasks agree with the official code; precision, XLA, replicas, saving."""
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import checkpoint_names as names
from oscar import losses
from tests.oscar import golden_models
from tpu_utils import optimizers, profile, trainer

INPUTS = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')
HEADS = {
  'vqa_linear': {'num_labels': 7},
  'vqa_mlp2': {'num_labels': 7, 'classifier': 'mlp'},
  'vqa_mlp3': {'num_labels': 7, 'classifier': 'mlp', 'cls_hidden_scale': 3},
  'nlvr2_pair_linear': {},
  'nlvr2_pair_mlp2': {'classifier': 'mlp'},
  'nlvr2_pair_mlp3': {'classifier': 'mlp', 'cls_hidden_scale': 3},
}


@pytest.fixture(scope='module')
def pretraining():
  return golden_models.load('pretraining.npz')


@pytest.fixture(scope='module')
def heads():
  return golden_models.load('task_heads.npz')


def gradients(tape, loss, model):
  """Returns {torch name: gradient in Keras layout, or None}."""
  variables = model.trainable_variables
  found = tape.gradient(loss, [v.value for v in variables])
  return {
    names.torch_name(v.path): None if g is None else tf.convert_to_tensor(g).numpy()
    for v, g in zip(variables, found, strict=True)
  }


def assert_norms_agree(found, expected):
  """Compares with {name: [L2 norm, sum]}; None means no gradient."""
  for name, gradient in found.items():
    if expected[name] is None:
      assert gradient is None, name
      continue
    norm = np.linalg.norm(gradient.astype('float64'))
    np.testing.assert_allclose(norm, expected[name][0], rtol=1e-4, atol=1e-6, err_msg=name)
  left = {name for name, value in expected.items() if value is not None} - set(found)
  assert left <= {'__total_norm__'}


def pretraining_losses(*args):
  found = {name: losses.mean(term) for name, term in losses.pretraining(*args).items()}
  return {**found, 'loss': sum(found.values())}


@pytest.mark.parametrize('classes', [2, 3])
def test_pretraining_agrees_with_official_code(pretraining, classes):
  z, prefix = pretraining, f'c{classes}/'
  model = golden_models.build('pretrain', num_contrast_classes=classes)
  with tf.GradientTape() as tape:
    outputs = model(golden_models.inputs(z, *INPUTS))
    found = pretraining_losses(outputs, z['masked_lm_labels'], z[prefix + 'next_sentence_label'])
  for name in ('prediction_scores', 'seq_relationship_score'):
    np.testing.assert_allclose(outputs[name], z[prefix + name], atol=1e-4, rtol=0)
  for name, loss in found.items():
    np.testing.assert_allclose(loss, z[prefix + name], atol=1e-5)
  found = gradients(tape, found['loss'], model)
  expected = golden_models.load('pretraining_grad_norms.json')[f'c{classes}']
  assert_norms_agree(found, expected)
  for key in (k for k in z.files if k.startswith(prefix + 'grad/')):
    gradient = found[key.rsplit('/', 1)[1]]
    if 'rows0_40' in key:
      gradient = gradient[:40]
    elif gradient.ndim == 2 and not key.endswith('embeddings.weight'):
      gradient = gradient.T
    np.testing.assert_allclose(gradient, z[key], atol=1e-5, err_msg=key)


def test_masked_positions_give_the_same_scores_loss_and_gradients(pretraining):
  z = pretraining
  model = golden_models.build('pretrain')
  inputs = golden_models.inputs(z, *INPUTS)
  labels = z['masked_lm_labels']
  most = (labels >= 0).sum(1).max() + 1  # With padding in every row.
  positions = np.zeros((len(labels), most), 'int32')
  gathered = np.full((len(labels), most), -1)
  for row, wanted in enumerate(labels):
    where = np.flatnonzero(wanted >= 0)
    positions[row, : len(where)] = where
    gathered[row, : len(where)] = wanted[where]
  with tf.GradientTape() as tape:
    outputs = model({**inputs, 'masked_positions': positions})
    loss = pretraining_losses(outputs, gathered, z['c2/next_sentence_label'])['loss']
  expected = np.take_along_axis(z['c2/prediction_scores'], positions[..., None], axis=1)
  np.testing.assert_allclose(outputs['prediction_scores'], expected, atol=1e-4, rtol=0)
  np.testing.assert_allclose(loss, z['c2/loss'], atol=1e-5)
  expected = golden_models.load('pretraining_grad_norms.json')['c2']
  assert_norms_agree(gradients(tape, loss, model), expected)


@pytest.mark.parametrize('variant', HEADS)
def test_classification_agrees_with_official_code(heads, variant):
  task = variant.split('_')[0]
  model = golden_models.build(task, **HEADS[variant])
  targets, loss_type = ('targets', 'bce') if task == 'vqa' else ('labels', 'xe')
  with tf.GradientTape() as tape:
    logits = model(golden_models.inputs(heads, *INPUTS, prefix=f'{task}/'))['logits']
    loss = losses.mean(
      losses.classification(logits, heads[f'{task}/{targets}'], loss_type)
    )
  np.testing.assert_allclose(logits, heads[f'{task}/{variant}/logits'], atol=1e-4, rtol=0)
  expected = heads[f'{task}/{variant}/{"bce_loss" if task == "vqa" else "loss"}']
  np.testing.assert_allclose(loss, expected, rtol=1e-5)
  norms = golden_models.load('task_heads_grad_norms.json')[f'{task}/{variant}']
  assert_norms_agree(gradients(tape, loss, model), norms)


@pytest.mark.parametrize('scale', [2, 3])
def test_pairs_with_image_layer_norm_agree_with_official_code(heads, scale):
  """Such models have a layer norm inside the NLVR2 classifier, too."""
  z, prefix = golden_models.load('image_layernorm.npz'), f'nlvr2_pair_mlp{scale}/'
  settings = {'use_img_layernorm': True, 'img_layer_norm_eps': 1e-5}
  model = golden_models.build('nlvr2', classifier='mlp', cls_hidden_scale=scale, **settings)
  with tf.GradientTape() as tape:
    logits = model(golden_models.inputs(heads, *INPUTS, prefix='nlvr2/'))['logits']
    loss = losses.mean(losses.classification(logits, heads['nlvr2/labels'], 'xe'))
  np.testing.assert_allclose(logits, z[prefix + 'logits'], atol=1e-4, rtol=0)
  np.testing.assert_allclose(loss, z[prefix + 'loss'], rtol=1e-5)
  found = gradients(tape, loss, model)
  for key in (k for k in z.files if k.startswith(prefix + 'grad/')):
    gradient = found[key.rsplit('/', 1)[1]]
    np.testing.assert_allclose(gradient.T, z[key], atol=1e-5, err_msg=key)


@pytest.mark.parametrize(
  ('task', 'labels', 'expected', 'mask'),
  [
    ('gqa', 9, 'gqa/logits', 'vqa/attention_mask'),
    ('vqa', 3129, 'vqa_kl/logits', 'vqa/attention_mask'),
    ('retrieval', 2, 'retrieval/logits', 'vqa/attention_mask'),
    ('retrieval', 2, 'retrieval/mask3d_logits', 'retrieval/mask3d'),
    ('retrieval', 1, 'retrieval_regression/logits', 'vqa/attention_mask'),
  ],
)
def test_other_heads_agree_with_official_code(heads, task, labels, expected, mask):
  model = golden_models.build(task, num_labels=labels)
  inputs = golden_models.inputs(heads, *INPUTS, prefix='vqa/')
  logits = model({**inputs, 'attention_mask': heads[mask]})['logits']
  np.testing.assert_allclose(logits, heads[expected], atol=1e-4, rtol=0)


@pytest.mark.parametrize('variant', ['captioning_tied', 'captioning_untied'])
@pytest.mark.parametrize('batch', ['od', 'nood'])
def test_captioning_agrees_with_official_code(variant, batch):
  z = golden_models.load('caption_training.npz')
  tied = variant == 'captioning_tied'
  model = golden_models.build('captioning', tie_weights=tied, freeze_embedding=tied)
  keys = ('input_ids', 'attention_mask', 'img_feats')
  inputs = golden_models.inputs(z, *keys, prefix=f'{batch}/batch/')
  inputs['token_type_ids'] = z[f'{batch}/batch/segment_ids']
  everywhere = model({k: v[:3] for k, v in inputs.items()})
  expected = z[f'{variant}/{batch}/all_position_logits']
  np.testing.assert_allclose(everywhere['logits'], expected, atol=1e-4, rtol=0)

  masked_ids = z[f'{batch}/batch/masked_ids'].astype('int32')
  positions = np.zeros_like(masked_ids)
  for row, masked in enumerate(z[f'{batch}/batch/masked_pos']):
    where = np.flatnonzero(masked)
    positions[row, : len(where)] = where
  with tf.GradientTape() as tape:
    logits = model({**inputs, 'masked_positions': positions})['logits']
    loss = losses.mean(losses.captioning(logits, masked_ids, 0.1, 0.2))
  expected = z[f'{variant}/{batch}/class_logits']
  np.testing.assert_allclose(logits.numpy()[masked_ids != 0], expected, atol=1e-4, rtol=0)
  case = f'{variant}/{batch}/ls0.1_dw0.2_after0'
  np.testing.assert_allclose(loss, z[f'{case}/loss'], rtol=1e-5)
  norms = golden_models.load('caption_training_grad_norms.json')[case]
  assert_norms_agree(gradients(tape, loss, model), norms)


VARIANTS = {
  **HEADS,
  'pretrain_c2': {},
  'pretrain_c3': {'num_contrast_classes': 3},
  'gqa_linear': {'num_labels': 9},
  'retrieval': {},
  'retrieval_regression': {'num_labels': 1},
  'nlvr2_single_linear': {'use_pair': False},
  'captioning_tied': {'tie_weights': True, 'freeze_embedding': True},
  'captioning_untied': {},
}


def count(variables):
  return sum(int(np.prod(v.shape)) for v in variables)


@pytest.mark.parametrize('norm', [False, True])
@pytest.mark.parametrize('variant', VARIANTS)
def test_variables_are_the_official_ones(variant, norm):
  official = golden_models.load('state_dict_names.json')
  kind = 'imgln' if norm else 'noln'
  entry = official['variants'][f'tiny/{variant}/{kind}']
  expected = {**official['encoder'][f'tiny/{kind}'], **entry['head']}
  if variant != 'captioning_untied':
    expected.pop('cls.predictions.decoder.weight', None)  # The word embedding.
  config = oscar.OscarConfig(**golden_models.CONFIG, use_img_layernorm=norm, **VARIANTS[variant])
  model = oscar.build_model(config, variant.split('_')[0])
  found = {
    names.torch_name(v.path): list(v.shape)[:: -1 if v.path.endswith('kernel') else 1]
    for v in model.variables
    if 'seed_generator' not in v.path
  }
  assert found == expected
  assert model.count_params() == entry['n_params_unique']
  assert count(model.trainable_variables) == entry['n_trainable']


@pytest.mark.slow
@pytest.mark.parametrize('size', ['base', pytest.param('large', marks=pytest.mark.slow)])
def test_parameter_counts(size):
  entries = golden_models.load('state_dict_names.json')['variants']
  model = oscar.build_model(size, 'pretrain', use_img_layernorm=True, num_contrast_classes=3)
  assert model.count_params() == entries[f'{size}/pretrain_c3/imgln']['n_params_unique']


def test_saving_keeps_outputs_and_settings(tmp_path, heads):
  model = golden_models.build('nlvr2', classifier='mlp', use_img_layernorm=True)
  inputs = golden_models.inputs(heads, *INPUTS, prefix='nlvr2/')
  model.save(tmp_path / 'model.keras')
  loaded = keras.saving.load_model(tmp_path / 'model.keras')
  assert loaded.config == model.config
  np.testing.assert_array_equal(loaded(inputs)['logits'], model(inputs)['logits'])


def test_mixed_precision_keeps_float32_variables_and_logits(pretraining):
  z = pretraining
  model = golden_models.build('pretrain', dtype_policy='mixed_bfloat16')
  assert {v.dtype for v in model.trainable_variables} == {'float32'}
  outputs = model(golden_models.inputs(z, *INPUTS))
  assert outputs['sequence_output'].dtype == 'bfloat16'
  for name in ('prediction_scores', 'seq_relationship_score'):
    assert outputs[name].dtype == 'float32'
  difference = np.abs(outputs['prediction_scores'] - z['c2/prediction_scores'])
  assert 0 < difference.mean() < 0.05
  assert keras.config.dtype_policy().name == 'float32'


@pytest.mark.slow
@pytest.mark.host_xla
@pytest.mark.parametrize(('policy', 'tolerance'), [('float32', 1e-4), ('mixed_bfloat16', 0.3)])
def test_compiles_under_xla_forward_and_backward(pretraining, policy, tolerance):
  z = pretraining
  model = golden_models.build('pretrain', dtype_policy=policy)
  inputs = golden_models.inputs(z, *INPUTS)
  inputs['masked_positions'] = np.array([[1, 2]] * 4)
  labels = np.array([[7, -1]] * 4)

  @tf.function(jit_compile=True)
  def step(inputs, labels):
    with tf.GradientTape() as tape:
      outputs = model(inputs, training=True)
      loss = pretraining_losses(outputs, labels, labels[:, 1] * 0)['loss']
    tape.gradient(loss, [v.value for v in model.trainable_variables])
    return loss, model(inputs)['prediction_scores']

  loss, scores = step({k: tf.constant(v) for k, v in inputs.items()}, tf.constant(labels))
  assert np.isfinite(loss)
  np.testing.assert_allclose(scores, z['c2/prediction_scores'][:, 1:3], atol=tolerance, rtol=0)


def train_steps(strategy, steps=3, **dropout):
  """Trains on the golden batch through the shared trainer; returns (losses, {name: value})."""
  z = golden_models.load('pretraining.npz')
  labels = np.array([[7, 8], [9, -1], [-1, -1], [-1, 5]])
  batch = {k: z[k].astype('float32' if k == 'img_feats' else 'int32') for k in INPUTS}
  batch |= {'masked_positions': np.tile([1, 2], (4, 1)), 'masked_lm_labels': labels}
  batch |= {'next_sentence_label': z['c2/next_sentence_label']}

  def dataset(context):
    size = context.get_per_replica_batch_size(4)
    return tf.data.Dataset.from_tensor_slices(batch).repeat().batch(size, drop_remainder=True)

  def term(name):
    def loss(outputs, batch, step):
      del step
      terms = losses.pretraining(outputs, batch['masked_lm_labels'], batch['next_sentence_label'])
      return terms[name]

    return loss

  task = trainer.Task({name: term(name) for name in ('masked_lm_loss', 'next_sentence_loss')})
  with strategy.scope():
    model = golden_models.build('pretrain', **dropout)
  optimizer = optimizers.build_optimizer('sgd')
  held = trainer.Trainer(strategy, model, task, optimizer, lambda step: 0.05, clip_norm=1.0)
  logs = held.train(held.train_iterator(dataset), steps)
  return logs, {name: np.array(v) for name, v in held.variables().items()}


@pytest.mark.slow
def test_two_replicas_train_the_weights_of_one(two_replicas):
  """Masked words are spread unevenly over the replicas: the loss is a mean over all of them."""
  still = {'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0}
  one, two = (train_steps(s, **still) for s in (tf.distribute.get_strategy(), two_replicas))
  assert one[0]['masked_lm_loss'] > 1
  assert one[0]['loss'] == pytest.approx(two[0]['loss'], rel=1e-5)
  assert one[1].keys() == two[1].keys()
  assert 'seeds/encoder_layer_0' in one[1]
  for name, value in one[1].items():
    if not name.startswith('seeds/'):
      np.testing.assert_allclose(value, two[1][name], atol=1e-5, err_msg=name)


def test_the_model_describes_its_inputs(pretraining):
  model = golden_models.build('pretrain')
  z = pretraining
  assert {x.name for x in model.inputs} == {*INPUTS, 'masked_positions'}
  shapes = {k: x.shape for k, x in model.input.items()}
  assert shapes['img_feats'] == (None, None, 26)
  assert shapes['attention_mask'] == (None, None)
  assert golden_models.build('nlvr2').input['input_ids'].shape == (None, 2, None)
  found = {k: np.zeros((4, 1), 'int32') if k == 'masked_positions' else z[k] for k in model.input}
  assert model(found)['prediction_scores'].shape == (4, 1, 400)
  # 3 layers of 4 w^2 + 2 w * 96 a position and 2 n^2 w of attention, regions, pooler, heads.
  text, regions, w = 12, 4, 48
  n = text + regions
  expected = 3 * (n * (4 * w * w + 2 * w * 96) + 2 * n * n * w) + regions * 26 * w + w * w
  expected += 2 * (w * w + w * 400) + w * 2
  shapes = {**{k: z[k].shape[1:] for k in INPUTS}, 'masked_positions': (2,)}
  assert profile.flops(model, input_shapes=shapes) == expected


@pytest.mark.parametrize('task', ['pretrain', 'captioning'])
def test_unknown_lengths_while_tracing(pretraining, task):
  model = golden_models.build(task, tie_weights=True)
  inputs = golden_models.inputs(pretraining, *INPUTS)
  specs = {k: tf.TensorSpec([None] * v.ndim, v.dtype) for k, v in inputs.items()}
  scores = tf.function(model, input_signature=[specs])(inputs)['prediction_scores']
  expected = pretraining['c2/prediction_scores']
  if task == 'captioning':
    expected = expected[:, : inputs['input_ids'].shape[1]]
  np.testing.assert_allclose(scores, expected, atol=1e-4, rtol=0)


def test_none_is_the_same_as_a_missing_input(heads):
  model = golden_models.build('nlvr2')
  inputs = golden_models.inputs(heads, *INPUTS, prefix='nlvr2/')
  logits = model({**inputs, 'position_ids': None, 'head_mask': None})['logits']
  np.testing.assert_array_equal(logits, model(inputs)['logits'])


def test_runs_on_another_backend():
  """The model uses only keras.ops and layers: the JAX backend gives the same scores."""
  pytest.importorskip('jax')
  program = (
    'import numpy as np, keras\n'
    'from tests.oscar import golden_models\n'
    "z = golden_models.load('pretraining.npz')\n"
    "model = golden_models.build('pretrain')\n"
    f'outputs = model(golden_models.inputs(z, *{INPUTS}))\n'
    "assert keras.backend.backend() == 'jax'\n"
    "print(np.abs(outputs['prediction_scores'] - z['c2/prediction_scores']).max())\n"
  )
  done = subprocess.run(
    [sys.executable, '-c', program],
    env={**os.environ, 'KERAS_BACKEND': 'jax', 'PYTHONPATH': os.getcwd()},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  assert float(done.stdout) < 1e-4


@pytest.mark.parametrize(
  ('arguments', 'overrides', 'message'),
  [
    (('bse', 'vqa'), {}, "Unknown configuration, file or folder 'bse': did you mean base"),
    (('base', 'vga'), {}, "Unknown task 'vga': did you mean vqa"),
    (
      ('base', 'vqa'),
      {'num_label': 3},
      "Unknown OscarConfig setting 'num_label': did you mean num_labels",
    ),
  ],
)
def test_unknown_names_list_the_nearest(arguments, overrides, message):
  with pytest.raises(ValueError, match=message):
    oscar.build_model(*arguments, **overrides)

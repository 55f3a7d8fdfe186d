"""The encoder agrees with the official code; dropout, gradients and variable names."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar.encoder import exact_gelu
from tests.oscar import golden_models

TEXT = 10


@pytest.fixture(scope='module')
def goldens():
  return golden_models.load('encoder.npz')


@pytest.fixture(scope='module')
def model():
  return golden_models.build('retrieval', output_hidden_states=True, output_attentions=True)


def case_inputs(z, case):
  text = golden_models.inputs(z, 'input_ids', 'token_type_ids')
  both = {**text, 'img_feats': z['img_feats'], 'attention_mask': z['mask2d']}
  return {
    'mask2d': both,
    'mask3d': {**both, 'attention_mask': z['mask3d']},
    'text_default': {'input_ids': z['input_ids']},
    'text_mask': {**text, 'attention_mask': z['mask2d'][:, :TEXT]},
    'posids': {**both, 'position_ids': z['position_ids']},
    'headmask': {**both, 'head_mask': z['head_mask']},
    'history': {
      'input_ids': z['history/input_ids'],
      'token_type_ids': z['token_type_ids'][:, :2],
      'attention_mask': z['history/mask'],
      'encoder_history_states': [z[f'history/in_{i}'] for i in range(3)],
    },
  }[case]


CASES = ('mask2d', 'mask3d', 'text_default', 'text_mask', 'posids', 'headmask', 'history')


@pytest.mark.parametrize('case', CASES)
def test_agrees_with_official_code(model, goldens, case):
  outputs = model(case_inputs(goldens, case))
  found = {
    'sequence_output': outputs['sequence_output'],
    'pooled_output': outputs['pooled_output'],
    **{f'hidden_{i}': x for i, x in enumerate(outputs['hidden_states'])},
    **{f'attn_{i}': x for i, x in enumerate(outputs['attentions'])},
  }
  for name, x in found.items():
    np.testing.assert_allclose(x, goldens[f'{case}/{name}'], atol=1e-5, rtol=0, err_msg=name)


def test_history_continues_a_sequence(model):
  """Cached decoding: the hidden states of a prefix replace the prefix itself."""
  ids = np.random.default_rng(0).integers(5, 400, (2, 6))
  causal = np.broadcast_to(np.tril(np.ones((6, 6), 'int32')), (2, 6, 6))
  whole = model({'input_ids': ids, 'attention_mask': causal})
  rest = model(
    {
      'input_ids': ids[:, 4:],
      'position_ids': np.broadcast_to(np.arange(4, 6), (2, 2)),
      'attention_mask': causal[:, 4:],
      'encoder_history_states': [h[:, :4] for h in whole['hidden_states'][:-1]],
    }
  )
  np.testing.assert_allclose(
    rest['sequence_output'], whole['sequence_output'][:, 4:], atol=1e-5, rtol=0
  )


def test_image_layer_norm_agrees_with_official_code(goldens):
  settings = {'use_img_layernorm': True, 'img_layer_norm_eps': 1e-5}
  outputs = golden_models.build('retrieval', **settings)(case_inputs(goldens, 'mask2d'))
  expected = golden_models.load('image_layernorm.npz')
  for name in ('sequence_output', 'pooled_output'):
    np.testing.assert_allclose(outputs[name], expected[f'encoder/{name}'], atol=1e-5, rtol=0)


def test_the_pad_embedding_gets_no_gradient(model, goldens):
  """As with torch's `padding_idx` officially, even where a [PAD] is attended to."""
  ids = goldens['input_ids'].copy()
  ids[:, 2:4] = 0, 7
  with tf.GradientTape() as tape:
    loss = tf.reduce_sum(model({'input_ids': ids})['logits'][:, 0])
  gradient = tape.gradient(loss, model.bert.embeddings.word_embeddings.embeddings.value)
  norms = np.linalg.norm(tf.convert_to_tensor(gradient), axis=1)
  assert norms[0] == 0 and norms[7] > 0


def test_gelu_is_the_exact_one():
  # x * Phi(x); the tanh approximation gives -0.15880801 at -1 and 1.9545977 at 2.
  x = np.array([-1.0, 0.0, 2.0], 'float32')
  np.testing.assert_allclose(exact_gelu(x), [-0.15865525, 0.0, 1.95449974], atol=1e-6)


def test_dropout_differs_between_calls_in_training_only(model, goldens):
  inputs = case_inputs(goldens, 'mask2d')
  first, second = (np.array(model(inputs, training=True)['pooled_output']) for _ in range(2))
  assert np.abs(first - second).max() > 0.01
  again = [np.array(model(inputs)['pooled_output']) for _ in range(2)]
  np.testing.assert_array_equal(*again)


def test_variable_paths_do_not_depend_on_the_process():
  config = oscar.OscarConfig(**golden_models.CONFIG)
  first, second = (oscar.build_model(config, 'vqa', name=name) for name in ('a', 'b'))
  assert [v.path for v in first.variables] == [v.path for v in second.variables]
  assert len({v.path for v in first.variables}) == len(first.variables)
  assert 'bert/encoder_layer_0/dropout/seed_generator_state' in {v.path for v in first.variables}


def test_layers_are_initialised_differently():
  """Keras initializers repeat their draw when one instance is used twice."""
  layer = oscar.build_model(oscar.OscarConfig(**golden_models.CONFIG), 'vqa').bert.layers[0]
  query, key = (keras.ops.convert_to_numpy(x.kernel) for x in (layer.query, layer.key))
  assert np.abs(query - key).max() > 0.01
  assert abs(query.std() - 0.02) < 0.002

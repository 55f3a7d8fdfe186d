"""SavedModels of every task give the model's numbers, and load without this package."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from oscar import serving
from tests.oscar.predicting import exports

RNG = np.random.default_rng(0)
# {name: (task, settings, config)}.
KINDS = {
  'vqa': ('vqa', {}, {}),
  'vqa trained with bce': ('vqa', {'loss_type': 'bce'}, {}),
  'gqa': ('gqa', {}, {}),
  'nlvr2 in pairs': ('nlvr2', {}, {}),
  'nlvr2 in one sequence': ('nlvr2', {'use_pair': False}, {}),
  'retrieval': ('retrieval', {}, {}),
  'retrieval with another mask': ('retrieval', {'att_mask_type': 'CL'}, {}),
  'regression': ('retrieval', {}, {'num_labels': 1}),
  'captioning': ('captioning', {}, {}),
  'pretrain': ('pretrain', {}, {'num_contrast_classes': 3}),
}


def inputs(batch, words, regions, pair=False, square=False):
  sides = (2,) if pair else ()
  places = words + regions
  mask = (places, places) if square else (places,)
  return {
    'input_ids': RNG.integers(5, 400, (batch, *sides, words), np.int32),
    'token_type_ids': RNG.integers(0, 2, (batch, *sides, words), np.int32),
    'attention_mask': RNG.integers(0, 2, (batch, *sides, *mask), np.int32),
    'img_feats': RNG.random((batch, *sides, regions, 2054), np.float32),
  }


def softmax(x):
  exponentials = np.exp(x - x.max(-1, keepdims=True))
  return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.mark.parametrize('kind', KINDS)
def test_a_saved_model_gives_the_models_numbers(kind, tmp_path):
  task, settings, config = KINDS[kind]
  folder = tmp_path / 'export'
  model = exports.write(folder, task, saved_model=True, config=config, **settings)
  loaded = tf.saved_model.load(str(folder / serving.FOLDER))
  serve = loaded.signatures['serving_default']
  square = task == 'captioning' or settings.get('att_mask_type', 'CLR') != 'CLR'
  for sizes in ((3, 9, 2), (1, 20, 4)):
    given = inputs(*sizes, pair=model.pairs, square=square)
    outputs = serve(**{name: tf.constant(value) for name, value in given.items()})
    found = {name: value.numpy() for name, value in outputs.items()}
    expected = {k: np.asarray(v) for k, v in model(given).items()}
    check(task, kind, found, expected)
  if task in ('vqa', 'gqa'):
    names = [name.decode() for name in loaded.signatures['answers']()['answers'].numpy()]
    assert names == exports.ANSWERS
  else:
    assert 'answers' not in loaded.signatures


def check(task, kind, found, expected):
  for name in ('logits', 'prediction_scores', 'seq_relationship_score'):
    if name in found:
      np.testing.assert_allclose(found[name], expected[name], atol=1e-5, rtol=1e-5)
  if task == 'pretrain':
    assert set(found) == {'prediction_scores', 'seq_relationship_score', 'probabilities'}
    expected_probabilities = softmax(expected['seq_relationship_score'])
  else:
    logits = expected['logits']
    expected_probabilities = softmax(logits)
    if kind == 'regression':
      expected_probabilities = np.clip(logits, 0, 1)
    elif kind == 'vqa trained with bce':
      expected_probabilities = 1 / (1 + np.exp(-logits))
  np.testing.assert_allclose(found['probabilities'], expected_probabilities, atol=1e-5)
  if task in ('pretrain', 'captioning'):
    return
  labels = found['top_labels']
  count = min(5, logits.shape[-1])
  np.testing.assert_array_equal(labels, np.argsort(-logits, -1, kind='stable')[:, :count])
  top = np.take_along_axis(found['probabilities'], labels, -1)
  np.testing.assert_array_equal(found['top_probabilities'], top)
  assert ('top_answers' in found) == (task in ('vqa', 'gqa'))
  if 'top_answers' in found:
    texts = np.array(exports.ANSWERS, object)[labels]
    assert [[a.decode() for a in row] for row in found['top_answers']] == texts.tolist()


_ALONE = """
import sys
import numpy as np, tensorflow as tf
folder, file, out = sys.argv[1:]
given = dict(np.load(file))
serve = tf.saved_model.load(folder).signatures['serving_default']
found = serve(**{name: tf.constant(value) for name, value in given.items()})
assert not {'oscar', 'tpu_utils'} & set(sys.modules)
np.savez(out, **{name: value.numpy() for name, value in found.items() if name != 'top_answers'})
"""


@pytest.mark.slow  # Another process imports TensorFlow.
def test_tensorflow_alone_loads_it(tmp_path):
  model = exports.write(tmp_path / 'export', 'gqa', saved_model=True)
  given = inputs(2, 8, 3)
  np.savez(tmp_path / 'given.npz', **given)
  arguments = (tmp_path / 'export' / 'saved_model', tmp_path / 'given.npz', tmp_path / 'out.npz')
  command = [sys.executable, '-c', _ALONE, *map(str, arguments)]
  done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
  assert done.returncode == 0, done.stderr
  found = np.load(tmp_path / 'out.npz')
  np.testing.assert_allclose(found['logits'], model(given)['logits'], atol=1e-5, rtol=1e-5)


def test_an_export_without_it_has_no_such_folder(tmp_path):
  exports.write(tmp_path / 'export', 'vqa')
  assert not (tmp_path / 'export' / 'saved_model').exists()

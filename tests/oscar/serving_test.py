"""SavedModels of every task give the model's numbers, and load without this package."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import oscar
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


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS)
def test_a_saved_model_gives_the_models_numbers(kind, tmp_path):
  task, settings, config = KINDS[kind]
  folder = tmp_path / 'export'
  model = exports.write(folder, task, saved_model=True, config=config, **settings)
  loaded = tf.saved_model.load(str(folder / serving.FOLDER))
  serve = loaded.signatures['logits' if task == 'captioning' else 'serving_default']
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


def boxes(count):
  """Returns features of regions whose last six numbers are a box."""
  corners = np.sort(RNG.random((count, 2, 2)), axis=1).reshape(count, 4)
  size = corners[:, 2:] - corners[:, :2]
  return np.concatenate([RNG.random((count, 2048)), corners, size], 1).astype(np.float32)


_WRITES = _ALONE.replace("if name != 'top_answers'", "").replace(
  'np.savez', "pieces = tf.saved_model.load(folder).signatures['vocabulary']()['pieces']\nnp.savez"
).replace('out, **', 'out, pieces=np.char.decode(pieces.numpy().astype(bytes)), **')


@pytest.mark.slow  # Another process imports TensorFlow.
def test_a_captioner_writes_captions_with_tensorflow_alone(tmp_path):
  """Its ids and scores are those of `oscar.load(...).caption`, with the search of the export."""
  exports.write(
    tmp_path / 'export', 'captioning', saved_model=True, num_beams=3, num_keep_best=2
  )  # fmt: skip
  predictor = oscar.load(tmp_path / 'export')
  tags = ['cat mat', '', 'red ' * 30]
  regions = [boxes(count) for count in (2, 3, 5)]
  rows = predictor.tokenizer.encode_batch(tags)
  ids, feats = np.zeros((3, 30), np.int32), np.zeros((3, 5, 2054), np.float32)
  for i, (row, of_image) in enumerate(zip(rows, regions, strict=True)):
    ids[i, : len(row[:30])], feats[i, : len(of_image)] = row[:30], of_image
  given = {'tag_ids': ids, 'img_feats': feats, 'num_regions': np.array([2, 3, 5], np.int32)}
  np.savez(tmp_path / 'given.npz', **given)
  arguments = (tmp_path / 'export' / 'saved_model', tmp_path / 'given.npz', tmp_path / 'out.npz')
  command = [sys.executable, '-c', _WRITES, *map(str, arguments)]
  done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
  assert done.returncode == 0, done.stderr
  found = np.load(tmp_path / 'out.npz')
  expected = predictor.caption_all(
    list(zip(regions, tags, strict=True)), num_return_sequences=2, num_beams=3
  )
  assert found['ids'].shape == (3, 2, 8)
  for image, written, scores in zip(expected, found['ids'], found['confidences'], strict=True):
    texts = [predictor.tokenizer.decode(row.tolist(), skip_special_tokens=True) for row in written]
    assert texts == [text for text, _ in image.captions]
    np.testing.assert_allclose(scores, [c for _, c in image.captions], rtol=1e-4)
  np.testing.assert_allclose(np.exp(found['logprobs']), found['confidences'], rtol=1e-6)
  everything = range(predictor.tokenizer.vocab_size)
  assert found['pieces'].tolist() == predictor.tokenizer.convert_ids_to_tokens(everything)


@pytest.mark.slow
def test_a_captioner_without_tags_and_regions(tmp_path):
  """One that reads no tags takes none; one trained with --mask_regions sees no regions."""
  settings = {'max_seq_length': 12, 'max_seq_a_length': 12, 'mask_regions': True}
  exports.write(tmp_path / 'bare', 'captioning', True, add_od_labels=False, **settings)
  serve = tf.saved_model.load(str(tmp_path / 'bare' / serving.FOLDER)).signatures['serving_default']
  feats = tf.constant([boxes(1), boxes(1)])
  found = serve(img_feats=feats, num_regions=tf.constant([1, 0]))
  assert found['ids'].shape == (2, 1, 8)
  np.testing.assert_array_equal(found['ids'][0], found['ids'][1])
  np.testing.assert_allclose(found['logprobs'][0], found['logprobs'][1], atol=1e-6)
  predictor = oscar.load(tmp_path / 'bare')
  captions = predictor.caption_all([feats[0].numpy(), feats[1].numpy()], num_beams=1)
  assert captions[0].caption == captions[1].caption
  assert captions[0].notes == (
    'the regions are hidden from the model, as in its training (mask_regions)',
  )


def test_a_captioner_without_lengths_is_not_exported(tmp_path):
  with pytest.raises(ValueError, match='captioner needs max_seq_a_length of its training'):
    exports.write(tmp_path / 'export', 'captioning', True, max_seq_a_length=None)


def test_an_export_without_it_has_no_such_folder(tmp_path):
  exports.write(tmp_path / 'export', 'vqa')
  assert not (tmp_path / 'export' / 'saved_model').exists()

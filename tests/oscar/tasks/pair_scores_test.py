"""Scores of pairs equal the model's own on official inputs, for any batches, sizes and replicas."""

import numpy as np
import pytest
import tensorflow as tf

from oscar.datasets import retrieval_files
from oscar.input import layouts, texts
from oscar.tasks import pair_scores
from tests.oscar import golden_models, loaders

FILES = retrieval_files.RetrievalFiles(
  str(loaders.DATA / 'coco_ir'), eval_img_keys_file='test_img_keys.tsv', cross_image_eval=True,
  num_captions_per_img_val=2,
)  # fmt: skip
NO_DROPOUT = {'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0}


def small(tiny, **more):
  """Returns a model of one layer whose scores differ from pair to pair."""
  model = golden_models.oscar.build_model(
    str(tiny), 'retrieval', img_feature_dim=2054, max_position_embeddings=64, **NO_DROPOUT, **more
  )
  for variable in model.trainable_variables:
    value = golden_models.weights.value(variable.path, variable.shape)
    scale = 0.1 if 'img_embedding' in variable.path else 3 if 'embedding' in variable.path else 2
    variable.assign(value * scale)
  return model


def split():
  reader = FILES.open('test', evaluated=True)
  candidates = FILES.candidates(reader)
  regions = [reader.regions[key] for key in reader.image_ids]
  return candidates, regions, [reader.tags(key) for key in reader.image_ids]


def expected(model, candidates):
  """Returns the scores of the official loader's items; NaN for those that it makes too long."""
  reader = FILES.open('test', evaluated=True)
  items = [item for _, item in loaders.OUTPUTS['retrieval/test_cross_image']]
  fitting = [number for number, item in enumerate(items) if len(item[0]) == loaders.LENGTH]
  width = candidates.of_image.shape[1]
  regions = [loaders.padded(reader.regions[key])[0][0] for key in candidates.image_ids]
  names = ('input_ids', 'attention_mask', 'token_type_ids')
  inputs = {
    name: np.array([items[number][column] for number in fitting], np.int32)
    for column, name in enumerate(names)
  }
  inputs['img_feats'] = np.stack([regions[number // width] for number in fitting])
  logits = model(inputs)['logits'].numpy()
  found = np.full([len(items)], np.nan)
  found[fitting] = (
    logits[:, 0] if logits.shape[1] == 1 else np.exp(logits[:, 1]) / np.exp(logits).sum(axis=1)
  )
  return found.reshape(-1, width)


def scorer(model, tokenizer, **more):
  settings = {'max_seq_length': loaders.LENGTH, 'max_img_seq_length': loaders.REGIONS, **more}
  return pair_scores.PairScorer(model, tokenizer, **settings)


@pytest.mark.slow
@pytest.mark.parametrize('num_labels', [2, 1])
def test_the_matrix_has_the_scores_of_the_official_items(num_labels, tokenizer, tiny):
  model = small(tiny, num_labels=num_labels)
  candidates, regions, tags = split()
  found = scorer(model, tokenizer, batch_size=7).matrix(regions, tags, candidates.captions)
  wanted = expected(model, candidates)
  known = np.isfinite(wanted)
  assert known.sum() == 28 and found.shape == wanted.shape == (4, 8)
  assert wanted[known].std() > 1e-3
  np.testing.assert_allclose(found[known], wanted[known], atol=1e-5)


@pytest.mark.slow
def test_replicas_batches_and_padding_do_not_matter(two_replicas, tokenizer, tiny):
  candidates, regions, tags = split()
  found = []
  for strategy, more in (
    (None, {'batch_size': 64}), (two_replicas, {'batch_size': 6}),
    (None, {'batch_size': 5, 'max_seq_length': 60, 'max_img_seq_length': 30}),
  ):  # fmt: skip
    with (strategy or tf.distribute.get_strategy()).scope():
      model = small(tiny)
    captions = [caption[:9] for caption in candidates.captions]
    one = scorer(model, tokenizer, strategy=strategy, **more)
    found.append(one.matrix([r[:3] for r in regions], [t[:4] for t in tags], captions))
  for other in found[1:]:
    np.testing.assert_allclose(other, found[0], atol=1e-6)


@pytest.mark.parametrize('attention', ['CLR', 'CL', 'CR', 'LR'])
def test_trimmed_pairs_have_the_scores_of_whole_ones(attention, tokenizer, special, tiny):
  """Masks with a row for each position lose rows and columns."""
  model = small(tiny)
  candidates, regions, tags = split()
  captions, regions, tags = candidates.captions[:2], regions[1:3], tags[1:3]
  found = scorer(model, tokenizer, attention=attention, max_seq_length=60).matrix(
    regions, tags, captions
  )
  for image in range(2):
    words = [texts.words(some, tokenizer) for some in (captions, [tags[image]] * 2)]
    padded = [tf.repeat(value, 2, axis=0) for value in loaders.padded(regions[image])]
    layout = layouts.retrieval_layout(*words, 60, special)
    outputs = model(layouts.model_inputs(layout, *padded, attention))
    np.testing.assert_allclose(
      found[image], pair_scores.scores_of(outputs['logits']), atol=1e-6
    )


def test_few_sizes_are_traced_and_only_once(tokenizer, tiny):
  candidates, regions, tags = split()
  one = scorer(small(tiny), tokenizer, max_seq_length=60, batch_size=4)
  seen = []
  one.score(
    one.images(regions, tags), one.encode(candidates.captions), np.arange(32) % 4,
    np.arange(32) // 4, seen.append,
  )  # fmt: skip
  assert seen == sorted(seen) and seen[-1] == 32
  one.matrix(regions[:3], tags[:3], candidates.captions)
  traces = [step.experimental_get_tracing_count() for step in one._steps.values()]
  assert 1 <= len(traces) <= 6 and set(traces) == {1}


@pytest.mark.slow
def test_without_tags_the_second_text_is_missing(tokenizer, tiny):
  model = small(tiny)
  candidates, regions, tags = split()
  one = scorer(model, tokenizer)
  empty = one.matrix(regions, [''] * 4, candidates.captions)
  np.testing.assert_array_equal(one.matrix(regions, None, candidates.captions), empty)
  assert abs(one.matrix(regions, tags, candidates.captions) - empty).max() > 1e-5


def test_batches_that_do_not_divide_are_refused(two_replicas, tokenizer):
  with pytest.raises(ValueError, match='batch_size=3 does not divide among 2 replicas'):
    scorer(None, tokenizer, strategy=two_replicas, batch_size=3)

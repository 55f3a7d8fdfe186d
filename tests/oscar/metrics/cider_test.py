"""CIDEr-D against the official code: document frequencies of a corpus and from files, SCST."""

import json
import pathlib
import pickle

import numpy as np
import pytest

from oscar.metrics import cider

GOLDENS = pathlib.Path(__file__).parents[2] / 'goldens' / 'oscar'
GOLDEN = json.loads((GOLDENS / 'cider_scst.json').read_text())
CACHED = GOLDENS / 'cider_cached_tokens.p'
SAMPLES = GOLDEN['samples_per_image']


def reward_scores(frequencies, sentences, images):
  """Scores of sentences against the references of images, each as the official reward has it."""
  references = [[cider.with_end(text) for text in GOLDEN['gt'][image]] for image in images]
  return cider.cider_d([cider.with_end(text) for text in sentences], references, frequencies)


@pytest.mark.parametrize('mode', ['corpus', 'cached'])
def test_scores_and_losses_of_self_critical_training(mode):
  frequencies = cider.read(CACHED) if mode == 'cached' else None
  images = range(len(GOLDEN['gt']))
  of_samples = np.repeat(images, SAMPLES)
  sentences = GOLDEN['sample'] + GOLDEN['greedy']
  scores = reward_scores(frequencies, sentences, [*of_samples, *images])
  expected = GOLDEN[f'{mode}/cider_scores_samples_then_greedy']
  np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-12)

  sampled = scores[: len(of_samples)].reshape(-1, SAMPLES)
  losses = {'greedy': loss(sampled - scores[len(of_samples) :, None])}
  alone = reward_scores(frequencies, GOLDEN['sample'], of_samples).reshape(-1, SAMPLES)
  losses['sample'] = loss(alone - (alone.sum(1, keepdims=True) - alone) / (SAMPLES - 1))
  for baseline, found in losses.items():
    golden = GOLDEN[f'{mode}/{baseline}']
    assert found == pytest.approx(golden['loss'], rel=1e-6)
    mean = sampled.mean() if baseline == 'greedy' else alone.mean()
    assert mean == pytest.approx(golden['mean_sample_score'], rel=1e-12)


def loss(advantages):
  return -np.mean(np.array(GOLDEN['sample_logprobs']) * advantages.reshape(-1))


def test_scores_of_plain_sentences():
  given = GOLDEN['plain_ciderD_corpus']
  candidates = [row['caption'][0] for row in given['cands']]
  references = [given['refs'][str(row['image_id'])] for row in given['cands']]
  for frequencies, golden in ((None, given), (cider.read(CACHED), GOLDEN['plain_ciderD_cached'])):
    scores = cider.cider_d(candidates, references, frequencies)
    np.testing.assert_allclose(scores, golden['scores'], rtol=1e-12, atol=1e-12)
    assert scores.mean() == pytest.approx(golden['mean'], rel=1e-12)


def test_the_end_of_a_sentence_is_marked():
  for sentence, marked in GOLDEN['wrap_sentence']:
    assert cider.with_end(sentence) == marked


def test_document_frequencies_come_from_the_official_pickle_and_go_through_json(tmp_path):
  expected = {tuple(ngram): n for ngram, n in GOLDEN['cached_df']['document_frequency']}
  read = cider.read(CACHED)
  assert (dict(read.counts), read.num_images) == (expected, GOLDEN['cached_df']['ref_len'])
  (tmp_path / 'df.json').write_text(json.dumps(read.to_json()))
  again = cider.read(tmp_path / 'df.json')
  assert (dict(again.counts), again.num_images) == (expected, read.num_images)


def test_document_frequencies_count_images():
  found = cider.document_frequencies([['a b', 'a c'], ['a']])
  assert found.num_images == 2
  assert found.counts == {('a',): 2, ('b',): 1, ('c',): 1, ('a', 'b'): 1, ('a', 'c'): 1}
  with pytest.raises(ValueError, match='at least one image'):
    cider.document_frequencies([])


def test_no_captions_have_no_scores():
  assert cider.cider_d([], []).shape == (0,)


class Code:
  def __reduce__(self):
    return print, ('this must not run',)


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ({'document_frequency': {('a',): 1}}, 'expected document frequencies'),
    ([1], 'expected document frequencies'),
    ({'document_frequency': {('a',): 1}, 'ref_len': 0}, 'expected document frequencies'),
    ({'document_frequency': {('a',): 'x'}, 'ref_len': 2}, r"a number of images, found \(\('a',\)"),
    ({'document_frequency': {'a b': 1}, 'ref_len': 2}, 'expected tuples of words'),
    (Code(), 'may run code'),
  ],
  ids=['no_count', 'list', 'no_images', 'text', 'joined', 'code'],
)
def test_other_files_are_refused_in_a_line(tmp_path, capsys, content, message):
  path = tmp_path / 'df.p'
  path.write_bytes(pickle.dumps(content))
  with pytest.raises(ValueError, match=message) as error:
    cider.read(path)
  assert str(path) in str(error.value)
  assert '\n' not in str(error.value)
  assert capsys.readouterr().out == ''


def test_a_missing_or_damaged_file_is_named(tmp_path):
  with pytest.raises(FileNotFoundError, match='none.p'):
    cider.read(tmp_path / 'none.p')
  (tmp_path / 'df.json').write_text('{"ref_len": 3')
  with pytest.raises(ValueError, match='df.json'):
    cider.read(tmp_path / 'df.json')

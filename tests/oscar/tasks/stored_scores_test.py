"""Scores in chunk files: resuming, other pairs and weights, damage; recall of folds and parts."""

import json

import numpy as np
import pytest

from oscar.datasets import retrieval_files
from oscar.metrics import retrieval as metrics
from oscar.tasks import stored_scores
from tests.oscar import golden_models

RANKS = golden_models.load('retrieval_ranks.json')
SCORES = golden_models.load('retrieval_scores_40x200.npz')['scores']


def crossed(images=40, captions=5, folds=1):
  """Returns the candidates of all images with all captions of their fold."""
  width = images * captions
  of_fold = np.arange(width).reshape(folds, -1)
  fold = np.arange(images) // (images // folds)
  return retrieval_files.Candidates(
    'captions', [str(i) for i in range(images)], [str(i) for i in range(width)],
    np.repeat(np.arange(images), captions), of_fold[fold], True, folds,
  )  # fmt: skip


def stored(folder, candidates=None, weights='a', pairs=1000):
  return stored_scores.StoredScores(
    str(folder / 'scores'), candidates or crossed(), {'weights': weights}, pairs
  )


def test_chunks_that_are_there_are_not_scored_again(tmp_path):
  first = stored(tmp_path)
  assert first.missing() == [(start, start + 5) for start in range(0, 40, 5)]
  for chunk in first.missing()[:3]:
    first.write(chunk, SCORES[slice(*chunk)])
  # A process that was killed leaves the scratch file of a chunk.
  (tmp_path / 'scores' / 'images-000015-000020.npz.123.writing').write_bytes(b'PK')
  again = stored(tmp_path, pairs=100)  # The size of the chunks stays.
  assert again.missing() == [(start, start + 5) for start in range(15, 40, 5)]
  for chunk in again.missing():
    again.write(chunk, SCORES[slice(*chunk)])
  assert stored(tmp_path).missing() == []
  block = stored(tmp_path).block(3, 17, 10, 30)
  np.testing.assert_array_equal(block, SCORES[3:17, 10:30].astype(np.float32))


def test_stored_scores_give_the_official_ranks_without_all_in_memory(tmp_path, monkeypatch):
  monkeypatch.setattr(stored_scores, '_COLUMN_NUMBERS', 999)
  scores = stored(tmp_path)
  for chunk in scores.missing():
    scores.write(chunk, SCORES[slice(*chunk)])
  case = RANKS['cross_40x200']
  found, ranks = stored_scores.results(stored_scores.MemoryScores(SCORES), crossed())
  assert [ranks['i2t'], ranks['t2i']] == case['ranks_i2t_t2i']
  assert list(found) == ['all']
  for direction, values in metrics.official(found['all']).items():
    assert values == pytest.approx(case['metrics'][direction])
  # Files hold float32, as the model's outputs are; these scores are float64.
  single = stored_scores.MemoryScores(SCORES.astype(np.float32))
  assert stored_scores.results(scores, crossed()) == stored_scores.results(single, crossed())


def test_candidates_are_ranked_as_officially():
  case = RANKS['rerank']
  scores, labels = (np.reshape(case[name], [-1, 4]) for name in ('scores', 'labels'))
  owner = np.where(labels == 1, np.arange(3)[:, None], -1).ravel()
  candidates = retrieval_files.Candidates(
    'captions', ['1', '2', '3'], ['a'] * 12, owner, np.arange(12).reshape(3, 4), False
  )
  found, ranks = stored_scores.results(stored_scores.MemoryScores(scores), candidates)
  assert [ranks['i2t'], []] == case['ranks_i2t_t2i']
  assert metrics.official(found['all']) == case['metrics']


def folds_of(scores, parts):
  size = len(scores) // parts
  owner = np.repeat(np.arange(size), 5)
  found = []
  for part in range(parts):
    block = scores[part * size :][:size, part * size * 5 :][:, : size * 5]
    found.append(metrics.recalls(*metrics.cross_ranks(block, block.T, owner)))
  return found


def test_folds_are_averaged_and_the_first_is_named():
  folds = folds_of(SCORES, 4)
  blocks = np.concatenate([SCORES[10 * i :][:10, 50 * i :][:, :50] for i in range(4)])
  found, ranks = stored_scores.results(stored_scores.MemoryScores(blocks), crossed(folds=4))
  assert list(found) == ['mean_of_4_folds', 'first_fold']
  assert found['first_fold'] == folds[0]
  for name, value in found['mean_of_4_folds'].items():
    assert value == pytest.approx(np.mean([fold[name] for fold in folds]))
  assert [len(ranks['i2t']), len(ranks['t2i'])] == [40, 200] and max(ranks['t2i']) < 10


def test_a_whole_of_several_thousands_gives_its_folds_too(monkeypatch):
  """COCO's 5K: the whole, the mean over five folds of 1K, and the first 1K."""
  monkeypatch.setattr(stored_scores, '_FOLD', 8)
  found, ranks = stored_scores.results(stored_scores.MemoryScores(SCORES), crossed())
  folds = folds_of(SCORES, 5)
  assert list(found) == ['all', 'mean_of_5_folds', 'first_fold']
  assert found['all']['i2t_R@1'] == pytest.approx(RANKS['cross_40x200']['metrics'][
    'i2t_retrieval']['R@1'])  # fmt: skip
  assert found['first_fold'] == folds[0]
  assert found['mean_of_5_folds'] == pytest.approx(metrics.mean(folds))
  assert [ranks['i2t'], ranks['t2i']] == RANKS['cross_40x200']['ranks_i2t_t2i']


def test_scores_of_other_weights_or_pairs_are_refused(tmp_path):
  stored(tmp_path)
  with pytest.raises(ValueError, match="scores.json is of other scores: weights is 'a', now 'b'"):
    stored(tmp_path, weights='b')
  with pytest.raises(ValueError, match='scores.json is of other scores: candidates is 200, now 50'):
    stored(tmp_path, crossed(folds=4))


def test_damaged_chunks_are_named(tmp_path):
  scores = stored(tmp_path)
  for chunk in scores.missing():
    scores.write(chunk, SCORES[slice(*chunk)])
  path = tmp_path / 'scores' / 'images-000005-000010.npz'
  whole = path.read_bytes()
  path.write_bytes(whole[:500])
  with pytest.raises(ValueError, match='images-000005-000010.npz cannot be read as scores'):
    scores.block(0, 40, 0, 200)
  np.savez(path, scores=np.zeros([5, 3], np.float32))
  with pytest.raises(ValueError, match=r'of shape \(5, 3\), expected float32 of \(5, 200\)'):
    scores.block(0, 40, 0, 200)
  np.savez(path, scores=np.array([{}], object))
  with pytest.raises(ValueError, match='images-000005-000010.npz'):
    scores.block(0, 40, 0, 200)
  path.write_bytes(whole)
  info = json.loads((tmp_path / 'scores' / 'scores.json').read_text())
  assert info['images'] == 40 and info['weights'] == 'a'

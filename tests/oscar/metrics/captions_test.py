"""The COCO evaluation against pycocoevalcap: every score of every image."""

import importlib
import json
import pathlib
import sys

import numpy as np
import pytest

from oscar.metrics import captions
from oscar.metrics.bleu import bleu
from oscar.metrics.rouge import rouge_l
from tests.oscar.metrics import official_captions

GOLDEN = json.loads((official_captions.GOLDENS / 'captions.json').read_text())
OWN = ('Bleu_1', 'Bleu_2', 'Bleu_3', 'Bleu_4', 'ROUGE_L', 'CIDEr')


def compare(found, expected, names):
  for name in names:
    assert found.means[name] == pytest.approx(expected['means'][name], abs=1e-12), name
    mine = [row[name] for row in found.by_image.values()]
    np.testing.assert_allclose(mine, expected['by_image'][name], 1e-12, 1e-12, err_msg=name)


def test_scores_equal_pycocoevalcap():
  found = captions.evaluate(GOLDEN['candidates'], GOLDEN['references'], 'captions', java=False)
  compare(found, GOLDEN, OWN)
  assert list(found.by_image) == list(GOLDEN['references'])
  note = "captions: 1 of 50 captions have no words (first: '1'); they score 0."
  assert found.notes == (note,)


@pytest.mark.skipif(bool(official_captions.missing()), reason=official_captions.missing())
def test_other_scores_equal_pycocoevalcap():
  candidates, references = official_captions.odd_images(3, 30)
  found = captions.evaluate(candidates, references, 'captions', java=False)
  expected = official_captions.official_scores(candidates, references, meteor=False)
  compare(found, expected, OWN)


@pytest.mark.slow  # METEOR reads its table of paraphrases for seven seconds.
@pytest.mark.skipif(bool(official_captions.missing()), reason=official_captions.missing())
def test_meteor_is_that_of_pycocoevalcap():
  found = captions.evaluate(GOLDEN['candidates'], GOLDEN['references'], 'captions')
  compare(found, GOLDEN, (*OWN, 'METEOR'))


@pytest.mark.parametrize(
  ('candidates', 'references', 'message'),
  [
    ({1: 'a'}, {1: ['a'], 2: ['b']}, r'v: 1 images without caption \(first: 2\), 0 captions'),
    ({1: 'a', 3: 'a'}, {1: ['a']}, r'v: 0 images .* 1 captions of images .* \(first: 3\)'),
    ({1: 'a'}, {1: []}, r'v: expected at least one reference .* 1 images have none \(first: 1\)'),
    ({}, {}, 'v: expected at least one reference of every image; there are no images'),
  ],
  ids=['missing', 'unknown', 'bare', 'none'],
)
def test_images_that_cannot_be_scored_are_one_line(candidates, references, message):
  with pytest.raises(ValueError, match=message) as error:
    captions.evaluate(candidates, references, 'v')
  assert '\n' not in str(error.value)


def test_a_caption_without_words_scores_nothing():
  found = captions.evaluate({1: '...', 2: 'a cat'}, {1: ['a dog'], 2: ['a cat']}, 'v', java=False)
  assert all(value < 1e-3 for value in found.by_image[1].values())
  assert found.by_image[2]['ROUGE_L'] == 1
  assert found.notes == ('v: 1 of 2 captions have no words (first: 1); they score 0.',)


def test_java_metrics_are_left_out_with_a_line(monkeypatch, tmp_path):
  """The package is not there, then there without Java, then with Java, but without models."""
  forget_package(monkeypatch)
  without = [p for p in sys.path if not has_package(p)]
  monkeypatch.setattr(sys, 'path', without)
  monkeypatch.setenv('PATH', str(tmp_path))
  assert notes() == ['METEOR is left out: pycocoevalcap', 'SPICE is left out: pycocoevalcap']
  write_package(tmp_path, 'def method(): pass')
  # Not `syspath_prepend`, which would put the path of now, without the package, back at the end.
  monkeypatch.setattr(sys, 'path', [str(tmp_path), *without])
  importlib.invalidate_caches()
  assert notes() == ['METEOR is left out: no `java` on', 'SPICE is left out: no `java` on']
  (tmp_path / 'java').write_text('')
  (tmp_path / 'java').chmod(0o700)
  write_package(tmp_path, 'class Meteor:\n  def compute_score(self, gts, res): return 0.5, [0.5]')
  found = captions.evaluate({1: 'a cat'}, {1: ['a cat']}, 'v')
  assert found.means['METEOR'] == found.by_image[1]['METEOR'] == 0.5
  assert [note.split('/')[0] for note in found.notes] == ['SPICE is left out: ']
  assert 'get_stanford_models' in found.notes[0]


def test_a_java_program_that_fails_is_one_line(monkeypatch, tmp_path):
  write_package(tmp_path, 'class Meteor:\n  def compute_score(self, gts, res): return float("")')
  monkeypatch.syspath_prepend(str(tmp_path))
  (tmp_path / 'java').write_text('')
  (tmp_path / 'java').chmod(0o700)
  monkeypatch.setenv('PATH', str(tmp_path))
  forget_package(monkeypatch)
  with pytest.raises(ValueError, match=r'METEOR: the Java program .* failed \(could not .*java -v'):
    captions.evaluate({1: 'a cat'}, {1: ['a cat']}, 'v')


def has_package(folder):
  return (pathlib.Path(folder) / 'pycocoevalcap').exists()


def write_package(folder, meteor):
  (folder / 'pycocoevalcap' / 'meteor').mkdir(parents=True, exist_ok=True)
  (folder / 'pycocoevalcap' / 'meteor' / 'meteor.py').write_text(meteor)


def forget_package(monkeypatch):
  for name in [name for name in sys.modules if name.split('.')[0] == 'pycocoevalcap']:
    monkeypatch.delitem(sys.modules, name)


def notes():
  found = captions.evaluate({1: 'a cat'}, {1: ['a cat']}, 'v')
  assert set(found.means) == set(OWN)
  return [' '.join(note.split()[: 5 if 'pyc' in note else 7]) for note in found.notes]


def test_bleu_and_rouge_of_a_hand_made_caption():
  """'a b b' against 'a b' and 'b a c': unigrams a and b once each, bigram 'a b' once."""
  over_all, by_image = bleu(['a b b'], [['a b', 'b a c']])
  np.testing.assert_allclose(over_all[:2], [2 / 3, (2 / 3 * 1 / 2) ** 0.5], rtol=1e-8)
  np.testing.assert_array_equal(over_all, by_image[:, 0])
  precision, recall = 2 / 3, 1
  expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
  np.testing.assert_allclose(rouge_l(['a b b'], [['a b', 'b a c']]), expected)

"""Guesses: their order, their text and the background class."""
import numpy as np
import pytest
import tensorflow as tf

from tpu_utils.image_jobs import predictions

PROBABILITIES = np.float32([0.1, 0.4, 0.05, 0.25, 0.15, 0.05])


def test_guesses_and_their_text():
  guesses = predictions.top_guesses(PROBABILITIES, list('abcdef'))
  best = [(g.number, g.label) for g in guesses]
  assert best == [(1, 'b'), (3, 'd'), (4, 'e'), (0, 'a'), (2, 'c')]
  assert predictions.guesses_text('x.jpg', guesses).splitlines()[:2] == [
    'predicted class for image x.jpg: ',
    '  -> top_0 (40.00%): b',
  ]


def test_the_background_is_number_minus_one():
  guesses = predictions.top_guesses(PROBABILITIES, list('abcde'), background=True)
  best = [(g.number, g.label) for g in guesses][:4]
  assert best == [(0, 'a'), (2, 'c'), (3, 'd'), (-1, 'background')]


def test_fewer_than_five_classes():
  assert len(predictions.top_guesses(np.float32([0.5, 0.5]), ['a', 'b'])) == 2


def test_an_unknown_picture_format_is_refused(tmp_path):
  photograph = tmp_path / 'a.png'
  photograph.write_bytes(tf.io.encode_png(np.zeros((4, 4, 3), np.uint8)).numpy())
  guesses = predictions.top_guesses(PROBABILITIES, list('abcdef'))
  with pytest.raises(ValueError, match='nosuch'):
    predictions.draw(tmp_path / 'b.nosuch', [str(photograph)], [guesses])

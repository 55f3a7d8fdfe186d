"""Guesses: their order, their text and the background class; photographs of any name."""
import os

import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.images import bombs
from tests.tpu_utils.images.animations import ANIMATED
from tpu_utils.image_jobs import predictions
from tpu_utils.images.spec import PreprocessSpec

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


NOT_TEXT = os.fsdecode(b'caf\xe9.png')


def test_names_that_are_no_text(tmp_path, capsys):
  path = str(tmp_path / NOT_TEXT)
  (tmp_path / NOT_TEXT).write_bytes(ANIMATED['PNG'])
  assert predictions.read_images([path], PreprocessSpec(8)).shape == (1, 8, 8, 3)
  assert capsys.readouterr().out == (
    rf'{tmp_path}/caf\xe9.png holds several pictures; the first is read.' + '\n'
  )
  guesses = predictions.top_guesses(PROBABILITIES, list('abcdef'))
  predictions.draw(tmp_path / 'top.png', [path], [guesses])
  assert rf'{tmp_path}/caf\xe9.png: ' in predictions.guesses_text(path, guesses)
  (tmp_path / NOT_TEXT).write_bytes(b'no picture')
  with pytest.raises(ValueError, match=r'caf\\xe9.png: its 10 bytes are no image'):
    predictions.read_images([path], PreprocessSpec(8))


@pytest.mark.parametrize('kind', bombs.ALL)
def test_large_pictures_and_other_formats_are_named(kind, tmp_path):
  path = tmp_path / 'x.jpg'
  path.write_bytes(bombs.ALL[kind])
  message = bombs.MESSAGE if kind in bombs.READ_BY_TENSORFLOW else f'it is a {kind} file'
  with pytest.raises(ValueError, match=f'{path}: .*{message}'):
    predictions.read_images([str(path)], PreprocessSpec(8))


@pytest.mark.parametrize('kind', ['a folder', 'a link to nothing'])
def test_photographs_that_are_no_files(kind, tmp_path):
  path = tmp_path / 'x.jpg'
  path.mkdir() if kind == 'a folder' else path.symlink_to('/nowhere')
  with pytest.raises(OSError, match='Is a directory|No such file') as error:
    predictions.read_images([str(path)], PreprocessSpec(8))
  assert error.value.filename == str(path)
  (tmp_path / 'labels.txt').write_text('1\n')
  with pytest.raises(ValueError, match=rf'{path} \({kind}\): expected only image files'):
    predictions.LabelledFiles(f'{tmp_path}/*.jpg', str(tmp_path / 'labels.txt'))


def test_a_pattern_fits_names_that_are_no_text(tmp_path):
  (tmp_path / NOT_TEXT).write_bytes(ANIMATED['PNG'])
  (tmp_path / 'labels.txt').write_text('1\n')
  files = predictions.LabelledFiles(f'{tmp_path}/*.png', str(tmp_path / 'labels.txt'))
  source = files.open('validation')
  assert source.where(0) == rf'{tmp_path}/caf\xe9.png'
  (number, data), = source.read(0, 1).as_numpy_iterator()
  assert number == 0 and data == source.read_one(0) == ANIMATED['PNG']

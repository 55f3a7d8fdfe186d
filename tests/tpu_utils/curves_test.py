"""Tests of reading summaries and plotting curves."""
import itertools

import numpy as np
import PIL.Image
import tensorflow as tf

from tpu_utils import curves

_FILES = itertools.count(10)  # Their order; TensorFlow's own number has no leading zeros.


def write(folder, points):
  known = set(folder.glob('events*'))
  writer = tf.summary.create_file_writer(str(folder))
  with writer.as_default():
    for step, value in points:
      tf.summary.scalar('loss', value, step=step)
  writer.close()
  for path in set(folder.glob('events*')) - known:
    path.rename(path.with_name(f'events.out.tfevents.{next(_FILES)}'))


def test_the_last_value_of_a_step_counts(tmp_path):
  """The job was killed after step 2 and resumed from step 1."""
  write(tmp_path, [(1, 3.0), (2, 2.0)])
  write(tmp_path, [(2, 2.5), (3, 1.0)])
  assert curves.read(str(tmp_path)) == {'loss': {1: 3.0, 2: 2.5, 3: 1.0}}


def test_a_truncated_file_is_read_up_to_its_end(tmp_path):
  write(tmp_path, [(1, 3.0), (2, 2.0)])
  path = next(tmp_path.glob('events*'))
  path.write_bytes(path.read_bytes()[:-5])
  assert curves.read(str(tmp_path)) == {'loss': {1: 3.0}}


def test_later_steps_stay_if_a_step_is_evaluated_again(tmp_path):
  write(tmp_path, [(1, 3.0), (2, 2.0), (3, 1.0), (1, 2.5)])
  assert curves.read(str(tmp_path)) == {'loss': {1: 2.5, 2: 2.0, 3: 1.0}}


def test_no_events(tmp_path, capfd):
  assert curves.read(str(tmp_path)) == {}
  assert curves.read(str(tmp_path / 'none')) == {}
  assert capfd.readouterr() == ('', '')


def test_all_steps_are_read_not_only_those_tensorboard_samples(tmp_path):
  write(tmp_path, [(step, 0.5) for step in range(1500)])
  assert len(curves.read(str(tmp_path))['loss']) == 1500


def test_the_picture_shows_the_curves(tmp_path):
  write(tmp_path, [(1, 3.0), (2, 2.0)])
  pictures = []
  for panels in ([('loss',)], [('accuracy',)], [('loss',), ('accuracy',)]):
    path = str(tmp_path / 'curves.png')
    curves.draw(str(tmp_path), panels, path)
    pictures.append(np.asarray(PIL.Image.open(path).convert('RGB'), np.float32))
  blue = [(image[..., 2] - image[..., 0] > 100).sum() for image in pictures]
  assert blue[0] > 500 and blue[1] == 0 and blue[2] > 500
  assert pictures[2].shape[1] == 2 * pictures[0].shape[1]

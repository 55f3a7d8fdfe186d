import numpy as np
import PIL.Image
import tensorflow as tf

from tpu_utils import curves


def write(folder, points, **settings):
  writer = tf.summary.create_file_writer(str(folder), **settings)
  with writer.as_default():
    for step, value in points:
      tf.summary.scalar('loss', value, step=step)
  writer.close()


def test_the_last_value_of_a_step_counts(tmp_path):
  """A job that was killed after step 2 and went on from step 1."""
  write(tmp_path, [(1, 3.0), (2, 2.0)], filename_suffix='.a')
  write(tmp_path, [(2, 2.5), (3, 1.0)], filename_suffix='.b')
  assert curves.read(str(tmp_path)) == {'loss': {1: 3.0, 2: 2.5, 3: 1.0}}


def test_a_file_that_a_kill_cut_off_is_read_up_to_there(tmp_path):
  write(tmp_path, [(1, 3.0), (2, 2.0)])
  path = next(tmp_path.glob('events*'))
  path.write_bytes(path.read_bytes()[:-5])
  assert curves.read(str(tmp_path)) == {'loss': {1: 3.0}}


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

"""One rule of decoding: files whose pixels are certain are read, others refused with the remedy."""
import io
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.tpu_utils.images import bombs
from tests.tpu_utils.images.animations import ANIMATED
from tests.tpu_utils.images.preparation.published import encoded
from tpu_utils.images import decoding, preprocessing
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.preparation import encoding
from tpu_utils.images.sources.image_folder import ImageFolder
from tpu_utils.images.spec import PreprocessSpec


def in_a_dataset(function):
  def run(data):
    dataset = tf.data.Dataset.from_tensors(data)
    return next(iter(dataset.map(tf.autograph.experimental.do_not_convert(function))))

  return run


def compressed_bmp():
  data = bytearray(encoded(1, kind='BMP'))
  data[30] = 3  # Masks say where the colours are.
  return bytes(data)


def old_bmp():
  """A BMP with OS/2's header of 12 bytes."""
  data = encoded(1, (4, 3), kind='BMP')
  header = (12).to_bytes(4, 'little') + b'\4\0\3\0\1\0\x18\0'
  return data[:10] + (26).to_bytes(4, 'little') + header + data[54:]


def part_of_the_canvas():
  """A GIF whose picture is smaller than its canvas."""
  data = encoded(1, (8, 6), kind='GIF')
  return data[:6] + b'\x0a\0\x07\0' + data[10:]


CERTAIN = {
  **{f'{kind} {mode}': encoded(1, kind=kind, mode=mode) for kind, mode in (
    ('PNG', 'RGB'), ('PNG', 'P'), ('PNG', 'L'), ('PNG', '1'), ('GIF', 'P'), ('GIF', 'L'),
    ('BMP', 'RGB'), ('BMP', 'L'), ('BMP', 'RGBA'),
  )},
  'odd BMP': encoded(1, (5, 3), kind='BMP'),
  'odd grey BMP': encoded(1, (5, 3), kind='BMP', mode='L'),
}  # fmt: skip
UNCERTAIN = {
  'palette BMP': encoded(1, kind='BMP', mode='P'),
  '1-bit BMP': encoded(1, kind='BMP', mode='1'),
  'compressed BMP': compressed_bmp(),
  'OS/2 BMP': old_bmp(),
  'WebP': encoded(1, kind='WebP', lossless=True),
  'TIFF': encoded(1, kind='TIFF'),
  'partial GIF': part_of_the_canvas(),
}


@pytest.mark.parametrize('around', [lambda function: function, in_a_dataset])
@pytest.mark.parametrize('name', CERTAIN)
def test_certain_pixels_are_those_of_other_programs(name, around):
  data = CERTAIN[name]
  expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))
  np.testing.assert_array_equal(around(decoding.decode)(data), expected)


@pytest.mark.parametrize('around', [lambda function: function, in_a_dataset])
@pytest.mark.parametrize('name', UNCERTAIN)
def test_others_are_refused_with_the_remedy(name, around):
  data = UNCERTAIN[name]
  for function in (
    decoding.decode,
    lambda data: preprocessing.preprocess_for_eval(data, image_size=8, crop='whole'),
    lambda data: preprocessing.preprocess_for_train(
      data, image_size=8, seed=tf.constant([0, 1], tf.int64)
    ),
  ):
    with pytest.raises(tf.errors.InvalidArgumentError, match=decoding.REMEDY):
      around(function)(data)
  kind = name.split()[-1]  # palette BMP, WebP, ...
  assert decoding.flaw(data).startswith(f'it is a {kind}')
  assert decoding.REMEDY in decoding.flaw(data)


@pytest.mark.parametrize(
  'name', ['palette BMP', '1-bit BMP', 'WebP', 'TIFF', 'OS/2 BMP', 'partial GIF']
)
def test_prepare_converts_what_is_refused(name):
  data = UNCERTAIN[name]
  converted = encoding.official(data)[0]
  expected = np.asarray(Image.open(io.BytesIO(data)).convert('RGB')).astype(float)
  # JPEG blurs the dithered pixels of a 1-bit image.
  assert abs(decoding.decode(converted).numpy() - expected).mean() <= 10


@pytest.mark.parametrize('data', [b'', b'B', b'BM', b'BM' + bytes(20), b'GIF8', b'\xff\xd8\xff'])
def test_short_files_are_no_images(data):
  with pytest.raises(tf.errors.InvalidArgumentError):
    decoding.decode(data)
  assert re.search('no image|BMP', decoding.flaw(data))


@pytest.mark.parametrize('name', ['palette BMP', 'WebP'])
@pytest.mark.parametrize('split', ['train', 'validation'])
def test_a_job_names_the_file_and_the_remedy(tmp_path, name, split):
  for folder in ('train', 'validation'):
    for label in ('a', 'b'):
      (tmp_path / folder / label).mkdir(parents=True)
      (tmp_path / folder / label / 'x.jpg').write_bytes(UNCERTAIN[name])
  images = ImageNetInput(
    str(tmp_path), PreprocessSpec(8, crop='whole'), train_batch_size=2, eval_batch_size=2,
    num_label_classes=2,
  )
  with pytest.raises(ValueError, match=decoding.REMEDY) as error:
    list((images.train_dataset() if split == 'train' else images.eval_dataset()).take(2))
  assert str(error.value).startswith(f'{tmp_path}/{split}/')


@pytest.mark.parametrize('ending', ['webp', 'tif', 'TIFF'])
def test_a_folder_of_other_formats_names_the_remedy(tmp_path, ending):
  for label in ('a', 'b'):
    (tmp_path / label).mkdir()
    (tmp_path / label / f'x.{ending}').write_bytes(b'')
  with pytest.raises(ValueError, match=decoding.REMEDY):
    ImageFolder(str(tmp_path)).open('train')


def test_of_an_animation_the_first_picture_is_decoded():
  for kind in ('GIF', 'PNG'):
    expected = np.asarray(Image.open(io.BytesIO(ANIMATED[kind])).convert('RGB'))
    np.testing.assert_array_equal(decoding.decode(ANIMATED[kind]), expected)
    assert expected.shape == (10, 12, 3) and (expected == [255, 0, 0]).all()


def test_of_a_gif_only_the_first_picture_is_looked_at():
  gif = ANIMATED['GIF']
  _, _, end = decoding.first_picture(gif).numpy()
  assert 0 < end < len(gif)
  expected = decoding.decode(gif).numpy()
  np.testing.assert_array_equal(decoding.decode(gif[:end] + b'anything'), expected)
  np.testing.assert_array_equal(decoding.decode(gif[:end]), expected)
  for cut in range(6, end, 5):
    with pytest.raises(tf.errors.InvalidArgumentError):
      decoding.decode(gif[:cut])


@pytest.mark.parametrize('around', [lambda function: function, in_a_dataset])
@pytest.mark.parametrize('kind', bombs.READ_BY_TENSORFLOW)
def test_pictures_of_too_many_pixels_are_refused(kind, around):
  data = bombs.ALL[kind]
  for function in (
    decoding.decode,
    lambda data: preprocessing.preprocess_for_eval(data, image_size=8, crop='whole'),
    lambda data: preprocessing.preprocess_for_train(
      data, image_size=8, seed=tf.constant([0, 1], tf.int64)
    ),
  ):
    with pytest.raises(tf.errors.InvalidArgumentError, match='pixels, more than the 134,217,728'):
      around(function)(data)
  assert decoding.flaw(data) == f'it has {bombs.MESSAGE}; scale it down'


@pytest.mark.parametrize('kind', ['JPEG', 'PNG'])
@pytest.mark.parametrize('split', ['train', 'validation'])
def test_a_job_names_the_file_and_its_size(tmp_path, kind, split):
  for folder in ('train', 'validation'):
    for label in ('a', 'b'):
      (tmp_path / folder / label).mkdir(parents=True)
      (tmp_path / folder / label / 'x.jpg').write_bytes(bombs.ALL[kind])
  images = ImageNetInput(
    str(tmp_path), PreprocessSpec(8, crop='whole'), train_batch_size=2, eval_batch_size=2,
    num_label_classes=2,
  )
  with pytest.raises(ValueError, match=bombs.MESSAGE) as error:
    list((images.train_dataset() if split == 'train' else images.eval_dataset()).take(2))
  assert str(error.value).startswith(f'{tmp_path}/{split}/')

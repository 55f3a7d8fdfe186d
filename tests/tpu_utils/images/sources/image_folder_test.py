"""Tests folders of images: layouts, missing classes and other files in them."""
import os
import shutil

import pytest
import tensorflow as tf

from tests.tpu_utils.images import small_sets
from tpu_utils.images import sources
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.sources import image_folder
from tpu_utils.images.sources.image_folder import ImageFolder
from tpu_utils.images.spec import PreprocessSpec


@pytest.fixture
def folder(tmp_path):
  small_sets.image_folder(tmp_path)
  return tmp_path


def one_line(folder, split='train', **settings):
  with pytest.raises(ValueError) as error:
    ImageFolder(str(folder), **settings).open(split)
  assert '\n' not in str(error.value)
  return str(error.value)


def test_classes_are_numbered_by_their_sorted_names(folder):
  data = ImageFolder(str(folder))
  assert data.class_names == ['ash', 'birch', 'cedar']
  source = data.open('validation')
  assert [int(source.parse(n, b'')[1]) for n in range(len(source))] == [0] * 8 + [1] * 8 + [2] * 7


def test_training_images_of_all_classes_are_mixed(folder):
  source = ImageFolder(str(folder)).open('train')
  assert len({int(source.parse(n, b'')[1]) for n in range(10)}) == 3


def test_val_is_validation(folder):
  (folder / 'validation').rename(folder / 'val')
  assert len(ImageFolder(str(folder)).open('validation')) == 23
  shutil.copytree(folder / 'val', folder / 'validation')
  assert 'val are both there; keep the one to evaluate on' in one_line(folder)


def test_a_tree_without_splits(folder):
  assert len(ImageFolder(str(folder / 'train')).open('train')) == 37
  line = one_line(folder / 'train', 'validation')
  assert 'has no validation images: make the folder' in line and '--holdout_fraction' in line


def test_evaluation_needs_no_training_images(folder):
  shutil.rmtree(folder / 'train')
  assert len(ImageFolder(str(folder)).open('validation')) == 23
  assert f'make the folder {folder}/train' in one_line(folder)


def test_files_of_operating_systems_are_ignored(folder):
  for name in ('.DS_Store', 'Thumbs.db', '.hidden.png'):
    (folder / 'train' / 'ash' / name).write_bytes(b'x')
  (folder / 'train' / '.ipynb_checkpoints').mkdir()
  assert len(ImageFolder(str(folder)).open('train')) == 37


def test_other_files_are_named(folder):
  for name in ('notes.txt', 'a.tif', 'labels.csv', 'b.webp', 'README', 'z.mp4'):
    (folder / 'train' / 'birch' / name).write_bytes(b'x')
  line = one_line(folder)
  assert line.startswith(
    f'{folder}/train/birch holds README, a.tif, b.webp, labels.csv, notes.txt and 1 more: '
    'not images'
  )


@pytest.mark.parametrize('split', ['train', 'validation'])
def test_an_empty_class(folder, split):
  shutil.rmtree(folder / split / 'cedar')
  (folder / split / 'cedar').mkdir()
  assert one_line(folder, split).startswith(f'{folder}/{split}/cedar holds no images')


def test_a_missing_and_an_unknown_class(folder):
  (folder / 'validation' / 'ash').rename(folder / 'validation' / 'oak')
  assert f'{folder}/validation has no folder for ash, which' in one_line(folder, 'validation')
  shutil.copytree(folder / 'validation' / 'oak', folder / 'validation' / 'ash')
  assert f'{folder}/validation holds oak, which are not classes' in one_line(folder, 'validation')


def test_fewer_than_two_classes(folder):
  for name in ('ash', 'cedar'):
    shutil.rmtree(folder / 'train' / name)
  assert 'at least two classes (it holds birch)' in one_line(folder)
  shutil.rmtree(folder / 'train' / 'birch')
  assert 'at least two classes (it is empty)' in one_line(folder)
  assert one_line(folder / 'nowhere').startswith(f'{folder}/nowhere is not a folder')


def test_a_file_that_is_not_an_image_is_named(folder):
  path = folder / 'train' / 'ash' / '000.png'
  path.write_bytes(b'GIF8 no more')
  images = ImageNetInput(
    str(folder), PreprocessSpec(4, crop='whole'), train_batch_size=37, num_label_classes=3
  )
  with pytest.raises((tf.errors.InvalidArgumentError, ValueError)) as error:
    next(iter(images.train_dataset()))
  cause = images.explain(error.value) if isinstance(error.value, tf.errors.OpError) else error.value
  assert str(cause).startswith(f'{path}: its 12 bytes are no image that can be decoded')


def test_a_deleted_image_is_named(folder):
  source = ImageFolder(str(folder)).open('train')
  os.remove(source.where(3))
  with pytest.raises(ValueError, match=f'{source.where(3)}: cannot be read'):
    source.read_one(3)


def test_several_images_of_many_formats(tmp_path):
  image = tf.fill([5, 6, 3], tf.constant(90, tf.uint8))
  for name in ('a', 'b'):
    (tmp_path / name).mkdir()
    (tmp_path / name / '1.JPEG').write_bytes(tf.io.encode_jpeg(image).numpy())
    (tmp_path / name / '2.Png').write_bytes(tf.io.encode_png(image[..., :1]).numpy())
  images = ImageNetInput(str(tmp_path), PreprocessSpec(4), train_batch_size=4, num_label_classes=2)
  batch = next(iter(images.train_dataset()))
  assert abs(batch['images'].numpy() - 90).max() < 2
  assert set(image_folder.READABLE) >= {'.jpg', '.jpeg', '.png', '.bmp', '.gif'}


NOT_TEXT = os.fsdecode(b'caf\xe9.png')


def test_names_that_are_no_text_are_read(folder):
  """Their bytes are not UTF-8: TensorFlow's functions do not take what Python makes of them."""
  ash = folder / 'train' / 'ash'
  (ash / '000.png').rename(ash / NOT_TEXT)
  settings = {'train_batch_size': 37, 'num_label_classes': 3}
  images = ImageNetInput(str(folder), PreprocessSpec(4, crop='whole'), **settings)
  assert next(iter(images.train_dataset()))['images'].shape == (37, 4, 4, 3)
  held = ImageFolder(str(folder), holdout_fraction=0.9)
  assert len(held.open('train')) + len(held.open('validation')) == 37
  (ash / NOT_TEXT).write_bytes(b'GIF8 no more')
  images = ImageNetInput(str(folder), PreprocessSpec(4, crop='whole'), **settings)
  with pytest.raises((tf.errors.InvalidArgumentError, ValueError)) as error:
    next(iter(images.train_dataset()))
  cause = images.explain(error.value) if isinstance(error.value, tf.errors.OpError) else error.value
  assert str(cause).startswith(rf'{ash}/caf\xe9.png: its 12 bytes are no image')


def test_folders_and_broken_links_are_named(folder):
  ash = folder / 'train' / 'ash'
  (ash / 'folder.jpg').mkdir()
  (ash / 'gone.jpg').symlink_to('/nowhere')
  (ash / os.fsdecode(b'\xe9.jpg')).symlink_to('nothing')
  (ash / 'good.png').symlink_to(next((folder / 'train' / 'birch').iterdir()))
  os.mkfifo(ash / 'pipe.png')
  assert one_line(folder) == (
    f'{ash} holds folder.jpg (a folder), gone.jpg (a link to nothing), pipe.png (no regular file), '
    r'\xe9.jpg (a link to nothing); expected only image files. Move these elsewhere.'
  )
  for name in ('folder.jpg', 'gone.jpg', os.fsdecode(b'\xe9.jpg'), 'pipe.png'):
    (ash / name).rename(folder / name)  # Beside the splits they are in nobody's way.
  assert len(ImageFolder(str(folder)).open('train')) == 38


def test_a_file_that_cannot_be_read_is_named_without_tensorflows_words(folder):
  source = ImageFolder(str(folder)).open('train')
  path = source.where(3)
  os.remove(path)
  os.mkdir(path)
  with pytest.raises(ValueError) as error:
    source.read_one(3)
  assert str(error.value) == f'{path}: cannot be read (Is a directory).'


def test_names_of_folders_must_be_text(folder):
  name = os.fsdecode(b'ch\xeane')
  (folder / 'train' / 'ash').rename(folder / 'train' / name)
  assert one_line(folder) == (
    rf'Folder of a class: {folder}/train/ch\xeane has bytes that are not UTF-8; rename it.'
  )
  folder.rename(folder.parent / name)
  with pytest.raises(ValueError, match=r'--data_dir: .*ch\\xeane has bytes that are not UTF-8'):
    sources.open_dataset(str(folder.parent / name))


def test_animations_are_announced(folder, capsys):
  (folder / 'train' / 'ash' / '000.png').rename(folder / 'train' / 'ash' / '000.GIF')
  ImageFolder(str(folder)).open('train')
  assert '1 GIF files; of an animation the first picture is read' in capsys.readouterr().err
  ImageFolder(str(folder)).open('validation')
  assert not capsys.readouterr().err

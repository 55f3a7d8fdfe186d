"""Division of folders without images to evaluate on."""
import json

import numpy as np
import pytest
from PIL import Image

from tpu_utils.images.sources import splitting
from tpu_utils.images.sources.image_folder import ImageFolder


def picture(seed, size=64):
  """Returns a smooth random picture."""
  pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
  return Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)


@pytest.fixture
def folder(tmp_path):
  """Returns a tree of two classes of ten pictures, without folders of splits."""
  for label, name in enumerate(('ash', 'birch')):
    (tmp_path / name).mkdir()
    for n in range(10):
      picture(100 * label + n).save(tmp_path / name / f'{n}.jpg')
  return tmp_path


def names(data, split):
  source = data.open(split)
  return {splitting.name_of(source.where(n)) for n in range(len(source))}


def test_a_fifth_of_each_class_is_held_out_the_same_every_time(folder):
  data = ImageFolder(str(folder))
  assert data.lacks_validation
  split = data.divide()
  assert not data.lacks_validation
  train, validation = (names(data, split) for split in ('train', 'validation'))
  assert (len(train), len(validation)) == (16, 4) and not train & validation
  assert sorted(name.split('/')[0] for name in validation) == ['ash', 'ash', 'birch', 'birch']
  assert ImageFolder(str(folder)).divide() == split
  assert split.content()['validation'] == sorted(validation) and split.num_train == 16
  assert '4 of its 20 are held out' in split.text('here')


def test_pictures_that_look_alike_stay_together(folder):
  """Copies, other sizes, other qualities and exported variants of one picture."""
  groups = []
  for n in range(10):
    image = picture(n)
    image.resize((50, 50)).save(folder / 'ash' / f'small{n}.png')
    image.save(folder / 'ash' / f'poor{n}.jpg', quality=40)
    picture(7000 + n).save(folder / 'ash' / f'{n}.rf.{n}abc.jpg')
    groups.append({f'ash/{name}' for name in (f'{n}.jpg', f'small{n}.png', f'poor{n}.jpg')})
    groups[-1].add(f'ash/{n}.rf.{n}abc.jpg')
  split = ImageFolder(str(folder)).divide()
  held = {name for name in split.validation if name.startswith('ash')}
  assert held == set().union(*(group for group in groups if group & held)) and len(held) == 8
  assert split.alike == 40


def test_different_and_plain_pictures_are_no_copies(tmp_path):
  for name in ('a', 'b'):
    (tmp_path / name).mkdir()
    for n in range(5):
      Image.new('RGB', (40, 40), (40 * n, 0, 0)).save(tmp_path / name / f'{n}.png')
  split = ImageFolder(str(tmp_path)).divide()
  assert (split.alike, len(split.validation)) == (0, 2)


def test_a_class_with_one_picture_is_all_for_training(folder):
  (folder / 'cedar').mkdir()
  picture(5).save(folder / 'cedar' / 'only.jpg')
  split = ImageFolder(str(folder)).divide()
  assert split.undivided == ('cedar',) and len(split.validation) == 4
  assert 'no image of cedar, too few to divide' in split.text('here')


def test_nothing_can_be_divided(tmp_path):
  for name in ('a', 'b'):
    (tmp_path / name).mkdir()
    picture(1).save(tmp_path / name / '1.png')
  with pytest.raises(ValueError, match='none of its classes can be divided: each') as e:
    ImageFolder(str(tmp_path)).divide()
  assert '\n' not in str(e.value)


def test_files_that_cannot_be_decoded_are_left_to_training(folder):
  (folder / 'ash' / 'bad.jpg').write_bytes(b'no picture')
  assert splitting.fingerprint(str(folder / 'ash' / 'bad.jpg')) is None
  assert ImageFolder(str(folder)).divide().num_train == 17


def test_a_recorded_split_is_kept_when_images_are_added(folder):
  split = ImageFolder(str(folder)).divide()
  path = folder.parent / 'split.json'
  path.write_text(json.dumps(split.content()))
  picture(50).save(folder / 'ash' / 'new.jpg')
  data = ImageFolder(str(folder), held_out=splitting.read(str(path)))
  assert names(data, 'validation') == split.validation
  assert 'ash/new.jpg' in names(data, 'train') and not data.lacks_validation


def test_a_split_of_another_folder(folder):
  data = ImageFolder(str(folder), held_out={'oak/1.jpg'})
  with pytest.raises(ValueError, match=r'leaves no validation images: it lists 1 .* oak/1.jpg'):
    data.open('validation')


@pytest.mark.parametrize('text', ['{', '[]', '{"validation": []}', '{"validation": [1]}', ''])
def test_a_damaged_record(tmp_path, text):
  path = tmp_path / 'split.json'
  path.write_text(text)
  with pytest.raises(ValueError, match='split.json') as error:
    splitting.read(str(path))
  assert '\n' not in str(error.value)


def test_a_missing_record(tmp_path):
  with pytest.raises(FileNotFoundError, match='--split_file=.*no such file; expected JSON'):
    splitting.read(str(tmp_path / 'split.json'))


class TestFraction:
  files = [(f'root/{name}/{n}.png', label) for label, name in enumerate('ab') for n in range(50)]

  def held(self, files, fraction=0.1):
    return splitting.divide(files, fraction).validation

  def test_a_share_of_each_class(self):
    split = splitting.divide(self.files, 0.1)
    assert [sum(held.startswith(name) for held in split.validation) for name in 'ab'] == [5, 5]
    assert split.num_train == 90 and split.content()['fraction'] == 0.1

  def test_it_does_not_depend_on_where_the_tree_is(self):
    moved = [(path.replace('root', '/else/where'), label) for path, label in self.files]
    assert self.held(moved) == self.held(self.files)

  def test_more_images_move_few(self):
    more = self.files + [(f'root/a/{n}.png', 0) for n in range(50, 60)]
    assert len(self.held(self.files) & self.held(more)) >= 8

  @pytest.mark.parametrize('fraction, count', [(0.01, 1), (0.5, 5), (0.75, 8), (0.99, 9)])
  def test_never_none_and_never_all(self, fraction, count):
    assert len(self.held(self.files[:10], fraction)) == count
    assert len(self.held(self.files[:2], fraction)) == 1


def test_the_flag_follows_the_same_rule(folder, capsys):
  for n in range(3):
    picture(n).save(folder / 'ash' / f'copy{n}.png')
  (folder / 'cedar').mkdir()
  picture(5).save(folder / 'cedar' / 'only.jpg')
  split = splitting.divide(ImageFolder(str(folder))._training_files, 0.3)
  data = ImageFolder(str(folder), holdout_fraction=0.3)
  assert names(data, 'validation') == split.validation and split.alike == 6
  assert data.split_record == split.content()
  assert 'no image of cedar is held out, too few to divide' in capsys.readouterr().err


def test_pictures_inside_other_files_are_compared(folder):
  """The paths are names; `read` has the pictures, of which two pairs are copies."""
  pictures = {f'x.tar: ash/{n}.png': folder / 'ash' / f'{n % 8}.jpg' for n in range(10)}
  split = splitting.divide(
    [(name, 0) for name in pictures], 0.2, lambda name: pictures[name].read_bytes()
  )
  assert split.alike == 4 and split.compared

"""Tests finding images in every published layout, and the errors for wrong ones."""
import gzip
import io
import os
import tarfile

import pytest

from tests.tpu_utils.images.preparation import published
from tpu_utils.images.preparation.collect import Image, collect, mislabelled

CLASSES = list(published.CLASSES)


def found(images):
  """Returns {name: (class, bytes)}."""
  return {image.name: (CLASSES[image.label - 1], image.read()) for image in images}


def one_line(*arguments):
  with pytest.raises(ValueError) as error:
    collect(*arguments)
  assert '\n' not in str(error.value)
  return str(error.value)


def test_class_folders(tmp_path):
  written = published.class_folders(tmp_path / 'x')
  classes, images = collect(str(tmp_path / 'x'))
  assert classes == CLASSES and found(images) == written
  assert [str(i) for i in images] == sorted(str(i) for i in images)
  assert str(images[0]) == f'{tmp_path}/x/n01440764/n01440764_0.JPEG'


def test_a_tar_of_class_folders(tmp_path):
  written = published.class_folders(tmp_path / 'x')
  members = {f'./train/{c}/{name}': data for name, (c, data) in written.items()} | {
    './train/.DS_Store': b''
  }
  (tmp_path / 'x.tar').write_bytes(published.tar_of(members))
  classes, images = collect(str(tmp_path / 'x.tar'))
  assert classes == CLASSES and found(images) == written


def test_the_official_training_tar(tmp_path):
  classes, images = collect(published.train_tar(tmp_path / 'train.tar'))
  expected = published.class_folders(tmp_path / 'x')
  assert classes == CLASSES and found(images) == expected
  assert str(images[0]) == f'{tmp_path}/train.tar: n01440764_0.JPEG'


def add(tar, name, data=b'', kind=tarfile.REGTYPE, link=''):
  member = tarfile.TarInfo(name)
  member.size, member.type, member.linkname = len(data), kind, link
  tar.addfile(member, io.BytesIO(data))


def test_links_inside_a_tar_are_followed_and_others_named(tmp_path, capsys):
  path = str(tmp_path / 'x.tar')
  with tarfile.open(path, 'w') as tar:
    add(tar, './a/2.jpg', kind=tarfile.SYMTYPE, link='../b/3.jpg')  # Before its target.
    add(tar, './a/1.jpg', b'one')
    add(tar, './b/3.jpg', b'three')
    add(tar, './b/4.jpg', kind=tarfile.LNKTYPE, link='./a/1.jpg')
    add(tar, './b/5.jpg', kind=tarfile.SYMTYPE, link='4.jpg')
  classes, images = collect(path)
  assert classes == ['a', 'b'] and 'left out' not in capsys.readouterr().err
  assert {image.name: (image.label, image.read()) for image in images} == {
    '1.jpg': (1, b'one'), '2.jpg': (1, b'three'), '3.jpg': (2, b'three'), '4.jpg': (2, b'one'),
    '5.jpg': (2, b'one'),
  }  # fmt: skip
  with tarfile.open(path, 'a') as tar:
    add(tar, 'a/6.jpg', kind=tarfile.SYMTYPE, link='/etc/hostname')
    add(tar, 'a/7.jpg', kind=tarfile.LNKTYPE, link='../../a/1.jpg')
    add(tar, 'a/8.jpg', kind=tarfile.SYMTYPE, link='8.jpg')
    add(tar, 'a/9.jpg', kind=tarfile.FIFOTYPE)
  assert len(collect(path)[1]) == 5
  assert f'{path}: 4 entries are left out' in (err := capsys.readouterr().err) and 'a/6.jpg' in err


def test_links_in_the_tar_of_a_class_are_followed(tmp_path, capsys):
  inner = io.BytesIO()
  with tarfile.open(fileobj=inner, mode='w') as tar:
    add(tar, '1.jpg', b'one')
    add(tar, '2.jpg', kind=tarfile.LNKTYPE, link='1.jpg')
    add(tar, '3.jpg', kind=tarfile.SYMTYPE, link='../1.jpg')
  with tarfile.open(tmp_path / 'x.tar', 'w') as tar:
    add(tar, 'a.tar', inner.getvalue())
    add(tar, 'b.tar', kind=tarfile.SYMTYPE, link='a.tar')
  classes, images = collect(str(tmp_path / 'x.tar'))
  assert classes == ['a', 'b']
  assert [(i.label, i.name, i.read()) for i in images] == [
    (label, name, b'one') for label in (1, 2) for name in ('1.jpg', '2.jpg')
  ]
  assert '2 entries are left out' in (err := capsys.readouterr().err) and 'a.tar/3.jpg' in err


@pytest.mark.parametrize('unpacked', [False, True])
def test_the_official_validation_tar(tmp_path, unpacked):
  tar, labels = published.validation_tar(tmp_path / 'val.tar', tmp_path / 'labels.txt')
  if unpacked:
    with tarfile.open(tar) as file:
      file.extractall(tmp_path / 'val', filter='data')
    tar = str(tmp_path / 'val')
  classes, images = collect(tar, CLASSES, labels)
  assert classes == CLASSES
  assert [i.label for i in images] == [1, 3, 2, 1, 3, 2]
  assert images[4].read() == published.encoded(105)


def test_the_classes_must_be_those_of_the_training_images(tmp_path):
  """A validation set with a class less or more than the training images is refused."""
  tar, labels = published.validation_tar(tmp_path / 'val.tar', tmp_path / 'labels.txt')
  line = one_line(tar, [*CLASSES, 'n09999999'], labels)
  assert line == f'{tar} has no images of n09999999, which the training images have.'
  line = one_line(tar, CLASSES[:2], labels)
  assert (
    'ILSVRC2012_val_00000002.JPEG is labelled n02102040, which is not a class of the training '
    'images'
    in line
  )


class TestMistakes:
  def test_nothing_there(self, tmp_path):
    assert one_line(str(tmp_path / 'no')).endswith(
      'does not exist; expected a folder or a tar file of images.'
    )
    (tmp_path / 'empty.tar').write_bytes(published.tar_of({}))
    assert one_line(str(tmp_path / 'empty.tar')) == f'{tmp_path}/empty.tar holds no images.'

  def test_flat_without_labels(self, tmp_path):
    tar, _ = published.validation_tar(tmp_path / 'val.tar', tmp_path / 'labels.txt')
    assert (
      'lies in no class folder; a flat tar needs the file of its labels, --validation_labels'
      in one_line(tar)
    )
    (tmp_path / 'flat').mkdir()
    (tmp_path / 'flat' / '1.jpg').write_bytes(b'')
    assert one_line(str(tmp_path / 'flat')).endswith(
      'A flat folder needs the file of its labels, --validation_labels.'
    )

  def test_other_files(self, tmp_path):
    (tmp_path / 'x.tar').write_bytes(
      published.tar_of({'a/1.jpg': b'', 'a/readme.txt': b'', 'b/2.jpg': b''})
    )
    assert f'{tmp_path}/x.tar holds a/readme.txt: not images by name' in one_line(
      str(tmp_path / 'x.tar')
    )
    published.class_folders(tmp_path / 'y')
    (tmp_path / 'y' / CLASSES[0] / 'list.csv').write_bytes(b'')
    assert 'holds list.csv: not images by name' in one_line(str(tmp_path / 'y'))

  def test_one_class(self, tmp_path):
    (tmp_path / 'x.tar').write_bytes(published.tar_of({'a/1.jpg': b'1'}))
    assert 'has images of one class only (a)' in one_line(str(tmp_path / 'x.tar'))

  @pytest.mark.parametrize('damage', ['gzip', 'cut', 'cut in a class', 'text', 'empty'])
  def test_damaged_tar(self, tmp_path, damage):
    path = published.train_tar(tmp_path / 'train.tar')
    with open(path, 'rb') as file:
      content = file.read()
    changed = {
      'gzip': gzip.compress(content),
      'cut': content[:700],
      'cut in a class': content[: len(content) // 2],
      'text': b'hello ' * 300,
      'empty': b'',
    }[damage]  # fmt: skip
    with open(path, 'wb') as file:
      file.write(changed)
    line = one_line(path)
    assert line.startswith(path) and ('copy it again' in line or 'holds no images' in line)

  def test_a_deleted_image(self, tmp_path):
    published.class_folders(tmp_path / 'x')
    image = collect(str(tmp_path / 'x'))[1][0]
    os.remove(image.path)
    with pytest.raises(OSError, match=image.path):
      image.read()


def test_names_that_are_no_text(tmp_path):
  """Images may have them, classes not."""
  name = os.fsdecode(b'caf\xe9.jpg')
  for label in 'ab':
    (tmp_path / 'x' / label).mkdir(parents=True)
    (tmp_path / 'x' / label / name).write_bytes(label.encode())
  with tarfile.open(tmp_path / 'x.tar', 'w') as tar:
    tar.add(tmp_path / 'x', '.')
  for path in ('x', 'x.tar'):
    classes, images = collect(str(tmp_path / path))
    assert [image.read() for image in images] == [b'a', b'b']
    assert str(images[0]).endswith(r'caf\xe9.jpg') and images[0].name == name
  (tmp_path / 'x' / 'a').rename(tmp_path / 'x' / os.fsdecode(b'\xe9'))
  with tarfile.open(tmp_path / 'x.tar', 'w') as tar:
    tar.add(tmp_path / 'x', '.')
  for path in ('x', 'x.tar'):
    line = one_line(str(tmp_path / path))
    assert '--validation_labels' not in line
    assert r'\xe9 has bytes that are not UTF-8; rename it.' in line and path in line


def test_a_flat_folder_with_other_things(tmp_path):
  tar, labels = published.validation_tar(tmp_path / 'val.tar', tmp_path / 'labels.txt')
  with tarfile.open(tar) as file:
    file.extractall(tmp_path / 'val', filter='data')
  (tmp_path / 'val' / 'x.jpg').mkdir()
  (tmp_path / 'val' / 'y.jpg').symlink_to('/nowhere')
  line = one_line(str(tmp_path / 'val'), CLASSES, labels)
  assert 'val holds x.jpg (a folder), y.jpg (a link to nothing); expected only image files' in line


@pytest.mark.parametrize(
  'name, label, expected',
  [
    ('n01440764_1.JPEG', 1, None),
    ('n01440764_1.JPEG', 2, 'its name says n01440764 and it lies in n01443537'),
    ('n09999999_1.JPEG', 2, None),  # Not the name of one of the classes.
    ('ILSVRC2012_val_00000001.JPEG', 2, None),
    ('dog.jpg', 2, None),
  ],
)
def test_names_that_say_another_class(name, label, expected):
  assert mislabelled(Image(name, 'x', 0, None, label), CLASSES) == expected

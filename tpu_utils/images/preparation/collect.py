"""Discovery of the images of a split and their classes, in any of the usual layouts.

- a folder of class folders: train/CLASS/*.jpg
- a tar file of class folders: CLASS/*.jpg
- a tar file that contains a tar file for each class: ILSVRC2012_img_train.tar
- a flat folder or tar file, with the labels in a file (`labels.py`): ILSVRC2012_img_val.tar
"""
import contextlib
import dataclasses
import os
import posixpath
import re
import sys
import tarfile
from collections.abc import Sequence

import tensorflow as tf

from tpu_utils.command_line.progress import Progress
from tpu_utils.errors import printable
from tpu_utils.files import is_folder, is_remote
from tpu_utils.images.preparation import labels
from tpu_utils.images.sources import image_folder, picture_files
from tpu_utils.images.sources.picture_files import some

# Extensions of the formats that training reads, and of those that Pillow converts.
READABLE = (*image_folder.READABLE, *image_folder.CONVERTIBLE)

_MAX_LINKS = 40  # Links to follow to one file, as Linux does.

# Names of the official training images begin with the class: n01440764_10026.JPEG.
_WORDNET_ID = re.compile(r'(n\d{8})_')


@dataclasses.dataclass(frozen=True)
class Image:
  """An image to prepare.

  Attributes:
    name: file name, without folders.
    path: the image file, or the tar file that contains it.
    offset: byte offset in the file at `path`.
    size: number of bytes; None for the whole file.
    label: class label, from 1.
  """

  name: str
  path: str
  offset: int
  size: int | None
  label: int

  def __str__(self):
    return printable(self.key)

  @property
  def key(self) -> str:
    """Path, and for a tar file also the name in it; differs for all images."""
    return self.path if self.size is None else f'{self.path}: {self.name}'

  def read(self) -> bytes:
    """Reads the encoded image.

    Raises:
      OSError: the file cannot be read.
    """
    if self.size is None:
      return picture_files.read(self.path)
    with _open(self.path) as file:
      file.seek(self.offset)
      return file.read(self.size)


def collect(
  path: str, class_names: Sequence[str] | None = None, labels_path: str | None = None
) -> tuple[Sequence[str], list[Image]]:
  """Finds the images of a split.

  Args:
    path: folder or tar file.
    class_names: the classes that the split must have; None for any.
    labels_path: file with the labels of a flat folder or tar file.

  Returns:
    (class names, images sorted by name).

  Raises:
    ValueError: there are no images, or the classes are not `class_names`; one line.
  """
  picture_files.check_text(path, 'The images')
  if not tf.io.gfile.exists(path):
    raise ValueError(f'{path} does not exist; expected a folder or a tar file of images.')
  files: dict[str, tuple[str, int, int | None]]  # {name: (path, offset, size)}.
  if not is_folder(path):
    files = _tar(path)
  elif labels_path:
    names = picture_files.names_in(path)
    files = {name: (os.path.join(path, name), 0, None) for name in names}
  else:
    return _class_folders(path, class_names)
  if not files:
    raise ValueError(f'{path} holds no images.')
  _check_names(path, files)
  if labels_path:
    by_name = labels.read(labels_path, path, [os.path.basename(name) for name in files])
    classes = {name: by_name[os.path.basename(name)] for name in files}
  else:
    classes = {name: _folder_name(path, name) for name in files}
  class_names = _check_classes(path, class_names, classes)
  label_of = {name: label for label, name in enumerate(class_names, start=1)}
  return class_names, [
    Image(os.path.basename(name), *files[name], label_of[classes[name]]) for name in sorted(files)
  ]


@contextlib.contextmanager
def _open(path):
  """Opens a local or remote file to read bytes; all its errors are OSErrors."""
  try:
    with tf.io.gfile.GFile(path, 'rb') if is_remote(path) else open(path, 'rb') as file:
      yield file
  except tf.errors.OpError as e:
    raise OSError(f'{path}: {e.message}') from None


def mislabelled(image: Image, class_names: Sequence[str]) -> str | None:
  """Returns an error text if the image's name says another class than its label, else None."""
  wordnet_id = _WORDNET_ID.match(image.name)
  labelled = class_names[image.label - 1]
  if wordnet_id and wordnet_id[1] in class_names and wordnet_id[1] != labelled:
    return f'its name says {wordnet_id[1]} and it lies in {labelled}'
  return None


def _class_folders(root, class_names):
  if class_names is None:
    try:
      class_names = image_folder.class_folders(root)
    except ValueError as e:
      raise ValueError(
        f'{e} A flat folder needs the file of its labels, --validation_labels.'
      ) from None
  files = image_folder.list_images(root, class_names, READABLE)
  return class_names, [
    Image(os.path.basename(path), path, 0, None, label + 1) for path, label in files
  ]


def _check_names(path, files):
  others = sorted(name for name in files if not name.lower().endswith(READABLE))
  if others:
    raise ValueError(
      f'{path} holds {some(others)}: not images by name ({", ".join(READABLE)}); '
      'take them out.'
    )


def _folder_name(path, name):
  parts = name.split('/')
  if len(parts) < 2:
    raise ValueError(
      f'{path}: {printable(name)} lies in no class folder; a flat tar needs the file of its '
      'labels, --validation_labels.'
    )
  return parts[-2]


def _check_classes(path, expected, classes):
  """Returns the class names in the order of their labels; ValueError if they are not as expected.

  Args:
    path: for messages.
    expected: the class names; None for any.
    classes: {image name: class name}.
  """
  actual = sorted(set(classes.values()))
  for name in actual:
    picture_files.check_text(name, f'{path}, folder of a class')
  if expected is None:
    if len(actual) < 2:
      raise ValueError(
        f'{path} has images of one class only ({actual[0]}); expected at least two.'
      )
    return actual
  unknown = sorted(set(actual) - set(expected))
  if unknown:
    example = next(name for name in sorted(classes) if classes[name] == unknown[0])
    raise ValueError(
      f'{path}: {printable(example)} is labelled {unknown[0]}, which is not a class of the '
      f'training images ({some(expected)}); {len(unknown)} such labels.'
    )
  missing = sorted(set(expected) - set(actual))
  if missing:
    raise ValueError(
      f'{path} has no images of {some(missing)}, which the training images have.'
    )
  return list(expected)


def _tar(path):
  """Lists the images in a tar file and in tar files inside it: {name: (path, offset, size)}."""
  files, others = {}, []
  size = tf.io.gfile.stat(path).length
  try:
    with tf.io.gfile.GFile(path, 'rb') as file, tarfile.open(fileobj=file, mode='r:') as tar:
      members = _files_in(tar, others)
      with Progress(len(members), 'listing', unit='entry') as bar:
        for done, (name, member) in enumerate(members.items(), start=1):
          if name.endswith('.tar'):
            files |= _inner_tar(path, tar, name, member, others)
          else:
            files[name] = (path, member.offset_data, member.size)
          bar.update(done)
  except (tarfile.TarError, EOFError, tf.errors.OpError) as e:
    raise ValueError(
      f'{path} cannot be read as an uncompressed tar file ({e}); decompress it, or copy it again.'
    ) from None
  for name, (_, offset, length) in files.items():
    if offset + length > size:
      name = printable(name)
      raise ValueError(f'{path} is cut off within {name}, at byte {size}; copy it again.')
  if others:
    print(
      f'{path}: {len(others)} entries are left out, links that lead out of the tar file or '
      f'entries without data: {some(others)}.',
      file=sys.stderr,
    )
  return files


def _inner_tar(path, tar, name, member, others):
  """Lists the images in the inner tar file of a class: {CLASS/name: (path, offset, size)}."""
  class_name = os.path.splitext(os.path.basename(name))[0]
  inner_others = []
  with tarfile.open(fileobj=tar.extractfile(member), mode='r:') as inner:
    files = {
      f'{class_name}/{os.path.basename(image_name)}':
        (path, member.offset_data + image.offset_data, image.size)
      for image_name, image in _files_in(inner, inner_others).items()
    }  # fmt: skip
  others += [f'{name}/{other}' for other in inner_others]
  return files


def _files_in(tar, others):
  """Returns {name: member with its data}; links are followed inside the tar file.

  Names of entries without data (links that lead elsewhere, devices) are appended to `others`.
  """
  members = {posixpath.normpath(member.name): member for member in tar}
  files = {}
  for member in tar:
    if member.isdir() or picture_files.is_clutter(os.path.basename(member.name)):
      continue
    target = _target(member, members)
    if target is None:
      others.append(member.name)
    else:
      files[member.name] = target
  return files


def _target(member, members):
  """Returns the regular file that an entry of a tar file is or links to; None without one."""
  for _ in range(_MAX_LINKS):
    if member is None or not (member.islnk() or member.issym()):
      break
    # A hard link names an entry of the tar file; a symbolic link counts from its own folder.
    folder = os.path.dirname(member.name) if member.issym() else ''
    member = members.get(posixpath.normpath(posixpath.join(folder, member.linkname)))
  return member if member is not None and member.isreg() and not member.issparse() else None

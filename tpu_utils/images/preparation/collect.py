"""Discovery of the images of a split and their classes, in any of the usual layouts.

- a folder of class folders: train/CLASS/*.jpg
- a tar file of class folders: CLASS/*.jpg
- a tar file that contains a tar file for each class: ILSVRC2012_img_train.tar
- a flat folder or tar file, with the labels in a file (`labels.py`): ILSVRC2012_img_val.tar
"""
import dataclasses
import os
import re
import tarfile
from collections.abc import Sequence

import tensorflow as tf

from tpu_utils.command_line.progress import Progress
from tpu_utils.images.preparation import labels
from tpu_utils.images.sources import image_folder

# Extensions of the formats that training reads, and of those that Pillow converts.
READABLE = (*image_folder.READABLE, *image_folder.CONVERTIBLE)

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
    return self.path if self.size is None else f'{self.path}: {self.name}'

  def read(self) -> bytes:
    """Reads the encoded image.

    Raises:
      OSError: the file cannot be read.
    """
    try:
      with tf.io.gfile.GFile(self.path, 'rb') as file:
        if self.size is None:
          return file.read()
        file.seek(self.offset)
        return file.read(self.size)
    except tf.errors.OpError as e:
      raise OSError(e.message) from None


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
  if not tf.io.gfile.exists(path):
    raise ValueError(f'{path} does not exist; expected a folder or a tar file of images.')
  files: dict[str, tuple[str, int, int | None]]  # {name: (path, offset, size)}.
  if not tf.io.gfile.isdir(path):
    files = _tar(path)
  elif labels_path:
    names = [name for name in tf.io.gfile.listdir(path) if not image_folder.is_clutter(name)]
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
      f'{path} holds {image_folder.some(others)}: not images by name ({", ".join(READABLE)}); '
      'take them out.'
    )


def _folder_name(path, name):
  parts = name.split('/')
  if len(parts) < 2:
    raise ValueError(
      f'{path}: {name} lies in no class folder; a flat tar needs the file of its labels, '
      '--validation_labels.'
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
      f'{path}: {example} is labelled {unknown[0]}, which is no class of the training images '
      f'({image_folder.some(expected)}); {len(unknown)} such labels.'
    )
  missing = sorted(set(expected) - set(actual))
  if missing:
    raise ValueError(
      f'{path} has no images of {image_folder.some(missing)}, which the training images have.'
    )
  return list(expected)


def _tar(path):
  """Lists the images in a tar file and in tar files inside it: {name: (path, offset, size)}."""
  files = {}
  size = tf.io.gfile.stat(path).length
  try:
    with tf.io.gfile.GFile(path, 'rb') as file, tarfile.open(fileobj=file, mode='r:') as tar:
      members = [member for member in tar if _is_image_or_tar(member)]
      with Progress(len(members), 'listing', unit='entry') as bar:
        for done, member in enumerate(members, start=1):
          if member.name.endswith('.tar'):
            files |= _inner_tar(path, tar, member)
          else:
            files[member.name] = (path, member.offset_data, member.size)
          bar.update(done)
  except (tarfile.TarError, EOFError, tf.errors.OpError) as e:
    raise ValueError(
      f'{path} cannot be read as an uncompressed tar file ({e}); decompress it, or copy it again.'
    ) from None
  for name, (_, offset, length) in files.items():
    if offset + length > size:
      raise ValueError(f'{path} is cut off within {name}, at byte {size}; copy it again.')
  return files


def _inner_tar(path, tar, member):
  """Lists the images in the inner tar file of a class: {CLASS/name: (path, offset, size)}."""
  class_name = os.path.splitext(os.path.basename(member.name))[0]
  with tarfile.open(fileobj=tar.extractfile(member), mode='r:') as inner:
    return {
      f'{class_name}/{os.path.basename(image.name)}':
        (path, member.offset_data + image.offset_data, image.size)
      for image in inner
      if _is_image_or_tar(image)
    }  # fmt: skip


def _is_image_or_tar(member):
  return member.isfile() and not image_folder.is_clutter(os.path.basename(member.name))

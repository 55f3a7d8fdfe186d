"""Finds the images of a split, and the class of each, in any of the forms that image sets come in.

- a folder of class folders: train/CLASS/*.jpg
- a tar file of those: CLASS/*.jpg
- a tar file of one tar file a class: ILSVRC2012_img_train.tar
- a flat folder or tar file, with the labels in a file (`labels.py`): ILSVRC2012_img_val.tar
"""
import dataclasses
import os
import re
import tarfile

import tensorflow as tf

from tpu_utils.command_line.progress import Progress
from tpu_utils.images.preparation import labels
from tpu_utils.images.sources import image_folder

# What shards can be made of: what training reads, and what Pillow converts.
READABLE = (*image_folder.READABLE, '.webp', '.tif', '.tiff')

# The official training images carry their class in their name: n01440764_10026.JPEG.
_WORDNET_ID = re.compile(r'(n\d{8})_')


@dataclasses.dataclass(frozen=True)
class Image:
  """An image to prepare.

  Attributes:
    name: its own name, without folders.
    path: the file that holds it: the image, or a tar file.
    offset: where in that file it begins.
    size: its bytes; None for the whole file.
    label: number of its class, from 1 on.
  """

  name: str
  path: str
  offset: int
  size: int | None
  label: int

  def __str__(self):
    return self.path if self.size is None else f'{self.path}: {self.name}'

  def read(self):
    """The bytes of the image. Raises OSError if they are not there."""
    try:
      with tf.io.gfile.GFile(self.path, 'rb') as file:
        if self.size is None:
          return file.read()
        file.seek(self.offset)
        return file.read(self.size)
    except tf.errors.OpError as e:
      raise OSError(e.message) from None


def collect(path, class_names=None, labels_path=None):
  """Finds the images of a split.

  Args:
    path: folder or tar file.
    class_names: the classes, for a split that is to have the same ones as another; None: those found.
    labels_path: file of labels for a flat folder or tar.

  Returns:
    (class names, list of `Image` in the order of the names).

  Raises:
    ValueError: no images, or not the classes asked for; one line.
  """
  if not tf.io.gfile.exists(path):
    raise ValueError(f'{path} does not exist; expected a folder or a tar file of images.')
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
  class_names = _agree(path, class_names, classes)
  number = {name: i for i, name in enumerate(class_names, start=1)}
  return class_names, [
    Image(os.path.basename(name), *files[name], number[classes[name]]) for name in sorted(files)
  ]


def mislabelled(image, class_names):
  """Says that an image lies in another class than its name tells; None if it does not."""
  told = _WORDNET_ID.match(image.name)
  if told and told[1] in class_names and told[1] != class_names[image.label - 1]:
    return f'its name says {told[1]} and it lies in {class_names[image.label - 1]}'
  return None


def _class_folders(root, class_names):
  if class_names is None:
    try:
      class_names = image_folder.class_folders(root)
    except ValueError as e:
      raise ValueError(f'{e} A flat folder needs the file of its labels, --validation_labels.') from None
  found = image_folder.list_images(root, class_names, READABLE)
  return class_names, [
    Image(os.path.basename(path), path, 0, None, label + 1) for path, label in found
  ]


def _check_names(path, files):
  others = sorted(name for name in files if not name.lower().endswith(READABLE))
  if others:
    raise ValueError(
      f'{path} holds {image_folder.some(others)}: not images by name ({", ".join(READABLE)}); take them out.'
    )


def _folder_name(path, name):
  parts = name.split('/')
  if len(parts) < 2:
    raise ValueError(
      f'{path}: {name} lies in no class folder; a flat tar needs the file of its labels, --validation_labels.'
    )
  return parts[-2]


def _agree(path, wanted, classes):
  """The sorted class names, once they are what is wanted."""
  found = sorted(set(classes.values()))
  if wanted is None:
    if len(found) < 2:
      raise ValueError(f'{path} has images of one class only ({found[0]}); expected at least two.')
    return found
  unknown = sorted(set(found) - set(wanted))
  if unknown:
    example = next(name for name in sorted(classes) if classes[name] == unknown[0])
    raise ValueError(
      f'{path}: {example} is labelled {unknown[0]}, which is no class of the training images '
      f'({image_folder.some(wanted)}); {len(unknown)} such labels.'
    )
  missing = sorted(set(wanted) - set(found))
  if missing:
    raise ValueError(f'{path} has no images of {image_folder.some(missing)}, which the training images have.')
  return list(wanted)


def _tar(path):
  """{name: (path, offset, size)} of the images in a tar file, or in the tar files in it."""
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
  """As `_tar`, of a tar file in a tar file that is named after its class."""
  name = os.path.splitext(os.path.basename(member.name))[0]
  with tarfile.open(fileobj=tar.extractfile(member), mode='r:') as inner:
    return {
      f'{name}/{os.path.basename(image.name)}': (path, member.offset_data + image.offset_data, image.size)
      for image in inner
      if _is_image_or_tar(image)
    }


def _is_image_or_tar(member):
  return member.isfile() and not image_folder.is_clutter(os.path.basename(member.name))

"""Small image sets in the layouts of published ones, for tests."""
import io
import os
import tarfile

import numpy as np
from PIL import Image

CLASSES = ('n01440764', 'n01443537', 'n02102040')


def encoded(seed, size=(12, 10), kind='JPEG', mode='RGB', **options):
  """Encodes an image with a smooth colour pattern that depends on the seed."""
  generator = np.random.default_rng(seed)
  corners = generator.integers(40, 215, (2, 2, 3)).astype(np.uint8)
  image = Image.fromarray(corners).resize(size, Image.Resampling.BILINEAR).convert(mode)
  file = io.BytesIO()
  image.save(file, kind, **options)
  return file.getvalue()


def class_folders(root, per_class=4, classes=CLASSES, first_seed=0):
  """Writes `root/CLASS/CLASS_n.JPEG`; returns {name: (class, bytes)}."""
  written = {}
  for c, class_name in enumerate(classes):
    os.makedirs(os.path.join(root, class_name))
    for n in range(per_class):
      name, data = f'{class_name}_{n}.JPEG', encoded(first_seed + c * per_class + n)
      with open(os.path.join(root, class_name, name), 'wb') as file:
        file.write(data)
      written[name] = (class_name, data)
  return written


def tar_of(files):
  """Returns the bytes of a tar file of {name: bytes}."""
  content = io.BytesIO()
  with tarfile.open(fileobj=content, mode='w') as tar:
    for name, data in files.items():
      member = tarfile.TarInfo(name)
      member.size = len(data)
      tar.addfile(member, io.BytesIO(data))
  return content.getvalue()


def train_tar(path, per_class=4):
  """Writes a tar file like ILSVRC2012_img_train.tar, with a tar file for each class; its path."""
  classes = {}
  for c, class_name in enumerate(CLASSES):
    images = {f'{class_name}_{n}.JPEG': encoded(c * per_class + n) for n in range(per_class)}
    classes[f'{class_name}.tar'] = tar_of(images)
  path.write_bytes(tar_of(classes))
  return str(path)


def validation_tar(path, labels_path, count=6):
  """Writes files like ILSVRC2012_img_val.tar and its labels; returns both paths.

  As in the original, images are not sorted by class.
  """
  images = {f'ILSVRC2012_val_{n:08d}.JPEG': encoded(100 + n) for n in range(1, count + 1)}
  path.write_bytes(tar_of(images))
  labels_path.write_text(''.join(f'{CLASSES[(n * 2) % 3]}\n' for n in range(count)))
  return str(path), str(labels_path)

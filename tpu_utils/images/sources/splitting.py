"""Divides images between training and evaluation, and records the division.

The rule: of each class a share is held out, chosen by the checksums of the names, so that the same
images give the same split on every machine. Pictures that look alike (copies, other sizes or
qualities of one picture) and files that differ only in their ending form a group, which is never
divided. A class with a single group stays in training.
"""
import collections
import concurrent.futures
import dataclasses
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tpu_utils import files
from tpu_utils.images.sources import picture_files
from tpu_utils.reading import reading

FILE = 'split.json'
FRACTION = 0.2
_RULE = (
  'of each class a share is held out, chosen by the checksums of the names; pictures that look '
  'alike are kept together; a class with one group of them is all for training'
)
_MOST_COMPARED = 10_000  # Images; more are divided by their names alone.
_SIDE = 16  # Gradients of brightness a side, so 256 bits for a picture.
_LEAST_PIXELS = 32  # A side; of fewer, as of handwritten digits, different pictures are as close.
# Bits in which two pictures that look alike may differ. Half of the copies of photographs at other
# sizes and qualities differ in 16, three quarters in 26; different photographs in 65 and more,
# different drawings in 57.
_ALIKE_BITS = 26
_LEAST_BITS = 24  # Fewer set bits: a picture too plain to tell from others.
_THREADS = 8
_EXPORTED_COPY = re.compile(r'\.rf\.[0-9a-f]+$')  # Roboflow's names of augmented copies.


@dataclasses.dataclass(frozen=True)
class Split:
  """A division of a folder's images.

  Attributes:
    validation: names CLASS/FILE of the images to evaluate on.
    num_train: number of the others.
    alike: number of images that are in a group with others.
    undivided: names of the classes without images to evaluate on.
    compared: whether the pictures were compared, and not their names alone.
    fraction: share of each class that was to be held out.
  """

  validation: frozenset[str]
  num_train: int
  alike: int
  undivided: tuple[str, ...]
  compared: bool
  fraction: float = FRACTION

  def content(self) -> dict[str, Any]:
    """Returns the JSON-able content of `split.json`."""
    return {
      'rule': _RULE,
      'fraction': self.fraction,
      'pictures_compared': self.compared,
      'num_train_images': self.num_train,
      'validation': sorted(self.validation),
    }

  def text(self, data_dir: str) -> str:
    """Describes the split in one line."""
    count = len(self.validation)
    notes = [f'a fifth of each class, chosen by the names; see {FILE} in --model_dir']
    if self.alike:
      notes.append(f'{self.alike} pictures that look like others are kept with them')
    if not self.compared:
      notes.append('too many to look for pictures that look alike')
    if self.undivided:
      notes.append(f'no image of {picture_files.some(self.undivided)}, too few to divide')
    return (
      f'{data_dir} has no images to evaluate on: {count} of its {count + self.num_train} are held '
      f'out ({"; ".join(notes)}).'
    )


def divide(
  images: Sequence[tuple[str, int]],
  fraction: float = FRACTION,
  read: Callable[[str], bytes] | None = None,
) -> Split:
  """Divides images by the rule of this module.

  Args:
    images: (path, class index) of each image, in folders named like their classes.
    fraction: share of each class to evaluate on; at least one image, and not all.
    read: function(path) -> encoded image, if the paths are no local files.

  Raises:
    ValueError: no class can be divided.
  """
  by_class = collections.defaultdict(list)
  for path, label in images:
    by_class[label].append(path)
  remote = read is None and any(files.is_remote(path) for path, _ in images)
  compared = len(images) <= _MOST_COMPARED and not remote
  held: list[str] = []
  alike, undivided = 0, []
  for paths in by_class.values():
    groups = _groups(paths, compared, read)
    alike += sum(len(group) for group in groups if len(group) > 1)
    chosen = _choose(groups, len(paths), fraction)
    held += chosen
    if not chosen:
      undivided.append(name_of(paths[0]).split('/')[0])
  if not held:
    folder = os.path.dirname(os.path.dirname(images[0][0]))
    raise ValueError(
      f'{folder} has no images to evaluate on, and none of its classes can be divided: each has a '
      'single image, or only pictures that look alike. Add images, or make a folder validation/ '
      'beside train/.'
    )
  names = frozenset(map(name_of, held))
  return Split(names, len(images) - len(held), alike, tuple(undivided), compared, fraction)


def _choose(groups, num_images, fraction):
  """Returns the paths to hold out: groups in the order of their checksums, up to the share."""
  if len(groups) < 2:
    return []
  wanted = min(max(1, round(fraction * num_images)), num_images - 1)
  ordered = sorted(groups, key=lambda group: checksum(min(group)))
  held: list[str] = []
  for group in ordered[:-1]:  # Never all.
    # A large group would take many more than the share.
    if len(held) < wanted and (not held or len(held) + len(group) <= 2 * wanted):
      held += group
  most = max(wanted, (num_images - 1) // 2)
  return held if len(held) <= most else min(groups, key=lambda group: (len(group), min(group)))


def checksum(path: str) -> bytes:
  """Returns the SHA-256 of `name_of(path)`, to choose images by."""
  return hashlib.sha256(name_of(path).encode('utf-8', 'surrogateescape')).digest()


def name_of(path: str) -> str:
  """Returns CLASS/FILE of a path, which does not change when the tree is moved."""
  return '/'.join(path.replace(os.sep, '/').split('/')[-2:])


def _groups(paths, compare, read):
  """Returns lists of paths of one class: those that look alike or have one stem are together."""
  leaders = list(range(len(paths)))

  def leader(n):
    while leaders[n] != n:
      leaders[n] = leaders[leaders[n]]
      n = leaders[n]
    return n

  for first, second in _pairs(paths, compare, read):
    leaders[leader(second)] = leader(first)
  groups = collections.defaultdict(list)
  for n, path in enumerate(paths):
    groups[leader(n)].append(path)
  return list(groups.values())


def _pairs(paths, compare, read):
  """Yields pairs of numbers of images that belong together."""
  by_stem: dict[str, int] = {}
  for n, path in enumerate(paths):
    stem = _EXPORTED_COPY.sub('', os.path.splitext(os.path.basename(path))[0])
    yield by_stem.setdefault(stem, n), n
  if not compare:
    return
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
    prints = list(pool.map(lambda path: fingerprint(path, read), paths))
  numbers = [n for n, bits in enumerate(prints) if bits is not None]
  bits = np.array([prints[n] for n in numbers], np.float32).reshape(-1, _SIDE * _SIDE)
  for row, n in enumerate(numbers):
    # Differing bits of 0/1 vectors: |a| + |b| - 2 a.b.
    others = bits[row + 1 :]
    differing = bits[row].sum() + others.sum(axis=1) - 2 * others @ bits[row]
    for other in np.flatnonzero(differing <= _ALIKE_BITS):
      yield n, numbers[row + 1 + other]


def fingerprint(path: str, read: Callable[[str], bytes] | None = None) -> np.ndarray | None:
  """Returns the perceptual hash of a picture: where its brightness rises from left to right.

  Args:
    path: a local file, or what `read` reads.
    read: see `divide`.

  Returns:
    bool [256]; None if the picture is too small or plain, or cannot be read (training names it).
  """
  from PIL import Image

  try:
    with Image.open(path if read is None else io.BytesIO(read(path))) as image:
      if min(image.size) < _LEAST_PIXELS:
        return None
      image.draft('L', (4 * _SIDE, 4 * _SIDE))  # JPEG: decodes a small picture at once.
      small = image.convert('L').resize((_SIDE + 1, _SIDE), Image.Resampling.BOX)
  # Pillow's decoders raise errors of many types; a bad image is reported where it is trained on.
  except Exception:
    return None
  pixels = np.asarray(small, np.int16)
  bits = (pixels[:, 1:] > pixels[:, :-1]).ravel()
  return bits if bits.sum() >= _LEAST_BITS else None


def read(path: str) -> frozenset[str]:
  """Reads the names of the images to evaluate on from a `split.json`.

  Raises:
    FileNotFoundError: there is no such file.
    ValueError: it has another form.
  """
  text = files.read_text(path)
  if text is None:
    raise FileNotFoundError(
      f'--split_file={path}: no such file; expected JSON {{"validation": ["CLASS/FILE", ...]}}.'
    )
  with reading(path, 'JSON of {"validation": ["CLASS/FILE", ...]}'):
    content = json.loads(text)
  names = content.get('validation') if isinstance(content, Mapping) else None
  if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
    raise ValueError(
      f'{path}: expected JSON {{"validation": ["CLASS/FILE", ...]}}, found {text[:60]!r}; correct '
      'the file, or remove it to divide the images again.'
    )
  return frozenset(names)

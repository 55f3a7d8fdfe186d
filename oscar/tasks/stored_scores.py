"""Scores of an evaluation's pairs in chunk files, so that a stopped scoring resumes.

    FOLDER/scores.json                 what was scored with which weights
    FOLDER/images-000000-000040.npz    'scores' float32 [40, candidates] of the first 40 images

Files appear whole or not at all, so a process may be killed at any time. Nothing is pickled, and
at no time are all pairs in memory.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from oscar.datasets.retrieval_files import Candidates
from oscar.metrics import retrieval as metrics
from tpu_utils import files
from tpu_utils.reading import reading

_INFO = 'scores.json'
_CHUNK_PAIRS = 100_000  # Some minutes of work with a large model.
_COLUMN_NUMBERS = 2**25  # Scores that are in memory together, 128 MiB.
_FOLD = 1000  # Images in a part of the 5K test set, whose means the papers give as 1K.


class Scores(Protocol):
  """Scores [images, candidates] in any place."""

  def block(self, first: int, last: int, begin: int, end: int) -> np.ndarray:
    """Returns the scores of images first <= i < last with candidates begin <= c < end."""


class MemoryScores:
  """Scores in memory.

  Args:
    scores: float [images, candidates].
  """

  def __init__(self, scores: np.ndarray) -> None:
    self._scores = scores

  def block(self, first: int, last: int, begin: int, end: int) -> np.ndarray:
    """See `Scores`."""
    return self._scores[first:last, begin:end]


class StoredScores:
  """Scores in chunk files of a folder.

  Args:
    folder: the folder, local or remote; made if it does not exist.
    candidates: the pairs.
    identity: JSON-able dict of everything else that decides the scores, such as the weights.
    chunk_pairs: pairs in a chunk, at most, but at least one image.

  Raises:
    ValueError: the folder holds scores of other pairs or of another model.
    OSError: it cannot be written.
  """

  def __init__(
    self,
    folder: str,
    candidates: Candidates,
    identity: Mapping[str, Any],
    chunk_pairs: int = _CHUNK_PAIRS,
  ) -> None:
    self.folder = folder
    self._images, self._width = candidates.of_image.shape
    info = {
      **identity, 'images': self._images, 'candidates': self._width,
      'images_per_chunk': max(1, chunk_pairs // self._width), 'pairs': _digest(candidates),
    }  # fmt: skip
    path = os.path.join(folder, _INFO)
    if files.is_file(path):
      there = files.read_json(path)
      info['images_per_chunk'] = there.get('images_per_chunk')  # It stays, whatever it is now.
      _check_same(path, there, info)
    else:
      files.write_bytes(path, json.dumps(info, indent=2).encode(), parents=True)
    self._size = info['images_per_chunk']

  def chunks(self) -> list[tuple[int, int]]:
    """Returns (first, last) of all chunks: images first <= i < last."""
    starts = range(0, self._images, self._size)
    return [(start, min(start + self._size, self._images)) for start in starts]

  def missing(self) -> list[tuple[int, int]]:
    """Returns the chunks that are not written yet."""
    there = {os.path.basename(path) for path in files.paths_in(self.folder, 'images-')}
    return [chunk for chunk in self.chunks() if _name(chunk) not in there]

  def write(self, chunk: tuple[int, int], scores: np.ndarray) -> None:
    """Writes the scores of a chunk, float32 [images, candidates].

    Raises:
      OSError: they cannot be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, scores=np.asarray(scores, np.float32))
    files.write_bytes(os.path.join(self.folder, _name(chunk)), buffer.getvalue())

  def block(self, first: int, last: int, begin: int, end: int) -> np.ndarray:
    """Returns scores; see `Scores`.

    Raises:
      ValueError: a chunk is damaged.
      OSError: a chunk is missing.
    """
    parts = []
    for chunk in self.chunks():
      start, stop = max(first, chunk[0]), min(last, chunk[1])
      if start < stop:
        parts.append(self._read(chunk)[start - chunk[0] : stop - chunk[0], begin:end])
    return np.concatenate(parts)

  def _read(self, chunk):
    path = os.path.join(self.folder, _name(chunk))
    data = files.read_bytes(path)
    with reading(path, 'scores (.npz)', foreign=True):
      scores = np.load(io.BytesIO(data), allow_pickle=False)['scores']
    expected = (chunk[1] - chunk[0], self._width)
    if scores.shape != expected or scores.dtype != np.float32:
      raise ValueError(
        f'{path} holds {scores.dtype} of shape {scores.shape}, expected float32 of {expected}; '
        'delete it to score its images again.'
      )
    return scores


def _name(chunk):
  return f'images-{chunk[0]:06d}-{chunk[1]:06d}.npz'


def _digest(candidates):
  """Returns a hash of images, captions and pairs."""
  texts = json.dumps([candidates.image_ids, candidates.captions, candidates.folds])
  digest = hashlib.sha256(texts.encode())
  if not candidates.is_crossed:
    digest.update(np.ascontiguousarray(candidates.of_image).tobytes())
  return digest.hexdigest()[:16]


def _check_same(path, stored, info):
  for name in sorted({*stored, *info}):
    if stored.get(name) != info.get(name):
      raise ValueError(
        f'{path} is of other scores: {name} is {stored.get(name)!r:.60}, now {info.get(name)!r:.60}'
        '. Delete its folder to score again, or give another --output_dir.'
      )


# ---- results


def results(scores: Scores, candidates: Candidates) -> tuple[dict[str, dict], dict[str, list]]:
  """Computes recall and ranks.

  Args:
    scores: the scores of all pairs.
    candidates: the pairs.

  Returns:
    ({name of the set of images: {'i2t_R@1': ...}}, {'i2t': ranks, 't2i': ranks}). The first set is
    the whole: 'all', or the mean over the folds, as 'mean_of_5_folds'. Several folds, or a whole of
    several thousand images, as COCO's 5K, also give 'first_fold', and the whole the mean over parts
    of 1,000.

  Raises:
    ValueError: a score is not a number.
  """
  images, width = candidates.of_image.shape
  if not candidates.is_crossed:
    rows = (scores.block(image, image + 1, 0, width)[0] for image in range(images))
    i2t = metrics.ranks(rows, (candidates.matches(image) for image in range(images)))
    return {'all': metrics.recalls(i2t)}, {'i2t': i2t}
  captions = len(candidates.captions) // images
  found: dict[str, dict] = {}
  ranks: dict[str, list] = {}
  if candidates.folds == 1:
    i2t, t2i = _cross_ranks(scores, images, captions)
    found['all'], ranks = metrics.recalls(i2t, t2i), {'i2t': i2t, 't2i': t2i}
  parts = candidates.folds
  if parts == 1 and images > _FOLD and images % _FOLD == 0:
    parts = images // _FOLD
  if parts > 1:
    folds = [
      _fold_ranks(scores, candidates, part, images // parts, captions) for part in range(parts)
    ]
    recalls = [metrics.recalls(*fold) for fold in folds]
    found |= {f'mean_of_{parts}_folds': metrics.mean(recalls), 'first_fold': recalls[0]}
    if not ranks:
      ranks = {
        name: [rank for fold in folds for rank in fold[column]]
        for column, name in enumerate(('i2t', 't2i'))
      }
  return found, ranks


def _cross_ranks(scores, images, captions):
  """Returns the ranks of all images with all captions, without all scores in memory."""
  width = images * captions
  owner = np.repeat(np.arange(images), captions)

  def lines(size, step, block) -> Iterator[np.ndarray]:
    for start in range(0, size, step):
      yield from block(start, min(start + step, size))

  rows = lines(images, max(1, _COLUMN_NUMBERS // width), lambda a, b: scores.block(a, b, 0, width))
  columns = lines(
    width, max(1, _COLUMN_NUMBERS // images), lambda a, b: scores.block(0, images, a, b).T
  )
  return metrics.cross_ranks(rows, columns, owner)


def _fold_ranks(scores, candidates, part, size, captions):
  """Returns the ranks of one part of the images with the captions of that part."""
  begin = 0 if candidates.folds > 1 else part * size * captions
  block = scores.block(part * size, (part + 1) * size, begin, begin + size * captions)
  return metrics.cross_ranks(block, block.T, np.repeat(np.arange(size), captions))

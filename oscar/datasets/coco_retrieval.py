"""Reader of COCO image-text retrieval in the official layout: one folder.

    features.tsv, imageid2idx.json     key, number of boxes, base64; {key: row}, may be missing
    predictions.tsv                    key, JSON [object] or {image_h, image_w, objects}: tags
    train_captions.pt ...              {image number: [caption]}, or the JSON text of the list
    test_img_keys.tsv                  one image number per line: the images of an evaluation
    minival_caption_indexs_top20.pt    {image number: [[image number, caption index]]}: candidates

Source: microsoft/Oscar, oscar/run_retrieval.py, RetrievalDataset.
"""

import dataclasses
import functools
import json
import os
from collections.abc import Iterator
from typing import Any

from oscar.datasets import features, records, region_files, tsv
from tpu_utils.reading import reading


@dataclasses.dataclass(frozen=True)
class Pair:
  """A caption paired with an image.

  Attributes:
    image_id: key of the image's regions and tags.
    caption_image_id: key of the image that the caption belongs to.
    caption_index: index into that image's captions.
    label: 1 if the caption belongs to the image, else 0.
  """

  image_id: str
  caption_image_id: str
  caption_index: int
  label: int


class CocoRetrieval:
  """One split of retrieval.

  Args:
    data_dir: the folder.
    split: 'train', 'minival', 'val', 'test', ...: the folder must hold SPLIT_captions.pt or .json.
    image_keys: name of a file of image numbers, to keep only these images, in its order; None
      keeps all.
    dim: numbers per region; None admits any width.
    features_file: path of features.tsv, with the other files of features and tags in its folder;
      None for the one in `data_dir`.
    num_images: how many of the images to keep; 0 keeps all. Captions of the others stay.

  Attributes:
    path: file of the captions.
    image_ids: keys of the images, in official order.
    captions: {image key: [caption]}.
    regions: {image key: float32 [regions, dim]}.

  Raises:
    FileNotFoundError: a file is missing.
    UnknownImageError: an image has captions but no features.
    ValueError: a damaged file.
  """

  def __init__(
    self,
    data_dir: str | os.PathLike[str],
    split: str,
    image_keys: str | None = None,
    dim: int | None = features.REGION_DIM,
    features_file: str | os.PathLike[str] | None = None,
    num_images: int = 0,
  ) -> None:
    self._data_dir = data_dir
    self.path = records.plain_path(os.path.join(data_dir, f'{split}_captions.pt'))
    self.captions = _read_captions(self.path)
    if image_keys is not None:
      self.captions = _subset(self.captions, os.path.join(data_dir, image_keys))
    self.image_ids = list(self.captions)[: num_images or None]
    features_file = features_file or os.path.join(data_dir, 'features.tsv')
    self._folder = os.path.dirname(features_file)
    index = os.path.join(self._folder, 'imageid2idx.json')
    self.regions = region_files.RegionTsv(
      features_file,
      index if os.path.exists(index) else None,
      dim=dim,
      check_boxes=dim != features.APPEARANCE_DIM,
    )
    missing = [key for key in self.image_ids if key not in self.regions]
    if missing:
      raise region_files.UnknownImageError(
        f'{self.path} has captions of {len(missing)} images without features, '
        f'first {missing[0]!r}; {self.regions.path} has {len(self.regions)} images.'
      )

  @functools.cached_property
  def _labels(self):
    """The file of tags and {image key: row}, opened where tags are used."""
    file = tsv.TsvFile(os.path.join(self._folder, 'predictions.tsv'))
    return file, region_files.row_of_key(file)

  def tags(self, image_id: str) -> str:
    """Returns the text of an image's object tags.

    Raises:
      UnknownImageError: the file has no tags for the image.
      ValueError: the image's row is damaged.
    """
    return records.tags(*self._objects(image_id))

  def classes(self, image_id: str) -> list[str]:
    """Returns the class of each of an image's objects; raises as `tags`."""
    objects, where = self._objects(image_id)
    return [records.tags([item], where) for item in objects]

  def _objects(self, image_id):
    """Returns (the official list of an image's objects, where it stands)."""
    labels, rows = self._labels
    if image_id not in rows:
      raise region_files.UnknownImageError(f'{labels.path} has no tags for image {image_id!r}.')
    row = rows[image_id]
    where = f'{labels.where(row)}, key {image_id!r}'
    value = labels.json(row)
    objects = records.field(value, 'objects', list, where) if isinstance(value, dict) else value
    records.tags(objects, where)  # Checks them.
    return objects, where

  def own_pairs(self, captions_per_image: int) -> list[Pair]:
    """Returns each image with its own first captions, in official order, for training.

    Raises:
      ValueError: an image has fewer captions.
    """
    return [
      Pair(image_id, image_id, index, 1)
      for image_id in self.image_ids
      for index in range(self._check_count(image_id, captions_per_image))
    ]

  def cross_pairs(self, captions_per_image: int) -> Iterator[Pair]:
    """Yields every image with every caption, image by image, to compute ranks from.

    Raises:
      ValueError: an image has fewer captions.
    """
    own = self.own_pairs(captions_per_image)
    for image_id in self.image_ids:
      for pair in own:
        label = int(image_id == pair.image_id)
        yield Pair(image_id, pair.image_id, pair.caption_index, label)

  def candidate_pairs(self, index_file: str, candidates_per_image: int) -> list[Pair]:
    """Returns each image with its first candidate captions, for re-ranking.

    Args:
      index_file: name of the candidate file in the folder.
      candidates_per_image: candidates to take.

    Raises:
      FileNotFoundError: the candidate file does not exist.
      ValueError: too few candidates, or a candidate that is not (image number, caption index).
    """
    path = records.plain_path(os.path.join(self._data_dir, index_file))
    candidates = _read_lists(path)
    pairs = []
    for image_id in self.image_ids:
      if len(candidates.get(image_id, ())) < candidates_per_image:
        raise ValueError(
          f'{path}: image {image_id!r} has {len(candidates.get(image_id, ()))} candidates, '
          f'expected at least {candidates_per_image}.'
        )
      for candidate in candidates[image_id][:candidates_per_image]:
        if not isinstance(candidate, list | tuple) or len(candidate) != 2:
          raise ValueError(
            f'{path}: image {image_id!r} has the candidate {candidate!r:.80}; expected an image '
            'number and the index of one of its captions.'
          )
        owner, index = candidate
        if index not in range(len(self.captions.get(str(owner), ()))):
          raise ValueError(
            f'{path}: image {image_id!r} names caption {index!r} of {owner!r}, which does not '
            'exist.'
          )
        pairs.append(Pair(image_id, str(owner), index, int(image_id == str(owner))))
    return pairs

  def _check_count(self, image_id, count):
    if len(self.captions[image_id]) < count:
      raise ValueError(
        f'{self.path}: image {image_id!r} has {len(self.captions[image_id])} captions, expected '
        f'{count}; lower the number of captions per image.'
      )
    return count


def _read_captions(path):
  """Returns {key: [caption]} of an official file; keys become str."""
  captions = _read_lists(path)
  for key, texts in captions.items():
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
      raise ValueError(f'{path}, key {key!r}: the caption {wrong[0]!r:.80} is not text.')
  return captions


def _read_lists(path: str) -> dict[str, list[Any]]:
  """Returns {key: list} of an official dictionary of lists or of their JSON; keys become str."""
  values = records.read_plain(path)
  if not isinstance(values, dict):
    raise ValueError(f'{path}: expected a dictionary, found {type(values).__name__}.')
  lists: dict[str, list[Any]] = {}
  for key, value in values.items():
    with reading(f'{path}, key {key!r}', 'JSON'):
      value = json.loads(value) if isinstance(value, str) else value
    if not isinstance(value, list):
      raise ValueError(f'{path}, key {key!r}: expected a list, found {value!r:.80}.')
    lists[str(key)] = value
  return lists


def _subset(captions, path):
  """Returns the captions of the images listed in a file of keys, in its order."""
  records.require_file(path)
  with open(path, encoding='utf-8-sig') as file:
    keys = [line.strip() for line in file if line.strip()]
  missing = [key for key in keys if key not in captions]
  if missing:
    raise ValueError(f'{path}: image {missing[0]!r} has no captions in this split.')
  return {key: captions[key] for key in keys}

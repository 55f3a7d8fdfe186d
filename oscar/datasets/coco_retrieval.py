"""COCO image-text retrieval in the official layout, all in one folder.

    features.tsv, imageid2idx.json     key, number of boxes, base64; {key: row}
    predictions.tsv                    key, JSON [object] or {image_h, image_w, objects}
    train_captions.pt ...              {image number: [caption]}, or the JSON text of the list
    test_img_keys.tsv                  an image number a line: the images of an evaluation
    minival_caption_indexs_top20.pt    {image number: [[image number, caption index]]}: candidates

Source: microsoft/Oscar, oscar/run_retrieval.py, RetrievalDataset.
"""

import dataclasses
import json
import os

from oscar.datasets import features, records, region_files, tsv
from tpu_utils.reading import reading


@dataclasses.dataclass(frozen=True)
class Pair:
  """A caption shown with an image; `label` is 1 if it is the image's own.

  Attributes:
    image_id: key of the image's regions and tags.
    caption_image_id: key of the image that the caption belongs to.
    caption_index: which of that image's captions.
    label: 1 or 0.
  """

  image_id: str
  caption_image_id: str
  caption_index: int
  label: int


class CocoRetrieval:
  """One split of retrieval.

  Args:
    data_dir: the folder.
    split: 'train', 'minival', 'val', 'test', ...: there must be SPLIT_captions.pt.
    image_keys: name of a file of image numbers; only these images, in its order.
    dim: numbers a region.

  Attributes:
    image_ids: keys of the images, in official order.
    captions: {image key: [caption]}.
    regions: {image key: float32 [regions, dim]}.
  """

  def __init__(self, data_dir, split, image_keys=None, dim=features.REGION_DIM):
    self._data_dir = data_dir
    self.captions = _read_captions(os.path.join(data_dir, f'{split}_captions.pt'))
    if image_keys is not None:
      self.captions = _subset(self.captions, os.path.join(data_dir, image_keys))
    self.image_ids = list(self.captions)
    self.regions = region_files.RegionTsv(
      os.path.join(data_dir, 'features.tsv'), os.path.join(data_dir, 'imageid2idx.json'), dim=dim
    )
    missing = [key for key in self.image_ids if key not in self.regions]
    if missing:
      raise region_files.UnknownImageError(
        f'{data_dir}/{split}_captions.pt has captions of {len(missing)} images without features, '
        f'{missing[0]!r} the first; {self.regions.path} has {len(self.regions)} images.'
      )
    self._labels = tsv.TsvFile(os.path.join(data_dir, 'predictions.tsv'))
    self._label_rows = region_files.row_of_key(self._labels)

  def tags(self, image_id):
    """The text of an image's object tags."""
    if image_id not in self._label_rows:
      raise region_files.UnknownImageError(
        f'{self._labels.path} has no tags of image {image_id!r}.'
      )
    row = self._label_rows[image_id]
    where = f'{self._labels.where(row)}, key {image_id!r}'
    value = self._labels.json(row)
    objects = records.field(value, 'objects', list, where) if isinstance(value, dict) else value
    return records.tags(objects, where)

  def own_pairs(self, captions_per_image):
    """Pairs of each image with its first captions, in official order, as training needs them."""
    return [
      Pair(image_id, image_id, index, 1)
      for image_id in self.image_ids
      for index in range(self._check_count(image_id, captions_per_image))
    ]

  def cross_pairs(self, captions_per_image):
    """Yields every image with every caption, image by image: what ranks are computed from."""
    own = self.own_pairs(captions_per_image)
    for image_id in self.image_ids:
      for pair in own:
        label = int(image_id == pair.image_id)
        yield Pair(image_id, pair.image_id, pair.caption_index, label)

  def candidate_pairs(self, index_file, candidates_per_image):
    """Pairs of each image with its first candidates, for re-ranking.

    Args:
      index_file: name of the file of candidates.
      candidates_per_image: how many of them.
    """
    path = os.path.join(self._data_dir, index_file)
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
            f'{path}: image {image_id!r} has the candidate {candidate!r:.80}; expected an image number '
            'and the index of one of its captions.'
          )
        owner, index = candidate
        if index not in range(len(self.captions.get(str(owner), ()))):
          raise ValueError(
            f'{path}: image {image_id!r} names caption {index!r} of {owner!r}: no such.'
          )
        pairs.append(Pair(image_id, str(owner), index, int(image_id == str(owner))))
    return pairs

  def _check_count(self, image_id, count):
    if len(self.captions[image_id]) < count:
      raise ValueError(
        f'image {image_id!r} has {len(self.captions[image_id])} captions, expected {count}; lower '
        'the number of captions per image.'
      )
    return count


def _read_captions(path):
  """{key as text: [caption]} of an official file."""
  captions = _read_lists(path)
  for key, texts in captions.items():
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
      raise ValueError(f'{path}, key {key!r}: the caption {wrong[0]!r:.80} is no text.')
  return captions


def _read_lists(path):
  """{key as text: list} of an official dictionary of lists, or of the JSON texts of lists."""
  values = records.read_plain(path)
  if not isinstance(values, dict):
    raise ValueError(f'{path}: expected a dictionary, found {type(values).__name__}.')
  lists = {}
  for key, value in values.items():
    with reading(f'{path}, key {key!r}', 'JSON'):
      value = json.loads(value) if isinstance(value, str) else value
    if not isinstance(value, list):
      raise ValueError(f'{path}, key {key!r}: expected a list, found {value!r:.80}.')
    lists[str(key)] = value
  return lists


def _subset(captions, path):
  """The captions of the images that a file of keys names, in its order."""
  records.require_file(path)
  with open(path, encoding='utf-8') as file:
    keys = [line.strip() for line in file]
  missing = [key for key in keys if key not in captions]
  if missing:
    raise ValueError(f'{path}: image {missing[0]!r} has no captions in this split.')
  return {key: captions[key] for key in keys}

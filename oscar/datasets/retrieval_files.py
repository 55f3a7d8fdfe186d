"""The official retrieval files that the flags select, and the pairs that an evaluation scores.

Source: microsoft/Oscar, `RetrievalDataset` of oscar/run_retrieval.py.
"""

import dataclasses

import numpy as np

from oscar.datasets import coco_retrieval, features


@dataclasses.dataclass(frozen=True)
class Candidates:
  """The pairs of an evaluation: for each image the captions that it is scored with.

  Attributes:
    path: file of the captions.
    image_ids: keys of the images.
    captions: the texts of all captions.
    owner: int64 [captions], the place of each caption's image in `image_ids`; -1 for an image that
      is not among them.
    of_image: int64 [images, candidates], the captions of each image, by place in `captions`.
    is_crossed: whether the captions of an image are those of all images, or of all in its fold.
    folds: number of equal parts of the images, evaluated each on its own.
  """

  path: str
  image_ids: list[str]
  captions: list[str]
  owner: np.ndarray
  of_image: np.ndarray
  is_crossed: bool
  folds: int = 1

  def matches(self, image: int) -> np.ndarray:
    """Returns bool [candidates]: which candidates of an image are its own captions."""
    return self.owner[self.of_image[image]] == image


@dataclasses.dataclass(frozen=True)
class RetrievalFiles:
  """The places of the official files, under the names of the official flags.

  Attributes:
    data_dir: folder of the captions.
    img_feat_file: the features; empty for features.tsv in `data_dir`.
    eval_img_keys_file: name of the file with the images to evaluate; empty for all.
    eval_caption_index_file: name of the file with the captions to re-rank; empty for none.
    cross_image_eval: score every image with every caption.
    num_captions_per_img_val: captions of each image; with `eval_caption_index_file` the candidates
      of each.
    num_eval_images: how many of the images to evaluate; 0 for all.
    eval_folds: number of parts of the images to evaluate one by one.
    region_dim: numbers per region, 2048 for features without boxes.
  """

  data_dir: str
  img_feat_file: str = ''
  eval_img_keys_file: str = ''
  eval_caption_index_file: str = ''
  cross_image_eval: bool = False
  num_captions_per_img_val: int = 5
  num_eval_images: int = 0
  eval_folds: int = 1
  region_dim: int = features.REGION_DIM

  def open(self, split: str, evaluated: bool = False) -> coco_retrieval.CocoRetrieval:
    """Opens a split.

    Args:
      split: name of the split.
      evaluated: whether only the images to evaluate are wanted.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: a damaged file, or an image without features.
    """
    return coco_retrieval.CocoRetrieval(
      self.data_dir,
      split,
      self.eval_img_keys_file or None if evaluated else None,
      self.region_dim,
      self.img_feat_file or None,
      self.num_eval_images if evaluated else 0,
    )

  def candidates(self, reader: coco_retrieval.CocoRetrieval) -> Candidates:
    """Returns the pairs to score for the images of a split.

    Args:
      reader: the split, opened as `evaluated`.

    Raises:
      FileNotFoundError: the file of candidates is missing.
      ValueError: too few captions or candidates, a candidate that does not exist, or images that
        are not a multiple of the folds.
    """
    if self.cross_image_eval:
      return self._crossed(reader)
    pairs = reader.candidate_pairs(self.eval_caption_index_file, self.num_captions_per_img_val)
    image_of = {image_id: place for place, image_id in enumerate(reader.image_ids)}
    texts: list[str] = []
    owner: list[int] = []
    place_of: dict[str, int] = {}
    for image_id, own in reader.captions.items():
      place_of[image_id] = len(texts)
      texts += own
      owner += [image_of.get(image_id, -1)] * len(own)
    chosen = [place_of[pair.caption_image_id] + pair.caption_index for pair in pairs]
    return Candidates(
      reader.path,
      reader.image_ids,
      texts,
      np.array(owner, np.int64),
      np.array(chosen, np.int64).reshape(len(reader.image_ids), -1),
      is_crossed=False,
    )

  def _crossed(self, reader):
    count, images = self.num_captions_per_img_val, len(reader.image_ids)
    if images % self.eval_folds:
      raise ValueError(
        f'--eval_folds={self.eval_folds} does not divide the {images} images of {reader.path}.'
      )
    pairs = reader.own_pairs(count)
    in_fold = images // self.eval_folds
    fold = np.arange(images) // in_fold
    of_fold = np.arange(len(pairs)).reshape(self.eval_folds, -1)
    return Candidates(
      reader.path,
      reader.image_ids,
      [reader.captions[pair.caption_image_id][pair.caption_index] for pair in pairs],
      np.repeat(np.arange(images), count),
      of_fold[fold] if self.eval_folds > 1 else np.broadcast_to(of_fold, (images, len(pairs))),
      is_crossed=True,
      folds=self.eval_folds,
    )

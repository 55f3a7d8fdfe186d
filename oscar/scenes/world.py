"""Builds the embedded world once, and opens it."""

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

import tensorflow_datasets as tfds
from PIL import Image as Picture

from oscar import region_features
from oscar.datasets import builders, features
from oscar.scenes import canvas, captions, detector, graph, layouts, questions, statements
from oscar.tokenization import SPECIAL_TOKENS
from tpu_utils import files

NUM_TRAIN, NUM_VAL = 1500, 300
DETECTOR_STEPS = 200

_DONE = 'world.json'  # Written last.
_CONTENTS = {
  'images', 'detector.weights.h5', 'scenes.json', 'official', 'vocab.txt', 'prepared', _DONE,
}  # fmt: skip
_FIRST_KEY = {'train': 100_000, 'val': 200_000}


@dataclasses.dataclass(frozen=True)
class World:
  """A world on disk.

  Attributes:
    directory: its folder.
    statistics: what `build` found: numbers of scenes and texts, the detector's accuracy.
  """

  directory: str
  statistics: dict

  @property
  def vocab_file(self):
    """The words of all training texts, for `oscar.Tokenizer`."""
    return os.path.join(self.directory, 'vocab.txt')

  @property
  def data_dir(self):
    """The prepared data sets (TFDS); `pretrain` is there from the start, others by `prepare`."""
    return os.path.join(self.directory, 'prepared')

  @property
  def detector_weights(self):
    return os.path.join(self.directory, 'detector.weights.h5')

  def manual_dir(self, name):
    """The folder of a data set in its official layout; `name` is a key of `builders.BUILDERS`."""
    return os.path.join(self.directory, 'official', name)

  def image_file(self, key):
    """The picture of a scene (PNG)."""
    return os.path.join(self.directory, 'images', f'{key}.png')

  def prepare(self, name, part='regions'):
    """The builder of a data set, which is written as TFRecords if it isn't yet."""
    with _quiet_tfds():
      return builders.prepare(name, self.manual_dir(name), self.data_dir, part)

  def scenes(self, split):
    """[`graph.Scene`] of a split, 'train' or 'val'."""
    with open(os.path.join(self.directory, 'scenes.json'), encoding='utf-8') as file:
      rows = json.load(file)[split]
    return [_scene_from(row) for row in rows]


def build(
  directory, seed=0, num_train=NUM_TRAIN, num_val=NUM_VAL, detector_steps=DETECTOR_STEPS, log=None
):
  """Makes a world of scenes, unless the very same is there already.

  It is made beside its place and renamed, so a stopped build leaves nothing that looks finished.

  Args:
    directory: where; a world of other settings there is replaced.
    seed: decides scenes, texts and the detector's training.
    num_train: scenes of the split 'train', of training digits only.
    num_val: scenes of the split 'val', of held-out digits only.
    detector_steps: how long the detector is trained.
    log: function that is told each step of the work; None for silence.

  Returns:
    `World`.

  Raises:
    ValueError: the folder holds something else than a world; fewer than two scenes in a split.
  """
  for name, number in (('num_train', num_train), ('num_val', num_val)):
    if number < 2:
      raise ValueError(f'{name}={number}: statements on pairs of scenes need 2 at least.')
  settings = {
    'seed': seed, 'num_train': num_train, 'num_val': num_val, 'detector_steps': detector_steps,
    'code': _code_version(),
  }  # fmt: skip
  directory = os.path.abspath(directory)
  found = _read_done(directory)
  if found and found['settings'] == settings:
    return World(directory, found['statistics'])
  done = {'settings': settings}

  def write(place):
    done['statistics'] = _write(place, settings, log or (lambda message: None))
    files.write_json(os.path.join(place, _DONE), done)

  files.replace_folder(directory, write, shared=True)
  return World(directory, done['statistics'])


def _read_done(directory):
  """What `build` wrote last of a complete world; None if there is none, but room for one."""
  if not os.path.isdir(directory):
    return None
  contents = set(os.listdir(directory))
  if contents - _CONTENTS:
    raise ValueError(
      f'{directory} holds {min(contents - _CONTENTS)!r}, which is no part of a world; choose a new '
      'folder, or empty this one.'
    )
  if contents != _CONTENTS:
    return None
  try:
    with open(os.path.join(directory, _DONE), encoding='utf-8') as file:
      return json.load(file)
  except ValueError:
    return None  # Cut off.


def _code_version():
  """Changes with the sources of this package: a world of other code is stale."""
  sources = sorted(pathlib.Path(__file__).parent.glob('*.py'))
  return hashlib.sha256(b''.join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _write(place, settings, log):
  """Makes everything below `place`; returns the statistics."""
  os.makedirs(os.path.join(place, 'images'))
  seed, inks = settings['seed'], {split: canvas.read_inks(split) for split in canvas.SPLITS}
  log('training the detector on handwritten digits')
  finder = detector.train(inks['train'], seed, settings['detector_steps'])
  finder.save(os.path.join(place, 'detector.weights.h5'))
  splits, spoken = {}, {}
  for split in canvas.SPLITS:
    count = settings[f'num_{split}']
    log(f'{split}: {count} scenes')
    scenes = _scenes(split, count, seed, inks[split])
    splits[split] = _images(place, split, scenes, seed, inks[split], finder)
    spoken[split] = statements.statements(
      scenes, random.Random(f'{seed} {split} statements'), 2 * count
    )
  with open(os.path.join(place, 'scenes.json'), 'w', encoding='utf-8') as file:
    rows = {s: [dataclasses.asdict(i.scene) for i in images] for s, images in splits.items()}
    json.dump(rows, file)
  log('writing the files of all tasks')
  official = os.path.join(place, 'official')
  layouts.write(official, splits, spoken)
  _write_vocabulary(os.path.join(place, 'vocab.txt'), splits['train'], spoken['train'])
  for part in ('documents', 'regions'):
    World(place, {}).prepare('pretrain', part)
  return {split: _statistics(images, spoken[split]) for split, images in splits.items()}


def _scenes(split, count, seed, inks):
  keys = (str(_FIRST_KEY[split] + number) for number in range(count))
  return [graph.sample(random.Random(f'{seed} {key}'), key, inks) for key in keys]


def _images(place, split, scenes, seed, inks, finder):
  """[`layouts.Image`]: pictures written, regions found, texts made."""
  pictures = [canvas.paint(scene, inks) for scene in scenes]
  for scene, picture in zip(scenes, pictures, strict=True):
    Picture.fromarray(picture).save(os.path.join(place, 'images', f'{scene.key}.png'))
  items = (
    (f'{split} scene {scene.key}', picture, [thing.box for thing in scene.things])
    for scene, picture in zip(scenes, pictures, strict=True)
  )
  found = region_features.extract(items, finder, finder.labels)
  rng = random.Random(f'{seed} {split} texts')
  asked = (make(scenes, rng) for make in (questions.vqa, questions.gqa))
  return [
    layouts.Image(
      scene, _surest_first(regions), captions.captions(scene, rng), captions.detailed(scene, rng),
      simple, composed,
    )
    for scene, regions, simple, composed in zip(scenes, found, *asked, strict=True)
  ]  # fmt: skip


def _surest_first(regions):
  """The regions as detectors give them: by falling score."""
  order = (-regions.scores).argsort(kind='stable')
  return dataclasses.replace(
    regions,
    features=regions.features[order],
    tags=tuple(regions.tags[i] for i in order),
    scores=regions.scores[order],
  )


def _write_vocabulary(path, images, spoken):
  """A BERT vocabulary: special tokens, the words of the training texts, letters to spell others."""
  texts = [statement.text for statement in spoken]
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
  """Keeps back what TFDS says to people who wait for a download."""
  tfds.display_progress_bar(False)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    tfds.display_progress_bar(True)


def _statistics(images, spoken):
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
    'nlvr2_statements': len(spoken),
  }


def _scene_from(row):
  things = tuple(
    graph.Thing(**{**thing, 'box': tuple(thing['box']), 'rgb': tuple(thing['rgb'])})
    for thing in row['things']
  )
  return graph.Scene(row['key'], things, tuple(row['background']))

"""Builds a world, the embedded data set of scenes, and opens it."""

import contextlib
import dataclasses
import hashlib
import io
import json
import logging
import os
import pathlib
import re
import string
from collections.abc import Callable
from typing import Any

import tensorflow_datasets as tfds
from PIL import Image as Picture

from oscar.datasets import builders, official_layout
from oscar.scenes import (
  canvas,
  constraints,
  corpus,
  detector,
  graph,
  kinds,
  layouts,
  looks,
  stamp_detector,
  stamps,
)
from oscar.scenes.theme import HANDWRITTEN
from oscar.tokenization import SPECIAL_TOKENS
from tpu_utils import files

NUM_TRAIN, NUM_VAL = 12_000, 300
DETECTOR_STEPS = 200
WORLDS = ('digits', 'stamps')
MAX_QUESTIONS = 20  # Per scene: so many different ones can be asked of any scene.

_DONE = 'world.json'  # Settings and statistics; marks a complete world, as it is written last.
_CONTENTS = {
  'images', 'detector.weights.h5', 'scenes.json', 'official', 'vocab.txt', 'prepared', _DONE,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class World:
  """A world on disk: scenes, pictures, and the data sets made from them.

  Attributes:
    directory: its folder.
    statistics: {split: {name: number}}: scenes, regions, texts, the detector's accuracy.
    settings: {argument of `build`: value}.
  """

  directory: str
  statistics: dict[str, dict[str, float]]
  settings: dict[str, Any]

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
    """Path of the detector's weights, for `load_detector`."""
    return os.path.join(self.directory, 'detector.weights.h5')

  def manual_dir(self, name: str) -> str:
    """Returns the folder of a data set in its official layout; `name` in `builders.BUILDERS`."""
    return os.path.join(self.directory, 'official', name)

  def image_file(self, key: str) -> str:
    """Returns the path of a scene's picture (PNG)."""
    return os.path.join(self.directory, 'images', f'{key}.png')

  def prepare(self, name: str, part: str = 'regions') -> official_layout.OfficialLayout:
    """Writes a data set as TFRecords unless prepared already; returns its TFDS builder."""
    with _quiet_tfds():
      return builders.prepare(name, self.manual_dir(name), self.data_dir, part)

  def scenes(self, split: str) -> list[graph.Scene]:
    """Returns the scene graphs of a split, 'train' or 'val'."""
    with open(os.path.join(self.directory, 'scenes.json'), encoding='utf-8') as file:
      rows = json.load(file)[split]
    theme = _Materials(self.settings, split).theme
    return [_scene_from(row, theme) for row in rows]

  def maker(self, split: str = 'train') -> corpus.Corpus:
    """Returns the maker of a split's scenes and texts, with the world's detector.

    It makes the stored scenes again, and any number of others, in memory.
    """
    trained = load_detector(self.detector_weights, self.settings['world'])
    return _corpus(_Materials(self.settings, split), self.settings, trained)

  def count_kinds(self, split: str) -> list[kinds.Kind]:
    """Returns how often each kind of question and statement occurs in a split."""
    return kinds.count(os.path.join(self.directory, 'official'), split)


def build(
  directory: str | os.PathLike[str],
  seed: int = 0,
  num_train: int = NUM_TRAIN,
  num_val: int = NUM_VAL,
  detector_steps: int = DETECTOR_STEPS,
  log: Callable[[str], object] | None = None,
  num_questions: int = corpus.QUESTIONS,
  world: str = 'digits',
  stamps_dir: str | os.PathLike[str] = stamps.FOLDER,
  features: stamp_detector.Features | None = None,
) -> World:
  """Builds a world unless the folder holds one with the same settings and code.

  It is built in a scratch folder and renamed, so an interrupted build leaves no world.

  Args:
    directory: the folder; a world with other settings in it is replaced.
    seed: decides scenes, texts and the detector's training.
    num_train: scenes of the split 'train', with training digits only.
    num_val: scenes of the split 'val', with held-out digits only, at most 800,000.
    detector_steps: training steps of the detector.
    log: called with a message before each stage; None for silence.
    num_questions: questions per scene of VQA, and as many of GQA, at most 20.
    world: 'digits', or 'stamps' for photographs (`stamps`).
    stamps_dir: folder of the installed photographs.
    features: appearance of photographs, as for `stamp_detector.train`; None for EfficientNet-Lite0.

  Raises:
    ValueError: the folder holds other files, a number is out of range, or the photographs or the
      weights of EfficientNet-Lite0 are not installed.
  """
  for name, number in (('num_train', num_train), ('num_val', num_val)):
    if number < 2:
      raise ValueError(f'{name}={number}: statements about pairs of scenes need at least 2.')
  if num_val > corpus.MAX_VAL:
    raise ValueError(f'num_val={num_val}: expected at most {corpus.MAX_VAL}.')
  if not 1 <= num_questions <= MAX_QUESTIONS:
    raise ValueError(f'num_questions={num_questions}: expected 1 to {MAX_QUESTIONS} per scene.')
  if world not in WORLDS:
    raise ValueError(f'world={world}: expected one of {", ".join(WORLDS)}.')
  settings = {
    'world': world, 'seed': seed, 'num_train': num_train, 'num_val': num_val,
    'detector_steps': detector_steps, 'num_questions': num_questions, 'code': _code_version(),
  }  # fmt: skip
  if world == 'stamps':
    del settings['detector_steps']  # The classifier of photographs is fitted in one.
    stamps.read(stamps_dir)  # Fails early.
    settings |= {
      'stamps_dir': os.path.abspath(stamps_dir), 'stamps': stamps.fingerprint(stamps_dir)
    }
  directory = os.path.abspath(directory)
  previous = _read_done(directory)
  if previous and previous['settings'] == settings:
    return World(directory, previous['statistics'], settings)
  log = log or (lambda message: None)
  if previous:
    log(f'{directory} has another world and is replaced: {_differences(previous, settings)}')
  done: dict[str, Any] = {'settings': settings}

  def write(place):
    done['statistics'] = _write(place, settings, log, features)
    files.write_json(os.path.join(place, _DONE), done)

  files.replace_folder(directory, write, shared=True)
  return World(directory, done['statistics'], settings)


def _differences(previous, settings):
  """Returns how the settings of the world in the folder differ, as text."""
  return ', '.join(
    f'{name} {previous["settings"].get(name)}, asked for {value}'
    for name, value in settings.items()
    if previous['settings'].get(name) != value
  )


def read(directory: str | os.PathLike[str]) -> World:
  """Returns the world in a folder, whatever its settings.

  Raises:
    ValueError: the folder holds no complete world.
  """
  directory = os.path.abspath(directory)
  done = _read_done(directory)
  if done is None:
    raise ValueError(f'{directory} holds no complete scenes; `oscar.scenes.build` makes them.')
  return World(directory, done['statistics'], done['settings'])


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
    done = files.read_json(os.path.join(directory, _DONE))
  except ValueError:
    return None  # Truncated.
  return done if isinstance(done, dict) and {'settings', 'statistics'} <= set(done) else None


def _code_version():
  """Returns a hash of this package's sources, as other code makes another world."""
  sources = sorted(pathlib.Path(__file__).parent.glob('*.py'))
  return hashlib.sha256(b''.join(path.read_bytes() for path in sources)).hexdigest()[:16]


def _write(place, settings, log, features):
  """Writes a world without world.json to the folder `place`; returns the statistics."""
  os.makedirs(os.path.join(place, 'images'))
  trained = _train(settings, log, features)
  trained.save(os.path.join(place, 'detector.weights.h5'))
  splits, statements = {}, {}
  for split in canvas.SPLITS:
    count = settings[f'num_{split}']
    log(f'{split}: {count} scenes')
    groups = list(_corpus(_Materials(settings, split), settings, trained).groups(count))
    splits[split] = [image for group in groups for image in group.images]
    statements[split] = [statement for group in groups for statement in group.statements]
    _write_pictures(place, splits[split])
  with open(os.path.join(place, 'scenes.json'), 'w', encoding='utf-8') as file:
    rows = {s: [image.scene.row() for image in images] for s, images in splits.items()}
    json.dump(rows, file)
  log('writing the files of all tasks')
  official = os.path.join(place, 'official')
  layouts.write(official, splits, statements)
  _write_vocabulary(os.path.join(place, 'vocab.txt'), splits['train'], statements['train'])
  for part in ('documents', 'regions'):
    World(place, {}, settings).prepare('pretrain', part)
  return {s: _statistics(images, statements[s]) for s, images in splits.items()}


class _Materials:
  """What the scenes of a split are made of.

  Attributes:
    split: 'train' or 'val'.
    theme: the vocabulary.
    inks: {class: [pixels]}, for `paint`.
    paint: from a thing and `inks` to the picture of its box.
  """

  def __init__(self, settings, split):
    self.split = split
    if settings['world'] == 'digits':
      self.theme, self.paint = HANDWRITTEN, canvas.paint_thing
      self.inks = canvas.read_inks(split)
    else:
      photographs = stamps.read(settings['stamps_dir'])
      self.theme, self.paint = stamps.theme(photographs, split), stamps.paint_thing
      self.inks = stamps.prints(photographs, split)


def _train(settings, log, features):
  """Returns a trained detector."""
  materials = _Materials(settings, 'train')
  if settings['world'] == 'digits':
    log('training the detector on handwritten digits')
    return detector.train(materials.inks, settings['seed'], settings['detector_steps'])
  log(f'fitting the detector to {len(materials.theme.classes)} classes of photographs')
  return stamp_detector.train(materials.inks, materials.theme, settings['seed'], features)


def kind_of(directory: str | os.PathLike[str]) -> str:
  """Returns what the scenes in a folder show, 'digits' or 'stamps', as its world.json says."""
  done = files.read_json(os.path.join(directory, _DONE))
  return done.get('settings', {}).get('world', 'digits')


def load_detector(path: str | os.PathLike[str], world: str) -> Any:
  """Returns the detector of a world, 'digits' or 'stamps', with the weights in a file."""
  kinds_of = {'digits': detector.Detector, 'stamps': stamp_detector.StampDetector}
  trained = kinds_of[world]()
  trained.load(path)
  return trained


def _corpus(materials, settings, trained):
  return corpus.Corpus(
    materials.split, settings['seed'], materials.inks,
    looks.Looks(materials.inks, trained, materials.paint), settings['num_questions'],
    materials.theme,
  )  # fmt: skip


def _write_pictures(place, images):
  for image in images:
    picture = Picture.fromarray(image.looks.picture(image.scene))
    # Things on a plain canvas compress well at once; more effort takes thrice as long.
    picture.save(os.path.join(place, 'images', f'{image.key}.png'), compress_level=1)


def _write_vocabulary(path, images, statements):
  """Writes a BERT vocabulary: special tokens, words of the training texts, letters for others."""
  texts = [statement.text for statement in statements]
  forms_of = constraints.word_forms(images[0].scene.theme)
  texts += [form for forms in forms_of.values() for form in forms]
  for image in images:
    texts += [*image.captions, *image.detailed, *image.tags]
    for question in image.vqa + image.gqa:
      texts += [question.text, *question.answers]
  words = {word for text in texts for word in re.findall(r'\w+|[^\w\s]', text)}
  signs = string.ascii_lowercase + string.digits
  pieces = [*sorted(words | set(signs)), *(f'##{sign}' for sign in signs)]
  with open(path, 'w', encoding='utf-8') as file:
    file.writelines(f'{piece}\n' for piece in [*SPECIAL_TOKENS, *pieces])


@contextlib.contextmanager
def _quiet_tfds():
  """Hides the progress messages of TFDS, and its warnings of folders that it will fill."""
  absl_log = logging.getLogger('absl')
  level = absl_log.level
  tfds.display_progress_bar(False)
  absl_log.setLevel(logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    absl_log.setLevel(level)
    tfds.display_progress_bar(True)


def _statistics(images, statements):
  right = total = 0
  for image in images:
    found = image.looks.tag_of
    right += sum(found(thing) == thing.digit for thing in image.scene.things)
    total += len(image.scene.things)
  return {
    'scenes': len(images),
    'regions': total,
    'tag_accuracy': round(right / total, 4),
    'captions': sum(len(image.captions) for image in images),
    'vqa_questions': sum(len(image.vqa) for image in images),
    'gqa_questions': sum(len(image.gqa) for image in images),
    'nlvr2_statements': len(statements),
  }


def _scene_from(row, theme):
  things = tuple(
    graph.Thing(**{**thing, 'box': tuple(thing['box'])}, theme=theme) for thing in row['things']
  )
  return graph.Scene(row['key'], things)

"""Scenes of photographs, on a few small cut-outs made here; and the digits as they always were."""

import hashlib
import json
import os
import random
import re

import numpy as np
import pytest
from PIL import Image

from oscar.datasets import coco_caption, nocaps
from oscar.scenes import __main__ as command
from oscar.scenes import (
  constraints,
  corpus,
  gallery,
  graph,
  looks,
  questions,
  stamp_detector,
  stamps,
  words,
  world,
)  # fmt: skip
from tests.oscar.scenes.constraints_test import regions_of
from tests.oscar.scenes.plain_detector import PlainDetector

FILES = {
  'animals/birds/owl': 'An owl.',
  'animals/birds/crow': 'A crow.',
  'animals/mammals/cats/tiger': 'A tiger.',
  'animals/mammals/cats/tiger_sumatran': 'A Sumatran tiger.',
  'animals/mammals/wildboar': 'Two wild boars.',
  'food/fruit/apple_red': 'A red apple.',
  'food/fruit/apple_green': 'A green apple.',
  'food/fruit/pear': 'A yellow pear.',
  'vehicles/auto/sportscar': 'A sports car.',
  'vehicles/race/indycar': 'A race car.',
}
LEFT_OUT = {
  'animals/birds/cartoon/hen': 'A hen.',
  'symbols/a': 'A letter.',
  'food/fruit/yum': 'Eat your broccoli!',
}
# All nouns that fit a class, from the English alone.
MEANS = {
  'owl': 'owl bird animal', 'crow': 'crow bird animal', 'tiger': 'tiger mammal animal',
  'sumatran tiger': 'sumatran tiger;tiger mammal animal',
  'pair of wild boars': 'pair of wild boars;mammal animal', 'apple': 'apple fruit',
  'pear': 'pear fruit', 'sports car': 'sports car;car vehicle', 'race car': 'race car;car vehicle',
}  # fmt: skip
PLURALS = {'pairs of wild boars': 'pair of wild boars'}


class Means:
  """Gives the colours of a crop's cells as features."""

  image_size = 8

  def __call__(self, images):
    found = np.asarray(images, np.float32).reshape(len(images), -1) / 255
    return np.pad(found, ((0, 0), (0, 2048 - found.shape[1]))), np.ones((len(found), 1))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  place = tmp_path_factory.mktemp('stamps')
  rng = np.random.default_rng(0)
  for number, (name, sentence) in enumerate({**FILES, **LEFT_OUT}.items()):
    path = place / f'{name}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((60, 90, 4), np.uint8)  # With transparent margins of 10 pixels.
    pixels[10:50, 10:80, :3] = np.kron(
      rng.integers(30, 226, (4, 7, 3), np.uint8), np.ones((10, 10, 1), np.uint8)
    )
    pixels[10:50, 10 : 80 - 4 * number, 3] = 255
    Image.fromarray(pixels).save(path)
    path.with_suffix('.txt').write_text(f'{sentence}\nde.utf8=Etwas.\n', encoding='utf-8')
  (place / 'animals/birds/owl.dat').write_text('nomirror\n')
  return place


@pytest.fixture
def made(folder, tmp_path, monkeypatch):
  """A world of these stamps; without TFRecords."""

  def prepare(self, *_):
    os.makedirs(self.data_dir, exist_ok=True)

  monkeypatch.setattr(world.World, 'prepare', prepare)
  return build(tmp_path / 'world', folder)


def build(place, folder):
  return world.build(
    place, num_train=40, num_val=20, num_questions=4, world='stamps', stamps_dir=folder,
    features=Means(),
  )  # fmt: skip


@pytest.mark.parametrize(
  ('sentence', 'noun'),
  [
    ('A red and white anemone flower.', 'anemone flower'),
    ('An albino peahen (a female peafowl, or peacock).', 'albino peahen'),
    ('A Seville orange, also called a bitter orange.', 'seville orange'),
    ('A “Fuji” apple.', 'fuji apple'),
    ("A ginger 'root'.", 'ginger root'),
    ('A plumber’s wrench.', "plumber's wrench"),
    ('Two wild boars.', 'pair of wild boars'),
    ('A head of lettuce.', 'head of lettuce'),
    ('A big eared rabbit.', None),
    ('A flower covered in dew drops.', None),
    ('A tractor! Drive it.', None),
    ('Measuring tape.', None),
    ('', None),
  ],
)
def test_sentences_name_classes(sentence, noun):
  assert stamps.noun(sentence) == noun


def test_photographs_are_read_with_their_classes(folder):
  found = stamps.read(folder)
  assert sorted({stamp.name for stamp in found}) == sorted(MEANS)
  assert len(found) == len(FILES)
  assert all(stamp.pixels.shape[0] == 40 for stamp in found)
  assert {stamp.name for stamp in found if not stamp.may_mirror} == {'owl'}
  inks = stamps.prints(found, 'train')
  assert {name: len(inks[name]) for name in ('owl', 'crow', 'apple')} == {
    'owl': 2, 'crow': 4, 'apple': 8
  }  # fmt: skip
  shared = {p.tobytes() for ps in inks.values() for p in ps} & {
    p.tobytes() for ps in stamps.prints(found, 'val').values() for p in ps
  }
  assert not shared


def test_the_theme_has_the_super_classes(folder):
  theme = stamps.theme(stamps.read(folder), 'train')
  for name, nouns in MEANS.items():
    assert {name, *theme.supers[name]} == accepted(name), nouns
  assert 'car' in theme.all_nouns() and 'car' not in theme.classes
  tree = json.dumps(theme.hierarchy())
  assert tree.index('"Mammal"') < tree.index('"Tiger"') < tree.index('"Sumatran Tiger"')


def test_articles_and_plurals():
  assert [words.a(noun) for noun in ('owl', 'eared seal', 'european bear', 'onion')] == [
    'an owl', 'an eared seal', 'a european bear', 'an onion'
  ]  # fmt: skip
  plurals = {
    'pair of pants': 'pairs of pants', 'bunch of grapes': 'bunches of grapes', 'mouse': 'mice',
    'guinea fowl': 'guinea fowl', 'strawberry': 'strawberries', 'donkey': 'donkeys',
    'potato': 'potatoes', 'electric bus': 'electric buses',
  }  # fmt: skip
  assert {noun: words.plural_of(noun) for noun in plurals} == plurals


# ---- texts, judged from their English


def accepted(name):
  first, _, rest = MEANS[name].partition(';')
  return {first, *rest.split()} if rest else set(first.split())


def fits(phrase, thing):
  """Returns whether a noun phrase, singular or plural, fits a thing."""
  match = re.fullmatch(r'(?:(small|little|large|big) )?(?:(\w+)-tinted )?(.+)', phrase)
  size, tint, noun = match.groups()
  noun = PLURALS.get(noun, noun)
  nouns = accepted(thing.digit) | {'thing', 'object'}
  sizes = {'little': 'small', 'big': 'large'}
  return (
    size is None or sizes.get(size, size) == thing.size
  ) and tint in (None, thing.colour) and bool(nouns & {noun, noun.removesuffix('s')})


def those(phrase, scene):
  return [thing for thing in scene.things if fits(phrase, thing)]


ASKED = {
  r'(?:is there|can you see|does the picture show) an? (.+)\?':
    lambda scene, phrase: {'yes' if those(phrase, scene) else 'no'},
  r'how many (.+) (?:are there|can you see|does the picture show)\?':
    lambda scene, phrase: {str(len(those(phrase, scene)))},
  r'(?:what tint does|which tint does) the (.+) have\?|what is the tint of the (.+)\?':
    lambda scene, *phrases: {only(scene, *phrases).colour},
  r'is the (.+) tinted (\w+)\?':
    lambda scene, phrase, tint: {'yes' if only(scene, phrase).colour == tint else 'no'},
  r'is (\w+) the tint of the (.+)\?':
    lambda scene, tint, phrase: {'yes' if only(scene, phrase).colour == tint else 'no'},
  r'which thing is the (.+)\?|what is the (.+?)(?: called)?\?':
    lambda scene, *phrases: {only(scene, *phrases).digit},
  r'is the (.+) (?:small or large|large or small)\?|what size is the (.+)\?':
    lambda scene, *phrases: {only(scene, *phrases).size},
  r'(?:name one|what is one) (thing|object|tint) .*': lambda scene, what: {
    thing.colour if what == 'tint' else thing.digit for thing in scene.things
  },
}  # fmt: skip


def only(scene, *phrases):
  phrase = next(filter(None, phrases))
  [thing] = those(phrase, scene)
  return thing


@pytest.mark.parametrize('split', stamps.SPLITS)
def test_answers_are_right(folder, split):
  photographs = stamps.read(folder)
  theme, inks = stamps.theme(photographs, split), stamps.prints(photographs, split)
  rng = random.Random(3)
  scenes = [graph.sample(rng, str(number), inks, theme) for number in range(150)]
  kinds = set()
  for scene, of_scene in zip(scenes, questions.vqa(scenes, rng, 6), strict=True):
    for question in of_scene:
      # 'what is the tint of ...' also begins as a question for a class.
      pattern, judge = next(item for item in ASKED.items() if re.fullmatch(item[0], question.text))
      right = judge(scene, *re.fullmatch(pattern, question.text).groups())
      assert set(question.answers) <= right, (question, scene)
      kinds.add(question.kind)
  assert kinds == {
    'exists', 'has_colour', 'how_many', 'colour_of', 'digit_of', 'size_of', 'name_one'
  }  # fmt: skip


def test_things_lie_apart_in_their_tints(folder):
  photographs = stamps.read(folder)
  shown = {}
  for split in stamps.SPLITS:
    theme, inks = stamps.theme(photographs, split), stamps.prints(photographs, split)
    rng = random.Random(1)
    scenes = [graph.sample(rng, str(number), inks, theme) for number in range(200)]
    things = [thing for scene in scenes for thing in scene.things]
    shown[split] = {(t.digit, t.colour) for t in things if t.colour}
    assert any(t.colour is None for t in things) and {t.digit for t in things} == set(MEANS)
    for thing in things:
      x1, y1, x2, y2 = thing.box
      smallest, largest = theme.sizes[thing.size]
      assert 0 <= x1 < x2 <= 320 and 0 <= y1 < y2 <= 240
      assert smallest <= max(x2 - x1, y2 - y1) <= largest
  assert shown['train'] and shown['val'] and not shown['train'] & shown['val']


# ---- the data set


@pytest.mark.slow  # It fits the detector and makes 60 scenes.
def test_a_world_is_built_and_read(made, folder, tmp_path):
  assert made.statistics['train']['tag_accuracy'] > 0.8
  assert made.settings['world'] == 'stamps' and build(made.directory, folder) == made
  images = coco_caption.CocoCaption(os.path.join(made.manual_dir('coco_caption'), 'val.yaml'))
  scenes = {scene.key: scene for scene in made.scenes('val')}
  theme = next(iter(scenes.values())).theme
  for key, scene in scenes.items():
    assert images.regions[key].shape == (len(scene.things), 2054)
    picture = np.asarray(Image.open(made.image_file(key)))
    assert picture.shape == (240, 320, 3) and (picture == theme.background).all(axis=2).mean() > 0.2
  found = nocaps.NoCaps(os.path.join(made.manual_dir('nocaps'), 'val.yaml'))
  assert set(found.image_ids) == set(scenes)
  seen = coco_caption.CocoCaption(os.path.join(made.manual_dir('coco_caption'), 'seen.yaml'))
  assert 0 < len(seen.image_ids) < 40 and theme.novel
  spoken = set(re.findall(r"[\w']+", open(made.vocab_file, encoding='utf-8').read()))  # noqa: SIM115
  for caption in images.captions:
    assert set(re.findall(r"\w+", caption.caption)) <= spoken | {'s'}
  gallery.draw(made, 'val', str(tmp_path / 'grid.png'), count=2)
  assert (tmp_path / 'grid.png').stat().st_size > 10_000

  opened = stamp_detector.StampDetector(Means())
  opened.load(made.detector_weights)
  assert opened.labels == tuple(sorted(MEANS)) and world.kind_of(made.directory) == 'stamps'
  image = np.full((1, 8, 8, 3), 99, np.float32)
  appearance, probabilities = opened(image)
  assert appearance.shape == (1, 2048) and probabilities.shape == (1, len(MEANS))
  assert probabilities.sum() == pytest.approx(1, abs=1e-5)


def test_stamps_that_are_not_there_are_named(tmp_path):
  message = '--stamps_dir=.*nowhere: expected the photographs .* found no folder; install them'
  with pytest.raises(ValueError, match=message + r' \(apt install tuxpaint-stamps-default\)'):
    command.SCRIPT.call(
      ['--world=stamps', f'--stamps_dir={tmp_path}/nowhere', f'--output_dir={tmp_path}/world']
    )
  assert os.listdir(tmp_path) == []
  with pytest.raises(ValueError, match='world=cats: expected one of digits, stamps'):
    world.build(tmp_path / 'world', world='cats')


def test_the_installed_photographs():
  if not os.path.isdir(stamps.FOLDER):
    pytest.skip('needs apt install tuxpaint-stamps-default')
  theme = stamps.theme(stamps.read(), 'train')
  assert len(theme.classes) > 150
  assert {'pair of wild boars', 'anemone flower', 'adelaide rosella'} <= set(theme.classes)
  assert theme.supers['sumatran tiger'] == ('tiger', 'mammal', 'animal')


def test_the_digits_are_those_of_before(blocks):
  """Texts of scenes of digits, made before there were photographs, by their hash."""
  group = corpus.Corpus('val', 3, blocks, looks.Looks(blocks, PlainDetector())).group(0, 40)
  scenes = [image.scene for image in group.images]
  content = [
    [[t.digit, t.colour, t.size, t.box, t.sample] for s in scenes for t in s.things],
    [image.captions + image.detailed for image in group.images],
    [[q.text, q.answers, q.kind, q.votes] for image in group.images for q in image.vqa + image.gqa],
    [[s.text, s.keys, s.label, s.kind, s.identifier('dev')] for s in group.statements],
    [constraints.detections(scene, regions_of(scene)) for scene in scenes],
    [constraints.hierarchy(), constraints.word_forms()],
  ]
  assert [hashlib.sha256(json.dumps(part).encode()).hexdigest()[:12] for part in content] == DIGITS


DIGITS = [
  '3879c2c55a05', 'be3d2fc99c85', '9d2fb01eef93', '21fcdf73aca0', 'c4ce4b57f902', 'e18eafd26a10',
]  # fmt: skip

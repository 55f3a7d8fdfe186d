"""The photographic world: cut-outs of Debian's `tuxpaint-stamps-default` on a light canvas.

    apt install tuxpaint-stamps-default     # GPL-2; read where it is installed, never copied

A stamp is a PNG with transparency and a text file whose first line is an English sentence. 'An
Adelaide Rosella.' makes the class 'adelaide rosella'. Folders such as animals/birds make the
super-classes 'bird' and 'animal'; so does a last word that is a class, or that several share: a
sumatran tiger is a tiger, and a race car a car. Sentences that do not just name one thing are left
out, as are drawings, symbols and signs. Words for colour and size are cut off ('A red apple.'), as
size is given at random here, and so is the tint of half of the things: their photograph is printed
in shades of one colour, which texts call 'red-tinted'.

Most classes have one photograph, so the split 'val' cannot hold unseen objects. Its scenes are new
compositions, of prints that no training scene shows: another brightness, and of each class other
tints.
"""

import collections
import dataclasses
import functools
import os
import pathlib
import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from oscar.scenes import graph, words
from oscar.scenes.theme import Theme
from tpu_utils import files

FOLDER = '/usr/share/tuxpaint/stamps'
SPLITS = ('train', 'val')

# Folders with photographs of single things, {folder: noun of all its things, None for none}.
_FOLDERS = {
  'animals': 'animal',
  'animals/amphibians': 'amphibian',
  'animals/birds': 'bird',
  'animals/fish': 'fish',
  'animals/insects': 'insect',
  'animals/mammals': 'mammal',
  'animals/mammals/apes': 'ape',
  'animals/mammals/bears': 'bear',
  'animals/marsupials': 'marsupial',
  'clothes': None,
  'food': None,
  'food/fruit': 'fruit',
  'food/nuts': 'nut',
  'food/vegetables': 'vegetable',
  'hobbies': None,
  'hobbies/music': 'musical instrument',
  'household': None,
  'household/tools': 'tool',
  'medical': None,
  'plants': 'plant',
  'plants/flowers': 'flower',
  'plants/mushrooms': 'mushroom',
  'plants/trees': 'tree',
  'sports': None,
  'vehicles': 'vehicle',
}
_NO_PHOTOGRAPHS = ('cartoon', 'hats', 'toys', 'plastic')
_DRAWN = 't_'  # The names of drawn clothes start so.
# Drawings, and stamps in a folder whose noun does not fit them or with a name that misleads.
_MISPLACED = (
  'animals/fish/lobster', 'animals/fish/shrimp', 'animals/insects/Brown_slug',
  'animals/insects/Woodlouse', 'animals/mammals/apes/tamarin_emperor', 'household/rubberduck',
  'plants/eggplant', 'plants/trees/pinecone', 'plants/trees/rambutan', 'vehicles/7spoke256',
  'vehicles/wheel_tractor', 'vehicles/emergency/sedan_police', 'plants/mushrooms/cep-2',
  'animals/mammals/hedgehog', 'clothes/button', 'food/pizza', 'medical/tooth',
  'food/vegetables/mushroom', 'food/vegetables/redlettuce', 'household/tools/cementmixer',
  'household/home_compost_bin',
)  # fmt: skip
# Super-classes that neither name nor folder tells, so that no count of ducks forgets the drake.
_ALSO = {
  'basketball': 'ball', 'american football': 'ball', 'dingo': 'dog', 'drake': 'duck',
  'hen': 'chicken', 'mountaingoat': 'goat', 'rooster': 'chicken', 'seagull': 'gull',
  'vw beetle': 'car',
}  # fmt: skip
_MISLEADING = ('sea lion',)  # Its last word names another class.
_ADJECTIVES = frozenset((
  'red', 'white', 'black', 'blue', 'green', 'yellow', 'brown', 'pink', 'purple', 'silver', 'golden',
  'and', 'very', 'small', 'little', 'large', 'big', 'great', 'old', 'modern', 'folded', 'male',
  'female', 'ripe', 'colorful', 'sleeping', 'sitting', 'sliced', 'european',
))  # fmt: skip
_SENTENCE = re.compile(r"(a|an|two) ([a-z][a-z' -]*)")
_LINKING = frozenset((
  'is', 'are', 'was', 'with', 'from', 'in', 'on', 'at', 'by', 'to', 'that', 'you', 'your',
  'covered', 'its',
))  # fmt: skip
_MAX_WORDS = 3
_MIN_SIDE = 20  # Pixels of a cut-out's shorter side; thinner ones show little.
_MAX_SIDE = 160  # Larger photographs are reduced at once.

_TINTS = {
  'red': (205, 45, 45),
  'yellow': (225, 190, 40),
  'green': (55, 150, 70),
  'blue': (60, 95, 215),
  'purple': (150, 60, 185),
}
# Brightness of the prints of a photograph; each is also shown mirrored, where that is allowed.
_BRIGHTNESS = {'train': (0.85, 1.15), 'val': (1.0,)}
_HELD_OUT = 4  # One of so many tints of a class is held out for 'val'.
_NOVEL = 4  # One of so many families is novel for NoCaps.
_MIN_FAMILY = 4  # Classes of a super-class to which a scene may be restricted.


@dataclasses.dataclass(frozen=True)
class Stamp:
  """A photograph.

  Attributes:
    name: its class.
    supers: nouns of its folders, the nearest first.
    pixels: uint8 [height, width, 4], RGBA, without transparent margins.
    may_mirror: whether its mirror image looks right.
  """

  name: str
  supers: tuple[str, ...]
  pixels: np.ndarray
  may_mirror: bool


def read(folder: str | os.PathLike[str] = FOLDER) -> list[Stamp]:
  """Reads the photographs of single things.

  Args:
    folder: where the stamps are installed.

  Raises:
    ValueError: there are none.
  """
  return _read_all(os.fspath(folder), fingerprint(folder))


@functools.lru_cache(maxsize=1)
def _read_all(folder, version):
  """Returns the photographs in a folder; `version` is its fingerprint."""
  del version
  root = pathlib.Path(folder)
  found = [stamp for path in sorted(root.rglob('*.png')) if (stamp := _read(root, path))]
  names = {stamp.name for stamp in found}
  # 'Two flowers.' is another class than 'A flower.', but the words for both would mix.
  found = [stamp for stamp in found if stamp.name.removeprefix('pair of ') not in _plurals(names)]
  if len(names) < 2:
    raise ValueError(
      f'--stamps_dir={folder}: expected the photographs of tuxpaint-stamps-default, found '
      f'{"no folder" if not root.is_dir() else f"{len(found)} that can be used"}; install them '
      '(apt install tuxpaint-stamps-default), or give their folder.'
    )
  return found


def _read(root, path):
  """Returns the `Stamp` of an image file; None if it is not for use."""
  place = path.relative_to(root).with_suffix('')
  text = path.with_suffix('.txt')
  skipped = (
    place.parts[0] not in _FOLDERS
    or set(place.parts) & set(_NO_PHOTOGRAPHS)
    or place.name.startswith(_DRAWN)
    or place.as_posix() in _MISPLACED
  )
  if skipped or not text.is_file():
    return None
  with files.open_text(os.fspath(text)) as file:
    name = noun(file.readline())
  if name is None:
    return None
  data = path.with_suffix('.dat')
  fixed = data.is_file() and 'nomirror' in data.read_text(encoding='utf-8', errors='replace')
  pixels = _cut_out(path)
  if pixels is None:
    return None
  parents = [_FOLDERS.get(folder.as_posix()) for folder in place.parents]
  return Stamp(name, tuple(p for p in parents if p and p != name), pixels, not fixed)


def _cut_out(path):
  """Returns RGBA pixels without transparent margins; None without transparency, or too thin."""
  try:
    image = Image.open(path).convert('RGBA')
  except OSError as e:
    raise ValueError(f'{path}: expected a PNG image ({e}); install the stamps again.') from None
  alpha = image.getchannel('A')
  box = alpha.point(lambda value: 255 * (value > 40)).getbbox()
  if box is None or alpha.getextrema()[0] > 0:
    return None
  image = image.crop(box)
  image.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS)
  return np.asarray(image) if min(image.size) >= _MIN_SIDE else None


def noun(sentence: str) -> str | None:
  """Returns the noun that a stamp's sentence names: 'wild boar' for 'A wild boar.'.

  'Two wild boars.' gives 'pair of wild boars'. None for a sentence that says something else, or
  more.
  """
  text = re.sub(r'\([^)]*\)', '', sentence).replace('’', "'").lower()
  text = re.sub(r'''[“”"]|(?<!\w)'|'(?!\w)''', '', text).split(',')[0].strip()
  match = _SENTENCE.fullmatch(text.rstrip('.').rstrip())
  if not match:
    return None
  found = match[2].split()
  # 'A big eared rabbit.' is not an eared one.
  while len(found) > 1 and found[0] in _ADJECTIVES and not found[1].endswith('ed'):
    found = found[1:]
  if match[1] == 'two':
    found = ['pair', 'of', *found]
  too_long = len(found) > _MAX_WORDS + ('of' in found)
  describes = {found[0], found[-1]} & _ADJECTIVES
  return None if too_long or describes or _LINKING & set(found) else ' '.join(found)


def _plurals(names):
  return {words.plural_of(name) for name in names}


def theme(stamps: Sequence[Stamp], split: str) -> Theme:
  """Returns the vocabulary of scenes of stamps.

  Args:
    stamps: the photographs, from `read`.
    split: 'train' or 'val', which have different tints.
  """
  folders = {stamp.name: stamp.supers for stamp in reversed(stamps)}
  classes = tuple(sorted(folders))
  last = collections.Counter(name.split()[-1] for name in classes)
  known = {*classes, *(noun for noun, count in last.items() if count > 1)}
  supers = {name: _supers(name, folders, known) for name in classes}
  members: dict[str, list[str]] = {}
  for name in classes:
    for above in supers[name]:
      members.setdefault(above, []).append(name)
  return Theme(
    classes=classes,
    nouns=('thing', 'object'),
    colours=_TINTS,
    sizes={'small': (44, 56), 'large': (88, 108)},
    canvas=(320, 240),
    background=(236, 231, 220),
    novel=tuple(name for name in classes if _hash(name.split()[-1]) % _NOVEL == 0),
    # The official list excludes super-classes that occur here: mammals, plants, trees.
    excluded={},
    wording=_WORDING,
    attributes={'colour': 'tint', 'size': 'size'},
    supers={name: above for name, above in supers.items() if above},
    adjective='{}-tinted',
    by_longest_side=True,
    colours_of={name: _tints(name, split) for name in classes},
    families=tuple(tuple(names) for names in members.values() if len(names) >= _MIN_FAMILY),
    coloured_classes=False,
  )


def _supers(name, folders, known):
  """Returns the super-classes of a class: nouns that end its name, then its folders' nouns."""
  parts = name.split()
  ends = [' '.join(parts[start:]) for start in range(1, len(parts))]
  if 'of' in parts or name in _MISLEADING:
    ends = []
  also = [_ALSO[name]] if _ALSO.get(name) in known else []
  return tuple(dict.fromkeys([*also, *(end for end in ends if end in known), *folders[name]]))


def _tints(name, split):
  return tuple(
    tint for tint in _TINTS if (_hash(f'{name} {tint}') % _HELD_OUT == 0) == (split == 'val')
  )


def _hash(text):
  return zlib.crc32(text.encode())


def prints(stamps: Sequence[Stamp], split: str) -> Mapping[str, Sequence[np.ndarray]]:
  """Returns {class: [uint8 [height, width, 4]]}, the prints of the photographs in a split."""
  found: dict[str, list[np.ndarray]] = {}
  for stamp in stamps:
    for brightness in _BRIGHTNESS[split]:
      lit = stamp.pixels.astype(np.float32)
      lit[..., :3] = (lit[..., :3] * brightness).clip(0, 255)
      lit = lit.round().astype(np.uint8)
      found.setdefault(stamp.name, []).append(lit)
      if stamp.may_mirror:
        found[stamp.name].append(np.ascontiguousarray(lit[:, ::-1]))
  return found


def paint_thing(
  thing: graph.Thing, inks: Mapping[str, Sequence[np.ndarray]]
) -> np.ndarray:
  """Paints the box of a thing; returns uint8 [height, width, 3], equal for equal stamps.

  Args:
    thing: the thing, of a theme from `theme`.
    inks: from `prints`.
  """
  x1, y1, x2, y2 = thing.box
  stored = Image.fromarray(inks[thing.digit][thing.sample])
  resized = np.asarray(stored.resize((x2 - x1, y2 - y1), Image.Resampling.LANCZOS), np.float32)
  pixels, opacity = resized[..., :3], resized[..., 3:] / 255
  if thing.colour:
    pixels = _tinted(pixels, graph.look(thing.stamp, thing.theme).rgb)
  paper = np.array(thing.theme.background, np.float32)
  return (opacity * pixels + (1 - opacity) * paper).round().clip(0, 255).astype(np.uint8)


def _tinted(pixels, rgb):
  """Prints a photograph in shades from black over one colour to nearly white."""
  light = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None] / 255
  ink, paper = np.array(rgb, np.float32), np.array([250, 250, 250], np.float32)
  middle = 0.55
  dark = ink * (light / middle)
  bright = ink + (paper - ink) * ((light - middle) / (1 - middle)) * 0.8
  return np.where(light < middle, dark, bright)


def fingerprint(folder: str | os.PathLike[str]) -> str:
  """Returns a hash of the names and sizes of the stamps, to notice another version of them."""
  root = pathlib.Path(folder)
  listed = sorted(
    f'{path.relative_to(root).as_posix()} {path.stat().st_size}'
    for path in root.rglob('*') if path.suffix in ('.png', '.txt', '.dat')
  )  # fmt: skip
  return f'{_hash(chr(10).join(listed)):08x}'


_WORDING = {
  'colour_of': (
    'what tint does the {} have?', 'what is the tint of the {}?', 'which tint does the {} have?',
  ),
  'digit_of': ('what is the {}?', 'which thing is the {}?', 'what is the {} called?'),
  'related digit': ('what is {1}?', 'which {0} is {1}?'),
  'related colour': (
    'what tint does the {0} {1} have?', 'what is the tint of the {0} that is {1}?',
  ),
  'extreme digit': ('what is the {} {}?', 'what is the {} {} called?'),
  'extreme colour': ('what tint does the {} {} have?', 'what is the tint of the {} {}?'),
  'choose': ('is the {} tinted {} or {}?',),
  'has_colour': ('is the {0} tinted {1}?', 'is {1} the tint of the {0}?'),
}  # fmt: skip

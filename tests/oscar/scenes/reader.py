"""An independent judge of the scenes' texts, from their English alone.

It shares no code or table with the modules that make the texts, and searches scenes exhaustively.
"""

import itertools
import re

COLOURS = ('red', 'orange', 'yellow', 'green', 'blue', 'purple')
DIGITS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')
NUMBERS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
SIZES = {'small': 'small', 'little': 'small', 'large': 'large', 'big': 'large'}
SIDES = {
  'to the left of': 'left', 'left of': 'left', 'to the right of': 'right', 'right of': 'right',
  'above': 'above', 'over': 'above', 'below': 'below', 'under': 'below',
}  # fmt: skip
ENDS = {'leftmost': 'left', 'rightmost': 'right', 'topmost': 'above', 'lowest': 'below'}


def _any(words):
  return '(?:' + '|'.join(sorted(words, key=len, reverse=True)) + ')'


NOUN = _any(('digit', 'number'))
HEAD = _any((*DIGITS, 'digit', 'number', 'sixes', *(w + 's' for w in (*DIGITS, 'digit', 'number'))))
NP = f'((?:{_any(SIZES)} )?(?:{_any(COLOURS)} )?{HEAD})'
REL = f'({_any(SIDES)})'
END = f'({_any(ENDS)})'
COLOUR = f'({_any(COLOURS)})'
NUM = f'({_any(NUMBERS)})'


def means(phrase, thing):
  """Returns whether a noun phrase fits a thing."""
  for word in phrase.split():
    singular = {'sixes': 'six'}.get(word, word.removesuffix('s'))
    if word in SIZES:
      good = thing.size == SIZES[word]
    elif word in COLOURS:
      good = thing.colour == word
    elif singular in DIGITS:
      good = thing.digit == singular
    else:
      assert singular in ('digit', 'number'), phrase
      good = True
    if not good:
      return False
  return True


def those(phrase, scene):
  return [thing for thing in scene.things if means(phrase, thing)]


def the(phrase, scene):
  """Returns the thing that 'the ...' refers to; there must be exactly one."""
  found = those(phrase, scene)
  assert len(found) == 1, f'{len(found)} things are "the {phrase}"'
  return found[0]


def lies(first, side, second):
  x1, y1, x2, y2 = first.box
  u1, v1, u2, v2 = second.box
  return {
    'left': x1 + x2 < u1 + u2, 'right': x1 + x2 > u1 + u2,
    'above': y1 + y2 < v1 + v2, 'below': y1 + y2 > v1 + v2,
  }[side]  # fmt: skip


def at_end(word, scene):
  ends = [
    t for t in scene.things
    if all(t is o or lies(t, ENDS[word], o) for o in scene.things)
  ]  # fmt: skip
  assert len(ends) == 1
  return ends[0]


def check_articles(text):
  assert not re.search(r'\ba (?:orange|eight)\b', text), text
  assert not re.search(r'\ban (?!orange|eight)', text), text


def _rule(table, pattern):
  def add(function):
    table.append((re.compile(pattern), function))
    return function

  return add


def _read(table, text, *scenes):
  check_articles(text)
  for pattern, function in table:
    if match := pattern.fullmatch(text):
      return function(*scenes, *match.groups())
  raise AssertionError(f'not understood: {text!r}')


# ---- captions

CAPTIONS = []
A = f'an? {NP}'
OPENING = '(?:there is |the picture shows |a picture of |you can see )?'


@_rule(CAPTIONS, f'{OPENING}{A} (?:is )?{REL} {A}')
def _(scene, one, rel, two):
  pairs = itertools.permutations(scene.things, 2)
  return any(means(one, x) and means(two, y) and lies(x, SIDES[rel], y) for x, y in pairs)


@_rule(CAPTIONS, f'{NUM} {NOUN}s, among them {A}')
@_rule(CAPTIONS, f'there are {NUM} {NOUN}s and one of them is {A}')
def _number_and_one(scene, number, phrase):
  return NUMBERS[len(scene.things)] == number and bool(those(phrase, scene))


@_rule(CAPTIONS, f'{A} is one of {NUM} {NOUN}s')
def _(scene, phrase, number):
  return _number_and_one(scene, number, phrase)


@_rule(CAPTIONS, f'the {END} {NOUN} is {A}')
def _end_is(scene, end, phrase):
  return means(phrase, at_end(end, scene))


@_rule(CAPTIONS, f'{A} is the {END} {NOUN}')
def _(scene, phrase, end):
  return _end_is(scene, end, phrase)


LISTING = f'((?:(?:an?|{_any(NUMBERS)}) {NP[1:-1]}(?:, | and )?)+)'
ORDER = '(from left to right|from top to bottom)'


@_rule(CAPTIONS, f'{ORDER} (?:you can see|there is) {LISTING}')
def _in_order(scene, order, listing):
  axis = 0 if 'left' in order else 1
  things = sorted(scene.things, key=lambda t: t.box[axis] + t.box[axis + 2])
  phrases = [part.split(' ', 1)[1] for part in re.split(', | and ', listing)]
  return len(things) == len(phrases) and all(map(means, phrases, things))


@_rule(CAPTIONS, f'{LISTING} {ORDER}')
def _(scene, listing, order):
  return _in_order(scene, order, listing)


@_rule(CAPTIONS, f'{OPENING}{LISTING}')
def _(scene, listing):
  """True if some order of the things matches the phrases one to one."""
  phrases = []
  for part in re.split(', | and ', listing):
    number, phrase = part.split(' ', 1)
    phrases += [phrase] * (1 if number in ('a', 'an') else NUMBERS.index(number))
  if len(phrases) != len(scene.things):
    return False
  orders = itertools.permutations(scene.things)
  return any(all(map(means, phrases, order)) for order in orders)


def caption_is_true(text, scene):
  return _read(CAPTIONS, text, scene)


# ---- questions: each rule returns the set of right answers

QUESTIONS = []


@_rule(QUESTIONS, rf'what color is the {NP}\?')
@_rule(QUESTIONS, rf'what is the color of the {NP}\?')
@_rule(QUESTIONS, rf'which color does the {NP} have\?')
def _(scene, phrase):
  assert not any(colour in phrase for colour in COLOURS)
  return {the(phrase, scene).colour}


@_rule(QUESTIONS, rf'what is the {NP}\?')
@_rule(QUESTIONS, rf'which number is the {NP}\?')
@_rule(QUESTIONS, rf'what does the {NP} say\?')
def _(scene, phrase):
  assert phrase.split()[-1] in ('digit', 'number')
  return {the(phrase, scene).digit}


@_rule(QUESTIONS, rf'is the {NP} (?:small or large|large or small)\?')
@_rule(QUESTIONS, rf'what size is the {NP}\?')
def _(scene, phrase):
  assert not set(phrase.split()) & set(SIZES)
  return {the(phrase, scene).size}


@_rule(QUESTIONS, rf'how many {NP} (?:are there|can you see|does the picture show)\?')
def _(scene, phrase):
  return {str(len(those(phrase, scene)))}


@_rule(QUESTIONS, r'name one (digit|number|color) in the picture\.')
@_rule(QUESTIONS, r'what is one (digit|number|color) that you can see\?')
def _(scene, what):
  return {thing.colour if what == 'color' else thing.digit for thing in scene.things}


def _only_related(scene, rel, phrase):
  anchor = the(phrase, scene)
  found = [t for t in scene.things if t is not anchor and lies(t, SIDES[rel], anchor)]
  assert len(found) == 1, (rel, phrase)
  return found[0]


@_rule(QUESTIONS, rf'what is {REL} the {NP}\?')
@_rule(QUESTIONS, rf'which {NOUN} is {REL} the {NP}\?')
def _(scene, rel, phrase):
  return {_only_related(scene, rel, phrase).digit}


@_rule(QUESTIONS, rf'what color is the {NOUN} {REL} the {NP}\?')
@_rule(QUESTIONS, rf'what is the color of the {NOUN} that is {REL} the {NP}\?')
def _(scene, rel, phrase):
  return {_only_related(scene, rel, phrase).colour}


@_rule(QUESTIONS, rf'is the {NP} to the (left|right) or to the (left|right) of the {NP}\?')
@_rule(QUESTIONS, rf'is the {NP} (above|below) or (above|below) the {NP}\?')
def _(scene, one, side, other_side, two):
  assert side != other_side
  return {s for s in (side, other_side) if lies(the(one, scene), s, the(two, scene))}


@_rule(QUESTIONS, rf'(?:what|which number) is the {END} {NOUN}\?')
def _(scene, end):
  return {at_end(end, scene).digit}


@_rule(QUESTIONS, rf'what (?:color is|is the color of) the {END} {NOUN}\?')
def _(scene, end):
  return {at_end(end, scene).colour}


@_rule(QUESTIONS, rf'is the {NP} {COLOUR} or {COLOUR}\?')
def _(scene, phrase, one, two):
  assert one != two and not any(colour in phrase for colour in COLOURS)
  return {the(phrase, scene).colour} & {one, two}


def _yes(truth):
  return {'yes' if truth else 'no'}


@_rule(QUESTIONS, rf'(?:is there|can you see|does the picture show) {A}\?')
def _(scene, phrase):
  return _yes(those(phrase, scene))


@_rule(QUESTIONS, rf'is the {NP} {COLOUR}\?')
def _has_colour(scene, phrase, colour):
  return _yes(the(phrase, scene).colour == colour)


@_rule(QUESTIONS, rf'is {COLOUR} the color of the {NP}\?')
def _(scene, colour, phrase):
  return _has_colour(scene, phrase, colour)


@_rule(QUESTIONS, rf'is the {NP} {REL} the {NP}\?')
def _(scene, one, rel, two):
  first, second = the(one, scene), the(two, scene)
  assert first is not second
  return _yes(lies(first, SIDES[rel], second))


@_rule(QUESTIONS, rf'is there {A} {REL} the {NP}\?')
def _(scene, one, rel, two):
  return _yes(any(lies(t, SIDES[rel], the(two, scene)) for t in those(one, scene)))


@_rule(QUESTIONS, rf'do the {NP} and the {NP} have the same (color|size)\?')
def _alike(scene, one, two, what):
  name = {'color': 'colour', 'size': 'size', 'number': 'digit'}[what]
  first, second = the(one, scene), the(two, scene)
  assert first is not second
  return _yes(getattr(first, name) == getattr(second, name))


@_rule(QUESTIONS, rf'are the {NP} and the {NP} the same (number)\?')
def _(scene, one, two, what):
  return _alike(scene, one, two, what)


@_rule(QUESTIONS, rf'has the {NP} the (color|size) of the {NP}\?')
def _(scene, one, what, two):
  return _alike(scene, one, two, what)


@_rule(QUESTIONS, rf'(?:are there both|is there) {A} and {A}\?')
def _(scene, one, two):
  pairs = itertools.permutations(scene.things, 2)
  return _yes(any(means(one, x) and means(two, y) for x, y in pairs))


def right_answers(text, scene):
  return _read(QUESTIONS, text, scene)


# ---- statements about two pictures

STATEMENTS = []
SIDE = '(left|right)'


def _on(side, left, right):
  return left if side == 'left' else right


@_rule(STATEMENTS, f'the {SIDE} image shows (exactly|at least) {NUM} {NP}')
def _counted(left, right, side, how, number, phrase):
  found, number = len(those(phrase, _on(side, left, right))), NUMBERS.index(number)
  return found == number if how == 'exactly' else found >= number


@_rule(STATEMENTS, f'there (?:is|are) (exactly|at least) {NUM} {NP} in the {SIDE} image')
def _(left, right, how, number, phrase, side):
  return _counted(left, right, side, how, number, phrase)


@_rule(STATEMENTS, f'there are {NUM} {NP} in total')
@_rule(STATEMENTS, f'the two images show {NUM} {NP} together')
def _(left, right, number, phrase):
  return len(those(phrase, left)) + len(those(phrase, right)) == NUMBERS.index(number)


@_rule(STATEMENTS, f'both images show {A}')
@_rule(STATEMENTS, f'there is {A} in each image')
def _(left, right, phrase):
  return bool(those(phrase, left) and those(phrase, right))


@_rule(STATEMENTS, f'exactly one of the images shows {A}')
@_rule(STATEMENTS, f'only one image shows {A}')
def _(left, right, phrase):
  return bool(those(phrase, left)) != bool(those(phrase, right))


@_rule(STATEMENTS, f'neither image shows {A}')
@_rule(STATEMENTS, f'there is not {A} in either image')
def _(left, right, phrase):
  return not those(phrase, left) and not those(phrase, right)


def _more(left, right, phrase, most, least):
  assert most != least
  return len(those(phrase, _on(most, left, right))) > len(those(phrase, _on(least, left, right)))


@_rule(STATEMENTS, f'the {SIDE} image has more {NP} than the {SIDE} image')
def _(left, right, most, phrase, least):
  return _more(left, right, phrase, most, least)


@_rule(STATEMENTS, f'there are more {NP} in the {SIDE} image than in the {SIDE} one')
def _(left, right, phrase, most, least):
  return _more(left, right, phrase, most, least)


@_rule(STATEMENTS, f'the {SIDE} image has fewer {NP} than the {SIDE} one')
def _(left, right, least, phrase, most):
  return _more(left, right, phrase, most, least)


@_rule(STATEMENTS, f'in the {SIDE} image {A} is {REL} {A}')
@_rule(STATEMENTS, f'the {SIDE} image shows {A} {REL} {A}')
def _(left, right, side, one, rel, two):
  pairs = itertools.permutations(_on(side, left, right).things, 2)
  return any(means(one, x) and means(two, y) and lies(x, SIDES[rel], y) for x, y in pairs)


@_rule(STATEMENTS, f'one image shows {A} and the other image shows {A}')
@_rule(STATEMENTS, f'there is {A} in one image and {A} in the other')
def _(left, right, one, two):
  return any(those(one, x) and those(two, y) for x, y in ((left, right), (right, left)))


def statement_is_true(text, left, right):
  return bool(_read(STATEMENTS, text, left, right))

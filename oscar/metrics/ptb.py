"""The Penn Treebank tokenizer of the COCO caption evaluation, without Java.

Source: `PTBTokenizer` of pycocoevalcap, which runs Stanford CoreNLP 3.4.1; see `ptb_rules`.
"""

import re
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from oscar.metrics import ptb_rules

Key = TypeVar('Key', bound=Hashable)

# Tokens that the evaluation drops. Brackets stay: the official list has them in upper case, and
# the tokens are in lower case.
PUNCTUATION = frozenset(("''", "'", '``', '`', '.', '?', '!', ',', ':', '-', '--', '...', ';'))
# Most tokens of captions are words before a blank, a comma or the last period. They need no rules,
# unless they are two words in one or abbreviations.
_PLAIN = re.compile('[A-Za-z]+(?=[ \n])|[A-Za-z]{2,}(?=[.,][ \n])|,(?= )|[.](?=\n)')
_TWO_IN_ONE = frozenset(('cannot', 'gonna', 'gotta', 'lemme', 'gimme', 'wanna'))
# The Java program ends a line, and so a caption, at each of these.
_LINE_BREAKS = re.compile('[\n\r\x0b\x0c\u2028\u2029]')


def tokenize(captions: Mapping[Key, Sequence[str]]) -> dict[Key, list[str]]:
  """Tokenizes captions as the COCO evaluation does: lower case, without punctuation.

  All captions are one text there, a line each, and now and then the next line decides on a token:
  after "plan b." the single letter keeps its period unless the next caption begins with "A". So the
  order of the captions is part of the rule.

  Args:
    captions: {image: its captions}.

  Returns:
    {image: captions as tokens joined by blanks}. A caption with line breaks stays one caption; the
    official program shifts all captions after it.
  """
  texts = [_LINE_BREAKS.sub(' ', text) for image in captions.values() for text in image]
  found = iter(token_lines('\n'.join(texts)))
  return {
    image: [' '.join(t for t in next(found) if t not in PUNCTUATION) for _ in texts_of_image]
    for image, texts_of_image in captions.items()
  }


def token_lines(text: str) -> list[list[str]]:
  r"""Returns the tokens of each line of a text, in lower case.

  Args:
    text: lines, separated by `\n`.
  """
  lines: list[list[str]] = [[]]
  position = 0
  while position < len(text):
    if text[position] in ' \n':
      if text[position] == '\n':
        lines.append([])
      position += 1
      continue
    plain = _PLAIN.match(text, position)
    if plain and not _needs_rules(plain.group(), text[plain.end()]):
      token, size = plain.group(), len(plain.group())
    else:
      token, size = _longest(text, position)
    if token is not None:
      lines[-1].append(token.lower())
    position += size
  return lines


def _needs_rules(word, following):
  return word.lower() in _TWO_IN_ONE or (following == '.' and ptb_rules.is_abbreviation(word))


def _longest(text, position):
  """Returns the token at a position, None if the text there is dropped, and its length."""
  end, chosen, make = position, None, None
  for rule in ptb_rules.rules():
    for pattern in rule.patterns:
      match = pattern.match(text, position)
      if match and match.end() > end:
        end, chosen, make = match.end(), match.group(1), rule.make
  return make(chosen) if make else (None, 1)

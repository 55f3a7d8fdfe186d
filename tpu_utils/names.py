"""Errors for unknown names, with the nearest known ones."""
import difflib
from collections.abc import Collection, Iterable

_LONG_LIST = 20  # Longer lists would hide the nearest names.


def unknown_name(kind: str, name: object, known: Iterable) -> ValueError:
  """Returns the ValueError for an unknown name; its message lists the nearest known names.

  Args:
    kind: the kind of name ('optimizer'), or its flag.
    name: the unknown name.
    known: the valid names.
  """
  known = sorted(map(str, known))
  near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
  hints = [f'did you mean {" or ".join(near)}?'] if near else []
  if not near or len(known) <= _LONG_LIST:
    hints.append(f'Choose one of {", ".join(known)}.')
  return ValueError(f'Unknown {kind} {name!r}: {" ".join(hints)}')


def listed_names(kind: str, text: str, known: Collection[str]) -> list[str]:
  """Returns the names in a text, separated by commas; each once, in their order.

  Args:
    kind: the kind of name, with its flag ('task of --tasks').
    text: the names.
    known: the valid names.

  Raises:
    ValueError: one is unknown.
  """
  names = [name.strip() for name in text.split(',')]
  for name in names:
    check_name(kind, name, known)
  return list(dict.fromkeys(names))


def listed_seeds(text: str) -> list[int]:
  """Returns the numbers in a text, separated by commas, of the flag --seeds; each once, in order.

  Raises:
    ValueError: one is not a whole number from 0.
  """
  parts = [part.strip() for part in text.split(',')]
  if not all(part.isdecimal() for part in parts):
    raise ValueError(f'--seeds={text} must be whole numbers, separated by commas.')
  return list(dict.fromkeys(map(int, parts)))


def check_name(kind: str, name: object, known: Collection) -> None:
  """Checks that `name` is one of `known`.

  Raises:
    ValueError: it is not; the message lists the nearest names.
  """
  if name not in known:
    raise unknown_name(kind, name, known)

"""The error for a name that does not exist."""
import difflib

_LONG_LIST = 20  # Longer lists hide the nearest names.


def unknown_name(what, name, known):
  """Returns the ValueError that says what was asked for and which known names come nearest.

  Args:
    what: the kind of thing, or the flag, that the name was given for ('optimizer').
    name: the name that does not exist.
    known: the names that do.
  """
  known = sorted(map(str, known))
  near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
  hints = [f'did you mean {" or ".join(near)}?'] if near else []
  if not near or len(known) <= _LONG_LIST:
    hints.append(f'Choose one of {", ".join(known)}.')
  return ValueError(f'Unknown {what} {name!r}: {" ".join(hints)}')


def check(what, name, known):
  """Raises the error of `unknown_name` unless `name` is one of `known`."""
  if name not in known:
    raise unknown_name(what, name, known)

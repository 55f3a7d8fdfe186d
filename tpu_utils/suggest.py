"""The error for a name that does not exist."""
import difflib


def unknown_name(what, name, known):
  """Returns the ValueError that says what was asked for and which known names come nearest.

  Args:
    what: the kind of thing, or the flag, that the name was given for ('optimizer').
    name: the name that does not exist.
    known: the names that do.
  """
  known = sorted(known)
  near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
  hint = f'did you mean {" or ".join(near)}? ' if near else ''
  return ValueError(f'Unknown {what} {name!r}: {hint}Choose one of {", ".join(known)}.')

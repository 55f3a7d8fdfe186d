"""Programs that only other programs of this project run: what they answer to people."""
import sys


def explain(doc: str | None) -> None:
  """Prints a program's docstring and exits if it is asked for help or has no arguments.

  Call it before imports that may fail, such as those of packages that only this program needs.

  Args:
    doc: its docstring.

  Raises:
    SystemExit: in these two cases.
  """
  arguments = sys.argv[1:]
  if arguments and arguments[0] not in ('--help', '-h'):
    return
  print((doc or '').strip(), file=sys.stdout if arguments else sys.stderr)
  raise SystemExit(0 if arguments else 1)

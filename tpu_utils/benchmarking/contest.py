"""Times contestants in processes of their own, in turn, and reports them as a Markdown table."""
import contextlib
import dataclasses
import math
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from tpu_utils.benchmarking import timing
from tpu_utils.benchmarking.machine import Limits
from tpu_utils.benchmarking.peer_process import Cost, PeerProcess, missing_packages

_SECONDS = 0.4  # At least, of a turn: shorter work is repeated.
_MOST_REPEATS = 40


@dataclasses.dataclass(frozen=True)
class Contestant:
  """A program that serves commands, and what it needs.

  Attributes:
    name: in the table.
    module: dotted name of the program, for `PeerProcess`.
    arguments: its arguments.
    packages: modules that it needs; without one of them it is left out.
    remedy: how to install them.
    python: its Python interpreter; None for the current one.
    commands: the commands that it serves; None for all.
  """

  name: str
  module: str
  arguments: tuple[str, ...]
  packages: tuple[str, ...] = ()
  remedy: str = "pip install '.[peers]'"
  python: str | None = None
  commands: tuple[str, ...] | None = None

  def serves(self, command: str) -> bool:
    """Returns whether it takes part in a command."""
    return self.commands is None or command in self.commands


class Contest:
  """A context manager that holds the processes of contestants.

  Contestants whose packages are missing, and peers that fail, are left out with a printed line.

  Args:
    contestants: the first one is the baseline, whose failure is an error.

  Raises:
    ValueError: on entering, the baseline cannot run.
  """

  def __init__(self, contestants: Sequence[Contestant]):
    self._contestants = contestants
    self._processes: dict[str, PeerProcess] = {}

  def __enter__(self) -> 'Contest':
    self._stack = contextlib.ExitStack()
    started = []
    for contestant in self._contestants:
      missing = missing_packages(contestant.packages, contestant.python)
      if missing:
        print(f'{contestant.name}: left out, {", ".join(missing)} not installed; '
              f'{contestant.remedy}.')  # fmt: skip
        continue
      process = PeerProcess(
        contestant.module, contestant.arguments, contestant.remedy, contestant.python
      )
      process.start()
      started.append((contestant, process))
    with contextlib.ExitStack() as entered:
      for contestant, process in started:
        try:
          entered.enter_context(process)
        except ValueError as error:
          self._drop(contestant.name, error)
        else:
          self._processes[contestant.name] = process
      self._stack = entered.pop_all()
    return self

  def __exit__(self, *_):
    self._stack.close()

  def _drop(self, name, error):
    if name == self._contestants[0].name:
      raise error
    print(f'{name}: left out. {error}')
    self._processes.pop(name, None)

  def hold(self, command: str, rounds: int) -> dict[str, list[Cost]]:
    """Times a command of all contestants that serve it.

    Args:
      command: its name.
      rounds: turns of each.

    Returns:
      {name: [cost of each round]}, the baseline first.
    """
    entries = {
      contestant.name: (self._processes[contestant.name], command)
      for contestant in self._contestants
      if contestant.name in self._processes and contestant.serves(command)
    }
    return take_turns(entries, rounds, self._drop, _SECONDS, _MOST_REPEATS)


def take_turns(
  entries: Mapping[str, tuple[PeerProcess, str]],
  rounds: int,
  failed: Callable[[str, ValueError], None],
  seconds: float,
  most_repeats: int,
) -> dict[str, list[Cost]]:
  """Runs commands once to compile, once to see how long they take, and then in turn.

  Args:
    entries: {contestant: (its process, its command)}; processes with a `problem` are left out.
    rounds: turns of each.
    failed: called with contestant and error if its first runs fail; it is then left out.
    seconds: of a turn, at least: shorter work is repeated,
    most_repeats: but not more often than this.

  Returns:
    {contestant: [cost of each round]}.

  Raises:
    ValueError: a contestant failed after its first runs.
  """
  repeats = {}
  for name, (process, command) in entries.items():
    if process.problem:  # Reported before: two contestants may share a process.
      continue
    try:
      process.measure(command)  # Compiles, and lays out weights.
      once = process.measure(command).wall
    except ValueError as error:
      failed(name, error)
    else:
      repeats[name] = min(most_repeats, math.ceil(seconds / max(once, 1e-9)))
  costs: dict[str, list[Cost]] = {name: [] for name in repeats}

  def turn(name):
    process, command = entries[name]
    costs[name].append(process.measure(command, repeats[name]))
    return costs[name][-1].wall

  turns = {name: lambda name=name: turn(name) for name in repeats}
  timing.take_turns(turns, rounds, elsewhere=turns)
  return {name: own[1:] for name, own in costs.items()}  # The first round is not timed.


@dataclasses.dataclass(frozen=True)
class Work:
  """The work of one table.

  Attributes:
    title: heading.
    command: of `Contest.hold`.
    items: number of items of the work, such as images.
    unit: plural noun for them.
    multiply_adds: of the work; None if unknown.
  """

  title: str
  command: str
  items: int
  unit: str
  multiply_adds: int | None = None


def median_ratio(costs: Mapping[str, Sequence[Cost]], name: str, field: str = 'wall') -> float:
  """Returns the median over rounds of the cost of `name` divided by the first contestant's.

  Args:
    costs: of `Contest.hold`.
    name: a contestant.
    field: 'wall' or 'processor'.
  """
  seconds = {name: [getattr(cost, field) for cost in own] for name, own in costs.items()}
  return timing.ratio(seconds, name, baseline=next(iter(costs)))


def table(work: Work, costs: Mapping[str, Sequence[Cost]], limits: Limits | None = None) -> str:
  """Returns a Markdown table with a row for each contestant.

  Args:
    work: what was timed.
    costs: of `Contest.hold`.
    limits: of this machine; with them and `work.multiply_adds` a column says which share of the
      processor's multiply-adds a contestant reaches.
  """
  baseline = next(iter(costs))
  shares = bool(limits and work.multiply_adds)
  header = ['', 'ms', f'{work.unit}/s', 'processor ms', f'time, {baseline} = 1', 'processor time']
  rows = []
  for name, rounds in costs.items():
    wall = statistics.median(cost.wall for cost in rounds)
    processor = statistics.median(cost.processor for cost in rounds)
    row = [name, f'{1000 * wall:.1f}', f'{work.items / wall:.2f}', f'{1000 * processor:.1f}']
    row += [f'{median_ratio(costs, name, field):.2f}' for field in ('wall', 'processor')]
    if shares:
      assert limits and work.multiply_adds
      row.append(f'{work.multiply_adds / wall / limits.multiply_adds:.0%}')
    rows.append(row)
  if shares:
    header.append('share of the limit')
  return f'### {work.title}\n\n{markdown(header, rows)}'


def markdown(
  header: Sequence[str], rows: Iterable[Sequence], left_columns: Collection[int] = (0,)
) -> str:
  """Returns a Markdown table.

  Args:
    header: names of the columns.
    rows: as many cells each as `header`, of any type.
    left_columns: indices of the columns to align to the left; the others align to the right.
  """
  rule = ['---' if column in left_columns else '---:' for column in range(len(header))]
  return '\n'.join(f'| {" | ".join(map(str, line))} |' for line in (header, rule, *rows))

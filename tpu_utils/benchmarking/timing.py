"""Times contestants in turn, so that a slow phase of the machine affects all of them.

Times vary with day and machine, ratios hardly do; so benchmarks report ratios. Run nothing else on
the machine meanwhile.
"""
import statistics
import time
from collections.abc import Callable, Collection, Mapping, Sequence


def take_turns(
  contestants: Mapping[str, Callable],
  rounds: int,
  fewer: Mapping[str, int] | None = None,
  clock: Callable[[], float] = time.perf_counter,
  elsewhere: Collection[str] = (),
) -> dict[str, list[float]]:
  """Runs each contestant once without timing, then `rounds` times, alternating the direction.

  Args:
    contestants: {name: function without arguments that returns when its work is done}.
    rounds: number of timed runs of each contestant.
    fewer: {name: rounds} for contestants that are too slow for `rounds`.
    clock: function() -> seconds; `time.process_time` measures processor time, which other programs
      disturb less.
    elsewhere: names of contestants that run in another process, which `clock` cannot measure; their
      functions return the seconds.

  Returns:
    {name: [seconds of each round]}.
  """
  fewer, names = fewer or {}, list(contestants)
  times: dict[str, list[float]] = {name: [] for name in contestants}
  for i in range(rounds + 1):
    for name in names if i % 2 else reversed(names):
      if i > fewer.get(name, rounds):
        continue
      start = clock()
      own = contestants[name]()
      if i:
        times[name].append(own if name in elsewhere else clock() - start)
  return times


def medians(times: Mapping[str, Sequence[float]]) -> dict[str, float]:
  """Returns {name: median seconds} of the result of `take_turns`."""
  return {name: statistics.median(seconds) for name, seconds in times.items()}


def ratio(times: Mapping[str, Sequence[float]], name: str, baseline: str) -> float:
  """Returns the median over rounds of the time of `name` divided by that of `baseline`.

  Runs of one round see the same state of the machine, so this varies less than a ratio of medians.
  """
  return statistics.median(a / b for a, b in zip(times[name], times[baseline], strict=False))

"""The order of the runs, medians and ratios."""
from tpu_utils.benchmarking import timing


def test_contestants_take_turns_in_both_directions():
  clock, order = [0.0], []

  def contestant(name, seconds):
    def run():
      order.append(name)
      clock[0] += seconds

    return run

  contestants = {'a': contestant('a', 1.0), 'b': contestant('b', 2.5), 'c': contestant('c', 9.0)}
  times = timing.take_turns(contestants, 3, {'c': 1}, clock=lambda: clock[0])
  assert times == {'a': [1.0] * 3, 'b': [2.5] * 3, 'c': [9.0]}
  assert ''.join(order) == 'cba' + 'abc' + 'ba' + 'ab'  # The first round is not timed.


def test_the_ratio_compares_runs_of_the_same_round():
  times = {'slow': [2, 20, 9], 'fast': [1, 10, 3]}
  assert timing.ratio(times, 'slow', 'fast') == 2
  assert timing.medians(times) == {'slow': 9, 'fast': 3}

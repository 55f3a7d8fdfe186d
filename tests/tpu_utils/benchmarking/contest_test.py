"""Contests of stand-in programs, their tables, and those that are left out."""
import textwrap

import pytest

from tpu_utils.benchmarking import contest
from tpu_utils.benchmarking.contest import Contestant, Work
from tpu_utils.benchmarking.machine import Limits
from tpu_utils.benchmarking.peer_process import Cost, PeerProcess

PROGRAM = """
import sys, time
from tpu_utils.benchmarking import peer_process

if sys.argv[1] == 'broken':
  raise RuntimeError('it is broken')
peer_process.serve({'work': lambda: time.sleep(float(sys.argv[1])), 'fail': lambda: 1 / 0})
"""


@pytest.fixture
def contestant(tmp_path, monkeypatch):
  """Returns function(name, seconds, **others) -> Contestant that sleeps."""
  (tmp_path / 'contestant_under_test.py').write_text(textwrap.dedent(PROGRAM))
  monkeypatch.setenv('PYTHONPATH', f'{tmp_path}:.')
  monkeypatch.setattr(contest, '_SECONDS', 0.05)

  def make(name, seconds, **others):
    return Contestant(name, 'contestant_under_test', (str(seconds),), **others)

  return make


def test_all_take_turns_and_who_cannot_is_left_out_with_a_line(contestant, capsys):
  entered = [
    contestant('ours', 0.02),
    contestant('slower', 0.06),
    contestant('absent', 0.0, packages=('no_such_package',), remedy='pip install it'),
    contestant('broken', 'broken'),
    contestant('other work', 0.0, commands=('other',)),
  ]
  with contest.Contest(entered) as held:
    costs = held.hold('work', rounds=3)
  assert list(costs) == ['ours', 'slower']
  assert all(len(rounds) == 3 for rounds in costs.values())
  assert 1.2 < contest.median_ratio(costs, 'slower') < 20  # 3 on an idle machine.
  lines = capsys.readouterr().out.splitlines()
  assert lines[0] == 'absent: left out, no_such_package not installed; pip install it.'
  assert lines[1].startswith('broken: left out. The peer could not be timed: RuntimeError')
  assert len(lines) == 2


def test_a_baseline_that_fails_is_an_error(contestant):
  entered = contest.Contest([contestant('ours', 0.0), contestant('peer', 0.0)])
  with entered as held, pytest.raises(ValueError, match='ZeroDivisionError'):
    held.hold('fail', rounds=1)
  with pytest.raises(ValueError, match='it is broken'):
    contest.Contest([contestant('a', 'broken')]).__enter__()


def test_a_failed_process_of_two_contestants_is_reported_once(contestant):
  made = contestant('both', 0.0)
  with PeerProcess(made.module, made.arguments, made.remedy) as process:
    failed = []
    entries = {'fails': (process, 'fail'), 'same process': (process, 'work')}
    costs = contest.take_turns(entries, 1, lambda name, error: failed.append(name), 0.01, 2)
  assert not costs and failed == ['fails']


def test_table():
  costs = {
    'ours': [Cost(0.5, 1.0, 1), Cost(0.7, 1.0, 1), Cost(0.5, 1.0, 1)],
    'peer': [Cost(1.0, 1.5, 1), Cost(0.7, 1.5, 1), Cost(1.0, 1.5, 1)],
  }
  work = Work('Inference, batch 8', 'infer 8', 8, 'images', multiply_adds=10**9)
  table = contest.table(work, costs, Limits(4e9, 1e9))
  assert table.splitlines() == [
    '### Inference, batch 8',
    '',
    '|  | ms | images/s | processor ms | time, ours = 1 | processor time | share of the limit |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
    '| ours | 500.0 | 16.00 | 1000.0 | 1.00 | 1.00 | 50% |',
    '| peer | 1000.0 | 8.00 | 1500.0 | 2.00 | 1.50 | 25% |',
  ]
  assert 'share' not in contest.table(work, costs)

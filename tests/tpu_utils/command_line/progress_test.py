"""Progress: lines in a log, a bar on a terminal."""
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from tpu_utils.command_line import progress as progresses
from tpu_utils.command_line.progress import Progress, StepTimes


def test_a_log_gets_the_last_line(capsys):
  with Progress(3, 'train', line_seconds=1000) as progress:
    for step in (1, 2, 3):
      progress.update(step, loss=0.5)
  assert capsys.readouterr().err == 'train step 3/3: loss 0.5\n'


def test_lines_can_be_limited_by_time(capsys):
  with Progress(3, 'eval', unit='batch', line_seconds=0) as progress:
    progress.update(1)
    progress.update(2)
  assert capsys.readouterr().err == 'eval batch 1/3\neval batch 2/3\n'


def test_the_last_line_can_be_left_to_the_result(capsys):
  with Progress(2, 'eval', unit='batch', always_ends=False) as progress:
    progress.update(2)
  assert not capsys.readouterr().err


def test_lines_can_be_limited_by_count(capsys):
  with Progress(7, 'train', line_every=3) as progress:
    for step in range(1, 8):
      progress.update(step)
  assert capsys.readouterr().err == 'train step 3/7\ntrain step 6/7\ntrain step 7/7\n'


def test_a_log_says_the_time_left(capsys, monkeypatch):
  """By the rate since the first update, which compiled the program."""
  now = [0.0]
  monkeypatch.setattr(progresses.time, 'monotonic', lambda: now[0])
  with Progress(40, 'train', line_every=10) as progress:
    for step in (10, 20, 30, 40):
      now[0] += 300
      progress.update(step, loss=0.5)
  ends = [line.partition('loss 0.5')[2] for line in capsys.readouterr().err.splitlines()]
  assert ends == ['', ', 10 min left', ', 5 min left', '']


@pytest.mark.parametrize(
  ('seconds', 'text'), [(42.4, '42 s'), (100, '2 min'), (5000, '83 min'), (9000, '2.5 h')]
)
def test_durations_have_their_largest_fitting_unit(seconds, text):
  assert progresses.duration(seconds) == text


def test_a_terminal_gets_a_bar():
  master, slave = pty.openpty()
  fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 100, 0, 0))
  code = (
    'from tpu_utils.command_line.progress import Progress\n'
    'with Progress(4, "train", initial=2) as p: p.update(4, loss=0.25)'
  )
  subprocess.run([sys.executable, '-c', code], stderr=slave, check=True, timeout=600)
  shown = os.read(master, 10000).decode()
  os.close(slave)
  assert '4/4' in shown
  assert 'loss 0.25' in shown


def test_times_of_a_step():
  times = StepTimes(total=0.2, input_wait=0.05)
  assert times.logs() == {'compute_time': 0.2 - 0.05, 'input_wait_share': 0.25}
  assert times.shown() == {'input': '50 ms (25%)', 'compute': '150 ms/step'}


def test_long_steps_have_whole_milliseconds():
  assert StepTimes(total=10.2004, input_wait=0.0).shown()['compute'] == '10200 ms/step'

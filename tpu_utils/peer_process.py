"""A benchmark's contestant in a process of its own, for programs that do not share one with TensorFlow."""
import os
import subprocess
import sys


class PeerProcess:
  """A process of this interpreter that does one of its works each time it is told to.

  It says 'ready' on its standard output, then reads names of works, a line each, and says 'done'
  after each: `serve` is that side of it.

  Args:
    arguments: of the interpreter, beginning with ['-m', module].
    name: what to call it when it fails.
    mend: what the user may do then.
  """

  def __init__(self, arguments, name, mend):
    self._command = [sys.executable, *arguments]
    self._name, self._mend = name, mend

  def __enter__(self):
    self._process = subprocess.Popen(
      self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    self._expect('ready')
    return self

  def __exit__(self, *_):
    self._process.communicate()

  def run(self, work):
    """Has it do a work once and waits for it.

    Raises:
      ValueError: it ended instead; the message has its last line.
    """
    self._process.stdin.write(f'{work}\n')
    self._process.stdin.flush()
    self._expect('done')

  def cpu_seconds(self):
    """Processor time that it has used so far (Linux)."""
    with open(f'/proc/{self._process.pid}/stat', encoding='ascii') as file:
      fields = file.read().rpartition(')')[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK')  # Of the program, of the system.

  def _expect(self, answer):
    if self._process.stdout.readline().strip() != answer:
      _, complaint = self._process.communicate()
      last = complaint.strip().splitlines()[-1:] or ['no message']
      raise ValueError(f'{self._name} could not be timed: {last[0]}; {self._mend}')


def serve(works):
  """The other side: does `works` {name: function} as they are asked for, until the input ends."""
  print('ready', flush=True)
  for line in sys.stdin:
    works[line.strip()]()
    print('done', flush=True)

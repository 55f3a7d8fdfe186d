import sys

import pytest

from tpu_utils import peer_process

SERVE = """
from tpu_utils import peer_process
def fail():
  raise RuntimeError('out of flour')
def think():
  import time
  while time.process_time() < SECONDS:
    pass
def bake():
  with open({path!r}, 'a') as f:
    f.write('cake ')
peer_process.serve({'bake': bake, 'fail': fail, 'think': think})
"""


def program_for(path):
  return SERVE.replace('{path!r}', repr(str(path))).replace('SECONDS', '1')


def test_it_works_when_told_to(tmp_path):
  path = tmp_path / 'cakes'
  program = program_for(path)
  with peer_process.PeerProcess(['-c', program], 'the baker', 'buy flour.') as process:
    assert not path.exists()
    before = process.cpu_seconds()
    process.run('bake')
    process.run('bake')
    process.run('think')
    assert process.cpu_seconds() - before > 0.2
  assert path.read_text() == 'cake cake '


def test_a_failure_is_one_line(tmp_path):
  program = program_for(tmp_path / 'cakes')
  expected = 'the baker could not be timed: RuntimeError: out of flour; buy flour.'
  with (
    pytest.raises(ValueError) as error,
    peer_process.PeerProcess(['-c', program], 'the baker', 'buy flour.') as process,
  ):
    process.run('fail')
  assert str(error.value) == expected
  with (
    pytest.raises(ValueError, match='could not be timed: .*nowhere'),
    peer_process.PeerProcess(['-m', 'nowhere'], 'the baker', 'buy flour.'),
  ):
    pass
  assert 'nowhere' not in sys.modules

"""The agent on this machine: tasks that outlive the process that started them."""
import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tpu_utils.launching import agent as module


@pytest.fixture(name='agent')
def _agent(tmp_path):
  """Runs the agent in a folder of its own: returns its lines."""
  folder = tmp_path / 'a folder'
  folder.mkdir()
  shutil.copy(module.__file__, folder / 'agent.py')

  def run(*words, host='host'):
    output = subprocess.run(
      [sys.executable, '-IS', str(folder / 'agent.py'), *map(str, words)], check=True,
      env={'HOSTNAME': host, 'PATH': os.environ['PATH']}, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return output.split('\n')[:-1]

  run.folder = folder
  yield run
  for path in folder.glob('*.pid'):
    with contextlib.suppress(ProcessLookupError):
      os.killpg(int(path.read_text().split()[0]), signal.SIGKILL)


def _state(lines):
  word, host, state, _ = lines[-1].split()
  assert (word, host) == ('@launch', 'host')
  return state


def _wait(agent, run='r'):
  deadline = time.monotonic() + 60
  while _state(agent('status', 'job', run)) == 'running':
    assert time.monotonic() < deadline
  return _state(agent('status', 'job', run))


def test_a_task_runs_once_and_leaves_its_exit_code(agent):
  command = ('sh', '-c', 'echo "$0"; echo run >> count; exit 7', "it's")
  assert _state(agent('start', 'job', 'r', *command)) in ('running', 'exit:7')
  assert _wait(agent) == 'exit:7'
  assert _state(agent('start', 'job', 'r', *command)) == 'exit:7'
  assert (agent.folder / 'work/count').read_text() == 'run\n'
  assert agent('follow', 'job', 'r', 0, 9) == ["+0:5 it's", '@launch host exit:7 5']
  assert _state(agent('status', 'job', 'another')) == 'absent'
  assert _state(agent('follow', 'job', 'another', 0, 9)) == 'absent'


def test_following_begins_anywhere_and_shows_whole_lines(agent):
  agent('start', 'job', 'r', 'printf', 'a\\nü\\n1%%\\r2%%\\nlast')
  assert _wait(agent) == 'exit:0'
  assert agent('follow', 'job', 'r', 0, 9)[:-1] == ['+0:2 a', '+2:5 ü', '+5:11 2%', '+11:15 last']
  assert agent('follow', 'job', 'r', 5, 9)[:-1] == ['+5:11 2%', '+11:15 last']
  assert agent('tail', 'job', 'r', 1)[:-1] == ['+0:0 last']


def test_following_ends_in_time_without_the_unfinished_line(agent):
  agent('start', 'job', 'r', 'sh', '-c', 'echo one; printf two; sleep 60')
  while not (agent.folder / 'job.log').read_text().endswith('two'):
    time.sleep(0.02)
  lines = agent('follow', 'job', 'r', 0, 0.1)
  assert lines == ['+0:4 one', '@launch host running 7']
  assert _state(agent('stop', 'job', 'r', 30)) == 'exit:143'
  assert agent('follow', 'job', 'r', 4, 9)[0] == '+4:7 two'


def test_a_task_that_ignores_the_signal_is_killed(agent):
  agent('start', 'job', 'r', 'sh', '-c', "trap '' TERM; echo ready; while :; do sleep 0.1; done")
  while (agent.folder / 'job.log').read_text() != 'ready\n':
    time.sleep(0.02)
  assert _state(agent('stop', 'job', 'r', 0.1)) == 'lost'


def test_a_task_whose_supervisor_is_gone_is_lost(agent):
  agent('start', 'job', 'r', 'sleep', '60')
  group = int((agent.folder / 'job.pid').read_text().split()[0])
  assert _state(agent('status', 'job', 'r')) == 'running'
  os.killpg(group, signal.SIGKILL)
  assert _wait(agent) == 'lost'
  # Another process with its number is not the task.
  (agent.folder / 'job.pid').write_text(f'{os.getpid()} 1')
  assert _state(agent('status', 'job', 'r')) == 'lost'


def test_a_new_run_ends_the_one_before(agent):
  agent('start', 'job', 'r', 'sleep', '60')
  agent('start', 'job', 's', 'echo', 'second')
  assert _wait(agent, 's') == 'exit:0'
  assert (agent.folder / 'job.log').read_text() == 'second\n'


def test_a_missing_program_is_reported_in_the_log(agent):
  agent('start', 'job', 'r', './nothing', 'here')
  assert _wait(agent) == 'exit:127'
  assert agent('tail', 'job', 'r', 5)[0] == '+0:0 ./nothing: No such file or directory'


def test_results_are_packed(agent, tmp_path):
  agent('start', 'job', 'r', 'sh', '-c', 'mkdir -p "a b/c"; echo 1 > "a b/c/d"')
  assert _wait(agent) == 'exit:0'
  lines = agent('pack', 'a b', 'missing')
  assert lines[0] == '+0:0 missing: there is no such file or folder on this worker'
  shutil.unpack_archive(agent.folder / 'collect.tar.gz', tmp_path / 'out')
  assert (tmp_path / 'out/a b/c/d').read_text() == '1\n'


def test_the_agent_is_python_3_8_with_the_standard_library():
  import ast

  text = pathlib.Path(module.__file__).read_text(encoding='utf-8')
  syntax = ast.parse(text, feature_version=(3, 8))
  names = [alias.name for node in ast.walk(syntax) if isinstance(node, ast.Import)
           for alias in node.names]
  assert set(names) <= sys.stdlib_module_names
  assert not [node for node in ast.walk(syntax) if isinstance(node, ast.ImportFrom)]


def test_a_job_knows_the_number_of_its_host(agent):
  """It decides who writes: `distribute.is_chief`."""
  for run, host, told in (('a', 't1v-n-0b-w-12', '12'), ('b', 'my-host', 'none')):
    agent('start', 'job', run, 'sh', '-c', 'echo ${TPU_LAUNCH_HOST:-none} > number', host=host)
    assert _wait(agent, run) == 'exit:0'
    assert (agent.folder / 'work/number').read_text().strip() == told

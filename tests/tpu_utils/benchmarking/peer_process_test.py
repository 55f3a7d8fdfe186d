"""A peer process that works, and ones that fail."""
import subprocess
import sys
import textwrap
import time

import pytest

from tpu_utils.benchmarking.peer_process import PeerProcess, missing_packages


def program(folder, monkeypatch, text, **options):
  (folder / 'peer_under_test.py').write_text(textwrap.dedent(text))
  monkeypatch.setenv('PYTHONPATH', f'{folder}:.')
  return PeerProcess('peer_under_test', ['3'], 'install it', **options)


def test_run_returns_the_processor_seconds_of_the_peer(tmp_path, monkeypatch):
  with program(tmp_path, monkeypatch, """
    import sys, time
    from tpu_utils.benchmarking import peer_process

    def work():
      while time.process_time() < int(sys.argv[1]) * 0.5:
        pass

    peer_process.serve({'work': work, 'wait': lambda: time.sleep(0.2)})
  """) as process:
    assert 0.5 < process.measure('work').processor < 2
    assert process.measure('wait').processor < 0.1


def test_a_peer_that_cannot_start_is_an_error_of_one_line(tmp_path, monkeypatch):
  process = program(tmp_path, monkeypatch, 'import no_such_library')
  message = 'could not be timed: .*no_such_library.*; install it'
  with pytest.raises(ValueError, match=message) as error:
    process.__enter__()
  assert '\n' not in str(error.value)


def test_a_peer_that_fails_at_work_is_an_error(tmp_path, monkeypatch):
  process = program(tmp_path, monkeypatch, """
    from tpu_utils.benchmarking import peer_process
    peer_process.serve({'work': lambda: 1 / 0})
  """)
  with pytest.raises(ValueError, match='ZeroDivisionError'), process:
    process.measure('work')


def test_a_peer_that_the_system_kills_says_so(tmp_path, monkeypatch):
  """As Linux kills the largest process when memory ends: the log does not say why."""
  process = program(tmp_path, monkeypatch, """
    import os, signal
    from tpu_utils.benchmarking import peer_process
    print('reading the batch', flush=True)
    peer_process.serve({'work': lambda: os.kill(os.getpid(), signal.SIGKILL)})
  """)
  with pytest.raises(ValueError, match='it was killed, probably for want of memory'), process:
    process.measure('work')


def test_a_cost_is_the_mean_of_repeated_runs_and_output_is_ignored(tmp_path, monkeypatch):
  with program(tmp_path, monkeypatch, """
    import time
    from tpu_utils.benchmarking import peer_process

    def work():
      print('a library says something')
      bytearray(100 * 2**20)
      time.sleep(0.05)

    peer_process.serve({'some work': work})
  """) as process:
    cost = process.measure('some work', repeat=4)
  assert 0.05 <= cost.wall < 5 and 0 <= cost.processor < cost.wall
  assert 100 * 2**20 < cost.memory < 2 * 2**30


def test_facts_numbers_the_log_and_work_that_takes_too_long(tmp_path, monkeypatch):
  text = """
    import time
    from tpu_utils.benchmarking import peer_process

    print('a library says something')
    works = {'count': lambda steps: {'steps': steps}, 'sleep': time.sleep}
    peer_process.serve_steps(works, {'device': 'toy'})
  """
  log = tmp_path / 'own.log'
  options = {'name': 'toy', 'log': str(log), 'shares_cores': False, 'answer_seconds': 5.0}
  with program(tmp_path, monkeypatch, text, **options) as process:
    assert process.facts == {'device': 'toy'}
    assert process.measure('count', repeat=3).numbers == {'steps': 3}
    process._answer_seconds = 0.2
    with pytest.raises(ValueError, match='toy could not .* sleep was not done .*; install it'):
      process.measure('sleep', repeat=60)
    with pytest.raises(ValueError, match='sleep was not done'):  # It is ended.
      process.measure('count')
  program(tmp_path, monkeypatch, text, **options).__enter__().close()
  assert log.read_text() == 'a library says something\n'


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_a_peer_is_stopped_between_its_turns(tmp_path, monkeypatch):
  with program(tmp_path, monkeypatch, """
    import threading, time
    from tpu_utils.benchmarking import peer_process

    def spin():
      while True:
        time.sleep(0.001)
        COUNT[0] += 1

    COUNT = [0]
    threading.Thread(target=spin, daemon=True).start()
    peer_process.serve({'count': lambda: time.sleep(COUNT[0] * 1e-6)})
  """) as process:
    process.measure('count')
    deadline = time.monotonic() + 10
    while _state(process) != 'T' and time.monotonic() < deadline:
      time.sleep(0.01)
    assert _state(process) == 'T'
    process.measure('count')


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_a_stopped_peer_ends_with_its_parent(tmp_path, monkeypatch):
  program(tmp_path, monkeypatch, """
    from tpu_utils.benchmarking import peer_process
    peer_process.serve({})
  """)
  parent = (
    'import os\n'
    'from tpu_utils.benchmarking.peer_process import PeerProcess\n'
    'process = PeerProcess("peer_under_test", ["3"], "").__enter__()\n'
    'print(process._process.pid, flush=True)\n'
    'os._exit(1)\n'
  )
  done = subprocess.run([sys.executable, '-c', parent], stdout=subprocess.PIPE, text=True)
  deadline = time.monotonic() + 10
  while _runs(int(done.stdout)) and time.monotonic() < deadline:
    time.sleep(0.01)
  assert not _runs(int(done.stdout))


def _runs(pid):
  try:
    with open(f'/proc/{pid}/stat', encoding='ascii') as file:
      return file.read().rpartition(')')[2].split()[0] != 'Z'
  except FileNotFoundError:
    return False


def _state(process):
  with open(f'/proc/{process._process.pid}/stat', encoding='ascii') as file:
    return file.read().rpartition(')')[2].split()[0]


def test_missing_packages():
  assert missing_packages(['json', 'no_such_package', 'sys']) == ['no_such_package']
  with pytest.raises(ValueError, match='--torch_python=/no/python.*nothing that runs'):
    missing_packages(['json'], '/no/python')

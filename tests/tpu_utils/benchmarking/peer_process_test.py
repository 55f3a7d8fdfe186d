"""A peer process that works, and ones that fail."""
import textwrap

import pytest

from tpu_utils.benchmarking.peer_process import PeerProcess


def program(folder, monkeypatch, text):
  (folder / 'peer_under_test.py').write_text(textwrap.dedent(text))
  monkeypatch.setenv('PYTHONPATH', f'{folder}:.')
  return PeerProcess('peer_under_test', ['3'], 'install it')


def test_run_returns_the_processor_seconds_of_the_peer(tmp_path, monkeypatch):
  with program(tmp_path, monkeypatch, """
    import sys, time
    from tpu_utils.benchmarking import peer_process

    def work():
      while time.process_time() < int(sys.argv[1]) * 0.5:
        pass

    peer_process.serve({'work': work, 'wait': lambda: time.sleep(0.2)})
  """) as process:
    assert 0.5 < process.run('work') < 2
    assert process.run('wait') < 0.1


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
    process.run('work')

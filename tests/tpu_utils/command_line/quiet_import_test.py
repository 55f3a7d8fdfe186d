"""Output of imports on standard error: log messages are dropped, all else is kept."""
import os
import subprocess
import sys

import pytest

REMARKS = (
  'WARNING: All log messages before absl::InitializeLog() are\n'
  'I0000 00:00:1.2 1 port.cc:153] on\n'
)
LIBRARY = f'import os, sys\nos.write(2, {REMARKS + "E0000 broken" + chr(10)!r}.encode())\n'


def _import(tmp_path, library, then=''):
  (tmp_path / 'noisy.py').write_text(library)
  code = (
    'from tpu_utils.command_line.quiet_import import import_quietly\n'
    f'import_quietly("noisy"); import noisy\n{then}'
  )
  environment = {**os.environ, 'PYTHONPATH': f'{os.getcwd()}:{tmp_path}'}
  return subprocess.run(
    [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=False
  )


def test_log_messages_are_dropped_and_the_rest_is_kept(tmp_path):
  after = 'import os; os.write(2, b"I0000 later\\n"); print(noisy.__spec__.name, noisy.done)'
  found = _import(tmp_path, LIBRARY + 'print("python", file=sys.stderr)\ndone = 3\n', after)
  assert (found.stderr, found.stdout) == ('E0000 broken\npython\nI0000 later\n', 'noisy 3\n')


def test_an_import_that_fails_shows_its_error(tmp_path):
  found = _import(tmp_path, LIBRARY + 'raise ImportError("no such symbol")\n')
  assert found.returncode == 1
  assert found.stderr.startswith('E0000 broken\nTraceback') and 'no such symbol' in found.stderr


@pytest.mark.slow
@pytest.mark.parametrize('module', ['tensorflow', 'keras'])
def test_importing_tensorflow_writes_nothing(module):
  code = (
    'from tpu_utils.command_line import cli\n'
    f'cli.import_tensorflow(); import {module}, tensorflow'
  )
  found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
  assert (found.returncode, found.stderr) == (0, '')

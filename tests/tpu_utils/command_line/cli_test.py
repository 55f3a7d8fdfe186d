"""What scripts print and return: run as real processes."""
import subprocess
import sys
import textwrap

import pytest

SCRIPT = textwrap.dedent(
  '''
  """Does this and that."""
  import dataclasses, sys
  from tpu_utils.command_line import cli, settings

  @dataclasses.dataclass(frozen=True)
  class Config(settings.Checked):
    """What to do."""
    task: str = settings.setting('nothing', 'The task.')

  def main(argv):
    from absl import flags
    task = settings.from_flags(Config, flags.FLAGS).task
    if task == 'value':
      raise ValueError('records.tfrecord: two\\nlines; give another')
    if task == 'file':
      open('/does/not/exist')
    if task == 'stop':
      raise cli.Interrupted('Stopped at step 3.')
    if task == 'defect':
      raise KeyError('ours')

  settings.define_flags(Config)
  cli.run(main, settings.parse_flags(__doc__, [Config]), uses_tensorflow=False)
  '''
)


def _run(*arguments):
  command = [sys.executable, '-c', SCRIPT, *arguments]
  return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


@pytest.mark.parametrize(
  'argument, code, text',
  [
    ('--task=value', 1, 'Error: records.tfrecord: two lines; give another\n'),
    ('--task=file', 1, 'Error: /does/not/exist: No such file or directory\n'),
    ('--task=stop', 143, 'Stopped at step 3.\n'),
    ('--tusk=x', 1, "Error: Unknown flag 'tusk': did you mean task?\n"),
    ('word', 1, "Error: 'word' is not a flag; flags are written --name=value.\n"),
  ],
)
def test_a_users_mistake_is_one_line(argument, code, text):
  result = _run(argument)
  assert (result.returncode, result.stderr) == (code, text)


def test_success_is_silent():
  assert _run('--task=nothing').returncode == 0


@pytest.mark.parametrize('arguments', [['--task=defect'], ['--task=value', '--traceback']])
def test_defects_keep_their_traceback(arguments):
  result = _run(*arguments)
  assert result.returncode != 0
  assert 'Traceback' in result.stderr


def test_help_explains_and_succeeds():
  result = _run('--help')
  assert result.returncode == 0
  assert 'Does this and that.' in result.stdout
  assert '--task=nothing' in result.stdout

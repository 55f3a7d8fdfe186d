"""Programs that only other programs run: `--help` explains them, and is no traceback."""
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
PROGRAMS = sorted(
  path.relative_to(ROOT).as_posix()
  for package in ('efficientnet', 'oscar', 'resnext', 'tpu_utils')
  for path in (ROOT / package).rglob('*.py')
  if "if __name__ == '__main__':" in (text := path.read_text(encoding='utf-8'))
  and 'SCRIPT.main()' not in text
)


@pytest.mark.parametrize('path', PROGRAMS)
def test_each_explains_itself(path):
  text = (ROOT / path).read_text(encoding='utf-8')
  assert 'helper_program.explain(__doc__)' in text or 'print(__doc__)' in text


@pytest.mark.parametrize(
  'module',
  [
    'efficientnet.benchmark_timm', 'efficientnet.finetune_timm', 'tpu_utils.launching.agent',
    'tpu_utils.preflight.compiler',
  ],  # fmt: skip
)
@pytest.mark.parametrize('arguments', [['--help'], []])
def test_help_is_the_docstring(module, arguments):
  """Also without the packages that the program needs."""
  found = subprocess.run(
    [sys.executable, '-m', module, *arguments], cwd=ROOT, capture_output=True, text=True
  )
  assert (found.returncode == 0) == bool(arguments) and 'Traceback' not in found.stderr
  text = (ROOT / f'{module.replace(".", "/")}.py').read_text(encoding='utf-8')
  assert (found.stdout or found.stderr).splitlines()[0] in text.splitlines()[0]

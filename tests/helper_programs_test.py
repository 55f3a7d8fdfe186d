"""Programs that only other programs run: `--help` explains them, and is no traceback."""
import pathlib
import subprocess
import sys

import pytest

# Programs that --torch_python runs, in an environment that may have torch and NumPy alone.
TORCH_PROGRAMS = [
  'efficientnet.benchmark_timm', 'efficientnet.finetune_timm', 'oscar.benchmark_tasks_torch',
  'oscar.benchmark_torch', 'resnext.benchmark_torchvision',
  'tpu_utils.images.benchmarking.torchvision_input',
]  # fmt: skip
# Imports the modules of its arguments where torch is and TensorFlow is not.
IMPORT_BESIDE_TORCH = """
import importlib.abc, importlib.machinery, sys, unittest.mock

class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
  def find_spec(self, name, path=None, target=None):
    package = name.split('.')[0]
    if package in ('absl', 'etils', 'keras', 'tensorflow', 'tensorflow_datasets'):
      raise ModuleNotFoundError(f'No module named {package!r}')
    if package in ('timm', 'torch', 'torchvision', 'transformers'):
      return importlib.machinery.ModuleSpec(name, self, is_package=True)

  def create_module(self, spec):
    return unittest.mock.MagicMock(__path__=[])

  def exec_module(self, module):
    pass

sys.meta_path.insert(0, Finder())
for module in sys.argv[1:]:
  importlib.import_module(module)
"""
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


def test_programs_for_torch_import_nothing_that_its_environment_may_lack():
  command = [sys.executable, '-c', IMPORT_BESIDE_TORCH, *TORCH_PROGRAMS]
  found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert found.returncode == 0, found.stderr

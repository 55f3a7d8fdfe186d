"""Tests that `python -m build` makes an sdist and a wheel that train outside the checkout."""
import email
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

import tpu_utils

ROOT = pathlib.Path(__file__).resolve().parents[1]
FILES = (
  'CHANGELOG.md', 'CONTRIBUTING.md', 'LICENSE', 'MANIFEST.in', 'README.md', 'pyproject.toml',
  'requirements-tpu.txt', 'setup.py',
)  # fmt: skip
PACKAGES = ('efficientnet', 'oscar', 'resnext', 'tpu_utils')
LONG = [pytest.mark.slow, pytest.mark.long]


def run(*command, cwd, **environment):
  """Runs a command in a folder outside the checkout; returns its output."""
  inherited = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
  done = subprocess.run(
    [*map(str, command)], cwd=cwd, env=inherited | environment, capture_output=True, text=True,
    check=False,
  )  # fmt: skip
  assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
  return done.stdout


@pytest.fixture(scope='module', name='dist')
def _dist(tmp_path_factory):
  """Builds the sdist, and from it the wheel: (sdist, wheel)."""
  pytest.importorskip('build', reason="needs pip install -e '.[test]'")
  copy = tmp_path_factory.mktemp('release') / 'checkout'  # setuptools writes into its folder.
  copy.mkdir()
  for name in FILES:
    shutil.copy(ROOT / name, copy)
  for name in PACKAGES:
    shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns('__pycache__'))
  # Without a virtual environment of its own, which would download setuptools.
  run(sys.executable, '-m', 'build', '--no-isolation', cwd=copy)
  (sdist,), (wheel,) = ([*(copy / 'dist').glob(end)] for end in ('*.tar.gz', '*.whl'))
  return sdist, wheel


@pytest.fixture(scope='module', name='python')
def _python(dist, tmp_path_factory):
  """Returns the Python of a new environment with the wheel, and the requirements of this one."""
  folder = tmp_path_factory.mktemp('environment') / 'venv'
  run(sys.executable, '-m', 'venv', '--without-pip', folder, cwd=folder.parent)
  python = folder / 'bin' / 'python'
  paths = [path for path in sys.path if path.endswith('-packages')]
  own = run(python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))', cwd=folder)
  # A .pth file inside these folders is not read, so that an editable install is not seen.
  (pathlib.Path(own.strip()) / 'requirements.pth').write_text('\n'.join(paths))
  run(sys.executable, '-m', 'pip', '--python', python, 'install', '-q', '--no-index', '--no-deps',
      '--ignore-installed', dist[1], cwd=folder)
  return python


class TestRelease:
  pytestmark = LONG

  def test_wheel_and_sdist_are_complete(self, dist):
    """The wheel has the packages, their pages and their metadata; the sdist also the top files."""
    sdist, wheel = dist
    with zipfile.ZipFile(wheel) as archive:
      in_wheel = set(archive.namelist())
      name, = (name for name in in_wheel if name.endswith('.dist-info/METADATA'))
      metadata = email.message_from_bytes(archive.read(name))
    with tarfile.open(sdist) as archive:
      in_sdist = {name.partition('/')[2] for name in archive.getnames()}
    tree = {
      path.relative_to(ROOT).as_posix()
      for package in PACKAGES
      for path in (ROOT / package).rglob('*')
      if path.is_file() and '__pycache__' not in path.parts and path.name != 'BUILD'
    }
    info = name.rpartition('/')[0]
    assert {name for name in in_wheel if not name.startswith(info)} == tree
    assert tree | set(FILES) <= in_sdist and not any(p.startswith('tests/') for p in in_sdist)
    assert any(name.endswith('LICENSE') for name in in_wheel)
    assert metadata['Version'] == tpu_utils.__version__
    assert metadata['Requires-Python'] == '>=3.11' and metadata['Summary']
    assert metadata['Description-Content-Type'] == 'text/markdown'
    assert metadata.get_payload().startswith('# EfficientNet, ResNeXt and OSCAR')
    assert len(metadata.get_all('Project-URL')) == 3 and len(metadata.get_all('Classifier')) > 5

  def test_installed_wheel_trains(self, python, tmp_path):
    """The main job, shortened, with nothing of the checkout in sight."""
    place = run(python, '-c', 'import efficientnet; print(efficientnet.__file__)', cwd=tmp_path)
    assert str(python.parents[1]) in place
    run(
      python, '-m', 'efficientnet.main', '--train_steps=4', '--train_batch_size=32',
      '--model_dir=run', '--export_dir=run/export', cwd=tmp_path,
    )
    record = json.loads((tmp_path / 'run' / 'export' / 'export.json').read_text())
    assert record['versions']['tpu-vision-reference'] == tpu_utils.__version__
    assert (tmp_path / 'run' / 'export' / 'saved_model.pb').exists()

  def test_installed_scripts_of_every_package_start(self, python, tmp_path):
    for module in ('resnext.main', 'oscar.run_vqa', 'tpu_utils.images.prepare'):
      assert '--' in run(python, '-m', module, '--help', cwd=tmp_path)

"""Packing of the project for its installation on a TPU VM."""
from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import subprocess

from tpu_utils import files
from tpu_utils.launching.settings import JobConfig

# What a job needs; tests and their data stay here.
_PARTS = (
  'efficientnet', 'oscar', 'resnext', 'tpu_utils', 'setup.py', 'pyproject.toml', 'README.md',
  'requirements-tpu.txt',
)  # fmt: skip
_ROOT = pathlib.Path(__file__).resolve().parents[2]
_REQUIREMENTS = 'requirements-tpu.txt'


@dataclasses.dataclass(frozen=True)
class Package:
  """The project as it is copied to the TPU VM.

  Attributes:
    path: of the archive, wheel or sdist here; it keeps its name there.
    requirements: path of the requirements here, likewise.
    command: the command that writes `path`; empty for a file that the user gave.
    version: names the contents: the commit, or the start of a file's SHA-256; empty before `pack`.
    changes: number of changed files that are not in the commit.
  """

  path: str
  requirements: str
  command: tuple[str, ...] = ()
  version: str = ''
  changes: int = 0


def plan(job: JobConfig, folder: str) -> Package:
  """Chooses what to install, without running anything.

  Args:
    job: settings with `package` and `requirements`, empty for those of the clone.
    folder: local folder for the archive.

  Raises:
    ValueError: a file is missing or of the wrong kind, or this program runs from no clone.
  """
  for flag, path in (('package', job.package), ('requirements', job.requirements)):
    files.check_local(flag, path, 'copy the file to this machine')
    if path and not files.is_file(path):
      raise ValueError(f'--{flag}={path}: there is no such file; give an existing one.')
    if path and not re.fullmatch(r'[\w.+-]+', os.path.basename(path), re.ASCII):
      raise ValueError(
        f'--{flag}={path}: expected a file name of letters, digits, dots, + and -; rename the file.'
      )
  requirements = job.requirements or str(_ROOT / _REQUIREMENTS)
  if job.package:
    if not job.package.endswith(('.whl', '.tar.gz', '.zip')):
      raise ValueError(
        f'--package={job.package}: expected a wheel (.whl) or an sdist (.tar.gz); build one with: '
        'python -m build'
      )
    if not job.requirements and not files.is_file(requirements):
      raise ValueError(
        '--package also needs --requirements, a requirements-tpu.txt of the project, where this '
        'program does not run from a clone.'
      )
    return Package(job.package, requirements)
  if not (_ROOT / '.git').exists() or not shutil.which('git'):
    raise ValueError(
      f'{_ROOT} is no git clone (or git is not installed), so there is no commit to install on the '
      'TPU VM; give --package, a wheel or sdist of the project, and --requirements.'
    )
  path = os.path.join(folder, 'project.tar.gz')
  git = ('git', '-C', str(_ROOT))
  command = (*git, 'archive', '--format=tar.gz', f'--output={path}', 'HEAD', '--', *_PARTS)
  return Package(path, requirements, command)


def pack(package: Package) -> Package:
  """Writes the archive; returns the package with its version.

  Raises:
    ValueError: git fails.
    OSError: a file cannot be read.
  """
  requirements = _digest(package.requirements)
  if not package.command:
    return dataclasses.replace(package, version=f'{_digest(package.path)}-{requirements}')
  os.makedirs(os.path.dirname(package.path), exist_ok=True)
  _git(package.command)
  git = package.command[:3]
  commit = _git((*git, 'rev-parse', '--short=12', 'HEAD')).strip()
  changed = _git((*git, 'status', '--porcelain', '--', *_PARTS)).splitlines()
  return dataclasses.replace(package, version=f'{commit}-{requirements}', changes=len(changed))


def _git(command):
  result = subprocess.run(command, capture_output=True, text=True, check=False)
  if result.returncode:
    raise ValueError(
      f'Packing the project failed: {" ".join(result.stderr.split())[:300]}; give --package, a '
      'wheel or sdist of the project.'
    )
  return result.stdout


def _digest(path):
  return hashlib.sha256(files.read_bytes(path)).hexdigest()[:12]

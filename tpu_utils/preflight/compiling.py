"""Compiles lowered steps in a process with jax and libtpu; keeps results in a cache folder."""
import collections
import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

from tpu_utils import files
from tpu_utils.command_line.progress import Progress
from tpu_utils.preflight import hlo, topology

_VERSION = 1  # Of the results in the cache: raise it with every change of what is counted.
_EXHAUSTED = re.compile(r'[Uu]sed ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) (\w+)')
_MODULE = re.compile(r'module @[\w.$]+')
_UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30, 'T': 2**40}
_INSTALL = "pip install '.[preflight]'"


@dataclasses.dataclass(frozen=True)
class Compiled:
  """A compiled step, per core; sizes in bytes.

  Attributes:
    arguments: memory of arguments: weights, optimizer slots, the batch.
    temporaries: memory of intermediate results.
    code: memory of the program.
    outputs: memory of results that do not replace an argument.
    flops: operations, two per multiply-add, as the compiler counts them.
    hbm_bytes: traffic of a step.
    by_operation: {operation: its part of the traffic}.
    open_loops: loops of unknown length, counted once.
    needed: memory that the compiler asked for in vain, if it says so; then all others are 0.
    error: why it did not compile; empty if it did.
  """

  arguments: int = 0
  temporaries: int = 0
  code: int = 0
  outputs: int = 0
  flops: float = 0.0
  hbm_bytes: int = 0
  by_operation: Mapping[str, int] = dataclasses.field(default_factory=dict)
  open_loops: int = 0
  needed: int = 0
  error: str = ''

  @property
  def memory(self) -> int:
    """Memory of the step, bytes."""
    return self.needed or self.arguments + self.temporaries + self.code + self.outputs


class TpuCompiler:
  """The TPU compiler for one topology.

  Args:
    name: a topology, see `topology.full_name`.
    cache: folder of results; empty for none.
    python: a Python with jax and libtpu; empty for the running one.

  Attributes:
    topology: the topology with its number of cores.
    versions: {package: version} of jax and libtpu.

  Raises:
    ValueError: jax or libtpu is missing, or the compiler does not know the topology.
  """

  def __init__(self, name: str, cache: str, python: str = ''):
    self._name = topology.full_name(name)
    self._cache = os.path.expanduser(cache)
    self._python = python or sys.executable
    with tempfile.TemporaryDirectory() as folder:
      answer = self._run('describe', folder, 'topology')
    if 'error' in answer:
      raise ValueError(f'--topology={name}: {_first(answer["error"])}')
    self.versions = {package: answer[package] for package in ('jax', 'libtpu')}
    self.topology = topology.Topology(self._name, answer['cores'])

  def compile(self, text: str, what: str) -> Compiled:
    """Compiles a module, or returns its result from the cache.

    Args:
      text: StableHLO.
      what: name of the step, for progress.

    Raises:
      ValueError: the compiler ends without an answer.
    """
    program_text = _MODULE.sub('module @step', text, count=1)  # Its name counts functions.
    key = hashlib.sha256(
      json.dumps([_VERSION, self._name, self.versions, program_text]).encode()
    ).hexdigest()
    path = self._cache and os.path.join(self._cache, f'{key[:32]}.json')
    if path and files.exists(path):
      return Compiled(**files.read_json(path))
    with tempfile.TemporaryDirectory() as folder:
      module, program = (os.path.join(folder, name) for name in ('step.mlir', 'step.hlo'))
      files.write_text(module, text)
      start = time.monotonic()
      answer = self._run('compile', folder, f'compile {what}', module, program)
      compiled = _result(answer, program)
    print(f'Compiled {what} in {time.monotonic() - start:.0f} s.', flush=True)
    if path:
      files.write_bytes(path, json.dumps(dataclasses.asdict(compiled)).encode(), parents=True)
    return compiled

  def _run(self, command, folder, activity, *paths):
    """Runs the compiler's process with a progress report; returns its answer."""
    result, log = (os.path.join(folder, name) for name in ('result.json', 'log'))
    script = os.path.join(os.path.dirname(__file__), 'compiler.py')
    line = [self._python, '-P', script, command, self._name, result, *paths]
    environment = {**os.environ, 'TPU_SKIP_MDS_QUERY': '1'}
    with open(log, 'w', encoding='utf-8') as f:
      try:
        process = subprocess.Popen(line, stdout=f, stderr=f, env=environment)
      except OSError as e:
        raise ValueError(f'--preflight_python={self._python} does not start: {e}') from e
      try:
        _wait(process, activity)
      finally:
        if process.poll() is None:
          process.kill()
          process.wait()
    if not os.path.exists(result):
      last = [*filter(None, (files.read_text(log) or '').splitlines())][-1:] or ['no message']
      raise ValueError(
        f'The TPU compiler ended with code {process.returncode} and no answer: {last[0][:200]}'
      )
    answer = files.read_json(result)
    if 'missing' in answer:
      raise ValueError(
        f'--mode=preflight needs jax and libtpu ({answer["missing"]}): {_INSTALL}, or name a '
        'Python that has them with --preflight_python.'
      )
    return answer


def _wait(process, activity):
  """Waits for a process; a line or a bar tells how long it has worked."""
  start = time.monotonic()
  with Progress(None, activity, unit='second', line_seconds=30) as progress:
    while True:
      try:
        return process.wait(timeout=1)
      except subprocess.TimeoutExpired:
        progress.update(int(time.monotonic() - start))


def _result(answer, program):
  if 'error' in answer:
    found = _EXHAUSTED.search(answer['error'])
    needed = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    return Compiled(needed=needed, error=_first(answer['error']))
  counted = hlo.traffic(files.read_text(program) or '')
  return Compiled(
    **{name: answer[name] for name in ('arguments', 'temporaries', 'code', 'outputs', 'flops')},
    hbm_bytes=counted.bytes,
    by_operation=dict(collections.Counter(counted.by_operation).most_common()),
    open_loops=counted.open_loops,
  )


def _first(text):
  return next((line.strip() for line in text.splitlines() if line.strip()), 'no message')[:300]

"""A paper's benchmark runs on JAX, measures growth, or compares, as its settings say."""
import dataclasses
import json
from typing import Any

import pytest

from tpu_utils.benchmarking import device_benchmark
from tpu_utils.benchmarking.contest import Contestant
from tpu_utils.benchmarking.device_benchmark import DeviceConfig
from tpu_utils.benchmarking.settings import ContestConfig
from tpu_utils.command_line import cli
from tpu_utils.image_jobs.benchmarking import classifiers, growth_report

SUITE: Any = object()


@dataclasses.dataclass
class PaperConfig:
  """Stands for a paper's settings."""

  model_name: str = 'a-model'
  image_size: int | None = None

  def kinds(self):
    return ['training']


@dataclasses.dataclass
class Compared:
  """Stands for a `Comparison`."""

  ours: Contestant
  image_size: int = 64

  def tables(self, kinds):
    yield f'A table of {kinds[0]}.'


@pytest.fixture
def run(monkeypatch):
  """Returns function(ContestConfig, DeviceConfig) -> calls of the parts, in order."""
  calls: list = []
  monkeypatch.setattr(cli, 'import_tensorflow', lambda: calls.append('tensorflow'))
  monkeypatch.setattr(device_benchmark, 'run', lambda *arguments: calls.append(arguments))
  monkeypatch.setattr(
    growth_report, 'report', lambda *arguments: calls.append(arguments) or 'the growth'
  )

  def comparison(config, options, python):
    calls.append(python)
    return Compared(Contestant('ours', 'a_program', (json.dumps({'builtin': False}),)))

  def called(options, device):
    classifiers.run((PaperConfig(), options, device), SUITE, comparison)
    return calls

  return called


def test_on_jax_without_tensorflow(run, tmp_path):
  device = DeviceConfig(backend='jax', goldens=str(tmp_path))
  assert run(ContestConfig(rounds=3), device) == [(device, SUITE, 3, None)]


def test_growth_is_that_of_our_program(run, capsys):
  calls = run(ContestConfig(growth=True, output_dir='folder'), DeviceConfig())
  growth = ('Growth, a-model', 'a_program', {'builtin': False}, 'folder')
  assert calls == ['tensorflow', None, growth]
  assert capsys.readouterr().out == 'the growth\n'


def test_a_comparison_is_printed_and_written(run, tmp_path, capsys):
  device = DeviceConfig(torch_python='/torch/python')
  options = ContestConfig(rounds=2, output_dir=str(tmp_path))
  assert run(options, device) == ['tensorflow', '/torch/python']
  report = (tmp_path / 'benchmark.md').read_text()
  assert report.startswith('## a-model, 64 pixels\n\nMachine: ')
  assert report.endswith('Medians of 2 rounds.\n\nA table of training.\n')
  assert capsys.readouterr().out.strip() == report.strip()

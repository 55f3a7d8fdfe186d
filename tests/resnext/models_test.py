"""The list of networks, against reference counts and the paper's tables."""
import subprocess
import sys

import pytest

from resnext import models, network_params
from tests.resnext import golden


@pytest.mark.slow
def test_every_network_with_its_counts(capsys):
  _, *lines = models.table(network_params.model_names()).splitlines()
  assert f'{len(lines)}/{len(lines)}' in capsys.readouterr().err  # Progress.
  rows = {name: cells for name, *cells in map(str.split, lines)}
  assert list(rows) == network_params.model_names()
  for row in golden.read_json('counts_imagenet.json')['rows']:
    path = f'{row["cardinality"]}x{row["baseWidth"]}d'
    params = network_params.from_name(f'resnext-{row["depth"]}-{path}')
    name = next(n for n in rows if network_params.from_name(n) == params)
    assert rows[name][:2] == [f'{row["params"]:,}', f'{row["macs_total"] / 1e9:.3f}G']


def test_published_errors_are_of_listed_networks():
  assert set(models.PAPER_ERRORS) <= set(network_params.model_names())


@pytest.mark.slow
def test_command():
  def run(*args):
    command = [sys.executable, '-m', 'resnext.models', *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)

  lines = run('--model_name=resnext-101-64x4d').stdout.splitlines()
  assert len(lines) == 2
  assert 'resnext-101-64x4d 83,455,272 15.460G 224' in ' '.join(lines[1].split())
  wrong = run('--model_name=resnext-50-16x8')
  assert (wrong.returncode, wrong.stderr.count('\n')) == (1, 1)
  assert 'did you mean' in wrong.stderr

"""The table of models: sizes, costs, published accuracies, and the script that prints it."""
import subprocess
import sys

import pytest

from efficientnet import model_builder_factory, models
from tests.efficientnet import golden
from tpu_utils import profile


def run(*arguments):
  return subprocess.run(
    [sys.executable, '-m', 'efficientnet.models', *arguments],
    capture_output=True, text=True, check=False,
  )  # fmt: skip


def test_lists_every_model_once(monkeypatch):
  monkeypatch.setattr(profile, 'count', lambda build: profile.Counts(1, 2, 3))
  listed = list(models.rows())
  assert [row[0] for row in listed] == model_builder_factory.model_names()
  for name, parameters, multiply_adds, size, *_ in listed:
    assert (parameters, multiply_adds) == (1, 3)
    assert size == model_builder_factory.get_model_input_size(name)


def test_counts():
  listed = list(models.rows('efficientnet-*b1'))
  assert len(listed) == 4
  for name, parameters, multiply_adds, size, *_ in listed:
    want = golden.read_json('counts.json').get(name)
    if want:
      assert parameters == want['trainable_parameters']
      assert multiply_adds == want['multiply_adds']
      assert size == want['resolution']


def test_published_accuracies_are_of_models_that_exist():
  names = set(model_builder_factory.model_names())
  assert set(models.PUBLISHED) <= names
  assert {n for n in names if '-x-' not in n and '-h-' not in n} == set(models.PUBLISHED)
  assert all(70 < top_1 < 90 and source for top_1, source in models.PUBLISHED.values())


def test_rows_are_counted_when_they_are_reached(monkeypatch):
  counted = []
  monkeypatch.setattr(
    profile, 'count', lambda build: counted.append(build.args[0]) or profile.Counts(1, 2, 3)
  )
  listed = models.rows('efficientnet-b?')
  assert next(listed).name == 'efficientnet-b0'
  assert counted == ['efficientnet-b0']


def test_pattern():
  assert [row[0] for row in models.rows('*-edgetpu-[SM]')] == [
    'efficientnet-edgetpu-S', 'efficientnet-edgetpu-M'
  ]  # fmt: skip


def test_unknown_model():
  with pytest.raises(ValueError, match='efficientnet-lite0'):
    models.rows('efficientnet-lit0')


@pytest.mark.slow
def test_prints_a_table():
  done = run('--model_name=efficientnet-l2')
  assert done.returncode == 0, done.stderr[-2000:]
  header, line = done.stdout.splitlines()
  assert header.split() == ['model', 'parameters', 'multiply-adds', 'pixels', 'top-1', 'source']
  assert line.split()[:5] == ['efficientnet-l2', '480,309,308', '475,703,653,280', '800', '88.4']
  done = run('--model_name=efficientnet-m3')
  assert (done.returncode, done.stdout) == (1, '')
  assert 'efficientnet-b3' in done.stderr.splitlines()[-1]

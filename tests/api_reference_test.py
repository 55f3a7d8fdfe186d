"""Tests that the API reference builds without a warning."""
import subprocess
import sys

import pytest

from tests import api_reference, build_files


def test_every_module_but_the_peers_is_documented():
  documented, peers = api_reference.modules()
  assert {'efficientnet', 'oscar.modeling', 'tpu_utils.trainer'} <= {*documented}
  assert 'oscar.benchmark_torch' in peers and len(peers) < 12


@pytest.mark.slow
@pytest.mark.long
def test_reference_builds_without_a_warning(tmp_path):
  pytest.importorskip('pdoc', reason="needs pip install -e '.[docs]'")
  done = subprocess.run(
    [sys.executable, '-m', 'tests.api_reference', str(tmp_path)], cwd=build_files.ROOT,
    capture_output=True, text=True, check=False,
  )  # fmt: skip
  assert done.returncode == 0, done.stderr[-3000:]
  page = (tmp_path / 'tpu_utils' / 'weights.html').read_text(encoding='utf-8')
  assert 'reinit_on_mismatch' in page  # A function that loads on first use.
  assert (tmp_path / 'efficientnet' / 'main.html').exists() and (tmp_path / 'index.html').exists()

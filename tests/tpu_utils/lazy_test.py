"""Tests that packages import their submodules on first use."""
import subprocess
import sys

import pytest

import tpu_utils


def test_submodules_are_found_by_attribute():
  assert callable(tpu_utils.profile.flops)
  assert callable(tpu_utils.weights.load)


def test_an_unknown_attribute_is_an_attribute_error():
  with pytest.raises(AttributeError, match="'tpu_utils' has no attribute 'nothing'"):
    _ = tpu_utils.nothing


def test_importing_the_packages_imports_no_tensorflow():
  code = (
    'import sys, efficientnet, tpu_utils; '
    'sys.exit(any(m in sys.modules for m in ("tensorflow", "keras")))'
  )
  assert subprocess.run([sys.executable, '-c', code], check=False, timeout=600).returncode == 0

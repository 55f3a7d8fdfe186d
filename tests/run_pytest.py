"""The main program of every Bazel `py_test` (tests/py_test.bzl): runs pytest on its arguments."""
import sys

import pytest

if __name__ == '__main__':
  sys.exit(pytest.main(['-p', 'no:cacheprovider', '--import-mode=importlib', *sys.argv[1:]]))

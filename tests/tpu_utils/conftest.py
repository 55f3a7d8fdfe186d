"""Fixtures for tests of the launcher, which lie in two folders."""
import pytest

from tests.tpu_utils.launching import clouds


@pytest.fixture
def cloud(tmp_path, monkeypatch):
  """A fake cloud; what a test leaves behind in it is ended."""
  made = clouds.Cloud(tmp_path / 'cloud', monkeypatch)
  yield made
  made.close()

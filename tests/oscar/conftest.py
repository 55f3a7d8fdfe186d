"""Fixtures of the OSCAR data tests."""

import shutil

import pytest

import oscar
from oscar.input import texts
from tests.oscar import loaders


@pytest.fixture(scope='session')
def tokenizer():
  return oscar.Tokenizer(loaders.GOLDENS / 'vocab' / 'vocab.txt')


@pytest.fixture(scope='session')
def special(tokenizer):
  return texts.special_ids(tokenizer)


@pytest.fixture
def data(tmp_path):
  """A copy of the sample data that a test may damage."""
  shutil.copytree(loaders.DATA, tmp_path / 'data')
  return tmp_path / 'data'

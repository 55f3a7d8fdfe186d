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


@pytest.fixture(scope='session')
def tiny(tmp_path_factory):
  """A folder with a vocabulary and the configuration of a tiny model."""
  folder = tmp_path_factory.mktemp('tiny')
  shutil.copy(loaders.GOLDENS / 'vocab' / 'vocab.txt', folder)
  oscar.OscarConfig(
    vocab_size=400, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, max_position_embeddings=32,
  ).to_json(folder / 'config.json')  # fmt: skip
  return folder


@pytest.fixture
def data(tmp_path):
  """A copy of the sample data that a test may damage."""
  shutil.copytree(loaders.DATA, tmp_path / 'data')
  return tmp_path / 'data'

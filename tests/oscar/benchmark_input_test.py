"""The input benchmark compares equal work, and prints a ratio."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest

import oscar
from oscar import benchmark_input


def test_the_plain_loader_builds_official_examples(tmp_path):
  benchmark_input.make_corpus(tmp_path, num_images=3, texts_per_image=4)
  loader = benchmark_input.PlainLoader(tmp_path)
  tokenizer = oscar.Tokenizer(tmp_path / 'vocab.txt')
  for _, text, tags in loader._docs:
    for words in (text, tags, 'Ünïcode, too.'):
      assert loader._tokenize(words) == tokenizer.tokenize(words)
  random.seed(1)
  regions, ids, mask, segments, labels, label, mismatch = loader.batch(range(12))
  assert regions.shape == (12, 50, 2054) and ids.shape == segments.shape == (12, 35)
  assert mask.shape == labels.shape == (12, 85) and (mask[:, 35:] == 1).all()
  assert set(label) == {0, 1} and set(mismatch) == {0, 1}
  np.testing.assert_array_equal((ids == tokenizer.sep_id).sum(axis=1), 2)
  assert 0.05 < (labels != -1).sum() / (mask[:, :35].sum() - 36) < 0.3


@pytest.mark.slow
@pytest.mark.long
def test_it_prints_a_ratio():
  command = [sys.executable, '-m', 'oscar.benchmark_input', '--num_images=64', '--rounds=1']
  done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
  assert done.stdout.splitlines()[-1].startswith('ratio')

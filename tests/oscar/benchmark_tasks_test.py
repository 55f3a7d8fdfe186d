"""The benchmark of the tasks gives both sides the same inputs, and works on our side."""
import re
import subprocess
import sys

import numpy as np
import pytest

import oscar
from oscar import benchmark_tasks

CONFIG = oscar.OscarConfig.from_name('tiny')


@pytest.mark.parametrize('kind', ['vqa', 'retrieval'])
def test_inputs_are_padded_to_the_official_lengths(kind):
  batch = benchmark_tasks.random_batch(kind, CONFIG, batch_size=4)
  words = {'vqa': 128, 'retrieval': 70}[kind]
  text, regions = np.split(batch['attention_mask'], [words], axis=1)
  assert batch['input_ids'].shape == (4, words) and regions.shape == (4, 50)
  assert (batch['input_ids'][text == 0] == 0).all() and not batch['img_feats'][regions == 0].any()
  assert text.sum(axis=1).min() >= 5 and text.sum(axis=1).max() < words
  assert (np.diff(batch['attention_mask'][:, :words]) <= 0).all()  # No gap.


def test_captions_see_earlier_words_and_regions_and_regions_see_regions():
  batches = [benchmark_tasks.random_batch(k, CONFIG, batch_size=2) for k in ('captioning', 'scst')]
  mask = batches[0]['attention_mask']
  assert batches[1]['advantage'].shape == (2, 5) and 'advantage' not in batches[0]
  assert mask.shape == (2, 70, 70)
  np.testing.assert_array_equal(mask[1, :20, :20], np.tril(np.ones((20, 20))))
  assert mask[:, :, 20:].all() and not mask[:, 20:, :20].any()


@pytest.mark.slow
@pytest.mark.long
def test_our_side_works():
  def work(kind):
    batch = benchmark_tasks.random_batch(kind, CONFIG, batch_size=2)
    return benchmark_tasks.our_contestant(kind, CONFIG, batch)

  step = work('vqa')
  assert step()['loss'] != step()['loss']
  np.testing.assert_allclose(work('retrieval')().sum(axis=1), 1, rtol=1e-5)
  assert work('captioning')().shape == (2, 1, 20)
  step = work('scst')
  logs = step(), step()
  assert logs[0]['scst_loss'] != logs[1]['scst_loss'] and np.isfinite(logs[1]['scst_loss'])


@pytest.mark.slow
@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--kinds=vqa'], '--official_dir is missing'),
    (['--official_dir=/x', '--kinds=vqa,captoning'], 'captoning.*captioning'),
    (['--official_dir=gs://x/y'], 'official_dir.*local'),
  ],
)
def test_wrong_flags_are_one_line(flags, message):
  command = [sys.executable, '-m', 'oscar.benchmark_tasks', *flags]
  done = subprocess.run(command, capture_output=True, text=True, check=False)
  assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1
  assert re.search(message, done.stderr)

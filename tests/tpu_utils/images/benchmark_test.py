"""Tests the benchmark on a few small images, and its contestants' batches."""
import importlib.util
import itertools
import time

import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from tpu_utils.benchmarking import peer_process
from tpu_utils.images import benchmark, official_order
from tpu_utils.images.benchmark import BenchmarkConfig
from tpu_utils.images.benchmarking import data, process, tensorflow_input


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Forty ImageNet-like images as an image folder and as shards."""
  root = tmp_path_factory.mktemp('images')
  photos, shards = str(root / 'photos'), str(root / 'shards')
  data.write_folder(photos, data.photographs(40))
  data.write_shards(shards, photos)
  return {'folder': {'data_dir': photos}, 'shards': {'data_dir': shards}}


def test_images_are_like_those_of_imagenet():
  images = list(data.photographs(16))
  assert {label for _, label in images} == set(range(8))
  sizes = [tuple(tf.io.extract_jpeg_shape(image).numpy()) for image, _ in images]
  assert set(sizes) == {(375, 500, 3), (500, 375, 3)}
  assert 80_000 < np.mean([len(image) for image, _ in images]) < 140_000
  assert [image for image, _ in data.photographs(16)] == [image for image, _ in images]


def settings(**changes):
  return {
    'augmentation': 'none', 'image_size': 32, 'batch_size': 8, 'use_bfloat16': True,
    'transpose_input': True, 'num_parallel_calls': 1, 'num_classes': 1000,
  } | changes  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
  'contestant, augmentation',
  [('ours', name) for name in tensorflow_input.OURS]
  + [('official', name) for name in tensorflow_input.OFFICIAL],
)
def test_each_contestant_makes_batches_of_the_same_kind(folder, contestant, augmentation):
  made = tensorflow_input.batches(
    **settings(contestant=contestant, augmentation=augmentation, data=folder['shards'])
  )
  first, second = itertools.islice(made, 2)
  images, labels = first.values() if contestant == 'ours' else first
  assert images.shape == (32, 32, 3, 8) and images.dtype == tf.bfloat16
  assert labels.shape == (8, 1000)
  np.testing.assert_allclose(tf.reduce_sum(labels, axis=1), np.ones(8), rtol=1e-6)
  images = tf.cast(images, tf.float32)
  assert float(tf.math.reduce_std(images)) > 10
  assert not np.array_equal(images, tf.cast(next(iter(tf.nest.flatten(second))), tf.float32))


def test_the_official_order_gives_the_official_numbers(monkeypatch):
  """With the whole image as crop and no flip, training gives the eval crop of the goldens."""
  from tests.tpu_utils.images import preprocessing_test

  whole = [tf.constant([0, 0, 0]), tf.constant([300, 451, 3]), None]
  monkeypatch.setattr(tf.compat.v1.image, 'sample_distorted_bounding_box', lambda *_, **__: whole)
  monkeypatch.setattr(tf.image, 'random_flip_left_right', lambda image: image)
  image = official_order.preprocess_for_train(preprocessing_test.image_bytes('chelsea'), 64)
  golden = np.load(preprocessing_test.GOLDENS / 'preprocess_eval.npz')['chelsea/64/bicubic/image']
  assert skimage.data.chelsea().shape == (300, 451, 3)
  np.testing.assert_allclose(image, golden, atol=1e-3)


class InThisProcess:
  """Replaces `InputProcess`: without a process, which takes longer to start than to run."""

  def __init__(self, module, settings, python=None):
    del module, python
    self._settings = settings

  def __enter__(self):
    self._batches = tensorflow_input.batches(**self._settings)
    return self

  def __exit__(self, *_):
    del self._batches

  def run(self, batches):
    start = time.process_time()
    assert len(list(itertools.islice(self._batches, batches))) == batches
    return time.process_time() - start


@pytest.mark.slow
@pytest.mark.parametrize(
  'in_processes', [pytest.param(True, marks=pytest.mark.long), False]
)
def test_times_every_source_and_peer(tmp_path, monkeypatch, in_processes):
  sources = benchmark.SOURCES[:1] if in_processes else benchmark.SOURCES
  config = BenchmarkConfig(
    sources=','.join(sources), augmentations='none', peers='official', image_size=32,
    batch_size=32, num_images=64, rounds=1,
  )  # fmt: skip
  if not in_processes:
    monkeypatch.setattr(process, 'InputProcess', InThisProcess)
  found = {
    (source, augmentation): times
    for source, augmentation, times in benchmark.benchmark(config, str(tmp_path))
  }
  assert set(found) == {(source, 'none') for source in sources}
  for (source, _), times in found.items():
    assert set(times) == ({'ours', 'official'} if source in ('shards', 'decoded') else {'ours'})
    assert all(seconds and min(seconds) > 0 for seconds in times.values())


@pytest.mark.slow
def test_times_torchvision(folder):
  if not importlib.util.find_spec('torchvision'):
    pytest.skip('torchvision is not installed')
  config = BenchmarkConfig(image_size=32, batch_size=8)
  with benchmark._contestant('torchvision', config, 'shards', 'randaugment', folder) as contestant:
    assert contestant.run(1) > 0


def test_a_contestant_that_dies_is_one_line(folder):
  del folder
  contestant = process.InputProcess('tpu_utils.images.benchmarking.no_such_module', {})
  message = 'no_such_module could not be timed: .*No module named'
  with pytest.raises(ValueError, match=message) as error:
    contestant.__enter__()
  assert '\n' not in str(error.value)


@pytest.mark.slow
def test_time_that_passes_between_turns_is_not_counted():
  """Between turns the process is stopped, even one that works in the background."""
  with process.InputProcess('tests.tpu_utils.images.busy_contestant', {}) as contestant:
    contestant.run(1)
    time.sleep(3)
    assert contestant.run(1) < 2


@pytest.mark.parametrize(
  'wrong, message',
  [
    ({'sources': 'shards,tdfs'}, "--sources 'tdfs': did you mean tfds"),
    ({'augmentations': 'randaug'}, "--augmentations 'randaug': did you mean randaugment"),
    ({'peers': 'torch'}, "--peers 'torch': did you mean torchvision"),
    ({'augmentations': ''}, '--augmentations is empty'),
    ({'batch_size': 65, 'num_images': 64}, '--batch_size=65 must be at most --num_images=64'),
  ],
)
def test_bad_input(wrong, message):
  with pytest.raises(ValueError, match=message):
    BenchmarkConfig(**wrong)


def test_torchvision_is_left_out_where_it_is_missing(monkeypatch, capsys):
  monkeypatch.setattr(peer_process, 'missing_packages', lambda packages, python: packages[1:])
  assert benchmark._without_missing_peers(BenchmarkConfig()).peers == 'decode_resize,official'
  assert 'torchvision is left out, for want of: torchvision;' in capsys.readouterr().out


def test_a_torch_python_that_is_none_is_named():
  with pytest.raises(ValueError, match='--torch_python=/nowhere/python: expected a Python'):
    benchmark._without_missing_peers(BenchmarkConfig(torch_python='/nowhere/python'))


def test_decoding_and_resizing_alone_gives_plain_float32_batches(folder):
  """Its pixels are tested as a part of the official order, by the goldens."""
  made = tensorflow_input.batches(
    **settings(contestant='decode_resize', data=folder['shards'])
  )
  images, labels = next(made)
  assert images.shape == (8, 32, 32, 3) and images.dtype == tf.float32
  assert labels.shape == (8, 1000) and float(tf.math.reduce_std(images)) > 10


def test_too_few_images_in_data_dir(folder, tmp_path):
  config = BenchmarkConfig(data_dir=folder['shards']['data_dir'], num_images=64)
  with pytest.raises(ValueError, match='has 40 training images; set --num_images'):
    next(benchmark.benchmark(config, str(tmp_path)))

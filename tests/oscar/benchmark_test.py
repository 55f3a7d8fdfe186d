"""The benchmark compares equal work, and reports a missing peer in one line."""
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import benchmark

HAS_TORCH = importlib.util.find_spec('torch') is not None
OPTIONS = benchmark.BenchmarkConfig('tiny', batch_size=2, text_length=10, regions=3, rounds=1)

COUNT = """
from oscar import benchmark_torch, config
peer = benchmark_torch.PlainOscar(config.OscarConfig.from_name('tiny'))
print(sum(parameter.numel() for parameter in peer.parameters()))
"""


def test_the_batch_fits_the_pretraining_model():
  config = oscar.OscarConfig.from_name('tiny')
  batch = benchmark.random_batch(config, OPTIONS)
  model = oscar.build_model(config, 'pretrain')
  outputs = model({tensor.name: batch[tensor.name] for tensor in model.inputs})
  assert outputs['prediction_scores'].shape == (2, 2, config.vocab_size)  # 15 % of 10 words.
  for positions in batch['masked_positions']:
    assert len(set(positions)) == 2 and positions.max() < 10


@pytest.mark.slow
def test_the_trainer_takes_steps_on_the_batch():
  config = oscar.OscarConfig.from_name('tiny')
  work = benchmark.our_contestants(config, benchmark.random_batch(config, OPTIONS))
  losses = [work['training step']()['loss'] for _ in range(3)]
  assert len(set(losses)) == 3 and np.isfinite(losses).all()
  assert work['forward']().shape == (2, 13, config.vocab_size)
  assert work['forward, masked']().shape == (2, 2, config.vocab_size)
  assert not tf.config.threading.get_intra_op_parallelism_threads()


@pytest.mark.skipif(HAS_TORCH, reason='torch is installed')
def test_without_torch():
  with pytest.raises(ValueError, match='The peer could not be timed: .*torch.*see --help'):
    benchmark.benchmark(OPTIONS)


@pytest.mark.skipif(not HAS_TORCH, reason='needs torch')
def test_the_plain_peer_has_our_parameters_and_is_timed():
  # In a process of its own: torch and TensorFlow crash each other in one.
  peer = subprocess.run([sys.executable, '-c', COUNT], capture_output=True, text=True, check=True)
  config = oscar.OscarConfig.from_name('tiny')
  trainable = oscar.build_model(config, 'pretrain').trainable_variables
  assert int(peer.stdout) == sum(int(np.prod(v.shape)) for v in trainable)
  results = benchmark.benchmark(OPTIONS)
  assert set(results) == {'forward', 'forward, masked', 'training step'}
  assert all(set(times) == {'ours', 'plain torch'} for times in results.values())


@pytest.mark.skipif(not HAS_TORCH, reason='needs torch')
def test_a_folder_without_the_official_code_is_refused(tmp_path):
  options = benchmark.BenchmarkConfig('tiny', official_dir=str(tmp_path))
  message = 'The peer could not be timed: .*not a clone of microsoft/Oscar'
  with pytest.raises(ValueError, match=message):
    benchmark.benchmark(options)

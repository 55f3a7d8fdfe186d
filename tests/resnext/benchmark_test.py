"""The benchmark on networks of seconds, and its error messages."""
import importlib.util

import pytest

from resnext import benchmark


@pytest.mark.slow
@pytest.mark.long
def test_times_all_contestants():
  """On a network small enough for Keras' grouped convolutions."""
  config = benchmark.BenchmarkConfig('resnext-29-2x8d', 'keras', 32, 1, 2, 1)
  got = benchmark.benchmark(config)
  assert set(got) == {'training step', 'inference'}
  for seconds in got.values():
    assert set(seconds) == {'ours', 'keras'}
    assert min(seconds.values()) > 0


@pytest.mark.slow
def test_times_torchvision():
  if not importlib.util.find_spec('torchvision'):
    pytest.skip('torchvision is not installed')
  config = benchmark.BenchmarkConfig('resnet-50', 'torchvision', 32, 2, 1)
  assert min(benchmark.benchmark(config)['inference'].values()) > 0


def test_bad_input():
  with pytest.raises(ValueError, match="--peers 'torch'"):
    benchmark.BenchmarkConfig(peers='keras,torch')
  with pytest.raises(ValueError, match='peer torchvision'):
    benchmark.BenchmarkConfig('resnext-50-2x40d')
  with pytest.raises(ValueError, match="Unknown model 'resnet50': did you mean resnet-50"):
    benchmark.BenchmarkConfig('resnet50', peers='keras')
  assert benchmark.BenchmarkConfig('resnext-50-2x40d', peers='keras').peer_list() == ['keras']

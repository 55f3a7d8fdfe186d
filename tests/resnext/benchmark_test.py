import importlib.util

import pytest

from resnext import benchmark


@pytest.mark.slow
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
  config = benchmark.BenchmarkConfig('resnet-50', 'torchvision', 32, 1, 1)
  assert min(benchmark.benchmark(config)['inference'].values()) > 0


def test_torchvision_that_is_missing_is_one_line(monkeypatch):
  config = benchmark.BenchmarkConfig()
  process = benchmark.torchvision_process('no_such_network', config)
  with pytest.raises(ValueError, match='torchvision could not be timed: .*--peers=keras') as error:
    process.__enter__()
  assert '\n' not in str(error.value)


def test_bad_input():
  with pytest.raises(ValueError, match="--peers 'torch'"):
    benchmark.BenchmarkConfig(peers='keras,torch')
  with pytest.raises(ValueError, match='peer torchvision'):
    benchmark.BenchmarkConfig('resnext-50-2x40d')
  assert benchmark.BenchmarkConfig('resnext-50-2x40d', peers='keras').peer_list() == ['keras']

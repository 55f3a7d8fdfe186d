"""The benchmark's contestants, and models that have no peer."""
import pytest

from efficientnet import benchmark

pytestmark = pytest.mark.slow


@pytest.mark.long
def test_times_both_contestants():
  got = benchmark.benchmark(benchmark.BenchmarkConfig(image_size=32, batch_size=1, rounds=1))
  assert set(got) == {'training step', 'inference'}
  for seconds in got.values():
    assert set(seconds) == {'ours', 'keras.applications'}
    assert min(seconds.values()) > 0


@pytest.mark.long
def test_times_the_trainer_for_both_models():
  config = benchmark.BenchmarkConfig(image_size=32, batch_size=2, rounds=1, compare='trainer')
  got = benchmark.trainer_benchmark(config)
  assert set(got) == {'efficientnet-b0', 'digits'}
  for times in got.values():
    assert set(times) == {'bare step', 'trainer'}
    assert all(seconds and min(seconds) > 0 for seconds in times.values())


def test_times_inference_of_all_contestants():
  config = benchmark.BenchmarkConfig(
    model_name='efficientnet-lite0',
    image_size=32,
    batch_size=1,
    rounds=2,
    compare='inference',
    clock='processor',
  )
  times = benchmark.inference_benchmark(config)
  assert set(times) >= {'ours', 'ours, constant weights', 'ours, unfolded', 'keras.applications'}
  assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in times.values())


def test_lites_have_no_peer_for_training():
  with pytest.raises(ValueError, match='--compare=keras.applications.*efficientnet-lite0'):
    benchmark.BenchmarkConfig(model_name='efficientnet-lite0')


def test_model_without_a_peer():
  with pytest.raises(ValueError, match='model_name.*efficientnet-b0'):
    benchmark.BenchmarkConfig(model_name='efficientnet-l2')

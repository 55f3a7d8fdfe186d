"""The benchmark's contestants, its report on a small model, and models without a peer."""
import json

import pytest

from efficientnet import benchmark, benchmark_models
from tpu_utils.benchmarking import peer_process
from tpu_utils.benchmarking.device_benchmark import DeviceConfig
from tpu_utils.benchmarking.settings import ContestConfig
from tpu_utils.image_jobs.benchmarking import keras_process


@pytest.mark.slow
@pytest.mark.long
def test_reports_each_exported_form_and_the_peers(tmp_path):
  config = benchmark.BenchmarkConfig('efficientnet-lite0', image_size=32, batch_size=2)
  options = ContestConfig(rounds=1, output_dir=str(tmp_path))
  benchmark.run((config, options, DeviceConfig()))
  report = (tmp_path / 'benchmark.md').read_text()
  for expected in (
    '## efficientnet-lite0, 32 pixels', 'Machine: ', 'Limits measured', '### Inference, batch 2',
    '### Inference, batch 1', '### Training step, batch 2', '| ours: SavedModel by TensorFlow |',
    '| ours: TFLite file by LiteRT |', '| ours |', '| keras.applications |',
  ):  # fmt: skip
    assert expected in report


@pytest.mark.slow
@pytest.mark.long
def test_times_the_trainer_for_both_models():
  config = benchmark.BenchmarkConfig(image_size=32, batch_size=2, compare='trainer')
  got = benchmark.trainer_benchmark(config, rounds=1)
  assert set(got) == {'efficientnet-b0', 'digits'}
  for times in got.values():
    assert set(times) == {'bare step', 'trainer'}
    assert all(seconds and min(seconds) > 0 for seconds in times.values())


def test_contestants():
  config = benchmark.BenchmarkConfig('efficientnet-b2', batch_size=4)
  made = benchmark.comparison(config, ContestConfig(rounds=3), '/torch/python')
  assert made.ours.name == 'ours' and made.rounds == 3 and made.batch_size == 4
  arguments = json.loads(made.ours.arguments[0])
  assert arguments == {
    'model_name': 'efficientnet-b2', 'application': None, 'image_size': 260, 'batch_sizes': [4, 1]
  }
  names = ['keras.applications', 'timm, eager', 'timm, channels last', 'timm, compiled']
  assert [peer.name for peer in made.peers] == names
  assert json.loads(made.peers[0].arguments[0])['application'] == 'EfficientNetB2'
  assert made.peers[0].python is None and made.peers[1].python == '/torch/python'
  assert json.loads(made.peers[3].arguments[0]) == {
    'network': 'efficientnet_b2', 'batch_sizes': [4, 1], 'image_size': 260, 'variant': 'compiled'
  }


@pytest.mark.parametrize('ours', [True, False])
def test_the_steps_train_and_inference_does_not(ours, monkeypatch):
  import resnext

  model = resnext.build_model('resnext-11-2x8d')
  served = {}
  monkeypatch.setattr(peer_process, 'serve', served.update)
  keras_process.serve(model, [2], ours)
  before = model.get_weights()
  served['infer 2']()
  assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
  served['train 2']()
  changed = [v.path for v, b in zip(model.weights, before, strict=True) if (v.numpy() != b).any()]
  assert 'fc/bias' in changed and 'bn1/moving_mean' in changed


@pytest.mark.parametrize('application, builder', [(None, 'ours'), ('EfficientNetB0', 'keras')])
def test_the_process_serves_the_model_that_is_asked_for(application, builder, monkeypatch):
  served = []
  monkeypatch.setattr(
    keras_process, 'serve', lambda model, sizes, ours: served.append((model, sizes, ours))
  )
  benchmark_models.main('efficientnet-b0', application, 32, [2, 1])
  ((model, sizes, ours),) = served
  assert model.inputs[0].shape[1:] == (32, 32, 3) and sizes == [2, 1]
  assert ours == (builder == 'ours')


def test_bad_input():
  with pytest.raises(ValueError, match='--compare=trainer.*efficientnet-lite0'):
    benchmark.BenchmarkConfig('efficientnet-lite0', compare='trainer')
  with pytest.raises(ValueError, match='compare trainer alone'):
    benchmark.BenchmarkConfig(compare='trainer,training')
  with pytest.raises(ValueError, match='--compare.*did you mean inference'):
    benchmark.BenchmarkConfig(compare='inferense')
  with pytest.raises(ValueError, match='model_name.*efficientnet-b0'):
    benchmark.BenchmarkConfig(model_name='efficientnet-l2')

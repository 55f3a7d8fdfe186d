"""The benchmark's contestants, its report on a small network, and its error messages."""
import json

import pytest

from resnext import benchmark
from tpu_utils.benchmarking import growth
from tpu_utils.benchmarking.device_benchmark import DeviceConfig
from tpu_utils.benchmarking.settings import ContestConfig
from tpu_utils.image_jobs.benchmarking import growth_report


@pytest.mark.slow
@pytest.mark.long
def test_reports_training_of_a_small_network(tmp_path):
  """On a network small enough for Keras' grouped convolutions."""
  config = benchmark.BenchmarkConfig('resnext-29-2x8d', 32, 1, 'training', keras=True)
  options = ContestConfig(rounds=1, output_dir=str(tmp_path))
  benchmark.run((config, options, DeviceConfig()))
  report = (tmp_path / 'benchmark.md').read_text()
  assert '### Training step, batch 1' in report and '### Inference' not in report
  assert "| ours |" in report and "| Keras' grouped convolutions |" in report


def test_contestants(capsys):
  made = benchmark.comparison(benchmark.BenchmarkConfig(keras=True), ContestConfig())
  assert [peer.name for peer in made.peers] == [
    "Keras' grouped convolutions", 'torchvision, eager', 'torchvision, channels last',
    'torchvision, compiled',
  ]  # fmt: skip
  assert json.loads(made.peers[1].arguments[0])['network'] == 'resnext50_32x4d'
  made = benchmark.comparison(benchmark.BenchmarkConfig('resnext-50-2x40d'), ContestConfig())
  assert not made.peers
  assert capsys.readouterr().out == 'torchvision: left out, it has no resnext-50-2x40d.\n'


@pytest.mark.slow
@pytest.mark.long
def test_growth_with_the_batch_and_with_replicas(tmp_path, monkeypatch):
  monkeypatch.setattr(growth_report.batch_growth, 'BATCH_SIZES', (1, 2))
  monkeypatch.setattr(growth_report.replica_growth, 'REPLICAS', (1, 2))
  drawn = []
  monkeypatch.setattr(growth, 'draw', lambda curves, path: drawn.extend(curves))
  config = benchmark.BenchmarkConfig('resnext-11-2x8d', 32)
  options = ContestConfig(growth=True, output_dir=str(tmp_path))
  benchmark.run((config, options, DeviceConfig()))
  assert [curves.title for curves in drawn] == [
    'Speed by batch', 'Memory by batch', 'Training by replicas'
  ]
  assert all(
    value > 0 for curves in drawn for points in curves.series.values() for value in points.values()
  )
  assert '### Memory by batch' in (tmp_path / 'growth.md').read_text()


def test_bad_input():
  with pytest.raises(ValueError, match='--compare.*did you mean training'):
    benchmark.BenchmarkConfig(compare='inference,trainign')
  with pytest.raises(ValueError, match="Unknown model 'resnet50': did you mean resnet-50"):
    benchmark.BenchmarkConfig('resnet50')

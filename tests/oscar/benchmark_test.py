"""The benchmark compares equal work, and reports a missing peer in one line."""
import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import benchmark, benchmark_ours
from oscar.benchmarking import caption_length, corpus_size
from tpu_utils import profile
from tpu_utils.benchmarking import contest
from tpu_utils.benchmarking.device_benchmark import DeviceConfig
from tpu_utils.benchmarking.settings import ContestConfig

HAS_TORCH = importlib.util.find_spec('torch') is not None
OPTIONS = benchmark.BenchmarkConfig('tiny', batch_size=2, text_length=10, regions=3)

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
  work = benchmark_ours.our_contestants(config, benchmark.random_batch(config, OPTIONS))
  losses = [work['training step']()['loss'] for _ in range(3)]
  assert len(set(losses)) == 3 and np.isfinite(losses).all()
  assert work['forward']().shape == (2, 13, config.vocab_size)
  assert work['forward, masked']().shape == (2, 2, config.vocab_size)
  assert not tf.config.threading.get_intra_op_parallelism_threads()


def test_the_count_of_multiply_adds_is_that_of_the_model():
  config = oscar.OscarConfig.from_name('tiny')
  model = oscar.build_model(config, 'pretrain')
  shapes = {
    'input_ids': (10,), 'token_type_ids': (10,), 'attention_mask': (13,),
    'img_feats': (3, config.img_feature_dim), 'masked_positions': (2,),
  }  # fmt: skip
  inputs = {tensor.name: shapes[tensor.name] for tensor in model.inputs}
  want = OPTIONS.batch_size * profile.flops(model, input_shapes=inputs)
  got = benchmark.multiply_adds(config, OPTIONS, predicted=2)
  assert abs(got / want - 1) < 0.02


def test_contestants():
  options = benchmark.BenchmarkConfig('tiny', official_dir='Oscar')
  ours, *peers = benchmark.contestants(options, '/torch/python', 'config.json', 'batch.npz')
  assert ours.name == 'ours' and ours.python is None
  assert [peer.name for peer in peers] == [
    'plain torch', 'transformers', 'transformers, compiled', 'official'
  ]
  assert all(peer.python == '/torch/python' and 'torch' in peer.packages for peer in peers)


@pytest.mark.slow
@pytest.mark.long
def test_without_its_peers_it_reports_ours(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(contest, 'missing_packages', lambda packages, python: list(packages))
  options = ContestConfig(rounds=1, output_dir=str(tmp_path))
  benchmark.run((OPTIONS, options, DeviceConfig()))
  report = (tmp_path / 'benchmark.md').read_text()
  for kind in ('Forward', 'Forward, masked', 'Training step'):
    assert f'### {kind}\n' in report
  assert report.count('| ours |') == 3 and 'plain torch |' not in report
  assert 'plain torch: left out, torch not installed; see --help' in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.long
def test_growth_of_captions_and_of_the_corpus():
  captions = caption_length.measure('tiny', lengths=(2,), regions=3)
  assert {name: set(points) for name, points in captions.series.items()} == {
    'greedy': {2}, '5 beams': {2}
  }
  corpus = corpus_size.measure(images=(64,), batches=1)
  memory, stored = corpus.series.values()
  assert set(memory) == {64} and min(memory.values()) > 100 and min(stored.values()) > 10


@pytest.mark.skipif(not HAS_TORCH, reason='needs torch')
def test_the_plain_peer_has_our_parameters_and_is_timed():
  # In a process of its own: torch and TensorFlow crash each other in one.
  peer = subprocess.run([sys.executable, '-c', COUNT], capture_output=True, text=True, check=True)
  config = oscar.OscarConfig.from_name('tiny')
  trainable = oscar.build_model(config, 'pretrain').trainable_variables
  assert int(peer.stdout) == sum(int(np.prod(v.shape)) for v in trainable)
  tables = list(benchmark.tables(OPTIONS, rounds=1))
  assert len(tables) == 4 and all('| plain torch |' in table for table in tables[1:])


@pytest.mark.skipif(not HAS_TORCH, reason='needs torch')
def test_a_folder_without_the_official_code_is_refused(tmp_path):
  message = 'not a clone of microsoft/Oscar'
  program = f'from oscar import benchmark_torch; benchmark_torch.import_official({str(tmp_path)!r})'
  done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
  assert message in done.stderr

"""The benchmark on JAX: its programs, which need no library here, its rows and its report."""
import json
import textwrap

import pytest

from tpu_utils.benchmarking import device_benchmark, peer_process, roofline
from tpu_utils.benchmarking.device_benchmark import DeviceConfig, Suite

SUITE = Suite(
  batch_sizes={'small': 4, 'large': 2},
  image_sizes={},
  unit='images',
  program='program_under_test',
  peer_program='program_under_test',
  peer='torch',
  variants={'eager': {'eager': {}}},
)
# Serves our model, the check of values and the peer's, by the argument `work`; prints as well.
PROGRAM = """
  import json, sys, time
  from tpu_utils.benchmarking import peer_process

  print('a library that prints')
  task = json.loads(sys.argv[1])
  kinds = ('forward', 'training step')
  if task['work'] == 'check':
    row = {'name': 'logits', 'setting': 'float32', 'error': 1e-6, 'tolerance': 1e-4, 'agrees': True}
    peer_process.serve_steps({}, {'values': [row]})
  elif task['work'] == 'time':
    numbers = {'multiply_adds': 1000, 'bytes_accessed': 10, 'memory': 2**20}
    peer_process.serve_steps(
      {kind: lambda steps: time.sleep(0.01 * steps) or numbers for kind in kinds}
    )
  elif task['model'] == 'large':
    raise ImportError('no such library')
  else:
    works = {f'eager/{kind}': lambda steps: time.sleep(0.03 * steps) for kind in kinds}
    peer_process.serve_steps(works)
"""
RATES = """
  from tpu_utils.benchmarking import peer_process

  works = dict.fromkeys(('product/float32', 'product/bfloat16', 'copy'), lambda steps: None)
  facts = {'device_kind': 'toy', 'platform': 'cpu', 'jax': '0', 'memory_limit': None}
  peer_process.serve_steps(works, facts | {'multiply_adds': 1, 'bytes': 1})
"""


def write(folder, monkeypatch, **programs):
  for name, text in programs.items():
    (folder / f'{name}.py').write_text(textwrap.dedent(text))
  monkeypatch.setenv('PYTHONPATH', f'{folder}:.')


@pytest.mark.slow
def test_contestants_take_turns_and_a_missing_peer_is_a_problem(tmp_path, monkeypatch, capsys):
  write(tmp_path, monkeypatch, program_under_test=PROGRAM, rates_under_test=RATES)

  def with_own_rates(module, *args, **kwargs):
    module = {'tpu_utils.benchmarking.roofline': 'rates_under_test'}.get(module, module)
    return peer_process.PeerProcess(module, *args, **kwargs)

  monkeypatch.setattr(device_benchmark, 'PeerProcess', with_own_rates)
  config = DeviceConfig(dtypes='float32', report_dir=str(tmp_path / 'report'), compile_at_once=4)
  report = device_benchmark.run(config, SUITE, rounds=1)
  found = [(row['model'], row['kind'], row['contestant']) for row in report['rows']]
  ours = device_benchmark.OURS
  assert found == [
    ('small', 'forward', ours), ('small', 'forward', 'torch, eager'),
    ('small', 'training step', ours), ('small', 'training step', 'torch, eager'),
    ('large', 'forward', ours), ('large', 'training step', ours),
  ]  # fmt: skip
  assert report['problems'] == ['large float32 torch eager: ImportError: no such library']
  first, second = report['rows'][:2]
  assert first['seconds'] >= 0.01 and second['seconds'] >= 0.03 and first['batch_size'] == 4
  assert first['times_ours'] == 1 and second['times_ours'] > 1
  assert json.loads((tmp_path / 'report' / 'jax.json').read_text())['rows'] == report['rows']
  page = (tmp_path / 'report' / 'jax.md').read_text()
  assert '| small | forward | float32 | torch, eager | 4 |' in page and 'no such library' in page
  assert '| logits | float32 | 1.0e-06 | 1e-04 | True |' in capsys.readouterr().out


def test_a_program_that_takes_too_long_is_ended(tmp_path, monkeypatch):
  write(tmp_path, monkeypatch, sleeper='import time\ntime.sleep(60)')
  process = peer_process.PeerProcess('sleeper', [], 'wait', name='sleeper')
  later = peer_process.PeerProcess('sleeper', [], 'wait', name='later')
  lines = []
  peer_process.prepare([process, later], 1, 0.3, lines.append)
  assert lines == ['sleeper: not ready after 0 s', 'later: not ready after 0 s']
  assert not later.is_started


def test_shares_of_the_limits():
  row = {'seconds': 0.5, 'dtype': 'bfloat16', 'multiply_adds': 10, 'bytes_accessed': None}
  rates = {'peak/bfloat16': 200, 'product/bfloat16': 100, 'copy': 1}
  assert device_benchmark.shares(row, rates) == {
    'share_of_peak': 0.1, 'share_of_product': 0.2, 'share_of_copy': None,
  }  # fmt: skip


def test_peaks_are_of_the_listed_devices():
  assert roofline.peaks('NVIDIA H100 80GB HBM3').bfloat16 == 494.7e12
  assert roofline.peaks('cpu') is None


def test_models_with_batch_sizes():
  assert device_benchmark.chosen_models(DeviceConfig(), SUITE) == {'small': 4, 'large': 2}
  assert device_benchmark.chosen_models(DeviceConfig(models='large:8'), SUITE) == {'large': 8}


@pytest.mark.parametrize(
  ('models', 'message'), [('smal:3', 'small'), ('small', "'NAME:SIZE'"), ('small:0', "'NAME:SIZE'")]
)
def test_wrong_models(models, message):
  with pytest.raises(ValueError, match=message):
    device_benchmark.chosen_models(DeviceConfig(models=models), SUITE)


def test_wrong_flags():
  with pytest.raises(ValueError, match='--dtypes.*bfloat16'):
    DeviceConfig(dtypes='bfloat17')
  with pytest.raises(ValueError, match='--goldens=nowhere'):
    DeviceConfig(backend='jax', goldens='nowhere')

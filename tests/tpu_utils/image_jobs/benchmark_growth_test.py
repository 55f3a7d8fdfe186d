"""Growth with batch, replicas and cores, measured on a stand-in for the processes."""
import contextlib
import json
import os

import pytest

from tpu_utils.benchmarking.peer_process import Cost
from tpu_utils.image_jobs.benchmarking import batch_growth, replica_growth
from tpu_utils.images.benchmarking import growth_cores


class Program:
  """In place of a `PeerProcess`: an image takes 10 ms and 1 GB, and a replica adds 10 ms."""

  started: list = []

  def __init__(self, module, arguments, remedy):
    del remedy
    self._replicas = json.loads(arguments[0]).get('replicas', 1)
    self.started.append(module)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    pass

  def measure(self, command, repeat=1):
    del repeat
    size = int(command.split()[1])
    return Cost(size * 0.01 * self._replicas, 1.0, size * 2**30)


@pytest.fixture
def programs(monkeypatch):
  monkeypatch.setattr(Program, 'started', [])
  for module in (batch_growth, replica_growth):
    monkeypatch.setattr(module, 'PeerProcess', Program)
  return Program.started


def test_speed_and_memory_by_batch(programs):
  speed, memory = batch_growth.measure('a_module', ['{}'], batch_sizes=(1, 4))
  assert programs == ['a_module', 'a_module']  # Inference and training do not share memory.
  for name in ('inference', 'training step'):
    assert speed.series[name] == pytest.approx({1: 100, 4: 100})
    assert memory.series[name] == {1: 1, 4: 4}


def test_training_by_replicas(programs):
  curves = replica_growth.measure('a_module', lambda n: [json.dumps({'replicas': n})])
  assert curves.series['trainer'] == pytest.approx({1: 100, 2: 50, 3: 100 / 3, 4: 25})
  assert len(programs) == 4
  assert all(replica_growth.BATCH_SIZE % count == 0 for count in replica_growth.REPLICAS)


@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='Linux only')
def test_input_by_cores():
  before, seen = os.sched_getaffinity(0), []

  class Input(contextlib.nullcontext):
    def run(self, batches):
      seen.append((batches, len(os.sched_getaffinity(0))))

  def process(augmentation, cores):
    assert augmentation == 'none' and cores in (1, 2)
    found = Input()
    found.enter_result = found
    return found

  curves = growth_cores.measure(process, ['none'], 3, 8, cores=(1, 2, 10**6))
  assert set(curves.series['none']) == {n for n in (1, 2) if n <= len(before)}
  assert seen[:2] == [(3, 1)] * 2 and os.sched_getaffinity(0) == before

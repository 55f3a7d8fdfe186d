"""Tests the tf.data service with a dispatcher and two workers in processes of their own."""
import os
import pathlib
import re
import select
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.images import small_sets
from tpu_utils.images import data_service, service_client
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.service_client import DataService
from tpu_utils.images.spec import PreprocessSpec

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[3]
COUNTS = {'train': 50, 'validation': 23}


def free_port():
  with socket.socket() as s:
    s.bind(('127.0.0.1', 0))
    return s.getsockname()[1]


def start(*arguments):
  """Starts a process of the service and waits until it is ready."""
  environment = {k: v for k, v in os.environ.items() if not k.lower().endswith('_proxy')}
  process = subprocess.Popen(
    [sys.executable, '-m', 'tpu_utils.images.data_service', *arguments],
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    text=True,
  )
  ready, _, _ = select.select([process.stdout], [], [], 600)
  assert ready and process.stdout.readline().startswith('tf.data service: ')
  return process


class Service:
  """A dispatcher and its workers, each a process."""

  def __init__(self, workers=2):
    self.port = free_port()
    self.addresses = [f'127.0.0.1:{free_port()}' for _ in range(workers)]
    self.url = f'grpc://127.0.0.1:{self.port}'
    dispatcher = start(
      '--role=dispatcher', f'--port={self.port}', f'--workers={",".join(self.addresses)}'
    )
    self.processes = [dispatcher, *(self.start_worker(i) for i in range(workers))]

  def start_worker(self, number):
    return start(
      '--role=worker', f'--dispatcher=127.0.0.1:{self.port}', f'--address={self.addresses[number]}'
    )

  def stop(self, process):
    process.kill()
    process.communicate()

  def close(self):
    for process in self.processes:
      self.stop(process)


@pytest.fixture(scope='module')
def service():
  running = Service()
  yield running
  running.close()


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return small_sets.image_folder(tmp_path_factory.mktemp('folder'), COUNTS)


def make_input(folder, service, **settings):
  settings = {'train_batch_size': 5, 'eval_batch_size': 5, 'num_label_classes': 3} | settings
  return ImageNetInput(folder, PreprocessSpec(4, crop='whole'), tf_data_service=service, **settings)


def take(dataset, count):
  return [{k: v.numpy() for k, v in batch.items()} for batch in dataset.take(count)]


def assert_equal(batches, others):
  for batch, other in zip(batches, others, strict=True):
    np.testing.assert_array_equal(batch['images'], other['images'])
    np.testing.assert_array_equal(batch['labels'], other['labels'])


@pytest.fixture(scope='module')
def whole(folder, service):
  """The first 33 batches, over three epochs of 10."""
  return take(make_input(folder, service.url).train_dataset(), 33)


def test_the_workers_share_the_images_as_hosts_do(folder, whole):
  hosts = [of_host(folder, None, 2, h, 17) for h in range(2)]
  assert_equal(whole, [hosts[i % 2][i // 2] for i in range(33)])


def of_host(folder, service, hosts, host, batches):
  images = make_input(folder, service, train_batch_size=5 * hosts)
  return take(images.train_dataset(tf.distribute.InputContext(hosts, host, hosts)), batches)


def test_several_hosts_share_the_workers(folder, service):
  found = of_host(folder, service.url, 2, 1, 8)
  shares = [of_host(folder, None, 4, share, 4) for share in (2, 3)]
  assert_equal(found, [shares[i % 2][i // 2] for i in range(8)])


def test_every_epoch_has_every_image_once(whole):
  colours = [int(round(float(i[0, 0, 0]))) for b in whole for i in b['images']]
  for epoch in range(3):
    assert sorted(colours[50 * epoch : 50 * (epoch + 1)]) == list(range(50))


@pytest.mark.parametrize('start_step', [0, 1, 7, 12])
def test_a_stopped_job_resumes_exactly(folder, service, whole, start_step):
  """An epoch is 10 batches."""
  resumed = make_input(folder, service.url).train_dataset(None, 5 * start_step)
  assert_equal(take(resumed, 5), whole[start_step : start_step + 5])


def test_batches_of_another_size_repeat_at_most_one_batch_of_each_worker(folder, service, whole):
  resumed = make_input(folder, service.url, train_batch_size=4).train_dataset(None, 5 * 3)
  again = {i.tobytes() for b in take(resumed, 8) for i in b['images']}
  before = {i.tobytes() for b in whole[:3] for i in b['images']}
  assert len(again & before) <= 2 * 4


def test_only_a_service_of_other_processes_notes_a_change_of_the_batch_size(folder):
  assert 'up to one batch of each' in make_input(folder, 'grpc://localhost:1').resizing_note
  assert make_input(folder, 'local').resizing_note == make_input(folder, None).resizing_note == ''


def test_two_replicas(folder, service, whole):
  where = tf.distribute.InputContext(1, 0, 2)
  resumed = make_input(folder, service.url, train_batch_size=10).train_dataset(where, 3 * 10)
  assert_equal(take(resumed, 4), whole[6:10])


def test_evaluation_runs_in_this_process(folder, service):
  found, expected = (take(make_input(folder, s).eval_dataset(), -1) for s in (service.url, None))
  assert_equal(found, expected)


def test_num_workers(service):
  assert DataService(service.url).num_workers() == 2


def test_bad_records_are_named(tmp_path, service):
  folder = small_sets.image_folder(tmp_path, COUNTS)
  images = make_input(folder, service.url)
  path = images.data.open('train').where(20)
  with open(path, 'wb') as file:
    file.write(b'no image')
  with pytest.raises(tf.errors.InvalidArgumentError) as error:
    take(images.train_dataset(), 20)
  assert str(images.explain(error.value)).startswith(
    f'{path}: its 8 bytes are no image that can be decoded'
  )


def test_a_source_that_only_this_process_can_read(tmp_path, folder, service):
  sets = small_sets.tfds_set(tmp_path, 'array_record')
  from tpu_utils.images.sources import open_dataset

  for data, settings in (
    (open_dataset(dataset='trees', tfds_data_dir=sets), {}),
    (folder, {'use_cache': True}),
  ):
    with pytest.raises(ValueError, match='its workers cannot read'):
      make_input(data, service.url, **settings).train_dataset()


@pytest.mark.long
def test_a_worker_that_was_restarted_stops_the_job(folder, service):
  """It would begin with its first batch again. The restart leaves `service` complete for others."""
  images = make_input(folder, service.url, train_batch_size=1)
  iterator = iter(images.train_dataset())
  for _ in range(5):
    next(iterator)
  service.stop(service.processes[2])
  service.processes[2] = service.start_worker(1)
  deadline = time.monotonic() + 600
  with pytest.raises(tf.errors.OpError) as error:
    while time.monotonic() < deadline:
      next(iterator)
  assert 'worker of the tf.data service was restarted' in str(images.explain(error.value))


def test_local_gives_the_batches_of_one_worker_and_opens_no_port(folder, monkeypatch):
  for server in ('DispatchServer', 'WorkerServer'):
    monkeypatch.delattr(tf.data.experimental.service, server)
  images = make_input(folder, 'local')
  assert images.service.num_workers() == 1
  assert_equal(take(images.train_dataset(), 12), take(make_input(folder, None).train_dataset(), 12))


class TestMistakes:
  @pytest.mark.parametrize('address', ['host:5050', 'grpc://host', 'http://host:1', 'remote'])
  def test_addresses(self, address):
    with pytest.raises(ValueError, match='must be grpc://host:port, or `local`'):
      DataService(address)

  def test_no_dispatcher(self, folder):
    with pytest.raises(ValueError, match='no dispatcher answers there .*--role=dispatcher'):
      make_input(folder, f'grpc://127.0.0.1:{free_port()}').train_dataset()

  def test_a_dispatcher_without_workers(self, monkeypatch):
    monkeypatch.setattr(service_client, '_SECONDS', 2)
    dispatcher = data_service.start_dispatcher(free_port(), ['localhost:1234'])
    with pytest.raises(
      ValueError, match='no worker answered within 2 s; start them with python -m'
    ):
      DataService(dispatcher.target).num_workers()

  def test_a_dispatcher_without_addresses_of_workers(self):
    dispatcher = tf.data.experimental.service.DispatchServer()
    address = dispatcher.target.removeprefix('grpc://')
    worker = data_service.start_worker(address, f'localhost:{free_port()}')
    with pytest.raises(ValueError) as error:
      DataService(dispatcher.target).num_workers()
    assert re.match(
      r'--tf_data_service=\S+: Failed to .* is not in the workers list', str(error.value)
    )
    assert str(error.value).endswith('with the addresses of its workers in --workers).')
    del worker

  def test_a_worker_that_is_not_in_workers(self):
    dispatcher = data_service.start_dispatcher(free_port(), ['localhost:1234'])
    address = f'localhost:{free_port()}'
    with pytest.raises(
      ValueError, match=f'--address={address}: the server cannot start .*localhost:1234'
    ):
      data_service.start_worker(dispatcher.target.removeprefix('grpc://'), address)

  @pytest.mark.parametrize(
    'settings, message',
    [
      ({}, '--role is missing'),
      ({'role': 'boss'}, "Unknown value of --role 'boss'"),
      ({'role': 'dispatcher'}, '--workers is missing'),
      ({'role': 'dispatcher', 'workers': 'a:1,b'}, '--workers=b must be host:port'),
      ({'role': 'worker', 'address': 'a:1'}, '--dispatcher=None must be host:port'),
      ({'role': 'worker', 'dispatcher': 'a:1', 'address': 'b'}, '--address=b must be host:port'),
    ],
  )
  def test_flags(self, settings, message):
    with pytest.raises(ValueError) as error:
      data_service.ServiceConfig(**settings)
    assert str(error.value).startswith(message)

"""The commands of a launch other than gcloud's, and its plan for --dry_run."""
from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator

from tpu_utils.launching import accelerators, gcloud, package
from tpu_utils.launching.accelerators import Accelerator
from tpu_utils.launching.machine import Machine
from tpu_utils.launching.settings import Order
from tpu_utils.launching.workers import Workers


def preflight(order: Order, accelerator: Accelerator) -> list[str]:
  """Returns the command that compiles the job's steps here, without a TPU.

  Raises:
    ValueError: the topology of the accelerator is unknown.
  """
  topology = order.job.preflight_topology or accelerator.topology
  if not topology:
    raise ValueError(
      f'The topology of {accelerator.name} is not one of the standard shapes; give '
      '--preflight_topology, such as v4:4x4x6, or leave the preflight out with --nopreflight.'
    )
  flags = _without(_without(order.flags, 'mode'), 'tpu')
  return [
    sys.executable, '-m', order.script, '--mode=preflight', f'--topology={topology}', *flags
  ]  # fmt: skip


def _without(flags, name):
  """Returns flags without one: '--name=value' or '--name', 'value'."""
  kept, skip = [], False
  for text in flags:
    if skip:
      skip = False
    elif text.startswith('-') and text.lstrip('-') == name:
      skip = True
    elif not (text.startswith('-') and text.lstrip('-').startswith(f'{name}=')):
      kept.append(text)
  return kept


def job(order: Order, hosts: int) -> list[str]:
  """Returns the command of the job on a worker.

  Args:
    order: script and flags; --tpu is added unless it is among them.
    hosts: number of hosts of the TPU.
  """
  variables = ['PYTHONUNBUFFERED=1']  # So that lines reach the log at once.
  tpu = ['--tpu=local']
  if hosts > 1 and order.job.processes == 'first':
    # The hosts' TensorFlow servers hold the TPU; this process must not load its driver.
    variables.append('TPU_LOAD_LIBRARY=0')
    project = [f'--gcp_project={order.tpu.project}'] if order.tpu.project else []
    tpu = [f'--tpu={order.tpu.name}', f'--tpu_zone={order.tpu.zone}', *project]
  given = order.flag('tpu') is not None
  # Relative to the folder `work` beside the environment, in which the agent runs it.
  return [
    'env', *variables, '../venv/bin/python', '-m', order.script, *([] if given else tpu),
    *order.flags,
  ]  # fmt: skip


def warnings(order: Order) -> Iterator[str]:
  """Yields lines about what the job would lose or nobody has tried."""
  folder = order.flag('model_dir')
  if not (folder or '').startswith('gs://'):
    place = f'--model_dir={folder} is' if folder else 'Without --model_dir the checkpoints are'
    yield (
      f'Warning: {place} on the disk of the TPU VM, which goes with it: after a preemption the job '
      'begins again at step 0. Give --model_dir=gs://BUCKET/FOLDER to resume.'
    )
  hosts = accelerators.parse(order.tpu.accelerator_type).hosts
  if hosts > 1 and order.job.processes == 'all':
    yield (
      f'Note: {order.tpu.accelerator_type} has {hosts} hosts; each runs the job with --tpu=local. '
      'Nobody has seen this project on several TPU hosts yet; look at the first steps.'
    )


def collected(order: Order) -> list[str]:
  """Returns the paths on worker 0 that are copied at the end."""
  paths = [path for path in order.end.collect.split(',') if path]
  folder = order.flag('model_dir')
  if folder and '://' not in folder:
    paths.append(folder)
  return paths


def results(order: Order, folder: str) -> str:
  """Returns a sentence about where the results are."""
  model_dir = order.flag('model_dir') or ''
  if '://' in model_dir:
    return f'Its results are in {model_dir}, its logs in {folder}.'
  return f'What was copied is in {folder}.'


def plan(order: Order, scratch: str) -> Iterator[str]:
  """Yields the lines of --dry_run: a shell script of all commands of a launch without failures.

  Args:
    order: the launch.
    scratch: local folder for the archive.

  Raises:
    ValueError: as the launch itself would, before its first command.
  """
  tpu = order.tpu
  cloud = gcloud.Gcloud(tpu.zone, tpu.project, internal_ip=tpu.internal_ip)
  machine = Machine(tpu, cloud)
  hosts = machine.accelerator.hosts
  workers = Workers(
    cloud, machine, first_only=order.job.processes == 'first', hosts=hosts, attempts=1,
    pause=lambda: None, say=print,
  )  # fmt: skip
  packed = package.plan(order.job, scratch)
  run = shlex.join
  if order.job.preflight:
    yield '# Compile the steps here, without a TPU.'
    yield run(preflight(order, machine.accelerator))
  yield '# Look for the TPU, and create it if there is none.'
  if tpu.queued:
    yield run(machine.describe_queued_command())
  else:
    yield run(machine.describe_command())
  yield run(machine.create_command())
  if tpu.queued:
    yield '# Repeat until its state is ACTIVE.'
    yield run(machine.describe_queued_command())
  yield '# Repeat until its state is READY.'
  yield run(machine.describe_command())
  yield f'# Install the project on {workers.title}.'
  if packed.command:
    yield run(['mkdir', '-p', os.path.dirname(packed.path)])
    yield run(packed.command)
  for command in workers.copy_commands(packed):
    yield run(command)
  words = workers.install_words(packed)
  yield run(workers.agent_command(workers.which, 'start', 'install', 'install-1', *words))
  yield run(workers.agent_command('0', 'follow', 'install', 'install-1', '0', '3600'))
  yield '# Run the job and follow its log.'
  words = job(order, hosts)
  yield run(workers.agent_command(workers.which, 'start', 'job', 'run-1', *words))
  yield run(workers.agent_command('0', 'follow', 'job', 'run-1', '0', '86400'))
  yield run(workers.agent_command(workers.which, 'status', 'job', 'run-1'))
  yield '# Copy the logs and results.'
  folder = order.end.collect_dir or os.path.join('runs', 'launch', machine.name)
  yield run(['mkdir', '-p', folder])
  for worker in range(workers.count):
    log = os.path.join(folder, f'worker-{worker}.log')
    yield run(workers.fetch_command(worker, 'job.log', log))
  paths = collected(order)
  if paths:
    yield run(workers.agent_command('0', 'pack', *paths))
    yield run(workers.fetch_command(0, 'collect.tar.gz', os.path.join(folder, 'collect.tar.gz')))
    yield run(['tar', '-xzf', os.path.join(folder, 'collect.tar.gz'), '-C', folder])
  yield '# Delete the TPU.'
  yield run(machine.delete_command())

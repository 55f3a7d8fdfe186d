"""The course of a launch: create, install, run, resume, collect, delete."""
from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable

from tpu_utils import files
from tpu_utils.launching import commands, costs, gcloud, package
from tpu_utils.launching import machine as machines
from tpu_utils.launching.failures import GcloudError
from tpu_utils.launching.machine import Found, Machine
from tpu_utils.launching.settings import Order
from tpu_utils.launching.state import State
from tpu_utils.launching.workers import (
  ABSENT,
  LOST,
  RUNNING,
  MachineGone,
  Status,
  Unreachable,
  Workers,
)

# Exit codes of a job that was stopped from outside and can resume: SIGTERM (also the scripts' own
# code after their last checkpoint) and SIGKILL.
_STOPPED = (143, 137)
_LOG_LINES = 20  # Of a failed worker.
_FULL_SECONDS = 600.0  # Longest pause before a full zone is asked again.
_NODE_LOOKS = 10  # At the TPU VM of a queued resource that was just granted.
_SAVE_SECONDS = 5.0  # Between notes of how much of the log was shown.


@dataclasses.dataclass(frozen=True)
class Console:
  """The people and the clock around a launch, replaceable in tests.

  Attributes:
    say: shows a line.
    ask: asks a question, returns whether the answer is yes; None where nobody can answer.
    sleep: waits some seconds.
    now: returns the time, Unix seconds.
  """

  say: Callable[[str], None] = lambda line: print(line, flush=True)
  ask: Callable[[str], bool] | None = None
  sleep: Callable[[float], None] = time.sleep
  now: Callable[[], float] = time.time


class Launcher:
  """One launch, from its order and what is remembered of it."""

  def __init__(self, order: Order, state: State, console: Console | None = None):
    self._order = order
    self._state = state
    self._console = console or Console()
    self._say = self._console.say
    tpu = order.tpu
    self._cloud = gcloud.Gcloud(
      tpu.zone, tpu.project, internal_ip=tpu.internal_ip, wait_seconds=order.how.poll_seconds,
      sleep=self._console.sleep,
    )  # fmt: skip
    self._machine = Machine(tpu, self._cloud)

  def run(self) -> None:
    """Does the launch; says at the end, however it ends, what still costs money.

    Raises:
      ValueError: the job failed, or something that the user can correct.
      OSError: a local file cannot be written.
    """
    try:
      self._finish(self._until_the_end() if self._prepare() else [])
    finally:
      self._farewell()

  # ---- Before

  def _prepare(self):
    """Checks, and says what comes; returns whether there is a job to run."""
    order, state = self._order, self._state
    gcloud.find()
    same = (state.script, state.flags) == (order.script, list(order.flags))
    unfinished = state.script and not state.result and state.run
    if unfinished and not same and not order.job.replace:
      earlier = shlex.join([state.script, '--', *state.flags])
      raise ValueError(
        f'{state.path}: an unfinished job is remembered under --name={order.tpu.name}, with other '
        f'flags ({earlier}); launch it again as it was, give another --name, or --replace it.'
      )
    if same and state.result == 'done' and state.machine and not order.job.replace:
      self._say('This job is done already; --replace would run it again.')
      return False
    again = same and not state.result and not order.job.replace
    if again and state.machine:
      self._say(f'Resuming the launch of {order.script} on the {self._machine.title}.')
    else:
      self._say(costs.estimate(
        self._machine.accelerator, order.end.hours, order.end.price_per_core_hour
      ))
      for line in commands.warnings(order):
        self._say(line)
    self._package = package.plan(order.job, self._scratch())
    if order.job.preflight and not (again and state.run):
      self._preflight()
    if not again:
      state.begin(order)
      state.save()
    return True

  def _scratch(self):
    return os.path.splitext(self._state.path)[0]

  def _preflight(self):
    command = commands.preflight(self._order, self._machine.accelerator)
    self._say(f'Preflight, here and without a TPU: {shlex.join(command)}')
    sys.stdout.flush()
    code = subprocess.run(command, check=False).returncode
    if code:
      raise ValueError(
        f'The preflight failed (exit code {code}); nothing was created. Correct what it says '
        'above, or leave it out with --nopreflight.'
      )

  # ---- Until the job ends

  def _until_the_end(self):
    """Runs the job, on further TPUs if one is taken away; returns the final statuses."""
    state = self._state
    while True:
      try:
        return self._on_one_tpu(self._tpu())
      except MachineGone as gone:
        state.preemptions += 1
        self._say(
          f'{gone} It was taken away (time {state.preemptions}); the job resumes on another one.'
        )
        self._remove_lost()
      if state.preemptions > self._order.job.max_preemptions:
        raise ValueError(
          f'The TPU was taken away {state.preemptions} times; run the same command again to go on, '
          'with a higher --max_preemptions.'
        )

  def _tpu(self):
    """Returns a TPU that is ready: the one that is there, or a new one."""
    state, began, refusals, looks = self._state, self._console.now(), 0, 0
    while True:
      found = self._wait(_is_settled)
      if found.state == machines.READY:
        if not state.machine:
          self._say(f'The {self._machine.title} exists already and is used.')
          state.machine, state.ours, state.since = True, False, self._console.now()
        elif self._order.tpu.queued and not state.seen:
          state.since = self._console.now()  # Waiting in line cost nothing.
        state.seen = True
        state.save()
        return found
      if found.state == machines.LOST:
        self._check_ours(found)
        if found.named == machines.NODELESS and not state.seen and looks < _NODE_LOOKS:
          looks += 1  # The request was granted a moment ago.
          self._pause()
          continue
        raise MachineGone(f'The {self._machine.title} is {found.named}.')
      if found.state == machines.FAILED:
        self._check_ours(found)
        self._machine.delete()
        self._gone()
        raise ValueError(
          f'The {self._machine.title} failed: {found.detail or "no reason given"}; it was deleted '
          'and costs nothing. Try again later, in another --zone, or with a later --valid_until.'
        )
      if found.state == machines.STOPPED:
        raise ValueError(
          f'The {self._machine.title} is stopped; start it with: '
          f'{shlex.join(self._cloud.command(gcloud.TPU_VM, "start", self._machine.name))}'
        )
      if state.run:  # It was there, and somebody or something deleted it.
        raise MachineGone(f'The {self._machine.title} is gone.')
      refusals += not self._create(began, refusals)

  def _wait(self, until):
    return self._machine.wait(until, self._say, self._pause, self._console.now)

  def _check_ours(self, found):
    if not self._state.ours:
      raise ValueError(
        f'The {self._machine.title} was not created by this launch, and is {found.named}; delete '
        f'it first: {shlex.join(self._machine.delete_command())}'
      )

  def _create(self, began, refusals):
    """Creates the TPU; while the zone is full, waits and returns False, to look again.

    Args:
      began: time of the first attempt.
      refusals: number of attempts that were refused.
    """
    state, hours = self._state, self._order.tpu.capacity_hours
    # Noted before it is asked for: a crash in between must not lose it.
    state.machine, state.ours, state.seen = True, True, False
    state.since = self._console.now()
    state.save()
    if not refusals:
      self._say(f'Creating the {self._machine.title}: {shlex.join(self._machine.create_command())}')
    try:
      if not self._machine.create():
        self._say(f'The {self._machine.title} exists already.')
    except GcloudError as error:
      if error.failure.kind != 'network':  # After which it may exist.
        with contextlib.suppress(GcloudError):  # The first error says more.
          self._remove_rest()
      waited = self._console.now() - began
      if not error.failure.retry or waited >= hours * 3600:
        raise
      if not refusals:
        self._say(f'{error} Trying again for up to {hours:g} hours; Ctrl-C ends that.')
      else:
        self._say(f'Still none after {waited / 60:.0f} minutes.')
      # Longer and longer: a full zone stays full for a while.
      pause = self._order.how.poll_seconds * 2**refusals
      self._console.sleep(min(pause, max(_FULL_SECONDS, self._order.how.poll_seconds)))
      return False
    return True

  def _remove_rest(self):
    """Forgets a TPU whose creation was refused; deletes it if something of it is there."""
    if self._machine.find().state not in (machines.ABSENT, machines.READY, machines.WAITING):
      self._machine.delete()
    if self._machine.find().state == machines.ABSENT:
      self._gone()

  def _remove_lost(self):
    """Deletes what is left of a TPU that was taken away."""
    found = self._wait(_is_settled)
    if found.state == machines.LOST:
      self._check_ours(found)
      self._machine.delete()
      self._wait(lambda found: found.state == machines.ABSENT)
    if found.state in (machines.LOST, machines.ABSENT):  # Else it came back meanwhile.
      self._gone()

  def _gone(self):
    self._state.machine_gone(self._console.now())
    self._state.save()

  def _on_one_tpu(self, found):
    """Installs, starts and follows the job on a TPU; returns the final statuses."""
    order, state = self._order, self._state
    hosts = found.hosts or self._machine.accelerator.hosts
    workers = self._workers(hosts)
    self._install(workers)
    command = commands.job(order, hosts)
    while True:
      if not state.run:
        state.run, state.offset = f'run-{secrets.token_hex(4)}', 0
        state.save()
        self._say(f'Starting on {workers.title}: {shlex.join(command)}')
      workers.start('job', state.run, command)
      statuses = self._follow(workers, 'job', state.run, state.offset)
      again = [status for status in statuses if _is_stopped(status)]
      if not again or any(_has_failed(status) for status in statuses):
        return statuses
      if state.restarts >= order.job.max_restarts:
        raise ValueError(
          f'The job was killed {state.restarts + 1} times ({_words(again)}; 137 is often a lack of '
          'host memory); see the log, then run the same command with a higher --max_restarts.'
        )
      state.restarts += 1
      self._say(f'The job was stopped ({_words(again)}) and is started again, time '
                f'{state.restarts}.')
      state.run = ''
      state.save()

  def _workers(self, hosts):
    return Workers(
      self._cloud,
      self._machine,
      first_only=self._order.job.processes == 'first',
      hosts=hosts,
      attempts=self._order.how.reconnections,
      pause=self._pause,
      say=self._say,
    )

  def _install(self, workers):
    state = self._state
    if state.run and state.installed:
      return  # The job runs; nothing may change under it.
    packed = package.pack(self._package)
    if state.installed == packed.version:
      return
    if packed.changes:
      self._say(f'{packed.changes} changed files are not committed and stay here: the TPU gets the '
                'last commit.')
    self._say(f'Installing {packed.version} on {workers.title}.')
    workers.copy(packed)
    run = f'install-{secrets.token_hex(4)}'
    workers.start('install', run, workers.install_words(packed))
    statuses = self._follow(workers, 'install', run, 0)
    if any(status.code != 0 for status in statuses):
      raise ValueError(
        f'The installation failed ({_words(statuses)}); see the lines above. Run the same command '
        'again to go on.'
      )
    state.installed = packed.version
    state.save()

  def _follow(self, workers, task, run, offset):
    """Shows the log until all workers have ended or one has failed; returns the statuses."""
    saved, position = self._console.now(), offset

    def show(line, end):
      nonlocal saved, position
      self._say(line)
      position = end
      if task == 'job':
        self._state.offset = end
        if self._console.now() - saved >= _SAVE_SECONDS:
          saved = self._console.now()
          self._state.save()

    seconds = self._order.how.check_seconds
    while True:
      first = workers.follow(task, run, position, seconds, show)
      statuses = [first] if workers.count == 1 else workers.status(task, run)
      if task == 'job':
        self._state.save()
      if all(status.state != RUNNING for status in statuses):
        return statuses
      if any(status.code != 0 and status.state != RUNNING for status in statuses):
        bad = [status for status in statuses if status.state != RUNNING]
        self._say(f'A worker has ended ({_words(bad)}); stopping the others.')
        return [*bad, *(s for s in workers.stop(task, run) if s.host not in _names(bad))]
      if first.state != RUNNING:
        self._pause()

  # ---- After

  def _finish(self, statuses):
    state = self._state
    failed = [status for status in statuses if _has_failed(status)]
    state.result = 'failed' if failed else 'done'
    state.save()
    try:
      found = self._machine.find()
      if found.state != machines.READY:
        raise MachineGone(f'The {self._machine.title} is {found.named}.')
      collected = self._collect(self._workers(found.hosts or self._machine.accelerator.hosts))
      self._delete(collected)
    except MachineGone as gone:
      self._say(f'{gone} Its logs, and results that are not on gs://, are lost.')
      self._remove_lost()
    if failed:
      raise ValueError(
        f'The job failed ({_words(failed)}); the end of its log is above, the logs are in '
        f'{self._collect_dir()}.'
      )
    self._say(f'The job is done. {commands.results(self._order, self._collect_dir())}')

  def _collect_dir(self):
    return self._order.end.collect_dir or os.path.join('runs', 'launch', self._machine.name)

  def _collect(self, workers):
    """Copies logs and results; returns whether that succeeded, and says so if not."""
    try:
      self._copy_results(workers)
    except (OSError, Unreachable) as error:
      self._say(f'The logs and results could not be copied: {error}')
      return False
    return True

  def _copy_results(self, workers):
    folder = self._collect_dir()
    os.makedirs(folder, exist_ok=True)
    for worker in range(workers.count):
      workers.fetch(worker, 'job.log', os.path.join(folder, f'worker-{worker}.log'))
    if self._state.result == 'failed' and workers.count > 1:
      for worker in range(1, workers.count):
        words = ('tail', 'job', self._state.run, str(_LOG_LINES))
        lines = workers.lines('Reading the log', worker, *words)
        self._say(f'The end of the log of worker {worker}:')
        for line in lines:
          self._say(f'  {line}')
    paths = commands.collected(self._order)
    if paths:
      for line in workers.lines('Packing the results', 0, 'pack', *paths):
        self._say(line)
      archive = os.path.join(folder, 'collect.tar.gz')
      workers.fetch(0, 'collect.tar.gz', archive)
      unpacked = subprocess.run(
        ['tar', '-xzf', archive, '-C', folder], check=False, capture_output=True, text=True
      )
      if unpacked.returncode:
        raise OSError(f'{archive} cannot be unpacked: {" ".join(unpacked.stderr.split())[:300]}')
      files.remove(archive)

  def _delete(self, collected):
    title, end = self._machine.title, self._order.end
    if not self._state.ours:
      return self._say(f'The {title} was there before this launch and is not deleted.')
    if not collected:
      return self._say(f'The {title} is kept, for its logs and results were not copied.')
    ask = self._console.ask
    if not (end.delete or (ask and ask(f'Delete the {title}, which costs money? [y/N] '))):
      return None
    self._machine.delete()
    self._wait(lambda found: found.state == machines.ABSENT)
    spent = self._spent()
    self._gone()
    return self._say(f'The {title} was deleted; it took {spent}.')

  def _spent(self):
    return costs.spent(
      self._machine.accelerator, self._state.seconds(self._console.now()),
      self._order.end.price_per_core_hour,
    )  # fmt: skip

  def _farewell(self):
    """Says what still runs and costs money, without a look at it: the network may be down."""
    state, title = self._state, self._machine.title
    if not state.machine:
      return self._say('Nothing of this launch is running or costs money.')
    what = f'{title} ({self._machine.accelerator.name} in {self._order.tpu.zone})'
    lines = [f'ASKED FOR: the {what}; it costs money as soon as it is ready.']
    if state.seen:
      lines = [f'STILL THERE, AND IT COSTS MONEY: the {what}, so far at most {self._spent()}.']
    if state.run and not state.result:
      lines.append('The job goes on there. The same command follows it again.')
    lines.append(f'Delete it with: {shlex.join(self._machine.delete_command())}')
    return self._say('\n'.join(lines))

  def _pause(self):
    self._console.sleep(self._order.how.poll_seconds)


def ask_on_terminal(question: str) -> bool:
  """Asks a question on the terminal; returns whether the answer is yes."""
  try:
    return input(question).strip().lower() in ('y', 'yes')
  except EOFError:
    return False


def terminal() -> Console:
  """Returns the console of a person at a terminal, or of nobody if input is no terminal."""
  return Console(ask=ask_on_terminal if sys.stdin and sys.stdin.isatty() else None)


def _is_settled(found: Found) -> bool:
  return found.state != machines.WAITING


def _is_stopped(status: Status) -> bool:
  return status.state in (LOST, ABSENT) or status.code in _STOPPED


def _has_failed(status: Status) -> bool:
  return status.code not in (None, 0, *_STOPPED)


def _words(statuses) -> str:
  return ', '.join(f'{status.host}: {status.state.replace(":", " code ")}' for status in statuses)


def _names(statuses):
  return {status.host for status in statuses}

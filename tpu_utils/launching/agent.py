"""Runs tasks on a TPU VM so that they survive a dropped connection. Copied to each host.

    python3 agent.py start TASK RUN COMMAND...     starts COMMAND detached, unless RUN was started
    python3 agent.py follow TASK RUN OFFSET SECONDS   prints the log from a byte offset on
    python3 agent.py status TASK RUN
    python3 agent.py stop TASK RUN SECONDS         SIGTERM, and SIGKILL after some seconds
    python3 agent.py tail TASK RUN LINES
    python3 agent.py install VERSION KIND FILE REQUIREMENTS   KIND: archive (of a clone), package
    python3 agent.py pack PATH...                  packs results into collect.tar.gz

A task has four files in the agent's folder: TASK.run (its run's name), TASK.pid, TASK.log and, once
it has ended, TASK.exit. Every command ends with a line `@launch HOST STATE SIZE`, with STATE
`running`, `exit:CODE`, `lost` (gone without an exit code) or `absent` (this run was never started);
an answer without it was cut off. Needs Python 3.8 or newer, and only its standard library; modules
that take long to import are imported where they are needed.
"""
import os
import sys
import time

_FOLDER = os.path.dirname(os.path.abspath(__file__))
_POLL = 0.1  # Seconds between looks at the log.
_HOST_VARIABLE = 'TPU_LAUNCH_HOST'  # The job reads it: `tpu_utils.distribute.is_chief`.
_PYTHONS = ('python3.11', 'python3.12', 'python3.13', 'python3')


def _path(name):
  return os.path.join(_FOLDER, name)


def _read(name):
  try:
    with open(_path(name), encoding='utf-8') as file:
      return file.read().strip()
  except OSError:
    return ''


def _write(name, text):
  with open(_path(name + '.writing'), 'w', encoding='utf-8') as file:
    file.write(text)
    file.flush()
    os.fsync(file.fileno())
  os.replace(_path(name + '.writing'), _path(name))


# ---- Tasks


def _state(task, run):
  if _read(task + '.run') != run:
    return 'absent'
  # In this order: the task may end in between.
  alive = _alive(_read(task + '.pid'))
  code = _read(task + '.exit')
  if code:
    return 'exit:' + code
  return 'running' if alive else 'lost'


def _alive(pid):
  """Returns whether a supervisor runs; `pid` has its start time, as numbers are used again."""
  number, _, started = pid.partition(' ')
  return bool(number) and _started(number) == started


def _started(pid):
  """Returns the start time of a process in clock ticks since boot; '' if there is none."""
  try:
    with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
      fields = file.read().rpartition(')')[2].split()
  except OSError:
    return ''
  return '' if fields[0] == 'Z' else fields[19]


def _size(task):
  try:
    return os.path.getsize(_path(task + '.log'))
  except OSError:
    return 0


def _report(task, run, state=None):
  state = state or _state(task, run)
  print('@launch', _host(), state, _size(task), flush=True)


def _host():
  return os.environ.get('HOSTNAME') or os.uname().nodename


def start(task: str, run: str, *command: str) -> None:
  """Starts a command in a session of its own, once per run, however often this is called."""
  lock = os.open(_path(task + '.lock'), os.O_RDWR | os.O_CREAT)
  import fcntl

  fcntl.flock(lock, fcntl.LOCK_EX)
  if _read(task + '.run') != run:
    if _alive(_read(task + '.pid')):
      _end(task, 60)  # An earlier run, whose launcher was told to replace it.
    for name in ('.exit', '.pid', '.log'):
      if os.path.exists(_path(task + name)):
        os.remove(_path(task + name))
    _write(task + '.run', run)
    reader, writer = os.pipe()
    if not os.fork():
      os.close(lock)  # Else it would be held as long as the task runs.
      _detach(task, writer, command)
    os.close(writer)
    os.read(reader, 1)  # Until the pid file is there.
  _report(task, run)


def _detach(task, ready, command):
  """Turns this process into the supervisor of a task, which does not return."""
  try:
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
      os.dup2(null, stream)
    _supervise(task, ready, command)
  finally:
    os._exit(0)


def _supervise(task, ready, command):
  """Runs a command to its end and writes its exit code."""
  import signal

  signal.signal(signal.SIGHUP, signal.SIG_IGN)
  # `stop` signals the whole group: the command ends, and this process writes its exit code.
  signal.signal(signal.SIGTERM, lambda number, frame: None)
  os.makedirs(_path('work'), exist_ok=True)
  log = os.open(_path(task + '.log'), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  _write(task + '.pid', f'{os.getpid()} {_started(os.getpid())}')
  os.write(ready, b'.')
  os.close(ready)
  child = os.fork()
  if not child:
    _execute(command, log)
  _, status = os.waitpid(child, 0)
  # As shells say it. (Python 3.8 has no waitstatus_to_exitcode.)
  code = 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
  _write(task + '.exit', str(code))


def _execute(command, log):
  """Replaces this process by a command, with its output in a file."""
  try:
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(_path('work'))
    _, found, number = _host().rpartition('-w-')  # Google names the hosts of a slice NAME-w-0, ...
    if found and number.isdigit():
      os.environ[_HOST_VARIABLE] = number
    os.execvp(command[0], command)
  except OSError as error:
    os.write(log, f'{command[0]}: {error.strerror}\n'.encode())
  finally:
    os._exit(127)


def follow(task: str, run: str, offset: str, seconds: str) -> None:
  """Prints whole lines of the log, each after `+START:END `, until the task ends or time is over.

  START and END are its bytes in the log; a reader that sees a line twice can leave it out.
  """
  position, end = int(offset), time.monotonic() + float(seconds)
  while True:
    state = _state(task, run)
    if state == 'absent':
      break
    position = _print_lines(task, position, state != 'running')
    if state != 'running' or time.monotonic() >= end:
      break
    time.sleep(_POLL)
  _report(task, run, state)


def _print_lines(task, offset, to_end):
  """Prints the lines from `offset` on, an unfinished last one only at the end."""
  try:
    with open(_path(task + '.log'), 'rb') as file:
      file.seek(offset)
      for line in file:
        if not line.endswith(b'\n') and not to_end:
          break
        # A progress bar overwrites its line; what it leaves is the last part.
        text = line.rstrip(b'\r\n').rpartition(b'\r')[2].decode('utf-8', 'replace')
        print(f'+{offset}:{offset + len(line)} {text}', flush=True)
        offset += len(line)
  except OSError:
    pass
  return offset


def status(task: str, run: str) -> None:
  """Prints the state of a run."""
  _report(task, run)


def stop(task: str, run: str, seconds: str) -> None:
  """Ends a run if it still runs."""
  if _state(task, run) == 'running':
    _end(task, float(seconds))
  _report(task, run)


def _end(task, seconds):
  import signal

  pid = _read(task + '.pid')
  group = int(pid.split()[0])
  os.killpg(group, signal.SIGTERM)
  deadline = time.monotonic() + seconds
  while _alive(pid) and time.monotonic() < deadline:
    time.sleep(_POLL)
  if _alive(pid):
    os.killpg(group, signal.SIGKILL)
    while _alive(pid):
      time.sleep(_POLL)


def tail(task: str, run: str, lines: str) -> None:
  """Prints the last lines of the log."""
  try:
    with open(_path(task + '.log'), 'rb') as file:
      file.seek(max(0, _size(task) - (1 << 16)))
      for line in file.read().decode('utf-8', 'replace').splitlines()[-int(lines) :]:
        print('+0:0 ' + line)
  except OSError:
    pass
  _report(task, run)


# ---- Installation and results


def install(version: str, kind: str, package: str, requirements: str) -> None:
  """Installs the project and TensorFlow's TPU build into `venv`, unless this version is there."""
  import shutil

  if _read('installed') == version:
    print('Installed already:', version)
    return
  if not os.path.exists(_path('venv/bin/pip')):
    _call(_python(), '-m', 'venv', _path('venv'))
  pip = (_path('venv/bin/python'), '-m', 'pip', 'install', '--quiet')
  _call(*pip, '--requirement', _path(requirements))
  if kind == 'archive':
    # A folder for each version: Python may still run from an earlier one.
    folder = _path('project-' + version)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    _call('tar', '--extract', '--gzip', '--file', _path(package), '--directory', folder)
    _call(*pip, '--no-deps', '--editable', folder)
  else:
    _call(*pip, '--no-deps', '--force-reinstall', _path(package))
  _write('installed', version)
  print('Installed:', version, flush=True)


def _call(*command):
  import subprocess

  print('+', ' '.join(command), flush=True)
  code = subprocess.call(command, stdin=subprocess.DEVNULL)
  if code:
    print(f'exit code {code} of: {" ".join(command)}', flush=True)
    sys.exit(1)


def _python():
  """Returns a Python that is new enough; Ubuntu 22.04 has an older one, and packages of 3.11."""
  for name in _PYTHONS:
    if _is_new(name):
      return name
  for command in (['update'], ['install', '--yes', 'python3.11', 'python3.11-venv']):
    _call('sudo', 'apt-get', '--quiet', *command)
  return 'python3.11'


def _is_new(name):
  import shutil
  import subprocess

  check = 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'
  return shutil.which(name) and subprocess.call([name, '-c', check], stderr=subprocess.DEVNULL) == 0


def pack(*paths: str) -> None:
  """Packs files and folders, relative to `work` or absolute, into collect.tar.gz."""
  import tarfile

  work = _path('work')
  with tarfile.open(_path('collect.tar.gz'), 'w:gz') as archive:
    for path in paths:
      place = os.path.join(work, os.path.expanduser(path))
      if os.path.exists(place):
        archive.add(place, arcname=os.path.basename(place.rstrip('/')))
      else:
        print(f'+0:0 {path}: there is no such file or folder on this worker')
  _report('job', _read('job.run'))


_COMMANDS = {
  'start': start, 'follow': follow, 'status': status, 'stop': stop,
  'tail': tail, 'install': install, 'pack': pack,
}  # fmt: skip

if __name__ == '__main__':
  if not set(sys.argv[1:2]) & set(_COMMANDS):
    print(__doc__)
    sys.exit(0 if sys.argv[1:2] in (['--help'], ['-h']) else 2)
  _COMMANDS[sys.argv[1]](*sys.argv[2:])  # type: ignore[operator]

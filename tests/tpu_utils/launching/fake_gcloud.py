"""A stand-in for the gcloud program: strict about arguments, with a cloud of local folders.

The cloud is the folder FAKE_GCLOUD: `scenario.json` (what happens; see `World`), `cloud.json` (what
exists), `calls.jsonl` (the commands so far), and a home folder per worker, in which `ssh` runs real
commands. Syntax and messages are those of gcloud (cloud.google.com/sdk/gcloud/reference, and its
source). Runs with `python -IS`, so that it starts quickly.
"""
import contextlib
import json
import os
import sys
import time

# {flag: whether it takes a value}; from the reference pages of each command.
_WIDE = {'--project': True, '--quiet': False, '--format': True, '--verbosity': True,
         '--account': True, '--configuration': True, '--impersonate-service-account': True}
_ZONE = {'--zone': True}
_CREATE = {
  '--accelerator-type': True, '--async': False, '--data-disk': True, '--description': True,
  '--internal-ips': False, '--labels': True, '--metadata': True, '--metadata-from-file': True,
  '--network': True, '--range': True, '--reserved': False, '--scopes': True,
  '--service-account': True, '--shielded-secure-boot': False, '--spot': False,
  '--subnetwork': True, '--tags': True, '--topology': True, '--type': True, '--boot-disk': True,
}
_SSH = {
  '--dry-run': False, '--force-key-file-overwrite': False, '--internal-ip': False,
  '--plain': False, '--ssh-key-file': True, '--strict-host-key-checking': True, '--worker': True,
  '--ssh-key-expiration': True, '--ssh-key-expire-after': True,
}
COMMANDS = {
  ('tpu-vm', 'create'): {**_ZONE, **_CREATE, '--version': True, '--preemptible': False},
  ('tpu-vm', 'describe'): _ZONE,
  ('tpu-vm', 'delete'): {**_ZONE, '--async': False},
  ('tpu-vm', 'list'): _ZONE,
  ('tpu-vm', 'start'): {**_ZONE, '--async': False},
  ('tpu-vm', 'ssh'): {**_ZONE, **_SSH, '--ssh-flag': True, '--command': True,
                      '--output-directory': True},
  ('tpu-vm', 'scp'): {**_ZONE, **_SSH, '--scp-flag': True, '--recurse': False, '--compress': False},
  ('queued-resources', 'create'): {
    **_ZONE, **_CREATE, '--runtime-version': True, '--node-id': True, '--node-count': True,
    '--node-prefix': True, '--guaranteed': False, '--valid-after-duration': True,
    '--valid-after-time': True, '--valid-until-duration': True, '--valid-until-time': True,
  },
  ('queued-resources', 'describe'): _ZONE,
  ('queued-resources', 'delete'): {**_ZONE, '--async': False, '--force': False},
  ('queued-resources', 'list'): _ZONE,
}
_SIGKILL = 9
_ZONES = {'europe-west4-a': ('v3-8', 'v3-32'), 'us-west4-a': ('v5litepod-8', 'v5litepod-16')}


class Fault(Exception):  # noqa: N818 - what happens, not what is wrong.
  """An error as gcloud says it."""

  def __init__(self, message, code=1):
    super().__init__(message)
    self.code = code


def parse(arguments):
  """Returns (group, verb, positionals, flags) of a command line; a `Fault` as gcloud's."""
  if tuple(arguments[:2]) != ('compute', 'tpus') or tuple(arguments[2:4]) not in COMMANDS:
    raise Fault(f"Invalid choice: '{' '.join(arguments[:4])}'.", 2)
  group, verb = arguments[2:4]
  known = {**_WIDE, **COMMANDS[group, verb]}
  words, flags, unknown, rest = [], {}, [], list(arguments[4:])
  while rest:
    word = rest.pop(0)
    if not word.startswith('-'):
      words.append(word)
      continue
    name, equals, value = word.partition('=')
    if name not in known or (equals and not known[name]):
      unknown.append(word)
    elif not known[name]:
      flags[name] = True
    elif equals or rest:
      value = value if equals else rest.pop(0)
      flags[name] = [*flags.get(name, []), value] if name == '--ssh-flag' else value
    else:
      raise Fault(f'argument {name}: expected one argument', 2)
  if unknown:
    lines = '\n'.join(f'  {word} ' for word in unknown)
    raise Fault(f'unrecognized arguments: \n{lines}\n\nTo search the help text of gcloud commands, '
                'run:\n  gcloud help -- SEARCH_TERMS', 2)
  _check(group, verb, words, flags)
  return group, verb, words, flags


def _check(group, verb, words, flags):
  if verb == 'scp':
    if len(words) < 2:
      raise Fault('argument [[USER@]INSTANCE:]DEST: Must be specified.', 2)
  elif verb != 'list' and len(words) != 1:
    raise Fault('argument TPU: Must be specified.' if not words else
                f'unrecognized arguments: {" ".join(words[1:])}', 2)
  if '--zone' not in flags:
    raise Fault('Error parsing [tpu].\nThe [tpu] resource is not properly specified.\nFailed to '
                'find attribute [zone].')
  if verb == 'create':
    version = '--version' if group == 'tpu-vm' else '--runtime-version'
    if version not in flags:
      raise Fault(f'argument {version}: Must be specified.', 2)
    if '--accelerator-type' in flags and ('--type' in flags or '--topology' in flags):
      raise Fault('argument --accelerator-type: At most one of --accelerator-type | --topology '
                  '--type can be specified.', 2)
    if group == 'queued-resources' and ('--node-id' in flags) == ('--node-count' in flags):
      raise Fault('Exactly one of (--node-count | --node-id) must be specified.', 2)
  if verb == 'ssh' and flags.get('--worker') == 'all' and not flags.get('--command'):
    raise Fault("Invalid value for [--worker]: cannot target multiple workers without the "
                '`--command` flag.')


class World:
  """The cloud, and what is to happen in it.

  `scenario.json`: `hosts`; `failures` ([{verb, stderr, code, times}], the first that fits fails);
  `nodes` and `queue` (states that descriptions go through after a creation); `events` (see
  `_event`); `pip` (exit code of pip on the workers).
  """

  def __init__(self, folder):
    self.folder = folder
    self.scenario = self._read('scenario.json', {})
    self.cloud = self._read('cloud.json', {'nodes': {}, 'queued': {}, 'counts': {}, 'lives': 0})

  def _read(self, name, default):
    path = os.path.join(self.folder, name)
    if not os.path.exists(path):
      return default
    with open(path, encoding='utf-8') as file:
      return json.load(file)

  def save(self):
    path = os.path.join(self.folder, 'cloud.json')
    with open(path + '.new', 'w', encoding='utf-8') as file:
      json.dump(self.cloud, file)
    os.replace(path + '.new', path)

  def count(self, key):
    """Returns how often this was called with `key`."""
    self.cloud['counts'][key] = self.cloud['counts'].get(key, 0) + 1
    return self.cloud['counts'][key]

  def fail_if_told(self, verb):
    for place, failure in enumerate(self.scenario.get('failures', [])):
      if failure['verb'] == verb:
        number = self.count(f'failure {place}')
        first = failure.get('after', 0)
        if first < number <= first + failure.get('times', 1):
          if failure.get('creates'):
            self.create_node('t', 'v3-8')
          self.save()
          raise Fault(failure['stderr'], failure.get('code', 1))

  def home(self, name, worker):
    return os.path.join(self.folder, 'vms', name, f'worker-{worker}')

  def create_node(self, name, kind):
    """Creates a TPU VM with empty home folders."""
    self.cloud['lives'] += 1
    for worker in range(self.scenario.get('hosts', 1)):
      _remove(self.home(name, worker))
      os.makedirs(self.home(name, worker))
      with open(os.path.join(self.home(name, worker), 'life'), 'w', encoding='utf-8') as file:
        file.write(str(self.cloud['lives']))
    states = list(self.scenario.get('nodes', ['READY']))
    self.cloud['nodes'][name] = {'type': kind, 'states': states}

  def kill(self, name, worker):
    """Kills all processes of a worker, as a power cut does."""
    folder = os.path.join(self.home(name, worker), 'tpu_launch')
    for place, _, names in os.walk(folder):
      for file_name in names:
        if file_name.endswith('.pid'):
          with open(os.path.join(place, file_name), encoding='utf-8') as file:
            pid = file.read().split()[0]
          with contextlib.suppress(ProcessLookupError):
            os.killpg(int(pid), _SIGKILL)

  def preempt(self, name):
    for worker in range(self.scenario.get('hosts', 1)):
      self.kill(name, worker)
    if name in self.cloud['queued']:
      self.cloud['queued'][name] = ['SUSPENDING', 'SUSPENDED']
      self.cloud['nodes'].pop(name, None)
    elif name in self.cloud['nodes']:
      self.cloud['nodes'][name]['states'] = ['PREEMPTED']

  def node(self, name, flags):
    if name not in self.cloud['nodes']:
      raise Fault(f"NOT_FOUND: Resource 'projects/p/locations/{flags['--zone']}/nodes/{name}' was "
                  'not found')
    return self.cloud['nodes'][name]


def _remove(path):
  if os.path.exists(path):
    import shutil

    shutil.rmtree(path)


def _copy(source, target):
  with open(source, 'rb') as file:
    content = file.read()
  target = os.path.join(target, os.path.basename(source)) if os.path.isdir(target) else target
  with open(target, 'wb') as file:
    file.write(content)


def _hidden(world, name):
  """Returns whether a node is not visible yet; `hidden` counts the looks until it is."""
  return world.count(f'look {name}') <= world.scenario.get('hidden', 0)


def _advance(states):
  """Returns the present state and goes on to the next."""
  return states.pop(0) if len(states) > 1 else states[0]


def _check_place(flags):
  zone = flags['--zone']
  if zone not in _ZONES:
    raise Fault(f"PERMISSION_DENIED: Permission denied on 'locations/{zone}' (or it may not "
                'exist).')
  kind = flags.get('--accelerator-type', 'v2-8')
  if kind not in _ZONES[zone]:
    raise Fault(f'NOT_FOUND: Accelerator type "{kind}" was not found in zone "{zone}".')
  return kind


def create(world, group, name, flags):
  kind = _check_place(flags)
  if group == 'tpu-vm':
    if name in world.cloud['nodes']:
      raise Fault(f"ALREADY_EXISTS: Resource 'projects/p/locations/{flags['--zone']}/nodes/{name}' "
                  'already exists')
    world.create_node(name, kind)
  else:
    if name in world.cloud['queued']:
      raise Fault(f'ALREADY_EXISTS: Queued resource {name} already exists')
    world.cloud['queued'][name] = list(world.scenario.get('queue', ['ACTIVE']))
    world.create_node(flags['--node-id'], kind)
  print(f'Create request issued for: [{name}]', file=sys.stderr)


def describe(world, group, name, flags):
  if group == 'queued-resources':
    if name not in world.cloud['queued']:
      raise Fault(f"NOT_FOUND: Resource 'projects/p/locations/{flags['--zone']}/queuedResources/"
                  f"{name}' was not found")
    state = {'state': _advance(world.cloud['queued'][name])}
    if state['state'] == 'FAILED':
      state['failedData'] = {'error': {'code': 8, 'message': 'not enough capacity in time'}}
    return print(json.dumps({'name': name, 'state': state}))
  node = world.node('hidden' if _hidden(world, name) else name, flags)
  endpoints = [{'ipAddress': f'10.0.0.{n}'} for n in range(world.scenario.get('hosts', 1))]
  description = {'name': f'projects/p/locations/z/nodes/{name}', 'acceleratorType': node['type'],
                 'state': _advance(node['states']), 'networkEndpoints': endpoints}
  return print(json.dumps(description))


def delete(world, group, name, flags):
  if group == 'queued-resources':
    if name not in world.cloud['queued']:
      raise Fault(f'NOT_FOUND: queuedResources/{name} was not found')
    if '--force' not in flags and world.cloud['queued'][name][0] == 'ACTIVE':
      raise Fault('FAILED_PRECONDITION: the queued resource has nodes')
    del world.cloud['queued'][name]
  else:
    world.node(name, flags)
  world.preempt(name)
  world.cloud['nodes'].pop(name, None)
  print(f'Deleted [{name}].', file=sys.stderr)


def _workers(world, name, flags):
  """Returns the workers that ssh and scp address, as gcloud checks them."""
  state = world.node(name, flags)['states'][0]
  if state in ('PREEMPTED', 'TERMINATED'):
    raise Fault(f'This TPU has terminal state "{state}", so it cannot be used anymore.')
  if state in ('STOPPED', 'DELETING'):
    raise Fault(f'This TPU has state "{state}", so it cannot be currently connected to.')
  hosts = world.scenario.get('hosts', 1)
  worker = flags.get('--worker', '0')
  if worker != 'all' and int(worker) >= hosts:
    raise Fault(f'Invalid value for [--worker]: worker index {worker} is larger than the valid '
                f'worker indexes on this TPU VM.')
  return range(hosts) if worker == 'all' else [int(worker)]


def scp(world, words, flags):
  *sources, target = words
  if ':' in target:
    name, _, path = target.partition(':')
    for worker in _workers(world, name, flags):
      for source in sources:
        if not os.path.isfile(source):
          raise Fault(f'{source}: No such file or directory')
        _copy(source, os.path.join(world.home(name, worker), path))
  else:
    name, _, path = sources[0].partition(':')
    (worker,) = _workers(world, name, flags)
    source = os.path.join(world.home(name, worker), path)
    if not os.path.exists(source):
      print(f'scp: {path}: No such file or directory', file=sys.stderr)
      return 1
    _copy(source, target)
  return 0


def ssh(world, name, flags):
  command, codes = flags['--command'], []
  workers = _workers(world, name, flags)
  event = _event(world, command)
  world.save()
  sys.stdout.flush()
  if len(workers) == 1 and not event:
    home = world.home(name, workers[0])
    os.chdir(home)
    os.execve('/bin/sh', ['sh', '-c', command], _environment(world, home, workers[0]))
  for worker in workers:
    print(f'SSH: Attempting to connect to worker {worker}...', file=sys.stderr)
    codes.append(_on_worker(world, name, worker, command, event))
  return next((code for code in codes if code), 0)


def _event(world, command):
  """Returns the event of the scenario that is due with a command: {contains, nth, do, ...}.

  do: 'drop' (the connection breaks after `lines` lines; with 0 after the command's end), 'repeat'
  (it breaks, and gcloud repeats the command itself), 'refuse' (no connection), 'preempt', 'vanish'
  (somebody deletes the TPU), 'kill' (the processes of `worker` die), 'signal' (the launcher gets
  signal `number`). `touch` names a file to write in the worker's home folder at that moment.
  """
  for place, event in enumerate(world.scenario.get('events', [])):
    if event['contains'] in command:
      number = world.count(f'event {place}')
      if event.get('nth', 1) <= number < event.get('nth', 1) + event.get('times', 1):
        return event
  return {}


def _on_worker(world, name, worker, command, event):
  home = world.home(name, worker)
  do = event.get('do')
  if do == 'refuse' and event.get('worker', worker) == worker:
    print('ssh: connect to host 10.0.0.1 port 22: Connection refused', file=sys.stderr)
    return 255
  if do == 'kill':
    _wait_for(os.path.join(world.home(name, event['worker']), 'starts'))
    world.kill(name, event['worker'])
  code = _shell(world, home, worker, command, event.get('lines'))
  if 'touch' in event:
    with open(os.path.join(home, event['touch']), 'w', encoding='utf-8'):
      pass
  if do == 'repeat':
    return _shell(world, home, worker, command, None)
  if do == 'preempt':
    world.preempt(name)
  elif do == 'vanish':
    world.preempt(name)
    world.cloud['nodes'].pop(name, None)
  elif do == 'signal':
    os.kill(os.getppid(), event['number'])
    time.sleep(5)
  if do in ('drop', 'preempt', 'vanish'):
    print('Connection to 10.0.0.1 closed by remote host.', file=sys.stderr)
    world.save()
    return 255
  return code


def _wait_for(path):
  """Waits for the file that a job writes first: it is not to die before it has begun."""
  deadline = time.monotonic() + 60
  while not os.path.exists(path) and time.monotonic() < deadline:
    time.sleep(0.02)


def _environment(world, home, worker):
  return {
    'HOME': home, 'HOSTNAME': f't1v-w-{worker}', 'FAKE_GCLOUD': world.folder,
    'PATH': f'{world.folder}/worker-bin:/usr/bin:/bin',
  }


def _shell(world, home, worker, command, lines):
  """Runs a command as sshd does; ends it after some lines, if given. Returns its exit code."""
  import subprocess

  environment = _environment(world, home, worker)
  process = subprocess.Popen(
    ['sh', '-c', command], cwd=home, env=environment, stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE, text=True, start_new_session=True,
  )
  if lines == 0:
    process.communicate()
    return 255
  for number, line in enumerate(process.stdout, 1):
    print(line, end='', flush=True)
    if number == lines:
      process.kill()
      os.killpg(process.pid, _SIGKILL)
      return 255
  return process.wait()


def main(arguments):
  world = World(os.environ['FAKE_GCLOUD'])
  with open(os.path.join(world.folder, 'calls.jsonl'), 'a', encoding='utf-8') as file:
    file.write(json.dumps(arguments) + '\n')
  try:
    group, verb, words, flags = parse(arguments)
    world.fail_if_told(f'{group} {verb}')
    code = 0
    if verb == 'create':
      create(world, group, words[0], flags)
    elif verb == 'describe':
      describe(world, group, words[0], flags)
    elif verb == 'delete':
      delete(world, group, words[0], flags)
    elif verb == 'scp':
      code = scp(world, words, flags)
    elif verb == 'ssh':
      code = ssh(world, words[0], flags)
    else:
      raise Fault(f'the stand-in has no {verb}')
  except Fault as fault:
    world.save()
    place = '.'.join(['gcloud', *arguments[:4]])
    print(f'ERROR: ({place}) {fault}', file=sys.stderr)
    return fault.code
  world.save()
  return code


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))

"""TPU VMs and queued resources: looking at them, creating and deleting them."""
from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable

from tpu_utils import files
from tpu_utils.errors import one_line
from tpu_utils.launching import accelerators, gcloud
from tpu_utils.launching.failures import GcloudError
from tpu_utils.launching.settings import TpuConfig

ABSENT, WAITING, READY, LOST, FAILED, STOPPED = (
  'absent', 'waiting', 'ready', 'lost', 'failed', 'stopped',
)  # fmt: skip
# States of a node, API v2; others (CREATING, STARTING, RESTARTING, REIMAGING, REPAIRING, HIDING,
# HIDDEN, UNHIDING, UNKNOWN and ones that come later) change by themselves.
_NODE = {
  'READY': READY, 'PREEMPTED': LOST, 'TERMINATED': LOST, 'STOPPED': STOPPED, 'STOPPING': WAITING,
  'DELETING': WAITING,
}  # fmt: skip
# States of a queued resource; others (ACCEPTED, WAITING_FOR_RESOURCES, CREATING, PROVISIONING,
# SUSPENDING, DELETING) change by themselves.
_QUEUE = {'ACTIVE': READY, 'FAILED': FAILED, 'SUSPENDED': LOST}
NODELESS = 'without its TPU VM'
_DESCRIBE_SECONDS = 120
_REMINDER_SECONDS = 600  # Between lines about a TPU that is waited for.


@dataclasses.dataclass(frozen=True)
class Found:
  """A TPU as the service describes it.

  Attributes:
    state: READY and the others above.
    named: the service's own word ('PREEMPTED').
    costs: whether it is paid for now.
    hosts: number of workers; 0 if unknown.
    detail: further words of the service.
  """

  state: str
  named: str
  costs: bool = False
  hosts: int = 0
  detail: str = ''


class Machine:
  """The TPU of a launch: a TPU VM, or a queued resource with a TPU VM of the same name.

  Attributes:
    name: its name.
    title: 'TPU VM NAME' or 'queued resource NAME', for messages.
    accelerator: its type.
  """

  def __init__(self, config: TpuConfig, cloud: gcloud.Gcloud):
    self._config = config
    self._cloud = cloud
    self.name = config.name
    self.title = f'{"queued resource" if config.queued else "TPU VM"} {config.name}'
    self.accelerator = accelerators.parse(config.accelerator_type)

  # ---- Commands

  def describe_command(self) -> list[str]:
    """Returns the command that describes the TPU VM."""
    return self._cloud.command(gcloud.TPU_VM, 'describe', self.name, '--format=json')

  def describe_queued_command(self) -> list[str]:
    """Returns the command that describes the queued resource."""
    return self._cloud.command(gcloud.QUEUED, 'describe', self.name, '--format=json')

  def create_command(self) -> list[str]:
    """Returns the command that creates the TPU."""
    config = self._config
    version = config.runtime_version or self.accelerator.runtime_version
    options = [f'--accelerator-type={self.accelerator.name}']
    options += ['--spot'] * config.spot + ['--reserved'] * config.reserved
    options += [f'--network={config.network}'] if config.network else []
    options += [f'--subnetwork={config.subnetwork}'] if config.subnetwork else []
    options += ['--internal-ips'] * config.internal_ip
    if not config.queued:
      return self._cloud.command(
        gcloud.TPU_VM, 'create', self.name, f'--version={version}', *options
      )
    if config.valid_until:
      options.append(f'--valid-until-duration={config.valid_until}')
    return self._cloud.command(
      gcloud.QUEUED, 'create', self.name, f'--node-id={self.name}', f'--runtime-version={version}',
      *options, '--async',
    )  # fmt: skip

  def delete_command(self) -> list[str]:
    """Returns the command that deletes the TPU and, with it, all that costs."""
    if self._config.queued:
      return self._cloud.command(gcloud.QUEUED, 'delete', self.name, '--force')
    return self._cloud.command(gcloud.TPU_VM, 'delete', self.name)

  # ---- What they say and do

  def find(self) -> Found:
    """Looks at the TPU.

    Raises:
      ValueError: it cannot be described, or is of another type than asked for.
    """
    if self._config.queued:
      queued = self._describe(self.describe_queued_command())
      if queued is None:
        return Found(ABSENT, 'absent')
      named, detail = _queue_state(queued)
      state = _QUEUE.get(named, WAITING)
      if state != READY:
        # While it is suspended, its node may still be there and be paid for.
        return Found(state, named, costs=named in ('PROVISIONING', 'SUSPENDING'), detail=detail)
    node = self._describe(self.describe_command())
    if node is None:
      # The node of an active request was deleted: the request has to go, too.
      return Found(LOST, NODELESS) if self._config.queued else Found(ABSENT, 'absent')
    self._check_type(node)
    named = str(node.get('state', 'UNKNOWN'))
    return Found(
      _NODE.get(named, WAITING),
      named,
      costs=named not in ('PREEMPTED', 'TERMINATED', 'STOPPED'),
      hosts=len(node.get('networkEndpoints') or ()),
      detail=str(node.get('healthDescription') or ''),
    )

  def _describe(self, command):
    """Returns the description as a dict; None if there is no such thing."""
    try:
      text = self._cloud.call(f'Looking for the {self.title}', command, _DESCRIBE_SECONDS)
    except GcloudError as error:
      if error.failure.kind == 'absent':
        return None
      raise
    try:
      found = files.parse_json(text)
    except ValueError as error:
      raise ValueError(
        f'{shlex.join(command)}: expected JSON, found {text[:60]!r} ({one_line(error)}); update '
        'gcloud with: gcloud components update'
      ) from None
    return found if isinstance(found, dict) else {}

  def _check_type(self, node):
    found = str(node.get('acceleratorType', '')).rpartition('/')[2]
    if found and found != self.accelerator.name:
      raise ValueError(
        f'The {self.title} exists and is a {found}, and --accelerator_type={self.accelerator.name} '
        f'asks for another; give another --name, or delete it: {shlex.join(self.delete_command())}'
      )

  def create(self) -> bool:
    """Creates the TPU; returns False if there is one of this name already.

    Raises:
      GcloudError: it cannot be created.
    """
    result = self._cloud.run(self.create_command())
    if not result.code:
      return True
    failure = self._cloud.failure(f'Creating the {self.title}', result)
    if failure.kind == 'exists':
      return False
    raise GcloudError(failure)

  def delete(self) -> None:
    """Deletes the TPU; does nothing if it is gone.

    Raises:
      GcloudError: it cannot be deleted.
    """
    try:
      self._cloud.call(f'Deleting the {self.title}', self.delete_command())
    except GcloudError as error:
      if error.failure.kind != 'absent':
        raise

  def wait(
    self,
    until: Callable[[Found], bool],
    say: Callable[[str], None],
    sleep: Callable[[], None],
    now: Callable[[], float],
  ) -> Found:
    """Looks at the TPU until a condition holds; says each new state, and later how long it lasts.

    Args:
      until: the condition.
      say: shows a line.
      sleep: waits until the next look.
      now: returns the time, seconds.
    """
    named, since, said = '', now(), now()
    while True:
      found = self.find()
      if until(found):
        return found
      if found.named != named:
        named, since, said = found.named, now(), now()
        say(f'The {self.title} is {named}{f" ({found.detail})" if found.detail else ""}.')
      elif now() - said >= _REMINDER_SECONDS:
        said = now()
        say(f'The {self.title} is {named} for {(said - since) / 60:.0f} minutes.')
      sleep()


def _queue_state(queued):
  """Returns (state, the service's reason) of a described queued resource."""
  state = queued.get('state') or {}
  if not isinstance(state, dict):
    return str(state), ''
  reason = ((state.get('failedData') or {}).get('error') or {}).get('message', '')
  return str(state.get('state', 'UNKNOWN')), str(reason)

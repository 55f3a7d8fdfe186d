"""Settings of the launcher; each class is a group of flags."""
from __future__ import annotations

import dataclasses
import re

from tpu_utils.command_line.settings import Checked, setting


def _name(name: str, value: str) -> None:
  """Checks a name of a TPU: what gcloud allows is safe in every shell and path, too."""
  if not re.fullmatch(r'[a-z]([-a-z0-9]{0,61}[a-z0-9])?', value):
    raise ValueError(
      f'Wrong {name} {value!r}: expected lower-case letters, digits and hyphens, at most 63, a '
      'letter first, such as my-tpu.'
    )


def _plain(name: str, value: str) -> None:
  """Checks a value that becomes part of a file name."""
  if not re.fullmatch(r'[\w.:-]+', value):
    raise ValueError(f'Wrong {name} {value!r}: expected letters, digits, hyphens and dots.')


def _duration(name: str, value: str) -> None:
  if not re.fullmatch(r'(\d+[dhms])+', value):
    raise ValueError(f'Wrong {name} {value!r}: expected a duration such as 90m, 6h or 1d12h.')


@dataclasses.dataclass(frozen=True)
class TpuConfig(Checked):
  """The TPU."""

  name: str = setting(
    'tpu-job',
    'Name of the TPU VM (and of its queued resource). The launcher remembers the job under this '
    'name: the same command reattaches to it.',
    check=_name,
  )
  accelerator_type: str = setting(
    'v3-8', 'Type and size, as gcloud names them: v3-8 (cores), v5litepod-8 (chips), ...'
  )
  zone: str = setting(None, 'Zone of the TPU, such as europe-west4-a. Needed.', type=str,
                      check=_plain)
  project: str = setting(
    None, "Google Cloud project; by default gcloud's own.", type=str, check=_plain
  )
  runtime_version: str = setting(
    None, 'Image of the TPU VM; by default the one without a TensorFlow for the type.', type=str,
    check=_plain,
  )
  queued: bool = setting(
    False, 'Ask for a queued resource, which waits in line until the zone has a free TPU.'
  )
  valid_until: str = setting(
    None, 'With --queued: give up waiting in line after this time, such as 6h.', type=str,
    check=_duration,
  )
  spot: bool = setting(
    False, 'Take a spot TPU: cheaper, and taken away at any time. The job resumes on a new one.'
  )
  reserved: bool = setting(False, 'Use a reservation of the project.')
  network: str = setting(
    None, 'Network of the TPU VM; by default `default`.', type=str, check=_plain
  )
  subnetwork: str = setting(None, 'Subnetwork of the TPU VM.', type=str, check=_plain)
  internal_ip: bool = setting(
    False, 'Create the TPU VM without external addresses, and connect from inside its network.'
  )
  capacity_hours: float = setting(
    24.0,
    'Hours to try again while the zone has no free TPU, without --queued. Waiting costs nothing.',
    at_least=0,
  )


@dataclasses.dataclass(frozen=True)
class JobConfig(Checked):
  """The job."""

  preflight: bool = setting(
    True,
    'First run the script with --mode=preflight here: the TPU compiler says, without a TPU, '
    'whether the step fits. Needs the extra [preflight].',
  )
  preflight_topology: str = setting(
    None, "Topology for the preflight; by default that of --accelerator_type, such as v5e:2x4.",
    type=str,
  )
  package: str = setting(
    '',
    'Wheel or sdist of this project to install; by default the last commit of the clone that this '
    'program runs from.',
  )
  requirements: str = setting(
    '', "Requirements to install on the TPU VM; by default the clone's requirements-tpu.txt."
  )
  processes: str = setting(
    'all',
    'On a slice with several hosts. all: a process on each with --tpu=local. first: one process on '
    'worker 0 with --tpu=NAME, the way of the images tpu-vm-tf-...-pod, whose hosts run TensorFlow '
    'servers.',
    choices=('all', 'first'),
  )
  max_restarts: int = setting(
    5, 'Times to start the job again after it was killed on a TPU that is still there.', at_least=0
  )
  max_preemptions: int = setting(
    100, 'Times to create the TPU again after it was taken away.', at_least=0
  )
  replace: bool = setting(
    False, 'Stop the unfinished job that the launcher remembers under --name, and start this one.'
  )


@dataclasses.dataclass(frozen=True)
class EndConfig(Checked):
  """Results, costs and the end."""

  collect_dir: str = setting(
    '', 'Local folder for the logs and --collect; by default runs/launch/NAME.'
  )
  collect: str = setting(
    '', 'Paths on worker 0 to copy at the end, separated by commas, relative to the job. A '
    '--model_dir on the TPU VM is copied in any case.',
  )
  delete: bool = setting(
    False, 'Delete the TPU at the end, without asking: also after a failed job, not after Ctrl-C.'
  )
  price_per_core_hour: float = setting(
    None, 'Price of a TensorCore for an hour, in your currency, for the cost lines.', type=float,
    at_least=0,
  )
  hours: float = setting(
    None, 'Expected hours, for the estimate before the start.', type=float, at_least=0
  )


@dataclasses.dataclass(frozen=True)
class HowConfig(Checked):
  """How the launcher works."""

  dry_run: bool = setting(
    False, 'Print every command, ready for a shell, and run none. Nothing is created.'
  )
  poll_seconds: float = setting(
    30.0, 'Seconds between looks at a TPU that is being created, and before reconnections.',
    at_least=0,
  )
  check_seconds: float = setting(
    120.0, 'Seconds between looks at all workers while the log is shown.', at_least=0
  )
  reconnections: int = setting(
    20, 'Failed connections in a row to a TPU that is ready, before the launcher gives up.',
    at_least=1,
  )
  state_dir: str = setting(
    '', 'Local folder in which the launcher remembers its jobs; by default ~/.tpu_launch.'
  )


GROUPS = (TpuConfig, JobConfig, EndConfig, HowConfig)


@dataclasses.dataclass(frozen=True)
class Order:
  """All that a launch was asked for.

  Attributes:
    tpu, job, end, how: the settings.
    script: module to run ('efficientnet.main').
    flags: its flags.
  """

  tpu: TpuConfig
  job: JobConfig
  end: EndConfig
  how: HowConfig
  script: str
  flags: tuple[str, ...] = ()

  def flag(self, name: str) -> str | None:
    """Returns the value that the script's flags give to `name`, the last one; None without."""
    value = None
    for place, text in enumerate(self.flags):
      flag, equals, rest = text.lstrip('-').partition('=')
      if text.startswith('-') and flag == name:
        following = self.flags[place + 1 : place + 2]
        value = rest if equals else ''.join(following)
    return value


def check(order: Order) -> None:
  """Checks settings against each other.

  Raises:
    ValueError: they do not fit together.
  """
  if not order.tpu.zone:
    raise ValueError(
      '--zone is needed, such as --zone=europe-west4-a; `gcloud compute tpus locations list` lists '
      'the zones with TPUs.'
    )
  if not re.fullmatch(r'[A-Za-z_][\w.]*', order.script):
    raise ValueError(
      f'{order.script!r}: expected a main script such as efficientnet.main, then `--` and its '
      'flags.'
    )
  if order.tpu.spot and order.tpu.reserved:
    raise ValueError('--spot and --reserved exclude each other; give one of them.')
  if order.tpu.valid_until and not order.tpu.queued:
    raise ValueError('--valid_until is the time that a queued resource waits; add --queued.')

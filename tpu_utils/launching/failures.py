"""Failures of gcloud: from its messages to one line with the remedy."""
import dataclasses
import re

_EXIT_USAGE = 2  # gcloud's exit code for wrong arguments.


@dataclasses.dataclass(frozen=True)
class Failure:
  """A failed gcloud command.

  Attributes:
    kind: name of the row of `_KINDS`, or 'other'.
    message: one line: what gcloud said, and the remedy.
    retry: whether the same command may succeed later.
  """

  kind: str
  message: str
  retry: bool


class GcloudError(ValueError):
  """A gcloud command failed in a way that the user can correct."""

  def __init__(self, failure: Failure):
    super().__init__(failure.message)
    self.failure = failure


# (kind, pattern of gcloud's message, remedy, whether to try again); the first match counts. The
# order matters: a missing location also says PERMISSION_DENIED, and both a quota and a full zone
# say RESOURCE_EXHAUSTED.
_KINDS = (
  # First: the user's own names are in this message.
  ('absent', r"(nodes|queuedResources)/\S+ (was )?not found", 'it does not exist', False),
  (
    'not_logged_in',
    r'do not currently have an active account|UNAUTHENTICATED|refreshing your current auth tokens|'
    r'[Rr]eauthentication|invalid_grant|invalid authentication credentials',
    'log in with: gcloud auth login',
    False,
  ),
  (
    'no_project',
    r'required property \[project\]|Project .*(not found|does not exist)|CONSUMER_INVALID|'
    r'USER_PROJECT_DENIED|Invalid value for \[project\]',
    'give --project=ID; `gcloud projects list` shows those that you may use',
    False,
  ),
  (
    'billing',
    r'BILLING_DISABLED|[Bb]illing (account|must be enabled|to be enabled)',
    'link the project to a billing account: https://console.cloud.google.com/billing',
    False,
  ),
  (
    'api_disabled',
    r'SERVICE_DISABLED|has not been used in project|API \[.*\] not enabled|it is disabled',
    'enable the API with: gcloud services enable tpu.googleapis.com{project}',
    False,
  ),
  (
    'no_zone',
    r"on 'locations/|Location \S+ is not found|[Zz]one '?[\w-]+'? (does not exist|was not found)|"
    r'Invalid value for \[?--?zone',
    'choose a zone with TPUs: `gcloud compute tpus locations list{project}` lists those open to '
    'this project',
    False,
  ),
  (
    'no_accelerator',
    r'(?i)accelerator.?type.*(not found|not available|not supported|unsupported|invalid|unknown)|'
    r'(not found|invalid|unsupported|unknown)[^\n]*accelerator.?type',
    'this zone lacks the type: `gcloud compute tpus accelerator-types list --zone={zone}{project}` '
    'lists its types; choose another --zone or --accelerator_type',
    False,
  ),
  (
    'no_runtime',
    r'(?i)(runtime|software|tensorflow).?version.*(not found|not available|not supported|invalid)|'
    r'(not found|invalid)[^\n]*(runtime|software|tensorflow).?version',
    'give --runtime_version; `gcloud compute tpus tpu-vm versions list --zone={zone}{project}` '
    'lists them',
    False,
  ),
  (
    'permission',
    r'PERMISSION_DENIED|[Pp]ermission denied on|does not have permission|Required .*permission',
    'ask an owner of the project for the roles roles/tpu.admin and roles/iam.serviceAccountUser '
    '(ssh needs roles/compute.viewer, too)',
    False,
  ),
  (
    'quota',
    r'(?i)quota',
    'ask for more at https://console.cloud.google.com/iam-admin/quotas (service: Cloud TPU API), '
    'or try the other of --spot and --nospot, whose quotas differ, or another --zone',
    False,
  ),
  (
    'capacity',
    r'(?i)no more capacity|not have enough resources|insufficient (reserved )?capacity|'
    r'stockout|RESOURCE_POOL_EXHAUSTED|RESOURCE_EXHAUSTED|"code": 8\b',
    'the zone has no free TPU of this type; --queued waits in line for one, or choose another '
    '--zone',
    True,
  ),
  ('exists', r'ALREADY_EXISTS|already exists', 'it is used as it is', False),
  (
    'terminal',
    r'terminal state|has state "?(DELETING|STOPP)',
    'the TPU cannot be used any more',
    False,
  ),
  (
    'ssh_agent',
    r'not present in the SSH agent',
    'several workers need the key in an ssh agent: eval "$(ssh-agent)" && ssh-add '
    '~/.ssh/google_compute_engine',
    False,
  ),
  ('absent', r'NOT_FOUND|was not found', 'it does not exist', False),
  (
    'network',
    r'(?i)UNAVAILABLE|INTERNAL\b|DEADLINE_EXCEEDED|unable to find the server|could not resolve|'
    r'network is unreachable|connection (reset|refused|aborted|timed out)|ConnectionError|'
    r'TransportError|SSLError|timed? ?out|HTTPError 50|rate ?limit',
    'the network or the service failed; it is tried again',
    True,
  ),
  (
    'usage',
    r'unrecognized arguments|argument --\S+: |Invalid choice|Must be specified',
    'this gcloud does not know the arguments; update it with: gcloud components update',
    False,
  ),
)  # fmt: skip
KINDS = tuple(dict.fromkeys(kind for kind, *_ in _KINDS))


def classify(action: str, code: int, error: str, zone: str, project: str | None) -> Failure:
  """Describes a failed gcloud command.

  Args:
    action: what it was to do, for the message: 'Creating the TPU VM t'.
    code: gcloud's exit code.
    error: its standard error.
    zone: --zone, for the remedy.
    project: --project, or None for gcloud's own default.
  """
  said = _said(error) or f'exit code {code}, no message'
  for kind, pattern, remedy, retry in _KINDS:
    # Two facts that no message changes: wrong arguments, and a connection that broke.
    if (kind == 'usage') if code == _EXIT_USAGE else re.search(pattern, error):
      remedy = remedy.format(zone=zone, project=f' --project={project}' if project else '')
      return Failure(kind, f'{action} failed: {said}; {remedy}.', retry)
  return Failure('other', f'{action} failed: {said}.', False)


def _said(error):
  """Returns gcloud's message as one line, without its lists of details."""
  _, marked, message = error.rpartition('ERROR: ')
  lines = []
  for line in (message if marked else error).splitlines():
    if lines and re.match(r"\s*- '@type'|\s*To search|\s*Usage:|\s*Learn more", line):
      break
    if line.strip() and line.strip() not in lines:
      lines.append(line.strip())
  text = re.sub(r'^\([\w.-]+\) ', '', ' '.join(lines))
  return (text[:400] + ' ...' if len(text) > 400 else text).rstrip('.;')

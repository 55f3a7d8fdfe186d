"""Failures of gcloud; messages as gcloud 450 to 540 prints them, from public reports."""
import pytest

from tests.tpu_utils.launching import fake_gcloud
from tpu_utils.launching import failures

_CREATE = 'ERROR: (gcloud.compute.tpus.tpu-vm.create) '
# (kind, standard error).
MESSAGES = [
  ('not_logged_in', 'ERROR: (gcloud.compute.tpus.tpu-vm.describe) There was a problem refreshing '
   'your current auth tokens: Reauthentication failed.'),
  ('not_logged_in', 'ERROR: (gcloud.x) UNAUTHENTICATED: Request had invalid authentication '
   'credentials.'),
  ('no_project', f'{_CREATE}PERMISSION_DENIED: Project \'x\' not found or deleted.\n'
   "- '@type': x\n  reason: USER_PROJECT_DENIED"),
  ('api_disabled', f'{_CREATE}API [tpu.googleapis.com] not enabled on project [1].'),
  ('no_zone', f"{_CREATE}PERMISSION_DENIED: Permission denied on 'locations/us-central2-b' (or it "
   'may not exist). This command is authenticated as u@x.y'),
  ('no_zone', f'{_CREATE}NOT_FOUND: Location us-x9 is not found or access is unauthorized.'),
  ('no_accelerator', f'{_CREATE}INVALID_ARGUMENT: Unsupported accelerator type "v4-8" in zone x'),
  ('no_runtime', f'{_CREATE}INVALID_ARGUMENT: Invalid runtime version "x"'),
  ('permission', f"{_CREATE}PERMISSION_DENIED: Permission 'tpu.nodes.create' denied on resource "
   "'//tpu.googleapis.com/projects/p/locations/z'"),
  ('quota', f"{_CREATE}Quota limit 'TPUV6EPreemptiblePerProjectPerRegionForTPUAPI' has been "
   'exceeded. Limit: 0 in region us-east5.'),
  ('quota', f'{_CREATE}{{\n  "code": 8,\n  "message": "Quota exceeded for quota metric"\n}}'),
  ('capacity', f'{_CREATE}{{\n  "code": 8,\n  "message": "There is no more capacity in the zone '
   '\\"us-central1-b\\"; you can try in another zone"\n}'),
  ('capacity', f'{_CREATE}Insufficient reserved capacity. Contact customer support to increase '
   'your reservation. [EID: 0x7adf]'),
  ('capacity', f'{_CREATE}RESOURCE_EXHAUSTED: x'),
  ('exists', f"{_CREATE}ALREADY_EXISTS: Resource 'projects/p/locations/z/nodes/t' already exists"),
  ('terminal', 'ERROR: (gcloud.compute.tpus.tpu-vm.ssh) This TPU has terminal state "PREEMPTED", '
   'so it cannot be used anymore.'),
  ('absent', "ERROR: (gcloud.x) NOT_FOUND: Resource 'projects/p/locations/z/nodes/zone-quota' was "
   'not found'),
  ('absent', 'ERROR: (gcloud.x) NOT_FOUND: Requested entity was not found.'),
  ('network', 'ERROR: gcloud crashed (ConnectionError): (Connection aborted.)'),
  ('network', 'ERROR: (gcloud.x) There was a problem: Unable to find the server at '
   'tpu.googleapis.com'),
  ('other', 'ERROR: (gcloud.x) Something new.'),
]  # fmt: skip


@pytest.mark.parametrize('kind, said', MESSAGES, ids=[str(n) for n in range(len(MESSAGES))])
def test_messages(kind, said):
  found = failures.classify('Creating t', 1, said, 'us-x1-a', 'proj')
  assert found.kind == kind
  assert found.message.startswith('Creating t failed: ') and '\n' not in found.message
  assert '(gcloud' not in found.message and '@type' not in found.message
  assert found.retry == (kind in ('capacity', 'network'))


def test_remedies_name_the_zone_and_the_project():
  found = failures.classify('X', 1, 'accelerator type v9 not found', 'us-x1-a', 'proj')
  assert 'accelerator-types list --zone=us-x1-a --project=proj`' in found.message
  found = failures.classify('X', 1, 'accelerator type v9 not found', 'us-x1-a', None)
  assert 'accelerator-types list --zone=us-x1-a`' in found.message


def test_wrong_arguments_are_known_by_the_exit_code():
  said = ('ERROR: (gcloud.x) unrecognized arguments: \n  --quota=1 \n\nTo search the help text, '
          'run:\n  gcloud help')
  found = failures.classify('X', 2, said, 'z', None)
  assert found.kind == 'usage'
  assert found.message.startswith('X failed: unrecognized arguments: --quota=1; this gcloud does')


@pytest.mark.parametrize('said', ['', 'Killed', 'a\n' * 1000])
def test_strange_endings_are_one_line(said):
  message = failures.classify('X', 1, said, 'z', None).message
  assert '\n' not in message and len(message) < 600


def test_every_kind_has_a_message():
  tested = {kind for kind, _ in MESSAGES}
  assert set(failures.KINDS) - tested <= {'billing', 'ssh_agent', 'usage'}  # In launch_test.py.


@pytest.mark.parametrize('words, message', [
  ('tpu-vm create t --zone=z --version=v --acelerator-type=v3-8', 'unrecognized arguments'),
  ('tpu-vm create t --zone=z', 'argument --version: Must be specified.'),
  ('tpu-vm create --zone=z --version=v', 'Must be specified'),
  ('tpu-vm delete t --zone=z --force', 'unrecognized arguments'),
  ('tpu-vm describe t --zone', 'argument --zone: expected one argument'),
  ('tpu-vm describe t', 'attribute [zone]'),
  ('tpu-vm restart t --zone=z', 'Invalid choice'),
  ('queued-resources create q --zone=z --runtime-version=v', 'Exactly one of (--node-count'),
  ('queued-resources create q --zone=z --version=v --node-id=n', 'unrecognized arguments'),
])  # fmt: skip
def test_the_stand_in_is_as_strict_as_gcloud(words, message):
  with pytest.raises(fake_gcloud.Fault) as fault:
    fake_gcloud.parse(['compute', 'tpus', *words.split()])
  assert message in str(fault.value)

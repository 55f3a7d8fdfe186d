"""Launches on a fake cloud in which something fails; the table in the folder's README lists it."""
import re
import signal
import subprocess

import pytest

from tests.script_jobs import finish, wait_for
from tests.tpu_utils.launching.clouds import (
  GS,
  JOB,
  ZONE,
  cloud_fixture,  # noqa: F401  # By its name, `cloud`.
  run,
)
from tpu_utils.launching import launcher

pytestmark = pytest.mark.slow

LONG = pytest.mark.long


# ---- Interruptions


def test_a_preempted_job_resumes_on_another_tpu(cloud, capsys):
  cloud.scenario(events=[{'contains': 'follow job', 'do': 'preempt', 'lines': 1}])
  cloud.job('echo life $life; [ $life = 1 ] && until_file never; echo resumed')
  run(cloud, '--spot', '--delete', *JOB)
  printed = capsys.readouterr().out
  assert 'The TPU VM t is PREEMPTED. It was taken away (time 1); the job resumes' in printed
  assert re.findall('life .', printed) == ['life 1', 'life 2']
  verbs = [call.split()[3] for call in cloud.calls('tpu-vm')]
  assert [verb for verb in verbs if verb in ('create', 'delete')] == ['create', 'delete'] * 2
  assert cloud.exists() == []


def test_a_tpu_that_somebody_deletes_is_replaced(cloud, capsys):
  cloud.scenario(events=[{'contains': 'follow job', 'do': 'vanish', 'lines': 1}])
  cloud.job('echo life $life; [ $life = 1 ] && until_file never; echo resumed')
  run(cloud)
  assert 'The TPU VM t is absent. It was taken away (time 1)' in capsys.readouterr().out
  assert cloud.exists() == []


def test_preemptions_are_bounded(cloud, capsys):
  cloud.scenario(events=[{'contains': 'follow job', 'do': 'preempt', 'lines': 1, 'times': 9}])
  cloud.job('echo 1; until_file never')
  with pytest.raises(ValueError, match='was taken away 2 times; run the same command again'):
    run(cloud, '--max_preemptions=1', *JOB)
  assert cloud.exists() == []
  assert capsys.readouterr().out.endswith('Nothing of this launch is running or costs money.\n')


@pytest.mark.parametrize('do', ['drop', 'repeat'])
def test_a_dropped_connection_loses_and_repeats_no_line(cloud, capsys, do):
  cloud.scenario(events=[{'contains': 'follow job', 'do': do, 'lines': 2, 'touch': 'go'}])
  cloud.job('echo 1; echo 2; until_file go; printf "bar 1\\rbar 2\\r\\n"; echo 3')
  run(cloud)
  printed = capsys.readouterr().out
  assert '\n1\n2\n' in printed and printed.count('\n2\n') == 1
  assert '\nbar 2\n3\n' in printed
  assert ('The connection to the TPU VM t was lost; the job goes on.' in printed) == (do == 'drop')
  assert (cloud.home() / 'starts').read_text() == '1\n'


@pytest.mark.parametrize('contains', [
  'mkdir', 'start job', pytest.param('start install', marks=LONG),
  pytest.param('follow install', marks=LONG),
])  # fmt: skip
def test_refused_connections_are_tried_again(cloud, contains):
  cloud.scenario(events=[{'contains': contains, 'do': 'refuse', 'times': 2}])
  run(cloud)
  assert (cloud.home() / 'starts').read_text() == '1\n'
  assert cloud.exists() == []


def test_a_connection_that_drops_after_the_start_starts_nothing_twice(cloud):
  cloud.scenario(events=[{'contains': 'start job', 'do': 'drop', 'lines': 0}])
  run(cloud)
  assert len(cloud.calls('start job')) == 2
  assert (cloud.home() / 'starts').read_text() == '1\n'


def test_workers_that_never_answer_end_the_launch(cloud, capsys):
  cloud.scenario(events=[{'contains': 'mkdir', 'do': 'refuse', 'times': 99}])
  with pytest.raises(ValueError, match='is READY, and 3 attempts to reach its workers failed; run'):
    run(cloud, '--reconnections=3', *JOB)
  assert 'STILL THERE, AND IT COSTS MONEY' in capsys.readouterr().out


def test_a_killed_job_starts_again(cloud, capsys):
  cloud.scenario(events=[{'contains': 'follow job', 'do': 'kill', 'worker': 0}])
  cloud.job('echo start $starts; [ $starts = 1 ] && until_file never; echo resumed')
  run(cloud)
  printed = capsys.readouterr().out
  assert 'The job was stopped (t1v-w-0: lost) and is started again, time 1.' in printed
  assert 'start 2\nresumed' in printed


def test_a_job_that_saved_and_stopped_starts_again(cloud):
  cloud.job('[ $starts = 1 ] && exit 143; exit 0')
  run(cloud)
  assert (cloud.home() / 'starts').read_text() == '2\n'


def test_restarts_are_bounded(cloud):
  cloud.job('kill -9 $$')
  with pytest.raises(ValueError, match=r'was killed 2 times \(t1v-w-0: exit code 137; 137 is'):
    run(cloud, '--max_restarts=1', *JOB)
  assert (cloud.home() / 'starts').read_text() == '2\n'


@pytest.mark.parametrize('delete', [True, False])
def test_a_job_that_fails_is_not_repeated(cloud, capsys, delete):
  cloud.job('echo Error: no such data; exit 3')
  with pytest.raises(ValueError, match=r'The job failed \(t1v-w-0: exit code 3\); the end of its'):
    run(cloud, *(['--delete'] if delete else []), *JOB)
  assert '\nError: no such data\n' in capsys.readouterr().out
  assert (cloud.folder / 'collected/worker-0.log').read_text() == 'Error: no such data\n'
  assert cloud.exists() == ([] if delete else ['t'])


def test_results_that_cannot_be_copied_keep_the_tpu(cloud, capsys):
  (cloud.folder / 'collected').write_text('a file')
  run(cloud)
  printed = capsys.readouterr().out
  assert 'could not be copied' in printed and 'The TPU VM t is kept' in printed
  assert cloud.exists() == ['t']


def test_an_installation_that_fails_is_shown(cloud, capsys):
  (cloud.folder / 'pip-fails').touch()
  with pytest.raises(ValueError, match=r'installation failed \(t1v-w-0: exit code 1\)'):
    run(cloud)
  assert 'exit code 1 of: ' in capsys.readouterr().out
  (cloud.folder / 'pip-fails').unlink()
  run(cloud)
  assert len(cloud.calls('tpu-vm create')) == 1 and cloud.exists() == []


# ---- Several hosts


def test_every_host_runs_the_job(cloud, capsys):
  cloud.scenario(hosts=2)
  run(cloud, '--accelerator_type=v3-32', '--delete', *JOB)
  printed = capsys.readouterr().out
  assert 'v3-32 has 4 hosts; each runs the job with --tpu=local' in printed
  for worker in range(2):
    assert '--tpu=local' in (cloud.home(worker) / 'words').read_text()
    assert (cloud.folder / f'collected/worker-{worker}.log').read_text() == 'step 1\ndone\n'
  assert all('--worker=all' in call for call in cloud.calls('start'))


def test_the_first_host_alone_names_the_tpu(cloud):
  cloud.scenario(hosts=4)
  run(cloud, '--accelerator_type=v3-32', '--processes=first', '--project=p', '--delete', *JOB)
  (call,) = cloud.calls('start job')
  assert 'TPU_LOAD_LIBRARY=0' in call and '--worker=0' in call
  assert '--tpu=t --tpu_zone=europe-west4-a --gcp_project=p' in call
  assert not (cloud.home(1) / 'words').exists()


def test_a_worker_that_dies_restarts_the_job_everywhere(cloud, capsys):
  cloud.scenario(hosts=2, events=[{'contains': 'status job', 'do': 'kill', 'worker': 1}])
  cloud.job('echo start $starts; [ $starts = 1 ] && until_file never; exit 0')
  run(cloud, '--accelerator_type=v3-32', '--check_seconds=0.1', '--delete', *JOB)
  printed = capsys.readouterr().out
  assert 'A worker has ended (t1v-w-1: lost); stopping the others.' in printed
  assert [(cloud.home(w) / 'starts').read_text() for w in range(2)] == ['2\n'] * 2


def test_a_worker_that_fails_ends_the_job_and_shows_its_log(cloud, capsys):
  cloud.scenario(hosts=2)
  cloud.job('case $HOSTNAME in *-1) echo out of disk; exit 5;; esac; until_file never')
  with pytest.raises(ValueError, match=r'The job failed \(t1v-w-1: exit code 5\)'):
    run(cloud, '--accelerator_type=v3-32', '--check_seconds=0.1', '--delete', *JOB)
  assert 'The end of the log of worker 1:\n  out of disk\n' in capsys.readouterr().out
  assert cloud.exists() == []


# ---- Failures of gcloud


CREATE = 'ERROR: (gcloud.compute.tpus.tpu-vm.create) '
FAILURES = {
  'not_logged_in': (
    'ERROR: (gcloud.compute.tpus.tpu-vm.describe) You do not currently have an active account '
    'selected.\nPlease run:\n\n  $ gcloud auth login',
    'gcloud auth login',
  ),
  'api_disabled': (
    f'{CREATE}PERMISSION_DENIED: Cloud TPU API has not been used in project 1 before or it is '
    "disabled. Enable it by visiting https://x then retry.\n- '@type': type.googleapis.com/x\n"
    '  reason: SERVICE_DISABLED',
    'gcloud services enable tpu.googleapis.com',
  ),
  'permission': (
    f"{CREATE}PERMISSION_DENIED: Permission 'tpu.nodes.create' denied on 'projects/p'",
    'roles/tpu.admin',
  ),
  'quota': (
    f"{CREATE}RESOURCE_EXHAUSTED: Quota limit 'TPUV3PreemptiblePerProjectPerZoneForTPUAPI' has "
    'been exceeded. Limit: 0 in zone europe-west4-a.',
    'https://console.cloud.google.com/iam-admin/quotas',
  ),
  'no_project': (
    f'{CREATE}The required property [project] is not currently set.', 'give --project=ID',
  ),
  'billing': (
    f'{CREATE}PERMISSION_DENIED: This API method requires billing to be enabled.',
    'https://console.cloud.google.com/billing',
  ),
  'no_runtime': (
    f'{CREATE}NOT_FOUND: Runtime version "v2-alpha" was not found in zone', 'tpu-vm versions list',
  ),
}  # fmt: skip


@pytest.mark.parametrize('kind', FAILURES)
def test_a_refused_creation_is_one_line_with_the_remedy(cloud, capsys, kind):
  said, remedy = FAILURES[kind]
  verb = 'describe' if 'describe' in said else 'create'
  cloud.scenario(failures=[{'verb': f'tpu-vm {verb}', 'stderr': said.removeprefix(CREATE)}])
  with pytest.raises(ValueError) as error:
    run(cloud, *JOB)
  assert remedy in str(error.value) and '\n' not in str(error.value)
  assert '@type' not in str(error.value)
  assert len(cloud.calls('tpu-vm create')) == (verb == 'create')
  assert capsys.readouterr().out.endswith('Nothing of this launch is running or costs money.\n')


@pytest.mark.parametrize('flags, expected', [
  (['--zone=mars-east1-a'], r'Permission denied on .locations/mars-east1-a.*tpus locations list'),
  (['--accelerator_type=v5litepod-8'], 'accelerator-types list --zone=europe-west4-a'),
])  # fmt: skip
def test_a_zone_without_the_type_is_named(cloud, flags, expected):
  with pytest.raises(ValueError, match=expected):
    run(cloud, *flags, *JOB)
  assert cloud.exists() == []


FULL = ('{\n  "code": 8,\n  "message": "There is no more capacity in the zone \\"europe-west4-a\\";'
        ' you can try in another zone where Cloud TPU Nodes are offered"\n}')


def test_a_full_zone_is_asked_again(cloud, capsys):
  cloud.scenario(failures=[{'verb': 'tpu-vm create', 'stderr': FULL}])
  run(cloud)
  assert 'Trying again for up to 24 hours' in capsys.readouterr().out
  assert len(cloud.calls('tpu-vm create')) == 2 and cloud.exists() == []


@pytest.mark.long
def test_waiting_grows_and_is_reported(cloud, monkeypatch, capsys):
  clock = [0.0]
  sleeps = []

  def sleep(seconds):
    sleeps.append(seconds)
    clock[0] += seconds

  console = launcher.Console(sleep=sleep, now=lambda: clock[0])
  monkeypatch.setattr(launcher, 'terminal', lambda: console)
  cloud.scenario(failures=[{'verb': 'tpu-vm create', 'stderr': FULL, 'times': 7}],
                 nodes=['CREATING'] * 5 + ['READY'])
  run(cloud, '--poll_seconds=300', '--capacity_hours=2', '--delete', *JOB)
  printed = capsys.readouterr().out
  assert sleeps[:8] == [300, 600, 600, 600, 600, 600, 600, 300]
  assert printed.count('no more capacity') == 1
  minutes = re.findall(r'Still none after (\d+) minutes', printed)
  assert minutes == ['5', '15', '25', '35', '45', '55']
  assert 'The TPU VM t is CREATING.\nThe TPU VM t is CREATING for 10 minutes.\n' in printed


def test_a_full_zone_ends_the_launch_in_time(cloud):
  cloud.scenario(failures=[{'verb': 'tpu-vm create', 'stderr': FULL}])
  with pytest.raises(ValueError, match='no more capacity.*--queued waits in line'):
    run(cloud, '--capacity_hours=0', *JOB)


def test_a_network_that_fails_during_the_creation_creates_one_tpu(cloud):
  down = {'verb': 'tpu-vm create', 'stderr': 'UNAVAILABLE: connection reset', 'creates': True}
  cloud.scenario(failures=[down])
  run(cloud)
  assert len(cloud.calls('tpu-vm create')) == 1 and cloud.exists() == []


def test_a_network_that_fails_is_tried_again(cloud):
  down = {'verb': 'tpu-vm describe', 'stderr': 'Unable to find the server at tpu.googleapis.com'}
  cloud.scenario(failures=[{**down, 'times': 3}])
  run(cloud)
  assert cloud.exists() == []


def test_a_key_that_the_agent_lacks_is_reported_at_once(cloud):
  said = ('SSH Key is not present in the SSH agent. Please run "ssh-add /home/u/.ssh/'
          'google_compute_engine" to add it, and try again.')
  cloud.scenario(hosts=2, failures=[{'verb': 'tpu-vm scp', 'stderr': said, 'times': 9}])
  with pytest.raises(ValueError, match='ssh-add'):
    run(cloud, '--accelerator_type=v3-32', *JOB)
  assert len(cloud.calls('scp')) == 1


def test_gcloud_must_be_installed(cloud, monkeypatch):
  monkeypatch.setenv('PATH', '/nowhere')
  with pytest.raises(ValueError, match='gcloud program is not on PATH; install'):
    run(cloud)


def test_wrong_arguments_of_ours_would_be_seen(cloud):
  """The stand-in refuses what gcloud refuses."""
  for words, said in [
    (['create', 't', ZONE], 'argument --version: Must be specified.'),
    (['create', 't', ZONE, '--version=v', '--sport'], 'unrecognized arguments: \n  --sport'),
    (['delete', 't', ZONE, '--force'], 'unrecognized arguments'),
    (['ssh', 't', ZONE, '--worker=all'], 'cannot target multiple workers'),
  ]:
    result = subprocess.run(['gcloud', 'compute', 'tpus', 'tpu-vm', *words], capture_output=True,
                            text=True, check=False)
    assert result.returncode and said in result.stderr


# ---- The launcher itself stops


@pytest.mark.parametrize('contains, created', [
  ('tpu-vm create', 1), ('start job', 1), ('follow job', 1),
  pytest.param('start install', 1, marks=LONG),
])  # fmt: skip
def test_a_killed_launcher_reattaches(cloud, capsys, contains, created):
  """Killed during a command, and again after it: never a second TPU, never a second job."""
  if contains == 'tpu-vm create':
    cloud.scenario(failures=[{'verb': contains, 'stderr': 'x', 'creates': True, 'code': 0}])
  event = {'contains': contains, 'do': 'signal', 'number': signal.SIGKILL, 'touch': 'go'}
  if contains != 'tpu-vm create':
    cloud.scenario(events=[{**event, 'lines': 1}])
  cloud.job('echo step 1; until_file go; echo done')
  process = cloud.start(*cloud.flags(), '--delete', *JOB)
  if contains == 'tpu-vm create':
    wait_for(cloud.exists, process)
    process.kill()
  code, *_ = finish(process)
  assert code == -signal.SIGKILL
  assert cloud.exists() == ['t']
  cloud.scenario()
  if contains == 'tpu-vm create':
    cloud.job('echo step 1; echo done')
  run(cloud)
  assert 'done\n' in capsys.readouterr().out
  assert len(cloud.calls('tpu-vm create')) == created
  assert (cloud.home() / 'starts').read_text() == '1\n'
  assert cloud.exists() == []


@pytest.mark.parametrize('number, code', [
  (signal.SIGINT, 130), (signal.SIGTERM, 143), pytest.param(signal.SIGHUP, 143, marks=LONG),
])  # fmt: skip
def test_an_interrupted_launcher_says_what_runs(cloud, number, code):
  cloud.job('echo step 1; until_file go; echo done')
  process = cloud.start(*cloud.flags(), *JOB)
  wait_for(lambda: (cloud.home() / 'starts').exists(), process)
  process.send_signal(number)
  found, out, err = finish(process)
  assert found == code and 'Traceback' not in err
  assert 'STILL THERE, AND IT COSTS MONEY: the TPU VM t' in out
  assert 'The job goes on there. The same command follows it again.' in out
  assert 'gcloud compute tpus tpu-vm delete t' in out
  assert cloud.exists() == ['t']
  (cloud.home() / 'go').touch()
  run(cloud)
  assert (cloud.home() / 'starts').read_text() == '1\n'


def test_a_finished_job_is_collected_and_deleted_not_repeated(cloud, capsys):
  run(cloud, *JOB)
  run(cloud)
  printed = capsys.readouterr().out
  assert 'This job is done already; --replace would run it again.' in printed
  assert (cloud.home() / 'starts').read_text() == '1\n' and cloud.exists() == []


def test_a_second_job_on_the_same_tpu_installs_nothing_again(cloud):
  run(cloud, *JOB)
  run(cloud, 'resnext.main', '--', GS)
  assert len(cloud.calls('start install')) == 1
  assert 'resnext.main' in (cloud.home() / 'words').read_text()


def _interrupt(cloud):
  """Leaves an unfinished job on the TPU."""
  cloud.scenario(events=[{'contains': 'follow job', 'do': 'refuse', 'times': 99}])
  with pytest.raises(ValueError):
    run(cloud, '--reconnections=1', *JOB)
  cloud.scenario()


def test_an_unfinished_job_is_not_forgotten(cloud, capsys):
  cloud.job('case "$*" in *resnext*) exit 0;; esac; until_file never')
  _interrupt(cloud)
  with pytest.raises(ValueError, match='an unfinished job is remembered.*--replace it'):
    run(cloud, 'resnext.main', '--', GS)
  assert 'STILL THERE' in capsys.readouterr().out
  run(cloud, '--replace', '--delete', 'resnext.main', '--', GS)
  words = (cloud.home() / 'words').read_text()
  assert 'resnext.main' in words and cloud.exists() == []


def test_two_launchers_do_not_follow_one_job(cloud):
  cloud.job('until_file go')
  process = cloud.start(*cloud.flags(), '--delete', *JOB)
  wait_for(lambda: (cloud.home() / 'starts').exists(), process)
  with pytest.raises(ValueError, match='another launcher on this machine follows this job'):
    run(cloud)
  (cloud.home() / 'go').touch()
  assert finish(process)[0] == 0


def test_a_damaged_memory_is_reported(cloud):
  run(cloud, *JOB)
  (path,) = (cloud.folder / 'state').glob('*.json')
  path.write_text('{"version": 1, "machine": "yes"}')
  with pytest.raises(ValueError, match='expected the memory of tpu_utils.launch, version 1'):
    run(cloud)

"""Launches on a fake cloud: a stand-in for gcloud on PATH, whose workers run real commands."""
import json
import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.tpu_utils.launching.clouds import (
  GS,
  JOB,
  ROOT,
  ZONE,
  cloud_fixture,  # noqa: F401  # By its name, `cloud`.
  run,
)
from tpu_utils import launch
from tpu_utils.launching import launcher

LONG = [pytest.mark.slow, pytest.mark.long]


def test_a_launch_creates_installs_runs_collects_and_deletes(cloud, capsys):
  run(cloud, '--delete', '--price_per_core_hour=2', '--hours=3', '--spot', *JOB)
  printed = capsys.readouterr().out
  assert (
    'Cost of a v3-8: 8 cores, 8 core-hours per hour x 2 = 16.00 per hour; 3 hours are 24 '
    'core-hours = 48.00.'
  ) in printed
  assert '\nstep 1\ndone\n' in printed
  assert 'Its results are in gs://bucket/run' in printed
  assert printed.endswith('Nothing of this launch is running or costs money.\n')
  assert cloud.exists() == []
  (created,) = cloud.calls('tpu-vm create')
  assert created == (
    'compute tpus tpu-vm create t --version=tpu-ubuntu2204-base --accelerator-type=v3-8 --spot '
    '--zone=europe-west4-a --quiet'
  )
  assert (cloud.folder / 'collected/worker-0.log').read_text() == 'step 1\ndone\n'
  pip = (cloud.home() / 'pip').read_text().splitlines()
  assert [line.split()[:2] for line in pip] == [['install', '--quiet']] * 2
  assert pip[0].endswith('requirements.txt')
  assert '--no-deps' in pip[1] and pip[1].endswith('/x-1.whl')


def test_flags_reach_the_script_as_they_were_given(cloud):
  strange = ["--a=it's", '--b=two  spaces', '--c="$HOME" `id`; rm -rf *', '--d=ä\\n', '']
  flags = [*strange, '--tpu=mine']
  run(cloud, '--delete', 'efficientnet.main', '--', *flags, '--model_dir=gs://b')
  words = (cloud.home() / 'words').read_text().split('\n')
  assert words[:-2] == ['-m', 'efficientnet.main', *flags, '--model_dir=gs://b']
  assert words[-2] == str(cloud.home() / 'tpu_launch/t/work')


def test_the_tpu_is_local_unless_the_flags_name_one(cloud):
  run(cloud)
  assert (cloud.home() / 'words').read_text().splitlines()[2] == '--tpu=local'


def test_the_clone_is_installed_from_its_last_commit(cloud, capsys):
  flags = [flag for flag in cloud.flags() if not flag.startswith(('--package', '--requirements'))]
  launch.SCRIPT.call([*flags, '--delete', *JOB])
  (folder,) = cloud.home().glob('tpu_launch/t/project-*')
  assert (folder / 'setup.py').is_file() and (folder / 'efficientnet/main.py').is_file()
  assert not (folder / 'tests').exists()
  assert f'--editable {folder}' in (cloud.home() / 'pip').read_text()
  assert (cloud.home() / 'tpu_launch/t/requirements-tpu.txt').read_bytes() == (
    ROOT / 'requirements-tpu.txt'
  ).read_bytes()
  commit = subprocess.check_output(['git', 'rev-parse', '--short=12', 'HEAD'], cwd=ROOT, text=True)
  assert f'Installing {commit.strip()}-' in capsys.readouterr().out


def test_an_existing_tpu_is_used_and_not_deleted(cloud, capsys):
  run(cloud, *JOB)  # Nobody is there to ask: it stays.
  printed = capsys.readouterr().out
  assert 'STILL THERE, AND IT COSTS MONEY: the TPU VM t (v3-8 in europe-west4-a)' in printed
  assert f'Delete it with: gcloud compute tpus tpu-vm delete t {ZONE} --quiet' in printed
  for path in (cloud.folder / 'state').iterdir():
    path.unlink()  # As if somebody else had created it.
  run(cloud)
  printed = capsys.readouterr().out
  assert 'The TPU VM t exists already and is used.' in printed
  assert 'was there before this launch and is not deleted' in printed
  assert cloud.exists() == ['t']
  assert len(cloud.calls('tpu-vm create')) == 1


def test_a_tpu_of_another_type_is_refused(cloud):
  run(cloud, *JOB)
  with pytest.raises(ValueError, match='exists and is a v3-8, and --accelerator_type=v3-32 asks'):
    run(cloud, '--accelerator_type=v3-32', '--replace', *JOB)
  assert cloud.exists() == ['t']


@pytest.mark.parametrize('answer, left', [(True, []), (False, ['t'])])
def test_deletion_is_asked_for(cloud, monkeypatch, answer, left):
  asked = []
  console = launcher.Console(ask=lambda question: asked.append(question) or answer)
  monkeypatch.setattr(launcher, 'terminal', lambda: console)
  run(cloud, *JOB)
  assert asked == ['Delete the TPU VM t, which costs money? [y/N] ']
  assert cloud.exists() == left


def test_results_on_the_vm_are_copied(cloud, capsys):
  cloud.job('mkdir -p "a run"; echo weights > "a run/ckpt"; echo more > notes.txt')
  run(cloud, '--delete', '--collect=notes.txt,nothing', 'resnext.main', '--', '--model_dir=a run')
  printed = capsys.readouterr().out
  assert 'Warning: --model_dir=a run is on the disk of the TPU VM' in printed
  assert 'nothing: there is no such file or folder on this worker' in printed
  assert (cloud.folder / 'collected/a run/ckpt').read_text() == 'weights\n'
  assert (cloud.folder / 'collected/notes.txt').read_text() == 'more\n'


@pytest.mark.parametrize('flags, warned', [
  ([GS], False), (['--model_dir', 'gs://b/r'], False), (['--model_dir=runs/x'], True), ([], True),
])  # fmt: skip
def test_a_model_dir_off_gs_is_reported(cloud, capsys, flags, warned):
  run(cloud, '--delete', 'efficientnet.main', '--', *flags)
  assert ('Warning: ' in capsys.readouterr().out) == warned


@pytest.mark.parametrize('node, message', [
  ('STOPPED', 'The TPU VM t is stopped; start it with: gcloud compute tpus tpu-vm start t'),
  ('PREEMPTED', 'was not created by this launch, and is PREEMPTED; delete it first: gcloud'),
])  # fmt: skip
def test_a_dead_tpu_of_somebody_else_is_left_alone(cloud, node, message):
  cloud.scenario(nodes=[node])
  create = ['compute', 'tpus', 'tpu-vm', 'create', 't', ZONE, '--version=v', '--spot']
  subprocess.run(['gcloud', *create, '--accelerator-type=v3-8'], check=True)
  with pytest.raises(ValueError, match=message):
    run(cloud)
  assert cloud.exists() == ['t']


# ---- Queued resources


def test_a_queued_resource_waits_in_line(cloud, capsys):
  cloud.scenario(queue=['ACCEPTED', 'WAITING_FOR_RESOURCES', 'PROVISIONING', 'ACTIVE'],
                 nodes=['CREATING', 'READY'])
  run(cloud, '--queued', '--valid_until=6h', '--reserved', '--delete', *JOB)
  printed = capsys.readouterr().out
  states = re.findall(r'The queued resource t is (\w+)', printed)
  assert states == ['ACCEPTED', 'WAITING_FOR_RESOURCES', 'PROVISIONING', 'CREATING']
  assert cloud.calls('queued-resources create') == [
    'compute tpus queued-resources create t --node-id=t --runtime-version=tpu-ubuntu2204-base '
    '--accelerator-type=v3-8 --reserved --valid-until-duration=6h --async --zone=europe-west4-a '
    '--quiet'
  ]
  assert cloud.calls('queued-resources delete') == [
    'compute tpus queued-resources delete t --force --zone=europe-west4-a --quiet'
  ]
  assert cloud.exists() == []


def test_a_queued_resource_whose_tpu_vm_appears_later_is_kept(cloud):
  cloud.scenario(hidden=2)
  run(cloud, '--queued', '--delete', *JOB)
  assert len(cloud.calls('queued-resources create')) == 1 and cloud.exists() == []
  cloud.scenario(hidden=999)
  with pytest.raises(ValueError, match='The TPU was taken away 1 times'):
    run(cloud, '--queued', '--max_preemptions=0', *JOB)
  assert cloud.exists() == []


def test_a_queued_resource_that_fails_is_deleted(cloud, capsys):
  cloud.scenario(queue=['WAITING_FOR_RESOURCES', 'FAILED'])
  with pytest.raises(ValueError, match='failed: not enough capacity in time; it was deleted'):
    run(cloud, '--queued', *JOB)
  assert cloud.exists() == []
  assert capsys.readouterr().out.endswith('Nothing of this launch is running or costs money.\n')


def test_a_suspended_queued_resource_is_replaced(cloud, capsys):
  cloud.scenario(events=[{'contains': 'follow job', 'do': 'preempt', 'lines': 1}])
  cloud.job('echo life $life; [ $life = 1 ] && until_file never; echo resumed')
  run(cloud, '--queued', '--spot', '--delete', *JOB)
  printed = capsys.readouterr().out
  assert 'The queued resource t is SUSPENDING. It was taken away (time 1)' in printed
  assert 'life 2\nresumed' in printed
  assert len(cloud.calls('queued-resources create')) == 2 and cloud.exists() == []


# ---- Preflight, dry run, mistakes


@pytest.mark.parametrize('code', [0, 1])
def test_the_preflight_comes_before_the_creation(cloud, monkeypatch, code):
  called = []
  monkeypatch.setattr(
    launcher.subprocess, 'run',
    lambda command, check: called.append(command) or subprocess.CompletedProcess(command, code),
  )
  arguments = [flag for flag in cloud.flags() if flag != '--nopreflight']
  flags = ['--mode=train', '--train_batch_size=1024', '--mode', 'eval', '--tpu=x', GS]
  arguments += ['--delete', 'efficientnet.main', '--', *flags]
  if code:
    with pytest.raises(ValueError, match='preflight failed.*nothing was created.*--nopreflight'):
      launch.SCRIPT.call(arguments)
  else:
    launch.SCRIPT.call(arguments)
  assert called == [[
    sys.executable, '-m', 'efficientnet.main', '--mode=preflight', '--topology=v3:2x2',
    '--train_batch_size=1024', GS,
  ]]  # fmt: skip
  assert len(cloud.calls('tpu-vm create')) == (not code)


@pytest.mark.parametrize('further', [
  ['--queued', '--spot', '--valid_until=2h'], pytest.param([], marks=LONG),
  pytest.param(['--accelerator_type=v3-32', '--internal_ip'], marks=LONG),
  pytest.param(['--accelerator_type=v3-32', '--processes=first', '--project=p'], marks=LONG),
], ids=['queued', 'vm', 'pod', 'first'])  # fmt: skip
def test_a_dry_run_prints_commands_that_a_shell_runs(cloud, capsys, monkeypatch, tmp_path, further):
  arguments = [flag for flag in cloud.flags() if not flag.startswith(('--package', '--req'))]
  flags = ["--model_dir=a b's", '--x=$HOME "y"']
  launch.SCRIPT.call([*arguments, '--dry_run', *further, 'efficientnet.main', '--', *flags])
  script = capsys.readouterr().out
  assert cloud.calls() == [] and not (cloud.folder / 'state').exists()
  cloud.scenario(hosts=4 if '--accelerator_type=v3-32' in further else 1)
  cloud.job('mkdir -p "a b\'s"; touch "a b\'s/ckpt"; echo done')
  # The description of a TPU that does not exist yet fails, as it should.
  lines = [f'{line} || true' if ' describe ' in line else line for line in script.splitlines()]
  result = subprocess.run(['bash', '-e', '-c', '\n'.join(lines)], cwd=tmp_path, check=False,
                          capture_output=True, text=True)
  assert result.returncode == 0, result.stderr
  words = (cloud.home() / 'words').read_text().split('\n')
  assert words[-4:-2] == flags
  assert (cloud.folder / "collected/a b's/ckpt").exists()
  assert cloud.exists() == []


def test_a_dry_run_needs_no_gcloud_and_shows_the_preflight(cloud, monkeypatch, capsys):
  monkeypatch.setenv('PATH', '/usr/bin:/bin')
  launch.SCRIPT.call([ZONE, '--dry_run', '--accelerator_type=v5litepod-16',
                      f'--package={cloud.folder}/x-1.whl', 'oscar.run_vqa', '--', GS])
  printed = capsys.readouterr().out
  assert f'-m oscar.run_vqa --mode=preflight --topology=v5e:4x4 {GS}' in printed
  assert '--version=v2-alpha-tpuv5-lite' in printed
  assert all(line.startswith('#') or shlex.split(line) for line in printed.splitlines())


@pytest.mark.parametrize('arguments, expected', [
  ([ZONE], 'Expected a main script to run'),
  (['efficientnet.main'], '--zone is needed'),
  ([ZONE, 'a b'], 'expected a main script such as efficientnet.main'),
  ([ZONE, '--name=My_TPU', 'x.main'], 'expected lower-case letters'),
  ([ZONE, '--accelerator_type=v5e-8', 'x.main'], 'gcloud calls this type v5litepod-8'),
  ([ZONE, '--accelerator_type=a100', 'x.main'], "Unknown --accelerator_type 'a100'"),
  ([ZONE, '--spot', '--reserved', 'x.main'], 'exclude each other'),
  ([ZONE, '--valid_until=6h', 'x.main'], 'add --queued'),
  ([ZONE, '--queued', '--valid_until=soon', 'x.main'], 'expected a duration such as'),
  ([ZONE, '--package=nothing.whl', 'x.main'], 'there is no such file'),
  ([ZONE, '--package=setup.py', 'x.main'], 'expected a wheel'),
  (['--zone=a b', 'x.main'], 'expected letters, digits'),
])  # fmt: skip
def test_mistakes_are_reported_before_anything_runs(cloud, arguments, expected):
  with pytest.raises(ValueError, match=re.escape(expected)):
    launch.SCRIPT.call(['--dry_run', *arguments])
  assert cloud.calls() == []


def test_no_tensorflow_is_imported(cloud):
  code = (
    'import sys; from tpu_utils import launch; '
    f'launch.SCRIPT.call({[*cloud.flags(), "--delete", *JOB]!r}); '
    'print(sorted({"tensorflow", "keras", "numpy"} & set(sys.modules)))'
  )
  out = subprocess.check_output([sys.executable, '-c', code], cwd=ROOT, text=True,
                                env={**os.environ, 'PYTHONPATH': str(ROOT)})
  assert out.endswith('[]\n')


def test_the_memory_is_small_and_readable(cloud):
  run(cloud, *JOB)
  state = cloud.state()
  assert state['result'] == 'done' and state['machine'] and state['script'] == 'efficientnet.main'
  assert len(json.dumps(state)) < 1000

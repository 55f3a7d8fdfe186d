"""A cloud of local folders for tests of the launcher: `fake_gcloud.py` on PATH."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

from tpu_utils import launch

ROOT = pathlib.Path(__file__).resolve().parents[3]
# Imported, so that Python keeps it compiled.
_GCLOUD = f"""#!/bin/sh
exec {sys.executable} -IS -c 'import sys; sys.path.append("{pathlib.Path(__file__).parent}")
import fake_gcloud; sys.exit(fake_gcloud.main(sys.argv[1:]))' "$@"
"""
# Python on the workers: environments and pip do nothing; a module (-m) runs the scenario's job.
_PYTHON = """#!/bin/sh
case "$1 $2" in
  "-c "*) exit 0 ;;
  "-m venv") mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; : > "$3/bin/pip"; exit 0 ;;
  "-m pip") shift 2; echo "$*" >> "$HOME/pip"; [ ! -e "$FAKE_GCLOUD/pip-fails" ]; exit ;;
esac
for word in "$@"; do printf '%s\\n' "$word" >> "$HOME/words"; done
pwd >> "$HOME/words"
life=$(cat "$HOME/life"); starts=$(($(cat "$HOME/starts" 2>/dev/null || echo 0) + 1))
echo $starts > "$HOME/starts"
until_file() {  # Five minutes at most: else a fault would stop the tests instead of failing one.
  for attempt in $(seq 6000); do [ -e "$HOME/$1" ] && return; sleep 0.05; done
  echo "$1 never came"; exit 1
}
. "$FAKE_GCLOUD/job.sh"
"""
ZONE = '--zone=europe-west4-a'
GS = '--model_dir=gs://bucket/run'
JOB = ('efficientnet.main', '--', GS)


class Cloud:
  """A fake cloud in a folder.

  Attributes:
    folder: its path.
  """

  def __init__(self, folder, monkeypatch):
    self.folder = folder
    (folder / 'bin').mkdir(parents=True)
    (folder / 'worker-bin').mkdir()
    self._program(folder / 'bin/gcloud', _GCLOUD)
    self._program(folder / 'worker-bin/python3.11', _PYTHON)
    python3 = f'#!/bin/sh\nexec {sys.executable} -IS "$@"\n'
    self._program(folder / 'worker-bin/python3', python3)
    (folder / 'x-1.whl').write_bytes(b'a wheel')
    (folder / 'requirements.txt').write_text('tensorflow-tpu==2.20.0\n')
    self.job('echo step 1; echo done')
    self.scenario()
    monkeypatch.setenv('FAKE_GCLOUD', str(folder))
    monkeypatch.setenv('PATH', f'{folder / "bin"}{os.pathsep}{os.environ["PATH"]}')

  @staticmethod
  def _program(path, text):
    path.write_text(text)
    path.chmod(0o755)

  def job(self, script):
    """Sets the job: shell code, with `life` (which TPU) and `starts` (on this one)."""
    (self.folder / 'job.sh').write_text(script)

  def scenario(self, **content):
    """Sets what happens; see `fake_gcloud.World`."""
    (self.folder / 'scenario.json').write_text(json.dumps(content))

  def flags(self, *further):
    """Returns flags of the launcher that leave nothing outside the folder and wait little."""
    return [
      '--name=t', ZONE, '--nopreflight', '--poll_seconds=0', '--check_seconds=5',
      f'--package={self.folder}/x-1.whl', f'--requirements={self.folder}/requirements.txt',
      f'--state_dir={self.folder}/state', f'--collect_dir={self.folder}/collected', *further,
    ]  # fmt: skip

  def calls(self, *words):
    """Returns the commands so far that contain words, each as one text."""
    path = self.folder / 'calls.jsonl'
    lines = path.read_text().splitlines() if path.exists() else []
    texts = [' '.join(json.loads(line)) for line in lines]
    return [text for text in texts if all(word in text for word in words)]

  def exists(self):
    """Returns the names of the TPU VMs and queued resources that exist."""
    path = self.folder / 'cloud.json'
    cloud = json.loads(path.read_text()) if path.exists() else {'nodes': {}, 'queued': {}}
    return [*cloud['nodes'], *cloud['queued']]

  def home(self, worker=0):
    """Returns the home folder of a worker."""
    return self.folder / 'vms/t' / f'worker-{worker}'

  def state(self):
    """Returns the launcher's memory."""
    (path,) = (self.folder / 'state').glob('*.json')
    return json.loads(path.read_text())

  def start(self, *arguments):
    """Starts the launcher in a process of its own."""
    return subprocess.Popen(
      [sys.executable, '-m', 'tpu_utils.launch', *arguments], cwd=ROOT, text=True,
      env={**os.environ, 'PYTHONPATH': str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip

  def close(self):
    """Ends what a test left behind."""
    for path in self.folder.glob('vms/*/*/tpu_launch/*/*.pid'):
      with contextlib.suppress(ProcessLookupError, PermissionError, ValueError, IndexError):
        os.killpg(int(path.read_text().split()[0]), signal.SIGKILL)


@pytest.fixture(name='cloud')
def cloud_fixture(tmp_path, monkeypatch):
  """A `Cloud`; modules of tests that use it import this function."""
  cloud = Cloud(tmp_path / 'cloud', monkeypatch)
  yield cloud
  cloud.close()


def run(cloud, *arguments):
  """Launches `JOB` and deletes its TPU, or what the arguments say."""
  launch.SCRIPT.call([*cloud.flags(), *(arguments or ('--delete', *JOB))])

"""Claims: the owner is named, a killed owner recognised, here and on other machines."""
import json
import os
import pathlib
import signal
import threading

import pytest
import tensorflow as tf

from tests import script_jobs
from tpu_utils import claims, files

_OWNER = """
import sys, time
from tpu_utils import claims
with claims.claimed('model_dir', sys.argv[1]):
  print('claimed', flush=True)
  time.sleep(600)
"""


@pytest.fixture(params=['local', 'remote'])
def folder(request, tmp_path):
  if request.param == 'local':
    return str(tmp_path)
  path = f'ram://claims-{pathlib.Path(tmp_path).name}'
  tf.io.gfile.makedirs(path)
  return path


def test_a_claimed_folder_is_refused_and_given_back(folder):
  with claims.claimed('model_dir', folder) as claim:
    with pytest.raises(ValueError, match=f'in use by process {os.getpid()} on .* started .* ago'):
      claims.Claim('model_dir', folder).take()
    claim.check()
  assert not files.paths_in(folder)
  with claims.claimed('model_dir', folder):
    pass


def test_a_claim_beside_a_folder_needs_no_folder(folder):
  made = f'{folder}/made'
  with claims.claimed('output_dir', made, beside=True):
    assert [os.path.basename(path) for path in files.paths_in(folder)] == ['made.in_use.json']
    with pytest.raises(ValueError, match=f'--output_dir=.*/made/ is in use by .* {os.getpid()}'):
      claims.Claim('output_dir', f'{made}/', beside=True).take()
  assert not files.paths_in(folder)


def test_a_killed_owner_is_told_from_a_live_one(tmp_path):
  process = script_jobs.start('-c', _OWNER, str(tmp_path))
  assert process.stdout.readline() == 'claimed\n'
  with pytest.raises(ValueError, match=f'in use by process {process.pid} on'):
    claims.Claim('model_dir', str(tmp_path)).take()
  process.send_signal(signal.SIGKILL)
  process.wait(timeout=60)
  with claims.claimed('model_dir', str(tmp_path)):
    pass


def _of_another_host(folder, **changes):
  path = os.path.join(folder, claims.NAME)
  owner = {'host': 'elsewhere', 'pid': 7, 'token': 'x', 'boot': 'y', **changes}
  files.write_text(path, json.dumps(owner))
  return path


def test_an_owner_on_another_machine_is_alive_while_it_renews(folder, monkeypatch):
  monkeypatch.setattr(claims, '_PATIENCE_SECONDS', 30)
  _of_another_host(folder)
  renewal = threading.Timer(0.5, _of_another_host, [folder], {'beats': 2})
  renewal.start()
  with pytest.raises(ValueError, match='in use by process 7 on elsewhere'):
    claims.Claim('model_dir', folder).take()
  renewal.join()


@pytest.mark.parametrize(
  'damage', [None, '', '[]', '{"pid": "x"}', '[' * 5000], ids=lambda text: str(text)[:9]
)
def test_an_owner_that_renews_nothing_is_gone(folder, monkeypatch, capsys, damage):
  monkeypatch.setattr(claims, '_PATIENCE_SECONDS', 0.1)
  path = _of_another_host(folder)
  if damage is not None:
    files.write_text(path, damage)
  with claims.claimed('model_dir', folder):
    assert 'for a sign of life' in capsys.readouterr().err


def test_a_folder_that_another_process_took_is_reported(folder):
  with claims.claimed('model_dir', folder) as claim:
    _of_another_host(folder)
    claim._thread.join(timeout=60)  # It looks after a second.
    with pytest.raises(ValueError, match='in use by process 7 on elsewhere'):
      claim.check()
  assert files.paths_in(folder)  # The other one's.

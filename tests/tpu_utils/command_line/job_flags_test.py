"""The record of a job gives its flags to whoever reads its checkpoints."""
import json
import types

import pytest

from tpu_utils.config import DataConfig
from tpu_utils.image_jobs import job_flags


def write(folder, content):
  (folder / 'run.json').write_text(json.dumps(content))


@pytest.mark.parametrize('path', ['', 'model.ckpt-3', 'archive', 'archive/model.ckpt-3'])
def test_flags_of_the_last_start(tmp_path, path):
  (tmp_path / 'archive').mkdir()
  write(tmp_path, {'starts': [{'flags': {'a': 1}}, {'flags': {'a': 2}}]})
  assert job_flags.of_checkpoint(str(tmp_path / path)) == {'a': 2}


def test_no_job(tmp_path):
  assert job_flags.of_checkpoint(str(tmp_path / 'x' / 'model.ckpt')) is None


@pytest.mark.parametrize('content', [[], {}, {'starts': []}, {'starts': [{'flags': 3}]}])
def test_damaged_records(tmp_path, content):
  write(tmp_path, content)
  with pytest.raises(ValueError, match='run.json: expected the record of a job') as error:
    job_flags.of_checkpoint(str(tmp_path))
  assert '\n' not in str(error.value)


def test_only_what_differs_and_what_the_settings_have():
  names = [field for field in DataConfig.__dataclass_fields__]
  values = {name: types.SimpleNamespace(value=None) for name in names}
  values['advprop'].value = True
  job = {'advprop': True, 'crop_rule': 'whole', 'interpolation': None, 'optimizer': 'sgd'}
  assert job_flags.for_configs(job, [DataConfig], values) == {'crop_rule': 'whole'}

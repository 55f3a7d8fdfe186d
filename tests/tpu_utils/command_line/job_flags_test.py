"""Flags from a job's run.json, for scripts that read its checkpoints."""
import json

import pytest
import tensorflow as tf

from tpu_utils.command_line import job_flags
from tpu_utils.config import DataConfig


def write(folder, content):
  (folder / 'run.json').write_text(json.dumps(content))


@pytest.mark.parametrize('path', ['', 'model.ckpt-3', 'archive', 'archive/model.ckpt-3'])
def test_the_flags_are_those_of_the_last_start(tmp_path, path):
  (tmp_path / 'archive').mkdir()
  write(tmp_path, {'starts': [{'flags': {'a': 1}}, {'flags': {'a': 2}}]})
  assert job_flags.of_checkpoint(str(tmp_path / path)) == {'a': 2}


def test_without_run_json_there_are_no_flags(tmp_path):
  assert job_flags.of_checkpoint(str(tmp_path / 'x' / 'model.ckpt')) is None


def test_a_deeply_nested_run_json_is_an_error_of_one_line(tmp_path):
  (tmp_path / 'run.json').write_text('[' * 100_000)
  with pytest.raises(ValueError, match='run.json: expected the record of a job'):
    job_flags.of_checkpoint(str(tmp_path))


@pytest.mark.parametrize('content', [[], {}, {'starts': []}, {'starts': [{'flags': 3}]}])
def test_a_damaged_run_json_is_an_error_of_one_line(tmp_path, content):
  write(tmp_path, content)
  with pytest.raises(ValueError, match='run.json: expected the record of a job') as error:
    job_flags.of_checkpoint(str(tmp_path))
  assert '\n' not in str(error.value)


def test_remote_folders_are_read(tmp_path):
  with tf.io.gfile.GFile('ram://job_flags/run.json', 'w') as file:
    file.write(json.dumps({'starts': [{'flags': {'a': 1}}]}))
  assert job_flags.of_checkpoint('ram://job_flags/model.ckpt-3') == {'a': 1}
  assert job_flags.of_checkpoint('ram://nowhere/model.ckpt-3') is None


def test_facts_are_flags_that_the_settings_have():
  job = {'advprop': True, 'crop_rule': None, 'data_dir': 'there', 'optimizer': 'sgd'}
  known = {'data_dir': 'there', 'crop_rule': None, 'advprop': True}
  assert job_flags.facts(job, [DataConfig]) == known
  assert 'data_dir' not in job_flags.facts(job, [DataConfig], without=job_flags.DATA_NAMES)


@pytest.mark.parametrize('flags, learnt', [
  (None, False),
  ({'data_dir': '', 'dataset': None}, True),
  ({'data_dir': '/imagenet', 'dataset': None}, False),
  ({'data_dir': '', 'dataset': 'cifar10'}, False),
])
def test_a_job_without_data_was_trained_on_the_digits(flags, learnt):
  assert job_flags.learnt_digits(flags) is learnt

"""The command that prepares a data set."""

import os
import signal
import subprocess
import sys

import pytest
import tensorflow as tf

from oscar.datasets import builders, prepare
from tests import script_jobs
from tests.oscar import loaders
from tpu_utils import claims


def run(*arguments):
  command = [sys.executable, '-m', 'oscar.datasets.prepare', *arguments]
  return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_data_set_can_be_chosen():
  assert set(prepare.DATASETS) == set(builders.BUILDERS)


def test_readers_need_no_tensorflow():
  modules = 'coco_caption, coco_retrieval, gqa, nlvr2, nocaps, pretrain_corpus, prepare, vqa, '
  modules += 'region_conversion'
  code = f"from oscar.datasets import {modules}; import sys; assert 'tensorflow' not in sys.modules"
  subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.slow
def test_both_parts_of_the_corpus_are_written(tmp_path):
  done = run(f'--manual_dir={loaders.DATA}/pretrain', f'--data_dir={tmp_path}')
  assert done.returncode == 0, done.stderr
  assert 'oscar_pretrain/documents/1.0.0 pretrain: 13 records, 1 shards' in done.stdout
  assert 'oscar_pretrain/regions_2054/1.0.0 pretrain: 10 records, 1 shards' in done.stdout


def contents(folder):
  """Returns {path: records, or bytes of a file that describes them}."""
  found = {}
  for path in (path for path in folder.rglob('*') if path.is_file()):
    content = path.read_bytes()
    if '.tfrecord' in path.name:  # The order of the features differs between processes.
      records = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
      content = [tf.train.Example.FromString(record) for record in records]
    found[str(path.relative_to(folder))] = content
  return found


_KILLED = """
import os, signal
from oscar.datasets import official_layout, prepare
make, left = official_layout.record_of, {records}
def record(*arguments):
  global left
  if not left:
    os.kill(os.getpid(), signal.SIGKILL)
  left -= 1
  return make(*arguments)
official_layout.record_of = record
prepare.SCRIPT.main()
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_preparation_is_repeated_and_leaves_nothing_behind(tmp_path):
  """Killed within the 13 records of the first part, then within the second."""
  whole, killed = tmp_path / 'whole', tmp_path / 'killed'
  for part in ('documents', 'regions'):
    builders.prepare('pretrain', loaders.DATA / 'pretrain', str(whole), part)
  arguments = f'--manual_dir={loaders.DATA}/pretrain', f'--data_dir={killed}'
  for part, records in (('documents', 5), ('regions_2054', 13 + 5)):
    code, _, err = script_jobs.finish(
      script_jobs.start('-c', _KILLED.format(records=records), *arguments)
    )
    assert code == -signal.SIGKILL, err
    assert [path.name[:11] for path in (killed / 'oscar_pretrain' / part).iterdir()] == [
      'incomplete.'
    ]
  done = run(*arguments)
  assert done.returncode == 0, done.stderr
  assert contents(killed) == contents(whole)


def test_damaged_metadata_of_a_prepared_data_set_are_named(tmp_path):
  builders.prepare('vqa', loaders.DATA / 'vqa', str(tmp_path))
  for name in ('dataset_info.json', 'metadata.json'):
    (path,) = (tmp_path / 'oscar_vqa').glob(f'regions_2054/*/{name}')
    content = path.read_bytes()
    path.write_bytes(b'')  # As a power cut may leave it.
    with pytest.raises(ValueError, match=f'{tmp_path}/oscar_vqa cannot be read as a prepared data'):
      builders.prepare('vqa', None, str(tmp_path))
    path.write_bytes(content)


def test_chunks_and_tags_of_the_corpus_are_chosen_by_the_official_flags():
  config = prepare.PrepareConfig(use_gtlabels=0, chunk_start_id=2, chunk_end_id=4)
  assert config.selection() == {'use_gtlabels': False, 'chunks': range(2, 4)}
  assert prepare.PrepareConfig().selection() == {'use_gtlabels': True, 'chunks': None}
  assert prepare.PrepareConfig(dataset='vqa').selection() == {}
  with pytest.raises(ValueError, match='--chunk_start_id=3 --chunk_end_id=3 select no chunk'):
    prepare.PrepareConfig(chunk_start_id=3, chunk_end_id=3).selection()
  with pytest.raises(ValueError, match='need --dataset=pretrain, not --dataset=vqa'):
    prepare.PrepareConfig(dataset='vqa', use_gtlabels=0).selection()


def test_a_second_preparation_of_the_same_data_set_is_refused(tmp_path):
  arguments = [f'--manual_dir={loaders.DATA}/gqa', f'--data_dir={tmp_path}/new', '--dataset=gqa']
  (tmp_path / 'new').mkdir()
  folder = f'{tmp_path}/new/oscar_gqa'
  with claims.claimed('data_dir', folder, beside=True):
    message = f'--data_dir={folder} is in use by process {os.getpid()} on .* started .* ago'
    with pytest.raises(ValueError, match=message):
      prepare.SCRIPT.call(arguments)
    assert os.listdir(tmp_path / 'new') == ['oscar_gqa.in_use.json']
  prepare.SCRIPT.call(arguments)
  assert sorted(os.listdir(tmp_path / 'new')) == ['downloads', 'oscar_gqa']  # TFDS's own.


def test_a_failed_preparation_leaves_no_new_folder(tmp_path):
  arguments = [f'--manual_dir={tmp_path}/no', f'--data_dir={tmp_path}/new', '--dataset=gqa']
  with pytest.raises(FileNotFoundError, match='no does not exist'):
    prepare.SCRIPT.call(arguments)
  assert not os.listdir(tmp_path)


@pytest.mark.slow
def test_mistakes_take_one_line(tmp_path):
  for arguments, message in (
    (['--dataset=vqa'], '--manual_dir is missing.'),
    (['--dataset=vqua'], 'did you mean vqa'),
    ([f'--manual_dir={tmp_path}/no', f'--data_dir={tmp_path}'], 'no does not exist'),
    (
      [
        f'--manual_dir={loaders.DATA}/gqa',
        f'--data_dir={tmp_path}',
        '--dataset=gqa',
        '--region_dim=2048',
      ],
      'regions are 2054 numbers wide, expected 2048',
    ),
  ):
    with pytest.raises((ValueError, OSError)) as error:
      prepare.SCRIPT.call(arguments)
    assert message in str(error.value) and '\n' not in str(error.value)
  done = run(*arguments)
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1] == f'Error: {error.value}' and 'Traceback' not in done.stderr

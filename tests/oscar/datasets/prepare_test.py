"""The command that prepares a data set."""

import os
import subprocess
import sys

import pytest

from oscar.datasets import builders, prepare
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


def test_both_parts_of_the_corpus_are_written(tmp_path):
  done = run(f'--manual_dir={loaders.DATA}/pretrain', f'--data_dir={tmp_path}')
  assert done.returncode == 0, done.stderr
  assert 'oscar_pretrain/documents/1.0.0 pretrain: 13 records, 1 shards' in done.stdout
  assert 'oscar_pretrain/regions_2054/1.0.0 pretrain: 10 records, 1 shards' in done.stdout


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


def test_mistakes_take_one_line(tmp_path):
  for arguments, message in (
    (['--dataset=vqa'], 'Error: --manual_dir is missing.'),
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
    done = run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1] and 'Traceback' not in done.stderr

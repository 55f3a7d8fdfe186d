"""The fine-tuning tasks on official files in remote folders, which are copied as they are read."""

import json

import numpy as np
import pytest

from oscar import run_vqa
from oscar.datasets import (
  coco_caption,
  gqa_files,
  nlvr2_files,
  region_files,
  retrieval_files,
  tsv,
  vqa_files,
)
from tests import remote, script_jobs
from tests.oscar import loaders

FILES = {
  'vqa': lambda folder: vqa_files.VqaFiles(folder, data_label_type='mask'),
  'gqa': gqa_files.GqaFiles,
  'nlvr2': nlvr2_files.Nlvr2Files,
}
DIM = 26  # Numbers per region of the sample data.


def upload(name):
  return remote.upload(loaders.DATA / name, remote.new_folder())


@pytest.mark.parametrize('name', FILES)
def test_questions_answers_and_regions_equal_those_of_local_files(name):
  here, there = (FILES[name](str(folder)) for folder in (loaders.DATA / name, upload(name)))
  split = 'train'
  own, other = here.open(split), there.open(split)
  rows = 'statements' if name == 'nlvr2' else 'questions'
  assert getattr(own, rows) == getattr(other, rows) and getattr(own, rows)
  assert other.path.startswith('ram://')
  first, second = here.open_regions(split), there.open_regions(split)
  assert list(first) == list(second)
  for key in first:
    np.testing.assert_array_equal(first[key], second[key])


@pytest.mark.parametrize('name, open_split', [
  ('coco_ir', lambda folder: retrieval_files.RetrievalFiles(folder).open('train')),
  ('coco_caption', lambda folder: coco_caption.CocoCaption(f'{folder}/train.yaml')),
], ids=['retrieval', 'captioning'])  # fmt: skip
def test_captions_tags_and_regions_equal_those_of_local_files(name, open_split):
  here, there = (open_split(str(folder)) for folder in (loaders.DATA / name, upload(name)))
  assert here.captions == there.captions and here.captions
  assert here.image_ids == there.image_ids
  for key in here.image_ids:
    np.testing.assert_array_equal(here.regions[key], there.regions[key])
    assert here.tags(key) == there.tags(key)


def test_a_remote_tsv_has_the_rows_of_its_lineidx_or_of_its_lines():
  local = loaders.DATA / 'coco_ir' / 'features.tsv'
  folder = remote.new_folder()
  remote.upload(local, f'{folder}/features.tsv')
  expected = list(tsv.TsvFile(local))
  assert list(tsv.TsvFile(f'{folder}/features.tsv')) == expected
  remote.upload(local.with_suffix('.lineidx'), f'{folder}/features.lineidx')
  assert list(tsv.TsvFile(f'{folder}/features.tsv')) == expected
  remote.write(f'{folder}/features.lineidx', 'x\n')
  with pytest.raises(ValueError, match='^ram://.*/features.lineidx: not a number'):
    tsv.TsvFile(f'{folder}/features.tsv')


def test_errors_name_the_remote_file():
  folder = upload('vqa')
  remote.write(f'{folder}/train_img_frcnn_feats.pt', b'x')
  with pytest.raises(ValueError, match=f'^{folder}/train_img_frcnn_feats.pt'):
    region_files.open_regions(f'{folder}/train_img_frcnn_feats')
  for missing in ('missing.pt', 'missing.tsv'):
    kind = region_files.RegionTsv if missing.endswith('tsv') else region_files.RegionTensors
    with pytest.raises(FileNotFoundError, match=f'{folder}/{missing}.* does not exist'):
      kind(f'{folder}/{missing}')


@pytest.mark.slow
def test_the_script_trains_and_predicts_in_remote_folders(tiny):
  folder, model_dir = upload('vqa'), f'{remote.new_folder()}/run'
  script_jobs.in_process(
    run_vqa.SCRIPT, '--do_train', '--do_test', f'--data_dir={folder}',
    '--data_label_type=mask', f'--config_name={tiny}/config.json', f'--tokenizer_name={tiny}',
    f'--output_dir={model_dir}', '--max_seq_length=20', '--max_img_seq_length=3', '--max_steps=2',
    '--per_gpu_train_batch_size=2', '--per_gpu_eval_batch_size=2', '--strategy=one_device',
  )  # fmt: skip
  answers = json.loads(remote.read(f'{model_dir}/test2015_results.json'))
  questions = json.loads(remote.read(f'{folder}/test2015_qla_mrcnn.json'))
  assert [row['question_id'] for row in answers] == [row['q_id'] for row in questions]

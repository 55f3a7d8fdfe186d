"""The official GQA files that the flags select, and GQA's own files of details."""

import json

import pytest

from oscar.datasets import gqa_files
from tests.oscar import loaders


@pytest.mark.parametrize(
  'split, flags, expected',
  [
    ('train', {}, 'gqa_bal_qla_train.json'),
    ('train', {'train_data_type': 'all'}, 'gqa_all_qla_train.json'),
    ('val', {'train_data_type': 'all'}, 'gqa_bal_qla_val.json'),
    ('val', {'eval_data_type': 'all'}, 'gqa_all_qla_val.json'),
    ('test-dev', {'eval_data_type': 'all'}, 'gqa_bal_qla_testdev.json'),
    ('test-dev', {'data_label_type': 'all'}, 'gqa_all_qla_testdev.json'),
    ('test', {}, 'gqa_all_qla_submission.json'),
  ],
)
def test_question_files(split, flags, expected):
  assert gqa_files.GqaFiles('data', **flags).question_file(split) == f'data/{expected}'


def test_balanced_and_all_questions():
  folder = str(loaders.DATA / 'gqa')
  assert len(gqa_files.GqaFiles(folder).open('train').questions) == 3
  assert len(gqa_files.GqaFiles(folder, train_data_type='all').open('train').questions) == 4
  test = gqa_files.GqaFiles(folder).open('test')
  assert not test.answered and [q.question_id for q in test.questions] == [900, 901]


def test_bare_features_have_a_file_of_their_own(tmp_path):
  with pytest.raises(FileNotFoundError, match='gqa_img_frcnn_feats_obj.pt'):
    gqa_files.GqaFiles(str(tmp_path), region_dim=2048).open_regions('train')


@pytest.mark.parametrize(
  'content, message',
  [
    ([], 'expected an object by question id, found list'),
    ({'900': 7}, "key '900': 7; expected the number of a question and an object"),
    ({'nine': {}}, "key 'nine'"),
  ],
)
def test_damaged_details_are_named(tmp_path, content, message):
  path = tmp_path / 'val_all_questions.json'
  path.write_text(json.dumps(content))
  with pytest.raises(ValueError, match=f'val_all_questions.json.*{message}'):
    gqa_files.read_by_id(str(path))

"""Kinds of questions are counted with their answers."""

import json
import pickle

import pytest

from oscar.scenes import kinds


@pytest.fixture
def official(tmp_path):
  """Official files with a few questions of known kinds."""
  for name in ('vqa/cache', 'gqa', 'nlvr2'):
    (tmp_path / name).mkdir(parents=True)
  labels = pickle.dumps({'yes': 0, 'no': 1, 'red': 2, 'blue': 3}, protocol=2)
  (tmp_path / 'vqa' / 'cache' / 'trainval_ans2label.pkl').write_bytes(labels)
  (tmp_path / 'gqa' / 'trainval_testdev_all_ans2label.pkl').write_bytes(labels)
  rows = {
    'vqa/val2014_qla_mrcnn.json': [
      {'kind': 'exists', 'an': [0]}, {'kind': 'exists', 'an': [1]}, {'kind': 'exists', 'an': [0]},
      {'kind': 'name_one', 'an': [2, 3]},
    ],
    'gqa/gqa_bal_qla_val.json': [{'kind': 'choose', 'an': [3]}],
    'nlvr2/nlvr2_dev.json': [{'kind': 'more', 'label': 1}, {'kind': 'more', 'label': 0}],
  }  # fmt: skip
  for name, content in rows.items():
    (tmp_path / name).write_text(json.dumps(content))
  return str(tmp_path)


def test_texts_are_counted_by_kind_and_answer(official):
  assert kinds.count(official, 'val') == [
    kinds.Kind('vqa', 'exists', 3, {'yes': 2, 'no': 1}),
    kinds.Kind('vqa', 'name_one', 1, {'red': 1, 'blue': 1}),
    kinds.Kind('gqa', 'choose', 1, {'blue': 1}),
    kinds.Kind('nlvr2', 'more', 2, {'true': 1, 'false': 1}),
  ]


def test_the_table_has_shares_and_answers(official):
  lines = kinds.table(kinds.count(official, 'val')).splitlines()
  assert lines[0].split()[:3] == ['task', 'kind', 'texts']
  assert lines[1].split() == ['VQA', 'exists', '3', '75.0%', '2', '66.7%', 'yes', '2,', 'no', '1']
  assert [line.split()[0] for line in lines[1:]] == ['VQA', 'VQA', 'GQA', 'NLVR2']

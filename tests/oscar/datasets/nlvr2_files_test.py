"""The official NLVR2 files that the flags select, identifiers, and damaged files."""

import json

import pytest

from oscar.datasets import nlvr2_files
from tests.oscar import loaders

ALL = {'data_label_type': 'all', 'eval_data_type': 'all'}


@pytest.mark.parametrize(
  'split, label, evaluation, expected',
  [
    ('train', 'bal', 'bal', 'nlvr2_train.json'),
    ('val', 'bal', 'bal', 'nlvr2_balanced_dev.json'),
    ('val', 'bal', 'unbal', 'nlvr2_unbalanced_dev.json'),
    ('val', 'bal', 'all', 'nlvr2_dev.json'),
    ('test1', 'bal', 'all', 'nlvr2_balanced_test1.json'),
    ('test1', 'all', 'unbal', 'nlvr2_unbalanced_test1.json'),
    ('test1', 'all', 'all', 'nlvr2_test1.json'),
    ('val+test1', 'all', 'bal', 'nlvr2_balanced_dev.json'),
    ('val+test1', 'all', 'all', 'nlvr2_dev_test1.json'),
  ],
)
def test_statement_files(split, label, evaluation, expected):
  files = nlvr2_files.Nlvr2Files('data', label, evaluation)
  assert files.statement_file(split) == f'data/{expected}'


def test_test1_of_balanced_evaluation_is_the_whole_one_with_all():
  """As officially: --data_label_type=all leaves the choice to 'unbal' only."""
  assert nlvr2_files.Nlvr2Files('d', 'all', 'bal').statement_file('test1') == 'd/nlvr2_test1.json'


def test_an_unknown_split():
  with pytest.raises(ValueError, match="Unknown NLVR2 split 'test'"):
    nlvr2_files.Nlvr2Files('data').statement_file('test')


def sentences(folder, split='dev', **changes):
  rows = json.loads((loaders.DATA / 'nlvr2' / f'nlvr2_{split}.json').read_text())
  lines = [{'sentence': row['q'], 'identifier': f'{split}-7-{i}-0'} for i, row in enumerate(rows)]
  lines[1].update(changes)
  path = folder / f'{split}.json'
  path.write_text('﻿' + ''.join(f'{json.dumps(line)}\n' for line in lines), encoding='utf-8')
  return str(path)


def test_identifiers_of_the_rows_or_of_a_file_of_their_own(data, tmp_path):
  files = nlvr2_files.Nlvr2Files(str(data / 'nlvr2'), **ALL)
  assert files.open('val').identifiers == []
  expected = ['dev-7-0-0', 'dev-7-1-0']
  own = nlvr2_files.Nlvr2Files(str(data / 'nlvr2'), **ALL, sentences_file=sentences(tmp_path))
  assert own.open('val').identifiers == expected
  assert own.open('train').identifiers == []
  path = data / 'nlvr2' / 'nlvr2_dev.json'
  loaders.edit(path, lambda rows: rows[0].update(identifier='dev-7-0-0'))
  with pytest.raises(ValueError, match="nlvr2_dev.json: 'identifier' is missing in 1 of 2 rows"):
    files.open('val')
  loaders.edit(path, lambda rows: rows[1].update(identifier='dev-7-1-0'))
  assert files.open('val').identifiers == expected


def test_sentences_of_another_split_are_refused(tmp_path):
  folder = str(loaders.DATA / 'nlvr2')
  other = nlvr2_files.Nlvr2Files(folder, **ALL, sentences_file=sentences(tmp_path, sentence='no'))
  with pytest.raises(ValueError, match="dev.json line 2: the sentence is 'no', but statement 1"):
    other.open('val')
  short = nlvr2_files.Nlvr2Files(folder, **ALL, sentences_file=sentences(tmp_path))
  message = 'dev.json line 1: the sentence is .*, but statement 0 of .*nlvr2_test1.json is .*; add'
  with pytest.raises(ValueError, match=message):
    short.open('test1')
  lacking = nlvr2_files.Nlvr2Files(folder, **ALL, sentences_file=sentences(tmp_path, identifier=3))
  with pytest.raises(ValueError, match="line 2: 'identifier' is 3, expected text"):
    lacking.open('val')


def test_each_split_takes_its_own_of_several_files(data, tmp_path):
  both = f'{sentences(tmp_path)},{sentences(tmp_path, "test1")}'
  files = nlvr2_files.Nlvr2Files(str(data / 'nlvr2'), **ALL, sentences_file=both)
  dev, test = ([f'{name}-7-{i}-0' for i in range(2)] for name in ('dev', 'test1'))
  assert files.open('val').identifiers == dev
  assert files.open('test1').identifiers == test
  rows = [json.loads((data / 'nlvr2' / f'nlvr2_{n}.json').read_text()) for n in ('dev', 'test1')]
  (data / 'nlvr2' / 'nlvr2_dev_test1.json').write_text(json.dumps(rows[0] + rows[1]))
  assert files.open('val+test1').identifiers == dev + test
  (data / 'nlvr2' / 'nlvr2_test1.json').write_text(json.dumps(rows[1][:1]))
  with pytest.raises(ValueError, match='test1.json has 2 statements, but .*_test1.json has 1;'):
    files.open('test1')

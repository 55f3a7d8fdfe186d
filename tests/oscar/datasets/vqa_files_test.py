"""The official VQA files of every variant, and labels from raw annotations."""

import json
import shutil

import pytest

from oscar.datasets import vqa, vqa_annotations, vqa_files
from tests.oscar import loaders

MASK = {'data_label_type': 'mask'}
MADE = {**MASK, 'label_source': 'annotations'}


def files_of(folder=loaders.DATA / 'vqa', **flags):
  return vqa_files.VqaFiles(str(folder), **flags)


@pytest.mark.parametrize(
  'split, flags, expected',
  [
    ('train', {}, 'txt/train2014_qla.json'),
    ('train', MASK, 'txt/train2014_qla_mrcnn.json'),
    ('train', {**MASK, 'use_vg': True}, 'txt/train2014_vg_qla_mrcnn.json'),
    ('val', {}, 'txt/val2014_qla.json'),
    ('val', {**MASK, 'use_vg': True}, 'txt/val2014_qla_mrcnn.json'),
    ('val', {**MASK, 'use_vg_dev': True}, 'txt/vg_qla_mrcnn.json'),
    ('train+val', {}, 'txt/train+val2014_qla.json'),
    ('train+val', MASK, 'txt/train+val2014_qla_mrcnn.json'),
    ('test2015', {}, 'data/test2014_qla.json'),
    ('test2015', MASK, 'data/test2015_qla_mrcnn.json'),
    ('test-dev2015', {}, 'data/test2014_qla.json'),
    ('test-dev2015', MASK, 'data/test-dev2015_qla_mrcnn.json'),
  ],
)
def test_question_files(split, flags, expected):
  files = vqa_files.VqaFiles('data', 'txt', **flags)
  assert files.question_file(split) == expected
  assert vqa_files.VqaFiles('data', **flags).question_file(split) == expected.replace('txt', 'data')


@pytest.mark.parametrize(
  'flags, name',
  [
    ({}, 'val_img_frcnn_feats.pt'),
    ({'img_feat_format': 'tsv'}, 'val_img_frcnn_feats.tsv'),
    ({'img_feature_type': 'mask_r-cnn'}, 'val_img_mask_rcnn_feats.pt'),
    ({**MASK, 'use_vg_dev': True}, 'train+val_img_frcnn_feats.pt'),
    ({'region_dim': 2048}, 'val_img_frcnn_obj_feats.pt'),
  ],
)
def test_feature_files(flags, name, tmp_path):
  with pytest.raises(FileNotFoundError, match=name.replace('+', r'\+')):
    files_of(tmp_path, **flags).open_regions('val')


def test_features_in_a_folder_of_their_own(tmp_path):
  for name in ('val_img_frcnn_feats.tsv', 'val_img_frcnn_feats_offset_map.json'):
    shutil.copy(loaders.DATA / 'vqa' / name, tmp_path)
  regions = files_of(img_feat_format='tsv', img_feat_dir=str(tmp_path)).open_regions('val')
  expected = files_of().open_regions('val')
  assert {key: regions[key].tolist() for key in regions} == {
    key: expected[key].tolist() for key in regions
  }


def test_a_split_has_questions_answers_and_rows():
  loaded = files_of(**MASK).open('train')
  expected = vqa.Vqa(loaders.DATA / 'vqa', 'train')
  assert loaded.questions == expected.questions and loaded.answers == expected.answers
  assert loaded.answered and loaded.num_rows > len(loaded.questions)
  assert not files_of(**MASK).open('test2015').answered


def test_the_faster_files_are_the_default(data):
  folder = data / 'vqa'
  (folder / 'train2014_qla_mrcnn.json').rename(folder / 'train2014_qla.json')
  assert len(files_of(folder).open('train').questions) == 7
  with pytest.raises(FileNotFoundError, match='train2014_qla_mrcnn.json does not exist'):
    files_of(folder, **MASK).open('train')


@pytest.mark.parametrize('flag', ['use_vg', 'use_vg_dev'])
def test_visual_genome_needs_the_mask_files(flag):
  with pytest.raises(ValueError, match=f'--{flag} needs --data_label_type=mask'):
    files_of(**{flag: True}).question_file('train')


def test_repeated_answers_count_once_with_the_last_score(data):
  path = data / 'vqa' / 'train2014_qla_mrcnn.json'
  loaders.edit(path, lambda rows: rows[0].update(an=[2, 1, 2], s=[0.3, 0.6, 1.0]))
  question = files_of(data / 'vqa', **MASK).open('train').questions[0]
  assert (question.answers, question.scores) == ((2, 1), (1.0, 0.6))
  loaders.edit(path, lambda rows: rows[0].update(an=[2], s=[3.0]))
  with pytest.raises(ValueError, match="train2014_qla_mrcnn.json: question .* score 3.0 in 's'"):
    files_of(data / 'vqa', **MASK).open('train')


# ---- files of labels


def test_texts_of_answers_from_a_file_of_their_own(data):
  folder = data / 'vqa'
  texts = folder / 'cache' / 'trainval_label2ans.json'
  flags = {'label2ans_file': str(texts), 'label_file': str(folder / 'cache/trainval_ans2label.pkl')}
  answers, _ = files_of(folder, **flags).labels()
  assert answers == files_of(folder).labels()[0]
  loaders.edit(texts, lambda names: names.pop())
  with pytest.raises(ValueError, match='trainval_label2ans.json has 6 answers, but .* has 7'):
    files_of(folder, **flags).labels()
  texts.write_text(json.dumps([*answers[:-1], 7]))
  with pytest.raises(ValueError, match='no text for answer 6 of .*ans2label.pkl'):
    files_of(folder, **flags).labels()
  texts.write_text('"yes"')
  with pytest.raises(ValueError, match='expected the list of answers, found str'):
    files_of(folder, **flags).labels()


def test_a_missing_label_file_is_named(data):
  (data / 'vqa' / 'cache' / 'trainval_ans2label.pkl').unlink()
  (data / 'vqa' / 'cache' / 'trainval_ans2label.json').unlink()
  with pytest.raises(FileNotFoundError, match='cache/trainval_ans2label.pkl'):
    files_of(data / 'vqa').labels()


# ---- raw annotations


def annotation(question_id, *answers, kind='other'):
  return {
    'question_id': question_id,
    'answer_type': kind,
    'multiple_choice_answer': max(answers, key=answers.count),
    'answers': [{'answer': answer, 'answer_id': i} for i, answer in enumerate(answers, 1)],
  }


def write_annotations(folder, train, val=()):
  for split, rows in (('train', train), ('val', val)):
    path = folder / f'v2_mscoco_{split}2014_annotations.json'
    path.write_text(json.dumps({'annotations': list(rows)}))


@pytest.fixture
def annotated(data):
  """Annotations of the train split: 5001 has four times yes, and three times no."""
  rows = json.loads((data / 'vqa' / 'train2014_qla_mrcnn.json').read_text())
  ids = {row['q_id'] for row in rows}
  made = [annotation(i, *['The Red'] * 2, *['unknown'] * 8) for i in sorted(ids - {5001})]
  made.append(annotation(5001, *['Yes'] * 4, *['no.'] * 3, *['cat', 'dog', 'dog'], kind='yes/no'))
  write_annotations(data / 'vqa', made)
  return data / 'vqa'


def test_labels_come_from_raw_annotations(annotated):
  loaded = files_of(annotated, annotations_dir=str(annotated), **MADE).open('train')
  assert loaded.answers[:5] == ['yes', 'no', 'red', 'two', 'dog']
  by_id = {question.question_id: question for question in loaded.questions}
  assert by_id[5000].answers == (2,) and by_id[5000].scores == (0.6,)
  assert dict(zip(by_id[5001].answers, by_id[5001].scores, strict=True)) == {0: 1.0, 1: 0.9, 4: 0.6}
  assert loaded.annotations[5001].answer_type == 'yes/no'
  assert loaded.num_rows == len(json.loads((annotated / 'train2014_qla_mrcnn.json').read_text()))


def test_answers_of_nine_questions_become_labels(tmp_path):
  made = [annotation(i, *['Two'] * 10) for i in range(8)] + [annotation(8, *['the 2'] * 10)]
  write_annotations(tmp_path, made, [annotation(i, *['cat'] * 10) for i in range(20, 28)])
  assert files_of(tmp_path, annotations_dir=str(tmp_path), **MADE).labels() == (['2'], {0: 0})


def test_damaged_annotations_are_named(annotated):
  path = annotated / 'v2_mscoco_train2014_annotations.json'
  files = files_of(annotated, annotations_dir=str(annotated), **MADE)
  good = path.read_text()
  loaders.edit(path, lambda content: content['annotations'].pop(0))
  with pytest.raises(ValueError, match="row 0: 'q_id' is 5000, which the .* do not have"):
    files.open('train')
  path.write_text(good)
  loaders.edit(path, lambda content: content['annotations'].append(content['annotations'][0]))
  with pytest.raises(ValueError, match="'question_id' 5000 occurs a second time"):
    files.open('train')
  path.write_text(good)
  loaders.edit(path, lambda content: content['annotations'][0].update(answers=[]))
  with pytest.raises(ValueError, match=r"annotation 0: 'answers' is \[\], expected a list"):
    files.open('train')
  path.write_text('[]')
  with pytest.raises(ValueError, match="expected an object with the list 'annotations'"):
    files.open('train')
  assert vqa_annotations.FILES['train+val'] == (*vqa_annotations.FILES['train'],
                                                *vqa_annotations.FILES['val'])


def test_test_questions_need_ids_of_their_own(data):
  path = data / 'vqa' / 'test2015_qla_mrcnn.json'
  loaders.edit(path, lambda rows: rows[1].update(q_id=f'00{rows[0]["q_id"]}'))
  with pytest.raises(ValueError, match="row 1: 'q_id' 005000 is that of row 0, too"):
    files_of(data / 'vqa', **MASK).open('test2015')
  loaders.edit(path, lambda rows: rows[1].pop('q_id'))
  with pytest.raises(ValueError, match="test2015_qla_mrcnn.json row 1: 'q_id' is missing"):
    files_of(data / 'vqa', **MASK).open('test2015')


def test_questions_without_ids_are_read_without_annotations_only(data):
  folder = data / 'vqa'
  loaders.edit(folder / 'val2014_qla_mrcnn.json', lambda rows: [row.pop('q_id') for row in rows])
  questions = files_of(folder, **MASK).open('val').questions
  assert {(question.question_id, question.id_text) for question in questions} == {(0, '')}
  write_annotations(folder, [], [annotation(5000, *['red'] * 10)])
  with pytest.raises(ValueError, match="row 0: 'q_id' is None, which the 1 annotations do not"):
    files_of(folder, annotations_dir=str(folder), **MASK).open('val')


def test_training_with_labels_of_a_file_needs_no_annotations(tmp_path):
  flags = {**MASK, 'annotations_dir': str(tmp_path)}
  split = files_of(**flags).open('train')
  assert split.questions and not split.annotations
  for needed in ({'label_source': 'annotations'}, {}):
    with pytest.raises(FileNotFoundError, match='v2_mscoco_.*2014_annotations.json'):
      files_of(**flags, **needed).open('train' if needed else 'val')

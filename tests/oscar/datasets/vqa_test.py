"""VQA inputs equal the official loader's; damaged files raise."""

import json

import numpy as np
import pytest

from oscar.datasets import vqa
from oscar.input import layouts, texts
from tests.oscar import loaders


def target(question, num_answers):
  scores = np.zeros(num_answers, np.float32)
  scores[list(question.answers)] = question.scores
  return scores


@pytest.mark.parametrize('name', [name for name in loaders.OUTPUTS if name.startswith('vqa')])
def test_vqa(name, tokenizer, special):
  processor, split = name.split('/')
  reader = vqa.Vqa(loaders.DATA / 'vqa', split)
  assert len(reader.questions) == len(loaders.OUTPUTS[name])
  for question, item in zip(reader.questions, loaders.OUTPUTS[name], strict=True):
    tags = question.tags if processor == 'vqa_text' else ''
    text = texts.words([question.question], tokenizer), texts.words([tags], tokenizer)
    layout = layouts.pair_layout(*text, loaders.LENGTH, special)
    made = layouts.model_inputs(layout, *loaders.padded(reader.regions[question.image_id]))
    loaders.check(item, made, item[1], item[5])
    assert [question.answers[0] if question.answers else 0] == item[3]
    np.testing.assert_array_equal(target(question, len(reader.answers)), np.float32(item[4]))
    if split.startswith('test'):
      assert [question.question_id] == item[6]


def test_an_unknown_split_raises_with_the_nearest_name():
  with pytest.raises(ValueError, match="Unknown VQA split 'test-dev': did you mean test-dev2015"):
    vqa.Vqa(loaders.DATA / 'vqa', 'test-dev')


def test_damaged_rows_raise(data):
  path = data / 'vqa' / 'train2014_qla_mrcnn.json'
  loaders.edit(path, lambda rows: rows[1]['an'].append(99) or rows[1]['s'].append(1))
  with pytest.raises(
    ValueError, match='train2014_qla_mrcnn.json row 1: answer id 99 is not among the 7'
  ):
    vqa.Vqa(data / 'vqa', 'train')
  loaders.edit(path, lambda rows: rows[1]['an'].pop())
  with pytest.raises(ValueError, match='row 1: 2 answers, but 3 scores'):
    vqa.Vqa(data / 'vqa', 'train')
  loaders.edit(path, lambda rows: rows[0].pop('img_id'))
  with pytest.raises(ValueError, match="row 0: 'img_id' is missing; a question needs an image"):
    vqa.Vqa(data / 'vqa', 'train')
  loaders.edit(path, lambda rows: rows[0].update(img_id=5, q=7))
  with pytest.raises(ValueError, match="row 0: 'q' is 7, expected text"):
    vqa.Vqa(data / 'vqa', 'train')
  loaders.edit(path, lambda rows: rows[0].update(an=[[0]]))
  with pytest.raises(ValueError, match=r"row 0: 'an' holds \[0\], expected numbers"):
    vqa.Vqa(data / 'vqa', 'train')
  loaders.edit(path, lambda rows: rows[0].update(an=[0], s=[None]))
  with pytest.raises(ValueError, match="row 0: 's' holds None, expected numbers"):
    vqa.Vqa(data / 'vqa', 'train')
  loaders.edit(path, lambda rows: rows[0].update(s=[1], q='what', q_id='7a'))
  with pytest.raises(ValueError, match="row 0: 'q_id' is '7a', expected a whole number"):
    vqa.Vqa(data / 'vqa', 'train')
  path.write_text(path.read_text()[:-20])
  with pytest.raises(ValueError, match='train2014_qla_mrcnn.json cannot be read as JSON'):
    vqa.Vqa(data / 'vqa', 'train')
  path.unlink()
  with pytest.raises(FileNotFoundError, match='train2014_qla_mrcnn.json does not exist'):
    vqa.Vqa(data / 'vqa', 'train')


def test_labels_come_from_json_when_the_pickle_is_missing(data):
  expected = vqa.Vqa(data / 'vqa', 'train')
  (data / 'vqa' / 'cache' / 'trainval_ans2label.pkl').unlink()
  found = vqa.Vqa(data / 'vqa', 'train')
  assert found.answers == expected.answers and found.questions == expected.questions
  (data / 'vqa' / 'cache' / 'trainval_ans2label.json').write_text('["yes"]')
  with pytest.raises(ValueError, match='expected a dictionary {answer: number}'):
    vqa.Vqa(data / 'vqa', 'train')


def test_a_label_is_the_position_of_an_answer_id_not_the_id(data):
  (data / 'vqa' / 'cache' / 'trainval_ans2label.pkl').unlink()
  order = {'yes': 6, 'no': 5, 'red': 4, 'two': 3, 'dog': 2, 'on the left': 1, 'pizza': 0}
  (data / 'vqa' / 'cache' / 'trainval_ans2label.json').write_text(json.dumps(order))
  reader = vqa.Vqa(data / 'vqa', 'train')
  assert reader.questions[0].answers == (4,)  # Id 2 is the fifth entry.

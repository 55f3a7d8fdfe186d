"""GQA inputs equal the official loader's; a question without features raises."""

import pytest

from oscar.datasets import gqa, region_files
from oscar.input import layouts, texts
from tests.oscar import loaders


@pytest.mark.parametrize('name', [name for name in loaders.OUTPUTS if name.startswith('gqa')])
def test_gqa(name, tokenizer, special):
  split = name.split('/')[1]
  reader = gqa.Gqa(loaders.DATA / 'gqa', split)
  assert len(reader.questions) == len(loaders.OUTPUTS[name])
  for question, item in zip(reader.questions, loaders.OUTPUTS[name], strict=True):
    text = texts.words([question.question], tokenizer), texts.words([question.tags], tokenizer)
    layout = layouts.pair_layout(*text, loaders.LENGTH, special)
    made = layouts.model_inputs(layout, *loaders.padded(reader.regions[question.image_id]))
    loaders.check(item, made, item[1], item[5])
    assert [question.answers[0] if question.answers else 0] == item[3] == item[4]
    if split == 'test':
      assert [question.question_id] == item[6]


def test_a_question_about_an_image_without_features_raises(data):
  loaders.edit(data / 'gqa' / 'gqa_bal_qla_train.json', lambda rows: rows[0].update(img_id='x'))
  reader = gqa.Gqa(data / 'gqa', 'train')
  with pytest.raises(region_files.UnknownImageError, match="gqa_img_frcnn_feats.pt has no .* 'x'"):
    _ = reader.regions[reader.questions[0].image_id]

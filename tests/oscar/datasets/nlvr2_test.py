"""NLVR2 inputs equal the official loader's; damaged rows raise."""

import numpy as np
import pytest
import tensorflow as tf

from oscar.datasets import nlvr2
from oscar.input import layouts, texts
from tests.oscar import loaders


@pytest.mark.parametrize('name', [name for name in loaders.OUTPUTS if name.startswith('nlvr2')])
def test_nlvr2(name, tokenizer, special):
  _, split, pair, labels = name.split('/')
  reader = nlvr2.Nlvr2(loaders.DATA / 'nlvr2', split)
  assert len(reader.statements) == len(loaders.OUTPUTS[name])
  for statement, item in zip(reader.statements, loaders.OUTPUTS[name], strict=True):
    text = texts.words([statement.statement], tokenizer)
    tags = statement.tags if labels.endswith('1') else ('', '')
    regions = [reader.regions[image] for image in statement.image_ids]
    if pair.endswith('1'):
      pairs = layouts.two_image_layouts(
        text,
        [texts.words([t], tokenizer) for t in tags],
        loaders.LENGTH,
        special,
        with_tags=labels.endswith('1'),
      )
      made = [
        layouts.model_inputs(layout, *loaders.padded(rows))
        for layout, rows in zip(pairs, regions, strict=True)
      ]
      joined = {key: tf.concat([one[key] for one in made], 0)[None] for key in made[0]}
      loaders.check(item, joined, item[1], item[4])
      assert statement.label == item[3]
    else:
      both = texts.words([' '.join(tags).strip()], tokenizer)
      layout = layouts.pair_layout(text, both, loaders.LENGTH, special)
      made = layouts.model_inputs(
        layout, *loaders.padded(np.concatenate(regions), 2 * loaders.REGIONS)
      )
      loaders.check(item, made, item[1], item[4])
      assert [statement.label] == item[3]


def test_damaged_rows_raise(data):
  path = data / 'nlvr2' / 'nlvr2_train.json'
  loaders.edit(path, lambda rows: rows[2].update(label=2))
  with pytest.raises(ValueError, match='nlvr2_train.json row 2: .* label 2'):
    nlvr2.Nlvr2(data / 'nlvr2', 'train')
  loaders.edit(path, lambda rows: rows[2].update(label=1, img_id={'left': 'a'}))
  with pytest.raises(ValueError, match='row 2: images .* expected left and right'):
    nlvr2.Nlvr2(data / 'nlvr2', 'train')

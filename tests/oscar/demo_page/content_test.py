"""What the page shows of scenes and predictions."""

import os

import numpy as np
import pytest

from oscar import scenes, scenes_training
from oscar.demo_page import content
from oscar.predicting.results import Answer, Attention, Caption, Comparison, Score
from oscar.scenes import detector
from oscar.scenes import world as world_module
from tests.oscar.scenes.plain_detector import PlainDetector


def reading(images=1):
  raw = np.zeros([2, 3, 6, 6], np.float32)
  raw[0, :, 1, 4], raw[1, :, 1, 5] = 0.5, 0.25
  tokens = ('[CLS]', 'a', 'two', '[SEP]')
  return (Attention(tokens, raw[:, :, :4, 4:].mean(axis=(0, 1)), raw),) * images


def written():
  """Returns the attention of a caption's words to [CLS], the words, a tag and two regions."""
  raw = np.zeros([2, 3, 3, 7], np.float32)
  raw[0, :, 1, 5] = 0.5
  return Attention(('a', 'two', '[SEP]'), raw[..., 5:].mean(axis=(0, 1)), raw)


class Answers:
  def answer_all(self, images, questions, top_k, attention):
    assert len(images) == len(questions) and attention
    top = (('yes', 0.75), ('no', 0.25))
    return [Answer(answer='yes', probability=0.75, top=top, regions=('',), attention=reading())
            for _ in questions]  # fmt: skip


class Captions:
  def caption_all(self, images, num_return_sequences, attention):
    assert num_return_sequences == 3 and attention
    found = (('a two', 0.5), ('a one', 0.25))
    return [Caption(caption='a two', confidence=0.5, captions=found, regions=('',),
                    attention=(written(),) * 2) for _ in images]  # fmt: skip


class Scores:
  """Knows that the first sentence fits the second image best."""

  def score_all(self, images, texts, attention=False, batch_size=32):
    side = int(len(texts) ** 0.5)
    values = np.eye(side)
    values[:, 0] = 0
    values[1, 0] = 0.9
    values = values.ravel() if not attention else np.zeros(len(texts))
    return [Score(probability=float(v), score=float(v), regions=('',), attention=reading())
            for v in values]  # fmt: skip


class Comparisons:
  def compare_all(self, left, right, statements, attention):
    return [Comparison(prediction=True, probability=0.6, probability_true=0.6, regions=('', ''),
                       attention=reading(2)) for _ in statements]  # fmt: skip


@pytest.mark.slow  # Builds a few scenes.
def test_the_content(tmp_path, monkeypatch):
  # The detector and TFRecords take most of the time, and nothing here depends on them.
  monkeypatch.setattr(detector, 'train', lambda *_: PlainDetector())
  monkeypatch.setattr(
    world_module.World, 'prepare', lambda self, *_: os.makedirs(self.data_dir, exist_ok=True)
  )
  world = scenes.build(tmp_path / 'scenes', **scenes_training.QUICK_SCENES)
  maker = content.Maker(world)
  predictors = {
    'vqa': Answers(), 'gqa': Answers(), 'captioning': Captions(), 'retrieval': Scores(),
  }  # fmt: skip
  made = maker.scenes(predictors)
  stored = world.scenes('val')
  assert [scene['key'] for scene in made] == [scene.key for scene in stored]
  assert [c['text'] for c in made[0]['captions']] == ['a two', 'a one']
  assert len(made[0]['references']) == 5 and len(made[0]['vqa']) == 2
  asked = made[0]['vqa'][0]
  (score,) = [score for text, _, score in asked['top'] if text == asked['right']] or [0]
  assert asked['right'] and score in (0, 1)
  own = made[0]['captions'][0]['attention']
  assert own['tokens'] == ['[CLS]', 'a', 'two', '[SEP]'] and len(own['weights'][0]) == 4
  assert own['weights'][0][2] == [0.25, 0] and own['weights'][1][2] == [0.5, 0]
  assert 'attention' not in made[0]['captions'][1]
  # Boxes as the model gets them are those of the scene, whatever their order.
  shape = maker.shapes[stored[0].key]
  assert sorted(shape['boxes']) == sorted([float(x) for x in t.box] for t in stored[0].things)
  assert len(shape['tags']) == len(shape['boxes'])
  assert maker.pictures[stored[0].key].startswith('data:image/png;base64,iVBOR')

  found = maker.retrieval(Scores())
  assert found['size'] == 6 and found['right'] == {'images': 5, 'sentences': 6}
  first = found['sentences'][0]['found']
  assert first[0] == {'key': stored[1].key, 'probability': 0.9, 'right': False}
  assert len(first) == 5 and found['images'][2]['found'][0]['right']

  pairs = maker.pairs(Comparisons())
  assert len(pairs) == content.PAIRS and len(pairs[0]['attention']) == 2
  assert {pair['left'] for pair in pairs} <= {scene.key for scene in stored}
  (key, caption, tags, features), *_ = maker.examples(2)
  assert key == stored[0].key and caption and len(tags) == len(features)


def test_attention_has_the_mean_and_each_layer():
  (found,) = content.attention(reading())
  assert found['weights'][0][1] == [0.25, 0.125]
  assert found['weights'][1][1] == [0.5, 0] and found['weights'][2][1] == [0, 0.25]

"""The content of the page as JSON-able values: scenes, predictions, attention, the map.

    {'scenes': [{'key', 'boxes', 'tags', 'captions', 'references', 'questions': [asked]}],
     'retrieval': {'sentences': [ranked], 'images': [ranked]},
     'pairs': [{'left', 'right', 'statement', 'truth', 'prediction', 'probability', 'attention'}],
     'map': ..., 'pictures': {key: data URI}, 'shapes': {key: {'boxes', 'tags'}}}

Scenes are the first ones of the split val, not picked.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from oscar.datasets import coco_caption, coco_retrieval, features, gqa, nlvr2_files, vqa
from oscar.predicting.images import FeatureFolder
from oscar.predicting.predictor import Predictor
from oscar.predicting.results import Attention
from oscar.scenes import graph
from oscar.scenes.world import World
from tpu_utils import files

SCENES, GALLERY, QUERIES, PAIRS = 10, 40, 8, 12  # Of these: to explore, to search, asked, compared.
_QUESTIONS, _TOP, _FOUND = 4, 4, 5  # Of a data set and scene; answers; results of a search.
_DIGITS = 4  # Of numbers in the page.
_SPLIT = 'val'


class Maker:
  """Makes the parts of the page.

  Attributes:
    pictures: {key of a scene: data URI} of those used so far.
    shapes: {key of a scene: its boxes in pixels and its tags} of those used so far.
  """

  def __init__(self, world: World) -> None:
    """Opens the scenes; nothing is predicted yet.

    Args:
      world: the scenes.
    """
    self._world = world
    self._regions = FeatureFolder(world.manual_dir('features'))
    self.pictures: dict[str, str] = {}
    self.shapes: dict[str, dict[str, Any]] = {}
    self._keys = [scene.key for scene in world.scenes(_SPLIT)]

  def scenes(self, predictors: Mapping[str, Predictor]) -> list[dict[str, Any]]:
    """Returns the scenes to explore, with captions and answers of the given tasks.

    Args:
      predictors: {task: its predictor}; those of 'captioning', 'retrieval', 'vqa' and 'gqa' are
        used. A caption has the attention with which each of its words was written.
    """
    keys = self._keys[:SCENES]
    made: list[dict[str, Any]] = [{'key': self._used(key)} for key in keys]
    if 'captioning' in predictors:
      for scene, found in zip(made, self._captions(predictors, keys), strict=True):
        scene.update(found)
    for task, reader in (('vqa', vqa.Vqa), ('gqa', gqa.Gqa)):
      if task in predictors:
        asked = self._answers(predictors[task], reader(self._world.manual_dir(task), _SPLIT), keys)
        for scene in made:
          scene[task] = asked[scene['key']]
    return made

  def retrieval(self, predictor: Any) -> dict[str, Any]:
    """Returns images found for sentences, and sentences found for images, of one set.

    Args:
      predictor: of the task 'retrieval'.
    """
    reader = coco_retrieval.CocoRetrieval(self._world.manual_dir('coco_retrieval'), _SPLIT)
    keys = reader.image_ids[:GALLERY]
    sentences = [reader.captions[key][0] for key in keys]
    # Row: image, column: sentence.
    scored = predictor.score_all(
      [self._regions[key] for key in keys for _ in keys], sentences * len(keys), batch_size=256
    )
    scores = np.array([s.probability for s in scored]).reshape(len(keys), len(keys))
    order_of_images, order_of_texts = (
      np.argsort(-table, axis=1, kind='stable') for table in (scores.T, scores)
    )
    numbers = range(min(QUERIES, len(keys)))
    best = [(int(order_of_images[n][0]), n) for n in numbers]
    read = predictor.score_all(
      [self._regions[keys[image]] for image, _ in best], [sentences[n] for n in numbers], True
    )
    return {
      'size': len(keys),
      'right': {
        'images': int(np.sum(order_of_images[:, 0] == np.arange(len(keys)))),
        'sentences': int(np.sum(order_of_texts[:, 0] == np.arange(len(keys)))),
      },
      'sentences': [
        {
          'text': sentences[n],
          'attention': attention(read[n].attention)[0],
          'found': [
            {'key': self._used(keys[i]), 'probability': _rounded(scores[i, n]), 'right': i == n}
            for i in order_of_images[n][:_FOUND].tolist()
          ],
        }
        for n in numbers
      ],
      'images': [
        {
          'key': self._used(keys[n]),
          'found': [
            {'text': sentences[t], 'probability': _rounded(scores[n, t]), 'right': t == n}
            for t in order_of_texts[n][:_FOUND].tolist()
          ],
        }
        for n in numbers
      ],
    }

  def pairs(self, predictor: Any) -> list[dict[str, Any]]:
    """Returns statements about two images with what the model says.

    Args:
      predictor: of the task 'nlvr2'.
    """
    folder = self._world.manual_dir('nlvr2')
    split = nlvr2_files.Nlvr2Files(folder, 'all', 'all').open(_SPLIT)
    chosen = _first_of_each_kind(split.kinds, PAIRS)
    statements = [split.statements[place] for place in chosen]
    sides = [
      s.image_ids[::-1] if split.right_first[place] else s.image_ids
      for s, place in zip(statements, chosen, strict=True)
    ]
    found = predictor.compare_all(
      [self._regions[left] for left, _ in sides],
      [self._regions[right] for _, right in sides],
      [s.statement for s in statements],
      attention=True,
    )
    return [
      {
        'left': self._used(left),
        'right': self._used(right),
        'statement': statement.statement,
        'truth': bool(statement.label),
        'prediction': result.prediction,
        'probability': _rounded(result.probability),
        'attention': attention(result.attention),
      }
      for (left, right), statement, result in zip(sides, statements, found, strict=True)
    ]

  def examples(self, count: int) -> list[tuple[str, str, list[str], np.ndarray]]:
    """Returns (key, caption, tags, features) of the first scenes, for the map."""
    reader = coco_retrieval.CocoRetrieval(self._world.manual_dir('coco_retrieval'), _SPLIT)
    made = []
    for key in self._keys[:count]:
      read = self._regions[key]
      made.append((key, reader.captions[key][0], (read.tags or '').split(), read.features))
    return made

  def _captions(self, predictors, keys):
    images = [self._regions[key] for key in keys]
    written = predictors['captioning'].caption_all(
      images, num_return_sequences=3, attention=True
    )
    reader = coco_caption.CocoCaption(f'{self._world.manual_dir("coco_caption")}/{_SPLIT}.yaml')
    references: dict[str, list[str]] = {}
    for caption in reader.captions:
      references.setdefault(caption.image_id, []).append(caption.caption)
    found = [
      {
        'captions': [{'text': text, 'confidence': _rounded(c)} for text, c in result.captions],
        'references': references.get(key, []),
      }
      for key, result in zip(keys, written, strict=True)
    ]
    for scene, result in zip(found, written, strict=True):
      scene['captions'][0]['attention'] = _with_start(attention(result.attention)[0])
    return found

  def _answers(self, predictor, data, keys):
    """Returns {key: its questions with answers}."""
    asked: dict[str, list[Any]] = {key: [] for key in keys}
    for question in data.questions:
      own = asked.get(question.image_id)
      if own is not None and len(own) < _QUESTIONS:
        own.append(question)
    chosen = [question for key in keys for question in asked[key]]
    found = predictor.answer_all(
      [self._regions[q.image_id] for q in chosen], [q.question for q in chosen], _TOP, True
    )
    made: dict[str, list[Any]] = {key: [] for key in keys}
    for question, result in zip(chosen, found, strict=True):
      right = {data.answers[label]: score for label, score in
               zip(question.answers, question.scores or [1.0] * len(question.answers), strict=True)}
      made[question.image_id].append({
        'question': question.question,
        'top': [[text, _rounded(p), _rounded(right.get(text, 0))] for text, p in result.top],
        'right': max(right, key=lambda text: right[text], default=''),
        'attention': attention(result.attention)[0],
      })  # fmt: skip
    return made

  def _used(self, key):
    """Adds a scene to the page; returns its key."""
    if key not in self.pictures:
      content = base64.b64encode(files.read_bytes(self._world.image_file(key))).decode()
      self.pictures[key] = f'data:image/png;base64,{content}'
      found = self._regions[key]
      size = [graph.WIDTH, graph.HEIGHT] * 2
      corners = found.features[:, features.APPEARANCE_DIM : features.APPEARANCE_DIM + 4] * size
      self.shapes[key] = {
        'boxes': np.round(corners, 1).tolist(), 'tags': (found.tags or '').split(),
      }  # fmt: skip
    return key


def attention(found: Sequence[Attention]) -> list[dict[str, Any]]:
  """Returns the words of each sequence with the attention that they pay to regions.

  Returns:
    [{'tokens': word pieces from [CLS] on, 'weights': [of all layers, layer 1, ...]}], weights
    [tokens][regions], the mean over heads.
  """
  made = []
  for one in found:
    # Regions are last: after the tokens, or of a caption after what its words see besides.
    regions = one.weights.shape[1]
    by_layer = one.raw[:, :, : len(one.tokens), one.raw.shape[3] - regions :].mean(axis=1)
    made.append({
      'tokens': list(one.tokens),
      'weights': [np.round(table.astype(float), _DIGITS).tolist()
                  for table in (one.weights, *by_layer)],
    })  # fmt: skip
  return made


def _with_start(read: dict[str, Any]) -> dict[str, Any]:
  """Returns the attention of a written caption with [CLS] first, as other sequences have it."""
  weights = [[[0.0] * len(table[0]), *table] for table in read['weights']]
  return {'tokens': ['[CLS]', *read['tokens']], 'weights': weights}


def _first_of_each_kind(kinds: Iterable[str], count: int) -> list[int]:
  """Returns the places of the first statements of each kind in turn, `count` at most."""
  places: dict[str, list[int]] = {}
  for place, kind in enumerate(kinds):
    places.setdefault(kind, []).append(place)
  turns = [own[turn] for turn in range(count) for own in places.values() if turn < len(own)]
  return turns[:count]


def _rounded(value):
  return round(float(value), _DIGITS)

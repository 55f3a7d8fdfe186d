"""What predictors return."""

import dataclasses
from typing import Any

import numpy as np

_DIGITS = 6  # Of numbers in JSON.


@dataclasses.dataclass(frozen=True)
class Attention:
  """How a model's positions attend to each other, for one sequence of words, tags and regions.

  Attributes:
    tokens: the T word pieces, with tags and special tokens; of a caption those that were written,
      with [SEP].
    weights: float32 [T, R], the mean over layers and heads of the attention of each token to each
      of the R regions. A row sums to the share of its attention that goes to regions.
    raw: float32 [layers, heads, T + R, T + R], the softmax of every layer and head; rows are
      queries and sum to 1. Regions follow the tokens. Of a caption: [layers, heads, T, 1 + T + tags
      + R], the attention of the [MASK] at each token's place when the token was predicted, to [CLS]
      and the tokens before, itself, the tags and the regions.
  """

  tokens: tuple[str, ...]
  weights: np.ndarray
  raw: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prediction:
  """What all results have.

  Attributes:
    regions: for each image, how its regions were found, in words.
    notes: what was left out of the input, in words.
    attention: if asked for, one for each sequence that the model encoded: two for NLVR2 in pairs;
      in captioning one for each caption.
  """

  regions: tuple[str, ...]
  notes: tuple[str, ...] = ()
  attention: tuple[Attention, ...] = ()

  def as_json(self) -> dict[str, Any]:
    """Returns the result as JSON-able values; of the attention only the mean."""
    found = self._values()
    found['regions'] = list(self.regions) if len(self.regions) > 1 else self.regions[0]
    if self.notes:
      found['notes'] = list(self.notes)
    if self.attention:
      found['attention'] = [
        {'tokens': list(a.tokens), 'weights': np.round(a.weights.astype(float), _DIGITS).tolist()}
        for a in self.attention
      ]
    return found

  def text(self) -> str:
    """Returns the result as lines for people."""
    raise NotImplementedError

  def _values(self) -> dict[str, Any]:
    raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer(Prediction):
  """The answer to a question.

  Attributes:
    answer: the likeliest answer.
    probability: its probability. Models trained with bce give each answer a probability of its own.
    top: (answer, probability) of the likeliest ones.
  """

  answer: str
  probability: float
  top: tuple[tuple[str, float], ...]

  def _values(self):
    top = [{'answer': text, 'probability': round(p, _DIGITS)} for text, p in self.top]
    return {'answer': self.answer, 'probability': round(self.probability, _DIGITS), 'top': top}

  def text(self) -> str:
    """Returns the likeliest answers with their probabilities."""
    width = max(len(answer) for answer, _ in self.top)
    return '\n'.join(f'{answer:{width}}  {p:.4f}' for answer, p in self.top)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caption(Prediction):
  """Captions of an image.

  Attributes:
    caption: the best caption.
    confidence: exp of the mean log-probability of its word pieces, the official `conf`.
    captions: (caption, confidence) of all that were asked for, best first.
  """

  caption: str
  confidence: float
  captions: tuple[tuple[str, float], ...]

  def _values(self):
    every = [{'caption': text, 'confidence': round(c, _DIGITS)} for text, c in self.captions]
    return {
      'caption': self.caption, 'confidence': round(self.confidence, _DIGITS), 'captions': every,
    }  # fmt: skip

  def text(self) -> str:
    """Returns the captions with their confidences."""
    return '\n'.join(f'{confidence:.4f}  {text}' for text, confidence in self.captions)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score(Prediction):
  """How well a text fits an image.

  Attributes:
    probability: that they belong together. A regression (num_labels 1) estimates it by least
      squares: its output, cut to 0 to 1.
    score: the number by which the official code ranks: the probability, or the regression's output.
  """

  probability: float
  score: float

  def _values(self):
    names = ('probability', 'score')
    return {name: round(getattr(self, name), _DIGITS) for name in names}

  def text(self) -> str:
    """Returns the probability and the score."""
    return f'belong together: {self.probability:.4f} (score {self.score:.4f})'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison(Prediction):
  """Whether a statement about two images is true.

  Attributes:
    prediction: whether it is.
    probability: the probability of the prediction.
    probability_true: the probability that the statement is true.
  """

  prediction: bool
  probability: float
  probability_true: float

  def _values(self):
    return {
      'prediction': self.prediction,
      'probability': round(self.probability, _DIGITS),
      'probability_true': round(self.probability_true, _DIGITS),
    }

  def text(self) -> str:
    """Returns the prediction and its probability."""
    return f'{str(self.prediction).lower()}  {self.probability:.4f}'

"""Baselines of VQA, GQA and NLVR2 that see no picture: chance, words alone, words and tags.

    found = baselines.questions(files.open('train'), files.open('val'), 'vqa_score')
    found['text']['vqa_score']

Each function returns {baseline: {metric: value}} under the metrics' names in evaluations:

    chance            the most frequent answer of training; for statements a coin
    majority_by_kind  the most frequent answer of the question's kind, where the files name kinds
    text              `linear.LinearClassifier` of the 1- to 3-grams of the text
    text_and_tags     the same with the image's tags, counted
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from oscar.datasets import nlvr2_files, vqa
from oscar.metrics import kinds
from oscar.metrics import nlvr2 as nlvr2_metrics
from oscar.quality import linear

CHANCE, BY_KIND, TEXT, TEXT_AND_TAGS = 'chance', 'majority_by_kind', 'text', 'text_and_tags'
Results = dict[str, dict[str, float]]


class Questions(Protocol):
  """The questions of a split of VQA or GQA: the result of a reader's `open`.

  Attributes:
    questions: the questions.
    answers: texts of the answers; a label is an index into it.
    kinds: {question id: kind}, {} if the files name none.
  """

  questions: list[vqa.Question]
  answers: list[str]
  kinds: dict[int, str]


@dataclasses.dataclass(frozen=True)
class _Example:
  """A text with the tags of its images.

  Attributes:
    text: n-grams of the text.
    tags: the tags, those of two images under different names.
    scores: {label: score}.
    kind: of the text; None if unknown.
  """

  text: list[str]
  tags: list[str]
  scores: Mapping[int, float]
  kind: str | None

  @property
  def label(self) -> int:
    """The first of the labels with the highest score."""
    return max(self.scores, key=lambda label: self.scores[label])


def questions(train: Questions, test: Questions, metric: str) -> Results:
  """Computes the baselines of VQA or GQA.

  Args:
    train: the training questions.
    test: the questions to answer, with answers.
    metric: name of the score of an answer.
  """
  learnt, asked = _of_questions(train), _of_questions(test)
  predicted = {CHANCE: [_majority(learnt)] * len(asked), **_linear(learnt, asked, train.answers)}
  if train.kinds and test.kinds:
    predicted[BY_KIND] = _majority_by_kind(learnt, asked)
  return {name: _scores(asked, labels, metric) for name, labels in predicted.items()}


def statements(
  train: nlvr2_files.Nlvr2Split, test: nlvr2_files.Nlvr2Split, metric: str
) -> Results:
  """Computes the baselines of NLVR2, with consistency.

  Args:
    train: the training statements.
    test: the statements to judge.
    metric: name of the accuracy.
  """
  learnt, asked = _of_statements(train), _of_statements(test)
  groups = nlvr2_metrics.groups(test.identifiers, [s.statement for s in test.statements])
  sizes = collections.Counter(groups).values()
  coin = {metric: 0.5, 'consistency': sum(0.5**size for size in sizes) / len(sizes)}
  found = {CHANCE: coin}
  predicted = _linear(learnt, asked, ('false', 'true'))
  if train.kinds and test.kinds:
    predicted[BY_KIND] = _majority_by_kind(learnt, asked)
  for name, labels in predicted.items():
    right = [e.scores.get(label, 0) == 1 for e, label in zip(asked, labels, strict=True)]
    consistent = {'consistency': nlvr2_metrics.consistency(right, groups)}
    found[name] = _scores(asked, labels, metric) | consistent
  return found


def _of_questions(split):
  return [
    _Example(
      linear.ngrams(question.question),
      [f'tag {tag}' for tag in question.tags.lower().split()],
      dict(zip(question.answers, question.scores, strict=True)),
      split.kinds.get(question.question_id),
    )
    for question in split.questions
  ]


def _of_statements(split):
  return [
    _Example(
      linear.ngrams(statement.statement),
      [f'{side} tag {tag}' for side, tags in zip(('left', 'right'), ordered, strict=True)
       for tag in tags.lower().split()],
      {statement.label: 1.0},
      split.kinds[place] if split.kinds else None,
    )
    for place, statement in enumerate(split.statements)
    for ordered in [statement.tags[::-1] if split.right_first[place] else statement.tags]
  ]  # fmt: skip


def _majority(examples):
  """Returns the label with the largest sum of scores; of equal ones the smallest."""
  totals = collections.Counter()
  for example in examples:
    totals.update(example.scores)
  return min(totals, key=lambda label: (-totals[label], label))


def _majority_by_kind(learnt, asked):
  of_kind = collections.defaultdict(list)
  for example in learnt:
    of_kind[example.kind].append(example)
  best = {kind: _majority(examples) for kind, examples in of_kind.items()}
  other = _majority(learnt)
  return [best.get(example.kind, other) for example in asked]


def _linear(learnt, asked, answers):
  """Returns {baseline: predicted labels} of the linear classifiers."""
  labels = [example.label for example in learnt]
  features = {
    TEXT: lambda example: example.text,
    TEXT_AND_TAGS: lambda example: example.text + example.tags,
  }
  return {
    name: _predict(
      [of(example) for example in learnt], labels, len(answers), [of(example) for example in asked]
    )
    for name, of in features.items()
  }


def _predict(
  learnt: Sequence[Sequence[str]], labels: Sequence[int], count: int, asked: Sequence[Sequence[str]]
) -> list[int]:
  return np.asarray(linear.LinearClassifier(learnt, labels, count).predict(asked)).tolist()


def _scores(asked, labels, metric):
  """Returns the mean score of predicted labels, and that of each kind."""
  scores = [e.scores.get(label, 0.0) for e, label in zip(asked, labels, strict=True)]
  by_kind = kinds.means(metric, [(e.kind, s) for e, s in zip(asked, scores, strict=True)])
  return {metric: sum(scores) / len(scores), **by_kind}

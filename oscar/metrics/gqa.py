"""GQA's official metrics over a split, and its result file.

Source: the official evaluation of GQA (`eval.py` of the dataset). As there, only balanced questions
count; the structural type 'query' makes a question open, any other binary.
"""

import collections
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from oscar.metrics import kinds
from oscar.metrics.vqa import check_each_once

# Answers that are valid and plausible for questions about what two things have in common.
_COMMON = ('color', 'material', 'shape')


def evaluate(
  predictions: Mapping[int, str],
  details: Mapping[int, Mapping[str, Any]],
  choices: Mapping[int, Mapping[str, Sequence[str]]],
  where: str = 'questions file',
) -> dict[str, float]:
  """Computes the official metrics.

  Args:
    predictions: {question id: answer}.
    details: {question id: entry of GQA's questions file}.
    choices: {question id: {'valid', 'plausible'}} or {}.
    where: the questions file, for the error.

  Returns:
    Means over the balanced questions: 'gqa_accuracy', 'gqa_binary', 'gqa_open', and for each type
    'gqa_structural_TYPE' and 'gqa_semantic_TYPE'; 'gqa_validity' and 'gqa_plausibility' if there
    are choices; 'gqa_distribution' (less is better) if there are groups; 'gqa_consistency' if all
    questions are predicted that those answered correctly entail.

  Raises:
    ValueError: a prediction is of another split, or an entry lacks a field.
  """
  scored: dict[str, list] = collections.defaultdict(list)
  gold: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
  predicted: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
  consistency: list[float] | None = []
  for question_id, answer in predictions.items():
    entry = _entry(details, question_id, where)
    if not entry['isBalanced']:
      continue
    right = answer == entry['answer']
    structural, semantic = entry['types']['structural'], entry['types']['semantic']
    scored['accuracy'].append(right)
    scored['open' if structural == 'query' else 'binary'].append(right)
    scored[f'structural_{structural}'].append(right)
    scored[f'semantic_{semantic}'].append(right)
    if choices:
      for name, key in (('validity', 'valid'), ('plausibility', 'plausible')):
        scored[name].append(answer in _allowed(choices, question_id, key, entry, where))
    group = (entry.get('groups') or {}).get('global')
    if group is not None:
      gold[group][entry['answer']] += 1
      predicted[group][answer] += 1
    if right and consistency is not None:
      consistency = _with_entailed(consistency, question_id, entry, predictions, details, where)
  found = {f'gqa_{name}': sum(values) / len(values) for name, values in sorted(scored.items())}
  if gold:
    found['gqa_distribution'] = _distance(gold, predicted)
  if consistency:
    found['gqa_consistency'] = sum(consistency) / len(consistency)
  return found


def _entry(details, question_id, where):
  entry = details.get(question_id)
  if entry is None:
    raise ValueError(
      f'{where} has no question {question_id!r}; give the file of the evaluated questions.'
    )
  types = entry.get('types')
  complete = {'isBalanced', 'answer'} <= set(entry) and isinstance(types, dict)
  if not complete or not {'structural', 'semantic'} <= set(types):
    raise ValueError(
      f"{where}, key '{question_id}': expected isBalanced, answer, types (structural, semantic), "
      f'found {sorted(entry)}.'
    )
  return entry


def _allowed(choices, question_id, key, entry, where):
  """Returns the answers that are valid or plausible for a question."""
  if 'Common' in str(entry['types'].get('detailed', '')):
    return _COMMON
  if key not in choices.get(question_id, ()):
    raise ValueError(
      f"the choices that belong to {where} have no {key!r} for question '{question_id}'."
    )
  return choices[question_id][key]


def _with_entailed(consistency, question_id, entry, predictions, details, where):
  """Appends the share of the entailed questions that are right; None if one is not predicted."""
  entailed = [int(i) for i in entry.get('entailed', ()) if int(i) != question_id]
  if not entailed:
    return consistency
  if any(i not in predictions for i in entailed):
    return None
  right = [predictions[i] == _entry(details, i, where)['answer'] for i in entailed]
  return [*consistency, sum(right) / len(right)]


def _distance(gold, predicted):
  """Returns the chi-square of predicted and true answers, averaged over groups, by 100."""
  total = weighted = 0.0
  for group, counts in gold.items():
    number = sum(counts.values())
    score = sum((predicted[group][answer] - n) ** 2 / n for answer, n in counts.items())
    weighted, total = weighted + score * number, total + number
  return weighted / total / 100


def by_kind(
  right: Mapping[int, bool], kind_of: Mapping[int, str]
) -> dict[str, float]:
  """Returns {'accuracy_KIND': share of right answers} for questions whose kind is known.

  Args:
    right: {question id: whether the answer is right}.
    kind_of: {question id: kind}.
  """
  return kinds.means('accuracy', [(kind_of.get(i), float(value)) for i, value in right.items()])


def results(
  rows: Sequence[Mapping[str, Any]],
  question_ids: Collection[int],
  where: str,
  texts: Mapping[int, str] | None = None,
) -> list[dict[str, str]]:
  """Returns the contents of a submission file, after checking it.

  Args:
    rows: predictions with 'question_id', a number or as in `texts`, and 'answer'.
    question_ids: ids of all questions of the split.
    where: file of the questions, for the error.
    texts: {question id: as the file writes it}, as the ids of GQA may begin with zeros; None
      without.

  Returns:
    [{'questionId': text, 'prediction': answer}], each question once.

  Raises:
    ValueError: a question is missing, answered twice or unknown, or an answer is not text.
  """
  for row in rows:
    if not isinstance(row['answer'], str):
      raise ValueError(f'{where}: prediction {dict(row)!r:.120}; expected text as answer.')
  texts = texts or {}
  number_of = {text: number for number, text in texts.items()}
  numbers = [number_of.get(row['question_id'], row['question_id']) for row in rows]
  check_each_once(numbers, question_ids, where)
  return [
    {'questionId': texts.get(number, str(number)), 'prediction': row['answer']}
    for number, row in zip(numbers, rows, strict=True)
  ]

"""VQA's accuracy, its normalisation of answers, the soft scores of labels, and the result file.

Source: the official evaluation of VQA (`vqaEval.py` of GT-Vision-Lab/VQA): an answer's accuracy is
its mean over the ten sets of nine annotators, min(1, annotators who gave it / 3).
"""

import collections
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

# Score of a label for the number of annotators, of ten, who gave it; four and more score 1.
SOFT_SCORES = (0.0, 0.3, 0.6, 0.9, 1.0)

_SIGNS = ';/[]"{}()=+\\_-><@`,?!'
_GROUPED_DIGITS = re.compile(r'\d,\d')
_PERIOD = re.compile(r'\.(?!\d)')
_MAX_PERIODS = 32  # The official call passes a regular expression's flag as this count.
_ARTICLES = ('a', 'an', 'the')
_NUMBERS = {
  word: str(number)
  for number, word in enumerate(
    ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine', 'ten')
  )
} | {'none': '0'}
# An answer that lacks exactly one apostrophe of these gets it back.
_CONTRACTIONS = """
  ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
  haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
  might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
  shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
  someone's something'd something'd've something'll that's there'd there'd've there're there's
  they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
  what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's
  won't would've wouldn't wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've
"""


def _without_one_apostrophe(word):
  return [word[:i] + word[i + 1 :] for i, letter in enumerate(word) if letter == "'"]


_CONTRACTION_OF = {
  wrong: word for word in _CONTRACTIONS.split() for wrong in _without_one_apostrophe(word)
} | {"somebody'd": 'somebodyd'}  # The official table has this pair in reverse.


def strip_lines(answer: str) -> str:
  """Returns an answer with blanks in place of line breaks and tabs, stripped."""
  return answer.replace('\n', ' ').replace('\t', ' ').strip()


def normalize(answer: str) -> str:
  """Normalises an answer as the official evaluation does.

  Punctuation goes, number words up to ten become digits, articles go, and contractions get their
  apostrophe back.
  """
  text = strip_lines(answer)
  grouped = _GROUPED_DIGITS.search(text)
  plain = text
  for sign in _SIGNS:
    beside_blank = f'{sign} ' in text or f' {sign}' in text
    plain = plain.replace(sign, '' if beside_blank or grouped else ' ')
  plain = _PERIOD.sub('', plain, count=_MAX_PERIODS)
  words = (_NUMBERS.get(word, word) for word in plain.lower().split())
  return ' '.join(_CONTRACTION_OF.get(word, word) for word in words if word not in _ARTICLES)


def ten_choose_nine(prediction: str, answers: Sequence[str]) -> float:
  """Computes the official accuracy of a predicted answer.

  Args:
    prediction: the predicted answer.
    answers: the annotators' answers, ten officially. As officially, all are normalised, but not if
      the annotators agree to the letter.

  Returns:
    The mean over the annotators of min(1, other annotators with that answer / 3).
  """
  answers = [strip_lines(answer) for answer in answers]
  prediction = strip_lines(prediction)
  if len(set(answers)) > 1:
    answers = [normalize(answer) for answer in answers]
    prediction = normalize(prediction)
  right = [answer == prediction for answer in answers]
  count = sum(right)
  return sum(min(1.0, (count - own) / 3) for own in right) / len(right)


def soft_scores(answers: Sequence[str]) -> dict[str, float]:
  """Computes the score of each normalised answer: min(1, 0.3 times the annotators who gave it).

  Args:
    answers: the annotators' answers.

  Returns:
    {answer: score}, in order of appearance.
  """
  counts = collections.Counter(normalize(answer) for answer in answers)
  return {answer: SOFT_SCORES[min(count, 4)] for answer, count in counts.items()}


def accuracies(
  predictions: Mapping[int, str], annotations: Mapping[int, Any], num_questions: int
) -> dict[str, float]:
  """Computes the official accuracy over a split, and for each type of answer.

  Args:
    predictions: {question id: answer} of the questions with a known answer.
    annotations: {question id: object with `answers` and `answer_type`}.
    num_questions: questions of the split, with those that have no known answer, which score 0: no
      label can be right.

  Returns:
    {'vqa_accuracy': ..., 'vqa_accuracy_yes_no': ..., ...}; those of the types are means over the
    predicted questions.

  Raises:
    ValueError: a question has no annotation.
  """
  by_type = collections.defaultdict(list)
  for question_id, answer in predictions.items():
    annotation = annotations.get(question_id)
    if annotation is None:
      raise ValueError(
        f"question {question_id} has no annotation among {len(annotations)}; is it the 'q_id' of "
        'VQA, and --annotations_dir that of these questions?'
      )
    accuracy = ten_choose_nine(answer, annotation.answers)
    by_type[annotation.answer_type].append(accuracy)
  total = sum(sum(values) for values in by_type.values())
  found = {'vqa_accuracy': total / max(num_questions, 1)}
  for kind, values in sorted(by_type.items()):
    name = re.sub(r'\W+', '_', kind) or 'untyped'
    found[f'vqa_accuracy_{name}'] = sum(values) / len(values)
  return found


def results(
  rows: Sequence[Mapping[str, Any]], question_ids: Collection[int], where: str
) -> list[dict[str, Any]]:
  """Returns the contents of a submission file, after checking it.

  Args:
    rows: predictions with 'question_id' and 'answer'.
    question_ids: ids of all questions of the split.
    where: file of the questions, for the error.

  Returns:
    [{'question_id': int, 'answer': str}], each question once.

  Raises:
    ValueError: a question is missing, answered twice or unknown, an id is not a whole number, or an
      answer is not text.
  """
  for row in rows:
    if type(row['question_id']) is not int or not isinstance(row['answer'], str):
      raise ValueError(
        f'{where}: prediction {dict(row)!r:.120}; expected a whole number as question_id and text '
        'as answer.'
      )
  check_each_once([row['question_id'] for row in rows], question_ids, where)
  return [{'question_id': row['question_id'], 'answer': row['answer']} for row in rows]


def check_each_once(found: Sequence[Any], expected: Collection[Any], where: str) -> None:
  """Checks that each of the expected ids occurs exactly once.

  Args:
    found: ids of the predictions.
    expected: ids of the questions.
    where: file of the questions, for the error.

  Raises:
    ValueError: an id is missing, occurs twice, or is not expected.
  """
  for ids, kind in ((found, 'predictions'), (expected, 'questions')):
    twice = [key for key, count in collections.Counter(ids).items() if count > 1]
    if twice:
      raise ValueError(
        f"{where}: {kind} name 'q_id' {twice[0]!r} twice; a submission takes each id once. Give "
        'each question an id of its own.'
      )
  missing = sorted(set(expected) - set(found))
  unknown = sorted(set(found) - set(expected))
  if missing or unknown:
    raise ValueError(
      f'{where}: {len(missing)} questions without prediction{_first(missing)}, {len(unknown)} '
      f'predictions without question{_first(unknown)}; a submission takes all or none.'
    )


def _first(ids):
  return f' (first: {ids[0]!r})' if ids else ''

"""The input of VQA and GQA: questions about images as batches.

Source: microsoft/Oscar, `tensorize_example` of oscar/run_vqa.py and oscar/run_gqa.py.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from oscar.datasets import features, region_files, tags, vqa
from oscar.input import layouts, official_records, record_input, texts, trimming


class Questions(Protocol):
  """The questions of a split: the result of a reader's `open`.

  Attributes:
    path: file of the questions.
    questions: the questions, in file order.
    answers: texts of the answers; a label is an index into it.
    answered: whether the questions have answers.
  """

  path: str
  questions: list[vqa.Question]
  answers: list[str]
  answered: bool


class QuestionInput(record_input.RecordInput):
  """Batches of questions from the official files.

  Args:
    open_questions: function(split) -> `Questions`.
    open_regions: function(split) -> {image key: regions}, called once for each split.
    tokenizer: `oscar.Tokenizer`.
    max_seq_length: tokens of question and tags.
    with_tags: whether the model gets the tags.
    choose_tags: see `tags.chooser`.
    trim: whether batches lose the padding that all their rows share.
    region_dim: numbers in a region.
    dropout_rate: function(examples before the batch, over all hosts) -> float32 scalar, which
      training batches hold as 'dropout_rate'; None for no such entry.
    **settings: batch sizes, splits, regions, seed and window, as for `RecordInput`.

  The batches hold the model's inputs and 'row' int64 [batch], the place of the question in its
  file; in splits with answers also 'targets' float32 [batch, answers], the score of each answer,
  and 'labels' int32 [batch], the first accepted answer.

  Raises (also the methods):
    ValueError: bad data; one line that names the file and, if one row is wrong, the row.
  """

  def __init__(
    self,
    open_questions: Callable[[str], Questions],
    open_regions: Callable[[str], region_files.RegionFile],
    tokenizer: texts.Tokenizer,
    *,
    max_seq_length: int,
    with_tags: bool = True,
    choose_tags: tags.Chooser | None = None,
    trim: bool = False,
    region_dim: int = features.REGION_DIM,
    dropout_rate: Callable | None = None,
    **settings: Any,
  ) -> None:
    super().__init__(**settings)
    self.questions, self._open_regions = open_questions, open_regions
    self._tokenizer = tokenizer
    self._max_seq_length, self._with_tags, self._trim = max_seq_length, with_tags, trim
    self._choose_tags = choose_tags
    self._region_dim, self._dropout_rate = region_dim, dropout_rate

  def open_split(self, name: str) -> record_input.Split:
    """Opens a split; see `RecordInput`."""
    loaded = self.questions(name)
    if not loaded.questions:
      raise ValueError(f'{loaded.path}: no question has a known answer; is it the right file?')
    regions = self._open_regions(name)
    keys = [(question.image_id,) for question in loaded.questions]
    images, order, counts = official_records.grouped(keys, regions)
    records = official_records.OfficialRecords(regions, {'regions': images}, self._region_dim)
    questions = [loaded.questions[place] for place in order]
    tables = [texts.TokenTable.of([q.question for q in questions], self._tokenizer, loaded.path)]
    if self._with_tags:
      image_ids, own = [q.image_id for q in questions], [q.tags for q in questions]
      chosen = tags.of_rows(self._choose_tags, image_ids, own)
      tables.append(texts.TokenTable.of(chosen, self._tokenizer, loaded.path))
    special, length = texts.special_ids(self._tokenizer), self._max_seq_length
    answers = _answers(questions, len(loaded.answers)) if loaded.answered else None
    rows_in_file = tf.constant(order, tf.int64)

    def make_batch(rows):
      words = [table.rows(rows.example, length) for table in tables]
      if not self._with_tags:
        words.append(texts.Words(words[0].ids, tf.zeros_like(words[0].length)))
      layout = layouts.pair_layout(*words, length, special)
      batch = layouts.model_inputs(layout, *rows.regions['regions'])
      if answers is not None:
        batch |= answers(rows.example)
      return batch | {'row': tf.gather(rows_in_file, rows.example)}

    return record_input.Split(records, counts, make_batch)

  def explain(self, error: Exception) -> ValueError | None:
    """Finds the damaged image that caused an error of a dataset; see `RecordInput`."""
    return official_records.failure(self._splits.values()) or super().explain(error)

  def _finish(self, dataset, split, start, batch_size, context, weighted=False):
    dataset = super()._finish(dataset, split, start, batch_size, context, weighted)
    if self._trim:
      dataset = trimming.trimmed_batches(dataset, context, evaluation=weighted)
    if self._dropout_rate is None:
      return dataset
    hosts = context.num_input_pipelines

    @tf.autograph.experimental.do_not_convert  # No control flow over tensors.
    def add_rate(number, batch):
      rate = 0.0 if weighted else self._dropout_rate((start + number * batch_size) * hosts)
      return batch | {'dropout_rate': tf.fill([batch_size], tf.cast(rate, tf.float32))}

    return dataset.enumerate().map(add_rate, tf.data.AUTOTUNE, deterministic=True)


def prediction_records(loaded: Questions, rows: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
  """Returns predictions in the order of the questions' file.

  Args:
    loaded: the questions.
    rows: 'row' (place of the question), 'label' and 'probability' of each prediction.

  Returns:
    [{'question_id', 'image_id', 'question', 'answer', 'probability'}].
  """
  made = []
  for place in np.argsort(rows['row'], kind='stable'):
    question = loaded.questions[int(rows['row'][place])]
    made.append(
      {
        'question_id': question.question_id,
        'image_id': question.image_id,
        'question': question.question,
        'answer': loaded.answers[int(rows['label'][place])],
        'probability': float(rows['probability'][place]),
      }
    )
  return made


def _answers(questions, num_answers):
  """Returns function(example) -> {'targets', 'labels'} for questions in record order."""
  width = max(len(question.answers) for question in questions)
  labels = np.full([len(questions), width], num_answers, np.int32)  # One past the end: no answer.
  scores = np.zeros([len(questions), width], np.float32)
  for row, question in enumerate(questions):
    labels[row, : len(question.answers)] = question.answers
    scores[row, : len(question.answers)] = question.scores
  labels, scores = tf.constant(labels), tf.constant(scores)

  def answers(example):
    chosen, weight = tf.gather(labels, example), tf.gather(scores, example)
    batch = tf.shape(example)[0]
    row = tf.repeat(tf.range(batch), width)
    places = tf.stack([row, tf.reshape(chosen, [-1])], axis=1)
    targets = tf.scatter_nd(places, tf.reshape(weight, [-1]), [batch, num_answers + 1])
    targets = tf.ensure_shape(targets[:, :num_answers], [example.shape[0], num_answers])
    return {'targets': targets, 'labels': chosen[:, 0]}

  return answers

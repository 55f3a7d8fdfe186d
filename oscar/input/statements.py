"""The input of NLVR2: statements about pairs of images as batches, in both official forms.

Source: microsoft/Oscar, `tensorize_example` and `tensorize_example_pair` of oscar/run_nlvr.py.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from oscar.datasets import features, nlvr2, region_files, tags
from oscar.datasets.nlvr2_files import Nlvr2Split
from oscar.input import layouts, official_records, record_input, texts, trimming

_FIELDS = ('first_regions', 'second_regions')


class StatementInput(record_input.RecordInput):
  """Batches of statements from the official files.

  Args:
    open_statements: function(split) -> `Nlvr2Split`.
    open_regions: function(split) -> {image key: regions}, called once for each split.
    tokenizer: `oscar.Tokenizer`.
    max_seq_length: tokens of statement and tags.
    use_pair: whether the statement goes with each image alone: inputs have an axis of two images
      after the batch. Otherwise one sequence holds the regions of the left, then the right image.
    with_tags: whether the model gets the tags.
    choose_tags: see `tags.chooser`.
    max_img_seq_length: regions of an image; one sequence holds twice as many.
    trim: whether batches lose the padding that all their rows share.
    region_dim: numbers in a region.
    **settings: batch sizes, splits, seed and window, as for `RecordInput`.

  The batches hold the model's inputs, 'labels' int32 [batch], 1 for true, and 'row' int64 [batch],
  the place of the statement in its file.

  Raises (also the methods):
    ValueError: bad data; one line that names the file and, if one row is wrong, the row.
  """

  def __init__(
    self,
    open_statements: Callable[[str], Nlvr2Split],
    open_regions: Callable[[str], region_files.RegionFile],
    tokenizer: texts.Tokenizer,
    *,
    max_seq_length: int,
    use_pair: bool = True,
    with_tags: bool = False,
    choose_tags: tags.Chooser | None = None,
    max_img_seq_length: int = 50,
    trim: bool = False,
    region_dim: int = features.REGION_DIM,
    **settings: Any,
  ) -> None:
    super().__init__(
      max_img_seq_length=max_img_seq_length if use_pair else 2 * max_img_seq_length, **settings
    )
    self.statements, self._open_regions = open_statements, open_regions
    self._tokenizer = tokenizer
    self._max_seq_length, self._use_pair = max_seq_length, use_pair
    self._with_tags, self._trim, self._region_dim = with_tags, trim, region_dim
    self._choose_tags = choose_tags

  def open_split(self, name: str) -> record_input.Split:
    """Opens a split; see `RecordInput`."""
    loaded = self.statements(name)
    regions = self._open_regions(name)
    ordered = loaded.statements
    if not self._use_pair:
      ordered = [_left_first(*pair) for pair in zip(ordered, loaded.right_first, strict=True)]
    pairs, order, counts = official_records.grouped([s.image_ids for s in ordered], regions)
    statements = [ordered[place] for place in order]
    images: dict[str, Sequence[Sequence[str]]]
    if self._use_pair:
      images = {field: [(pair[i],) for pair in pairs] for i, field in enumerate(_FIELDS)}
    else:
      images = {'regions': pairs}
    records = official_records.OfficialRecords(regions, images, self._region_dim)
    text = texts.TokenTable.of([s.statement for s in statements], self._tokenizer, loaded.path)
    tag_tables = self._tags(statements, loaded.path)
    special, length = texts.special_ids(self._tokenizer), self._max_seq_length
    labels = tf.constant([s.label for s in statements], tf.int32)
    rows_in_file = tf.constant(order, tf.int64)

    def make_batch(rows):
      words = text.rows(rows.example, length)
      empty = texts.Words(words.ids, tf.zeros_like(words.length))
      if self._use_pair:
        second = [table.rows(rows.example, length) for table in tag_tables] or [empty, empty]
        made = layouts.two_image_layouts(words, second, length, special, bool(tag_tables))
        both = [
          layouts.model_inputs(layout, *rows.regions[field])
          for layout, field in zip(made, _FIELDS, strict=True)
        ]
        batch = {name: tf.stack([one[name] for one in both], axis=1) for name in both[0]}
      else:
        second = tag_tables[0].rows(rows.example, length) if tag_tables else empty
        (layout,) = layouts.two_image_layouts(words, [second], length, special, bool(tag_tables))
        batch = layouts.model_inputs(layout, *rows.regions['regions'])
      return batch | {
        'labels': tf.gather(labels, rows.example),
        'row': tf.gather(rows_in_file, rows.example),
      }

    return record_input.Split(records, counts, make_batch)

  def _tags(self, statements, path):
    """Returns the tables of tags: one for each image, one for both in one sequence, or none."""
    if not self._with_tags:
      return []
    keys = [key for s in statements for key in s.image_ids]
    chosen = tags.of_rows(self._choose_tags, keys, [own for s in statements for own in s.tags])
    columns = [chosen[::2], chosen[1::2]]
    if not self._use_pair:
      columns = [[' '.join(both) for both in zip(*columns, strict=True)]]
    return [texts.TokenTable.of(column, self._tokenizer, path) for column in columns]

  def _finish(self, dataset, split, start, batch_size, context, weighted=False):
    dataset = super()._finish(dataset, split, start, batch_size, context, weighted)
    if self._trim:
      dataset = trimming.trimmed_batches(dataset, context, evaluation=weighted)
    return dataset

  def explain(self, error: Exception) -> ValueError | None:
    """Finds the damaged image that caused an error of a dataset; see `RecordInput`."""
    return official_records.failure(self._splits.values()) or super().explain(error)


def _left_first(statement: nlvr2.Statement, right_first: bool) -> nlvr2.Statement:
  """Returns a statement with its images from left to right."""
  if not right_first:
    return statement
  return nlvr2.Statement(
    statement.statement, statement.image_ids[::-1], statement.tags[::-1], statement.label
  )


def prediction_records(loaded: Nlvr2Split, rows: dict[str, np.ndarray]) -> list[dict[str, Any]]:
  """Returns predictions in the order of the statements' file.

  Args:
    loaded: the statements.
    rows: 'row' (place of the statement), 'label' and 'probability' of each prediction.

  Returns:
    [{'row', 'identifier' (text or None), 'statement', 'image_ids', 'prediction' (bool),
    'probability'}].
  """
  made = []
  for place in np.argsort(rows['row'], kind='stable'):
    number = int(rows['row'][place])
    statement = loaded.statements[number]
    made.append(
      {
        'row': number,
        'identifier': loaded.identifiers[number] if loaded.identifiers else None,
        'statement': statement.statement,
        'image_ids': list(statement.image_ids),
        'prediction': bool(rows['label'][place]),
        'probability': float(rows['probability'][place]),
      }
    )
  return made

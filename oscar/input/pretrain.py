"""The input of pre-training: the prepared corpus as batches.

Source: microsoft/Oscar, oscar/datasets/oscar_tsv.py and build.py (shuffled documents in batches).
"""

from typing import Any

import numpy as np
import tensorflow as tf

from oscar.datasets import builders, features
from oscar.input import pretrain_batch, record_input, texts
from oscar.input.pretrain_batch import Documents, PretrainOptions

_TEXTS_AT_ONCE = 20_000  # Tokenized together: enough for the library's threads.


class PretrainInput(record_input.RecordInput):
  """Batches of a corpus that `oscar.datasets.prepare` wrote.

  Args:
    data_dir: folder of the prepared data sets.
    tokenizer: `oscar.Tokenizer`.
    options: options of the batches.
    region_dim: numbers in a region.
    **settings: batch sizes, splits, seed and window, as for `RecordInput`.

  Raises (also the methods):
    ValueError: bad data; one line that names the file and, if one record is wrong, the record.
    FileNotFoundError: the corpus is not prepared.
  """

  def __init__(
    self,
    data_dir: str,
    tokenizer: texts.Tokenizer,
    options: PretrainOptions,
    *,
    region_dim: int = features.REGION_DIM,
    **settings: Any,
  ) -> None:
    super().__init__(max_img_seq_length=options.max_img_seq_length, **settings)
    self.options = options
    self._data_dir, self._tokenizer, self._region_dim = data_dir, tokenizer, region_dim

  def open_split(self, name: str) -> record_input.Split:
    """Opens a split; see `RecordInput`."""
    corpus, images = (
      builders.prepare('pretrain', None, self._data_dir, part, self._region_dim)
      for part in ('documents', 'regions')
    )
    record_input.check_split(corpus, name)
    records = record_input.RegionRecords(images, name, self._region_dim)
    documents, record = read_documents(corpus, name, self._tokenizer)
    if self.options.textb_sample_mode == 2 and not len(documents.questions):
      raise ValueError(
        f'textb_sample_mode=2 takes wrong texts from questions, but {corpus.info.full_name} {name} '
        'has none; choose 0 or 1.'
      )
    special = texts.special_ids(self._tokenizer)

    def make_batch(rows):
      return pretrain_batch.pretrain_batch(
        documents, rows.example, rows.draws, *rows.regions['regions'], self.options, special
      )

    return record_input.Split(
      records,
      np.bincount(record, minlength=len(records)),
      make_batch,
      pretrain_batch.pretrain_draws(self.options),
    )


def read_documents(
  builder: Any, split: str, tokenizer: texts.Tokenizer
) -> tuple[Documents, np.ndarray]:
  """Reads and tokenizes the texts of a prepared corpus.

  Args:
    builder: TFDS builder of the corpus' documents.
    split: name of the split.
    tokenizer: `oscar.Tokenizer`.

  Returns:
    (`Documents` record by record, int64 [documents] the record of each).
  """
  columns: dict[str, list] = {name: [] for name in ('record', 'is_question')}
  tokens: dict[str, list] = {name: [] for name in ('text_a', 'text_b')}
  dataset = builder.as_dataset(split=split, shuffle_files=False).batch(_TEXTS_AT_ONCE)
  for batch in dataset.as_numpy_iterator():
    for name, column in columns.items():
      column.append(batch[name])
    for name, column in tokens.items():
      decoded = [text.decode() for text in batch[name]]
      column.append(texts.tokenize(decoded, tokenizer, f'{builder.info.full_name} {name}'))
  record, is_question = (np.concatenate(column) for column in columns.values())
  # Documents of one image share its record; put them next to each other.
  order = np.argsort(record, kind='stable')
  record, is_question = record[order], is_question[order]
  text_a, text_b = (texts.TokenTable.joined(column, order) for column in tokens.values())
  documents = Documents(
    text_a,
    text_b,
    image=tf.constant(record, tf.int32),
    questions=tf.constant(np.flatnonzero(is_question), tf.int64),
    is_question=tf.constant(is_question),
  )
  return documents, record

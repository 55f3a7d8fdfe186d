"""Pre-training batches: texts that match their image or not, words masked.

Source: microsoft/Oscar, oscar/datasets/oscar_tsv.py (`random_sent`, `random_word`,
`convert_example_to_features`). The order of the draws differs from Python's `random` there; the
distribution is the same.
"""

import dataclasses
import math
from typing import NamedTuple

import tensorflow as tf

from oscar.input import layouts, masking
from oscar.input.texts import SpecialIds, TokenTable, Words

_TRIES = 10  # Draws of the official code in search of a document of another image.


@dataclasses.dataclass(frozen=True)
class PretrainOptions:
  """Options of the pre-training data step, under their official names.

  Attributes:
    max_seq_length: tokens.
    max_img_seq_length: regions.
    use_b: whether the second text (tags, answers) is given to the model.
    textb_sample_mode: where a wrong second text comes from. 0: either text of any document; 1: the
      second text of any document; 2: the second text of any question.
    texta_false_prob: a draw of the contrast up to this value means a wrong first text; above it, up
      to 0.5, a wrong second text.
    mask_loss_for_unmatched: whether words of a wrong second text are masked.
    gather_masked: whether to return the positions of the masked words and labels for these alone;
      not an official option.

  Raises:
    ValueError: an option out of range.
  """

  max_seq_length: int = 35
  max_img_seq_length: int = 50
  use_b: bool = True
  textb_sample_mode: int = 0
  texta_false_prob: float = 0.0
  mask_loss_for_unmatched: bool = True
  gather_masked: bool = False

  def __post_init__(self) -> None:
    if self.textb_sample_mode not in (0, 1, 2):
      raise ValueError(f'textb_sample_mode is {self.textb_sample_mode}; expected 0, 1 or 2.')
    if not 0 <= self.texta_false_prob <= 0.5:
      raise ValueError(f'texta_false_prob is {self.texta_false_prob}; expected 0 to 0.5.')
    if self.max_seq_length < 4 or self.max_img_seq_length < 1:
      raise ValueError(
        f'max_seq_length {self.max_seq_length}, max_img_seq_length {self.max_img_seq_length}; '
        'expected at least 4 and 1.'
      )

  @property
  def num_contrast_classes(self) -> int:
    """Returns 3 if both wrong first and wrong second texts occur and are distinguished, else 2."""
    both = self.texta_false_prob < 0.5 and (self.texta_false_prob > 0 or not self.use_b)
    return 3 if both else 2

  @property
  def max_masked(self) -> int:
    """Returns the masked words kept with `gather_masked`: mean plus seven standard deviations."""
    words = self.max_seq_length - 2
    spread = math.sqrt(words * masking.MASK_PROB * (1 - masking.MASK_PROB))
    return min(words, math.ceil(words * masking.MASK_PROB + 7 * spread))


class Documents(NamedTuple):
  """The texts of the corpus, in memory.

  Attributes:
    text_a, text_b: `TokenTable`s.
    image: int32 [documents], equal for documents of the same image.
    questions: int64 [questions], the documents that are questions.
    is_question: bool [documents].
  """

  text_a: TokenTable
  text_b: TokenTable
  image: tf.Tensor
  questions: tf.Tensor
  is_question: tf.Tensor


def pretrain_draws(options: PretrainOptions) -> int:
  """Returns how many numbers `pretrain_batch` takes for an example."""
  return 2 + _TRIES + masking.WORD_DRAWS * options.max_seq_length


def pretrain_batch(
  documents: Documents,
  document: tf.Tensor,
  draws: tf.Tensor,
  img_feats: tf.Tensor,
  num_regions: tf.Tensor,
  options: PretrainOptions,
  special: SpecialIds,
) -> dict[str, tf.Tensor]:
  """Builds a pre-training batch: texts that match their image or not, words masked.

  Args:
    documents: `Documents`.
    document: int64 [batch], the document of each example.
    draws: float64 [batch, pretrain_draws(options)] in [0, 1).
    img_feats: float32 [batch, regions, dim], of the documents' images, padded.
    num_regions: int32 [batch].
    options: `PretrainOptions`.
    special: ids of the special tokens.

  Returns:
    The model's inputs and its labels: 'masked_lm_labels' int32 [batch, S + R], the id at a masked
    word, -1 elsewhere; 'next_sentence_label' int32 [batch], 0 for matched texts; 'is_img_match'
    int32 [batch], 1 if a text comes from another image. (The official name says the opposite.)
    With `gather_masked`: 'masked_positions' int32 [batch, options.max_masked], and labels there.
  """
  text_a, text_b, label, mismatch = contrast(documents, document, draws[:, : 2 + _TRIES], options)
  if not options.use_b:
    text_b = Words(text_b.ids, tf.zeros_like(text_b.length))
  layout = layouts.pair_layout(text_a, text_b, options.max_seq_length, special)
  maskable = layout.is_word
  if not options.mask_loss_for_unmatched:
    kept = label * mismatch == 1
    if options.num_contrast_classes == 2 and options.texta_false_prob == 0.5:
      kept = tf.zeros_like(kept)  # Here label 1 means a wrong first text.
    maskable &= ~(kept[:, None] & (layout.token_type_ids == 1))
  ids, labels = masking.mask_words(layout.input_ids, maskable, draws[:, 2 + _TRIES :], special)
  batch = layouts.model_inputs(layout._replace(input_ids=ids), img_feats, num_regions)
  no_labels = tf.fill(tf.shape(img_feats)[:2], -1)
  labels = tf.concat([labels, no_labels], axis=1)
  if options.gather_masked:
    batch['masked_positions'], labels = masking.masked_positions(labels, options.max_masked)
  return {
    **batch,
    'masked_lm_labels': labels,
    'next_sentence_label': label,
    'is_img_match': mismatch,
  }


def contrast(
  documents: Documents, document: tf.Tensor, draws: tf.Tensor, options: PretrainOptions
) -> tuple[Words, Words, tf.Tensor, tf.Tensor]:
  """Returns the texts of documents, half of them with one text of another document.

  Args:
    documents: `Documents`.
    document: int64 [batch], the document of each example.
    draws: float64 [batch, 2 + 10]: one for whether and which text is wrong, one for which of the
      other document's texts replaces it, and ten tries of the other document.
    options: `PretrainOptions`.

  Returns:
    (text_a, text_b, label int32 [batch], image mismatch int32 [batch]).
  """
  width = options.max_seq_length - 2  # More of a text is never used.
  dice, pick = draws[:, 0], draws[:, 1]
  has_b = tf.constant(True) if options.use_b else tf.gather(documents.is_question, document)
  wrong = dice <= 0.5
  wrong_b = wrong & (dice > options.texta_false_prob) & has_b
  wrong_a = wrong & ~wrong_b

  any_other = _other_document(documents, document, draws[:, 2:])
  if options.textb_sample_mode == 2:
    other_b = _other_question(documents, document, draws[:, 2:])
  else:
    other_b = any_other
  other = tf.where(wrong_b, other_b, any_other)

  text_a = documents.text_a.rows(tf.where(wrong_a, other, document), width)
  text_b = documents.text_b.rows(tf.where(wrong_b, other, document), width)
  if options.textb_sample_mode == 0:
    first = documents.text_a.rows(other, width)
    text_b = _choose(wrong_b & (pick < 0.5), first, text_b)
  label = tf.where(wrong_a, options.num_contrast_classes - 1, tf.cast(wrong_b, tf.int32))
  differs = tf.gather(documents.image, other) != tf.gather(documents.image, document)
  return text_a, text_b, label, tf.cast(wrong & differs, tf.int32)


def _other_document(documents, document, draws):
  """Returns documents of other images, if one of `_TRIES` draws finds one; int64 [batch]."""
  tries = masking.index_of(draws, tf.size(documents.image, tf.int64))
  images = tf.gather(documents.image, tries)
  return _first(tries, images != tf.gather(documents.image, document)[:, None])


def _other_question(documents, document, draws):
  """Returns other questions (also of the same image), if one of `_TRIES` draws finds one."""
  questions = documents.questions
  tries = tf.gather(questions, masking.index_of(draws, tf.size(questions, tf.int64)))
  return _first(tries, tries != document[:, None])


def _first(tries, good):
  """Returns the first good one of the tries [batch, n], else the last."""
  last = tf.fill([tf.shape(good)[0], 1], True)
  place = tf.argmax(tf.concat([good[:, :-1], last], axis=1), axis=1)
  return tf.gather(tries, place, batch_dims=1)


def _choose(condition, first, second):
  return Words(
    tf.where(condition[:, None], first.ids, second.ids),
    tf.where(condition, first.length, second.length),
  )

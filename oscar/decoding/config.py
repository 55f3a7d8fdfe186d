"""Settings of caption generation, with the official names.

Source: microsoft/Oscar, `generate` of oscar/modeling/modeling_bert.py; the flags of
oscar/run_captioning.py, whose defaults these are.
"""
from __future__ import annotations

import dataclasses
import numbers
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Imports TensorFlow, which takes seconds.
  from oscar.input.texts import Tokenizer


def check_whole(name: str, value: Any, least: int) -> None:
  """Checks a setting that counts something.

  Args:
    name: its name, for the error.
    value: its value.
    least: the smallest admitted.

  Raises:
    ValueError: it is no whole number, or below `least`.
  """
  if not isinstance(value, numbers.Integral) or isinstance(value, bool):
    raise ValueError(f'{name}={value!r}: expected a whole number.')
  if value < least:
    raise ValueError(f'{name}={value}: expected at least {least}.')


@dataclasses.dataclass(frozen=True)
class GenerationConfig:
  """Settings of `decoding.generate` and `decoding.constrained.generate`.

  Attributes:
    bos_token_id: id of [CLS], with which captions begin.
    eos_token_id: id of [SEP], with which they end.
    pad_token_id: id of [PAD], which follows the end.
    mask_token_id: id of [MASK], where the next word is predicted.
    max_gen_length: tokens of a caption, with [CLS] and [SEP].
    num_beams: captions that the search keeps at a time; 1 is greedy search or sampling.
    do_sample: whether words are drawn at random.
    temperature: divides the scores of words before they are drawn.
    top_k: number of most probable words from which one is drawn; 0 for all.
    top_p: probability of the smallest set of most probable words from which one is drawn; 1 for
      all words.
    repetition_penalty: above 1 it makes words of the caption so far less probable.
    length_penalty: beam search compares sums of log-probabilities divided by length to this power.
    num_keep_best: captions that beam search returns for an image.
    num_return_sequences: how often an image is captioned; differs in samples only.
    od_labels_start_posid: position of the first tag in training, its `max_seq_a_length`; needed
      with tags. Tags that would overlap the caption start after it instead.
    min_constraints_to_satisfy: constrained search only: constraints that a caption must meet, if
      there are as many.

  Raises:
    ValueError: a value is out of range, or two do not go together.
  """

  bos_token_id: int
  eos_token_id: int
  pad_token_id: int
  mask_token_id: int
  max_gen_length: int = 20
  num_beams: int = 1
  do_sample: bool = False
  temperature: float = 1.0
  top_k: int = 0
  top_p: float = 1.0
  repetition_penalty: float = 1.0
  length_penalty: float = 1.0
  num_keep_best: int = 1
  num_return_sequences: int = 1
  od_labels_start_posid: int | None = None
  min_constraints_to_satisfy: int = 2

  def __post_init__(self) -> None:
    least = {
      'bos_token_id': 0, 'eos_token_id': 0, 'pad_token_id': 0, 'mask_token_id': 0,
      'max_gen_length': 2, 'num_beams': 1, 'top_k': 0,
      'num_keep_best': 1, 'num_return_sequences': 1, 'min_constraints_to_satisfy': 0,
    }  # fmt: skip
    for name, smallest in least.items():
      check_whole(name, getattr(self, name), smallest)
    for name, smallest in {'top_p': 0, 'repetition_penalty': 1}.items():
      if not getattr(self, name) >= smallest:
        raise ValueError(f'{name}={getattr(self, name)}: expected at least {smallest}.')
    for name in ('temperature', 'length_penalty'):
      if not getattr(self, name) > 0:
        raise ValueError(f'{name}={getattr(self, name)}: expected a number above 0.')
    if self.top_p > 1:
      raise ValueError(f'top_p={self.top_p}: expected a probability, at most 1.')
    if self.num_beams == 1 and self.num_keep_best > 1:
      raise ValueError(
        f'num_keep_best={self.num_keep_best} needs beam search; set num_beams to at least 2, or '
        'num_return_sequences to get several samples.'
      )
    if self.num_beams > 1 and self.do_sample:
      # The official code takes drawn words in the order of the beams, not of their scores, and all
      # but the first beam start at a log-probability of -1e9.
      raise ValueError(
        f'do_sample with num_beams={self.num_beams} is not supported; set num_beams=1, and '
        'num_return_sequences to get several samples.'
      )

  @classmethod
  def for_tokenizer(cls, tokenizer: Tokenizer, **settings: Any) -> GenerationConfig:
    """Returns a configuration with the special tokens of `tokenizer`."""
    return cls(
      bos_token_id=tokenizer.cls_id,
      eos_token_id=tokenizer.sep_id,
      pad_token_id=tokenizer.pad_id,
      mask_token_id=tokenizer.mask_id,
      **settings,
    )

  def replace(self, **settings: Any) -> GenerationConfig:
    """Returns a copy with some settings changed."""
    return dataclasses.replace(self, **settings)

  def tags_start(self) -> int:
    """Returns the position id of the first tag.

    Raises:
      ValueError: `od_labels_start_posid` is not set.
    """
    if self.od_labels_start_posid is None:
      raise ValueError(
        f'input_ids has tags after the {self.max_gen_length} tokens of max_gen_length; set '
        'od_labels_start_posid to the max_seq_a_length of training.'
      )
    return max(self.od_labels_start_posid, self.max_gen_length)

"""Greedy search, sampling and beam search with a captioning model.

Source: microsoft/Oscar, `_generate_no_beam_search` and `_generate_beam_search` of
oscar/modeling/modeling_utils.py.
"""
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from oscar.decoding import cache, hypotheses, sampling
from oscar.decoding.config import GenerationConfig
from oscar.modeling import OscarModel


def generate(
  model: OscarModel,
  batch: Mapping[str, Any],
  config: GenerationConfig,
  seed: Any = None,
) -> dict[str, tf.Tensor]:
  """Writes captions for images.

  Dropout is off, whatever is being trained, and no gradient is needed: `scoring.score_captions`
  gives the log-probabilities of captions with both. The result for an image does not depend on
  the other images of the batch, except in samples.

  Args:
    model: a captioning model.
    batch: the inputs of B images as `layouts.model_inputs` makes them of a
      `layouts.generation_layout` for the attention 'caption'; see `cache.start`.
    config: the settings.
    seed: int32 [2], of the random draws; needed if `config.do_sample`.

  Returns:
    {'ids': int32 [B, captions, T], 'logprobs': float32 [B, captions]}. There are
    `num_return_sequences` times `num_keep_best` captions of each image, each with [CLS] and [SEP],
    padded to T `max_gen_length`. A log-probability is the mean over the words and [SEP]; in beam
    search the sum over length ** `length_penalty`, the length counting [CLS] instead of [SEP].
    Without beam search also 'drawn_ids' as 'ids', but with the last word that was chosen in place
    of the [SEP] that ends a caption of full length; 'logprobs' counts that word.

  Raises:
    ValueError: inputs do not fit the model or the settings, or the seed is missing.
  """
  if config.do_sample and seed is None:
    raise ValueError('do_sample needs a seed; give generate(..., seed=) two integers.')
  check_beams(model, config)
  # Officially a result of several sequences has a row for each, which the caller then takes for a
  # row for each image. Here each image has a row with all of its captions.
  repeats = config.num_return_sequences
  if config.num_beams > 1:
    found = _beam_search(model, batch, config)
  else:
    found = _single_search(model, batch, config, seed, repeats if config.do_sample else 1)
  if not config.do_sample and repeats > 1:  # All runs would find the same.
    found = {k: tf.tile(v, [1, repeats] + [1] * (v.shape.rank - 2)) for k, v in found.items()}
  return found


def check_beams(model: OscarModel, config: GenerationConfig) -> None:
  """Checks that the vocabulary has enough words for the beams.

  Raises:
    ValueError: it has not.
  """
  if 2 * config.num_beams > model.config.vocab_size:
    raise ValueError(
      f'num_beams={config.num_beams}: expected at most half of the {model.config.vocab_size} words '
      'of the vocabulary.'
    )


class _Captions(NamedTuple):
  """Captions that are continued one by one, N of each image."""

  ids: tf.Tensor  # int32 [B, N, T]
  total: tf.Tensor  # float32 [B, N], sum of log-probabilities
  steps: tf.Tensor  # float32 [B, N], number of log-probabilities
  finished: tf.Tensor  # bool [B, N]


def _single_search(model, batch, config, seed, rows):
  """Returns `generate`'s result of greedy search or of `rows` samples of each image."""
  length = config.max_gen_length
  context, scores = cache.start(model, batch, config)
  images = tf.shape(scores)[0]
  ids = tf.fill([images, rows, length], config.pad_token_id)
  ids = write(ids, 0, tf.fill([images, rows], config.bos_token_id))
  zeros = tf.zeros([images, rows])
  captions = _Captions(ids, zeros, zeros, zeros > 0)
  captions = _add_words(captions, tf.repeat(scores[:, None], rows, axis=1), 1, config, seed)
  ancestors = cache.own_rows(images, rows, length)

  def go_on(position, captions, _):
    return (position < length) & ~tf.reduce_all(captions.finished)

  def advance(position, captions, written):
    last = at(captions.ids, position - 1)
    scores, written = cache.step(
      model, context, written, last, ancestors, position - 1, config
    )
    return position + 1, _add_words(captions, scores, position, config, seed), written

  written = cache.no_words(model, context, rows)
  _, captions, _ = tf.while_loop(go_on, advance, (tf.constant(2), captions, written))
  last = tf.where(captions.finished, captions.ids[..., -1], config.eos_token_id)
  return {
    'ids': write(captions.ids, length - 1, last),
    'logprobs': captions.total / captions.steps,
    'drawn_ids': captions.ids,
  }


def _add_words(captions, scores, position, config, seed):
  """Chooses the words at `position` from `scores` [B, N, V] and adds them to the captions."""
  scores = sampling.penalize_repetition(
    scores, captions.ids, position, config.repetition_penalty
  )
  if config.do_sample:
    seed = tf.cast(seed, tf.int32)
    seed = tf.random.experimental.stateless_fold_in(seed, position, alg='philox')
  words, log_probs = sampling.choose(scores, config, seed)
  words = tf.where(captions.finished, config.pad_token_id, words)
  log_probs = tf.where(captions.finished, 0.0, log_probs)
  return _Captions(
    write(captions.ids, position, words),
    captions.total + log_probs,
    captions.steps + tf.where(captions.finished, 0.0, 1.0),
    captions.finished | (words == config.eos_token_id),
  )


class _Beams(NamedTuple):
  """Unfinished captions of beam search, K of each image, and the best finished ones."""

  ids: tf.Tensor  # int32 [B, K, T]
  totals: tf.Tensor  # float32 [B, K], sums of log-probabilities
  ancestors: tf.Tensor  # int32 [B, K, T - 1], see `cache.step`
  best: hypotheses.Hypotheses
  done: tf.Tensor  # bool [B]


def _beam_search(model, batch, config):
  """Returns `generate`'s result of beam search."""
  length, rows = config.max_gen_length, config.num_beams
  context, scores = cache.start(model, batch, config)
  images = tf.shape(scores)[0]
  ids = tf.fill([images, rows, length], config.pad_token_id)
  ids = write(ids, 0, tf.fill([images, rows], config.bos_token_id))
  best = hypotheses.empty(images, config.num_keep_best, length, config.pad_token_id)
  own = cache.own_rows(images, rows, length)
  # All beams would be equal in the first step, so there is one.
  beams = _Beams(
    ids[:, :1], tf.zeros([images, 1]), own[:, :1], best, tf.zeros([images], tf.bool)
  )
  beams = _next_beams(beams, scores[:, None], 1, config)

  def go_on(position, beams, _):
    return (position < length) & ~tf.reduce_all(beams.done)

  def advance(position, beams, written):
    last = at(beams.ids, position - 1)
    scores, written = cache.step(
      model, context, written, last, beams.ancestors, position - 1, config
    )
    return position + 1, _next_beams(beams, scores, position, config), written

  written = cache.no_words(model, context, rows)
  _, beams, _ = tf.while_loop(go_on, advance, (tf.constant(2), beams, written))
  return hypotheses.result(beams.best)


def _next_beams(beams, scores, position, config):
  """Continues captions by the words at `position`; `scores` is [B, beams, V]."""
  rows, length = config.num_beams, config.max_gen_length
  scores = sampling.penalize_repetition(scores, beams.ids, position, config.repetition_penalty)
  totals = tf.nn.log_softmax(scores) + beams.totals[..., None]
  # Twice as many candidates as beams: if the first ones end, there are others to go on with.
  totals, parents, words = best_continuations(totals, 2 * rows)
  ends = words == config.eos_token_id
  goes_on = tf.cast(~ends, tf.int32)
  # A caption ends only if its candidate comes before the beams of the next step are complete; at
  # the last position all candidates end, and [SEP] takes the place of their words.
  is_last = position + 1 == length
  ends = is_last | (ends & (tf.cumsum(goes_on, axis=1, exclusive=True) < rows))
  longest = tf.cast(length - 1, tf.float32) ** config.length_penalty
  done = beams.done | hypotheses.is_done(beams.best, totals[:, 0] / longest)
  ids = tf.gather(beams.ids, parents, batch_dims=1)
  penalty = tf.cast(position, tf.float32) ** config.length_penalty
  best = hypotheses.add(
    beams.best,
    write(ids, position, tf.fill(tf.shape(words), config.eos_token_id)),
    tf.where(ends & ~done[:, None], totals / penalty, hypotheses.NONE),
  )
  kept = tf.argsort(goes_on, axis=1, direction='DESCENDING', stable=True)[:, :rows]
  totals, parents, words, ids = (
    tf.gather(x, kept, batch_dims=1) for x in (totals, parents, words, ids)
  )
  ancestors = reorder_ancestors(beams.ancestors, parents, position)
  return _Beams(write(ids, position, words), totals, ancestors, best, done)


def best_continuations(
  totals: tf.Tensor, count: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Finds the best words over all captions of an image.

  Args:
    totals: float32 [B, rows, V], scores of each caption continued by each word.
    count: continuations to find, at most V.

  Returns:
    (scores float32, captions int32, words int32), [B, count] each, best first.
  """
  # The best `count` of all are among the best `count` of each caption.
  values, words = tf.math.top_k(totals, count)
  flat = [-1, values.shape[1] * count]
  values, places = tf.math.top_k(tf.reshape(values, flat), count)
  return values, places // count, tf.gather(tf.reshape(words, flat), places, batch_dims=1)


def reorder_ancestors(ancestors: tf.Tensor, parents: tf.Tensor, position: Any) -> tf.Tensor:
  """Returns `ancestors` (see `cache.step`) of captions that continue others.

  Args:
    ancestors: int32 [B, rows before, T - 1].
    parents: int32 [B, rows], the captions that are continued.
    position: scalar, position of the word with which they are.
  """
  slots = ancestors.shape[2]
  inherited = tf.gather(ancestors, parents, batch_dims=1)
  own = cache.own_rows(tf.shape(parents)[0], parents.shape[1], slots + 1)
  return tf.where(tf.range(slots) < position - 1, inherited, own)


def write(ids: tf.Tensor, position: Any, words: tf.Tensor) -> tf.Tensor:
  """Sets `ids` [B, N, T] at a position to `words` [B, N]."""
  return tf.where(tf.range(ids.shape[-1]) == position, words[..., None], ids)


def at(ids: tf.Tensor, position: Any) -> tf.Tensor:
  """Returns `ids` [B, N, T] at a position, [B, N]."""
  return tf.gather(ids, position, axis=2)

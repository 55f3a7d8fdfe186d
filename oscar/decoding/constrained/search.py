"""Beam search for captions that contain given words.

Each state of an image's machine has its own beam, so that captions that met a constraint do not
compete with more probable ones that did not.

Source: microsoft/Oscar, `ConstrainedBeamSearch` and `select_best_beam_with_constraints` of
oscar/utils/cbs.py; arXiv 1612.00576. The official code starts all images of a batch from the first
one's scores, and its command for NoCaps has batches of two; here every image starts from its own.
"""
from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from oscar.decoding import cache, search
from oscar.decoding.config import GenerationConfig
from oscar.decoding.constrained.machine import Machines
from oscar.modeling import OscarModel

_DEAD = float('-inf')  # Total of a place in a beam that no caption has reached.


def generate(
  model: OscarModel,
  batch: Mapping[str, Any],
  machines: Machines,
  config: GenerationConfig,
) -> dict[str, tf.Tensor]:
  """Writes a caption of each image that meets constraints.

  Of the captions that meet `min_constraints_to_satisfy` constraints, or all where fewer are given,
  the most probable one per word is taken. If none meets so many, it is the best of those that meet
  the most. As officially, `length_penalty` and `repetition_penalty` do not apply.

  Args:
    model: a captioning model.
    batch: the inputs of B images, as for `decoding.generate`.
    machines: from `machine.stack`, of the same images.
    config: the settings.

  Returns:
    {'ids': int32 [B, 1, T]: in the official form, without [CLS] and with [SEP] up to T;
    'logprobs': float32 [B, 1]: the sum over the words and [SEP] divided by the words plus one;
    'constraints_met': int32 [B]: in the state of the caption. It may contain more of the words.}

  Raises:
    ValueError: inputs do not fit the model or the settings, or the settings ask for several
      captions or samples.
  """
  _check(model, config)
  beams = _search(model, batch, machines, config)
  # The first place of each state's beam holds its most probable caption: [B, S, ...].
  states = machines.others.shape[1]
  by_state = [-1, states, config.num_beams]
  totals = tf.reshape(beams.totals, by_state)[:, :, 0]
  ids = tf.reshape(beams.ids, [*by_state, config.max_gen_length])[:, :, 0]
  ends = tf.fill(tf.shape(ids[..., :1]), config.eos_token_id)
  ids = tf.concat([ids[..., 1:], ends], axis=2)
  words = tf.reduce_sum(tf.cast(ids != config.eos_token_id, tf.float32), axis=2)
  found = (totals > _DEAD) & (machines.met >= 0)
  # Constraints beyond those that are asked for do not count.
  enough = tf.minimum(machines.given, config.min_constraints_to_satisfy)[:, None]
  counted = tf.where(found, tf.minimum(machines.met, enough), -1)
  is_best = counted == tf.reduce_max(counted, axis=1, keepdims=True)
  scores = tf.where(found & is_best, totals / (words + 1), _DEAD)
  chosen = tf.argmax(scores, axis=1, output_type=tf.int32)[:, None]
  return {
    'ids': tf.gather(ids, chosen, batch_dims=1),
    'logprobs': tf.gather(scores, chosen, batch_dims=1),
    'constraints_met': tf.gather(machines.met, chosen, batch_dims=1)[:, 0],
  }


def _check(model, config):
  for name in ('num_keep_best', 'num_return_sequences'):
    if getattr(config, name) != 1:
      raise ValueError(
        f'{name}={getattr(config, name)}: constrained search finds one caption of an image; set it '
        'to 1.'
      )
  if config.do_sample:
    raise ValueError('do_sample: constrained search draws no samples; leave it out.')
  search.check_beams(model, config)


class _Beams(NamedTuple):
  """Captions of each image, `num_beams` of each state: row `state * num_beams + place`."""

  ids: tf.Tensor  # int32 [B, rows, T], [SEP] after the end.
  totals: tf.Tensor  # float32 [B, rows], sums of log-probabilities
  ancestors: tf.Tensor  # int32 [B, rows, T - 1], see `cache.step`
  finished: tf.Tensor  # bool [B, rows], also where there is no caption


def _search(model, batch, machines, config):
  """Returns the final `_Beams`."""
  length, rows = config.max_gen_length, machines.others.shape[1] * config.num_beams
  context, scores = cache.start(model, batch, config)
  images = tf.shape(scores)[0]
  ids = tf.fill([images, 1, length], config.eos_token_id)
  ids = search.write(ids, 0, tf.fill([images, 1], config.bos_token_id))
  # One empty caption, in the first state.
  nothing = tf.zeros([images, 1])
  beams = _Beams(ids, nothing, cache.own_rows(images, 1, length), nothing > 0)
  beams = _next_beams(beams, scores[:, None], 1, machines, config)

  def go_on(position, beams, _):
    return (position < length) & ~tf.reduce_all(beams.finished)

  def advance(position, beams, written):
    last = search.at(beams.ids, position - 1)
    scores, written = cache.step(
      model, context, written, last, beams.ancestors, position - 1, config
    )
    return position + 1, _next_beams(beams, scores, position, machines, config), written

  written = cache.no_words(model, context, rows)
  _, beams, _ = tf.while_loop(go_on, advance, (tf.constant(2), beams, written))
  return beams


def _next_beams(beams, scores, position, machines, config):
  """Continues captions by the words at `position`; `scores` is [B, rows, V]."""
  totals, words, targets = _candidates(beams, scores, machines, config)
  # The candidates of all captions, [B, C], for each state the best that lead to it.
  count = totals.shape[2]
  totals, words, targets = (
    tf.reshape(x, [-1, x.shape[1] * count]) for x in (totals, words, targets)
  )
  states = machines.others.shape[1]
  leads = targets[:, None] == tf.range(states)[:, None]  # [B, S, C]
  totals, places = tf.math.top_k(tf.where(leads, totals[:, None], _DEAD), config.num_beams)
  rows = states * config.num_beams
  totals, places = tf.reshape(totals, [-1, rows]), tf.reshape(places, [-1, rows])
  words, parents = tf.gather(words, places, batch_dims=1), places // count
  ids = search.write(tf.gather(beams.ids, parents, batch_dims=1), position, words)
  ancestors = search.reorder_ancestors(beams.ancestors, parents, position)
  return _Beams(ids, totals, ancestors, (words == config.eos_token_id) | (totals == _DEAD))


def _candidates(beams, scores, machines, config):
  """Returns (totals, words, states that they lead to) of continuations, [B, rows, n] each."""
  rows, vocabulary = scores.shape[1:]
  log_probs = tf.nn.log_softmax(scores)
  # A finished caption goes on with [SEP], at no cost.
  ended = tf.where(tf.range(vocabulary) == config.eos_token_id, 0.0, _DEAD)
  log_probs = tf.where(beams.finished[..., None], ended, log_probs)
  # In the first step the only row is in the first state.
  state = [row // config.num_beams for row in range(rows)]
  others, exceptions, moves, targets = (
    tf.gather(tf.convert_to_tensor(x), state, axis=1)
    for x in (machines.others, machines.exceptions, machines.words, machines.targets)
  )
  # Enough of the best words that as many as the beam has places remain without the exceptions.
  count = min(config.num_beams + exceptions.shape[2], vocabulary)
  values, words = tf.math.top_k(log_probs, count)
  excepted = tf.reduce_any(words[..., None] == exceptions[:, :, None], axis=3)
  values = tf.where(excepted, _DEAD, values)
  moved = tf.where(targets >= 0, tf.gather(log_probs, moves, batch_dims=2), _DEAD)
  totals = tf.concat([values, moved], axis=2) + beams.totals[..., None]
  targets = tf.concat([tf.repeat(others[..., None], count, axis=2), targets], axis=2)
  return totals, tf.concat([words, moves], axis=2), targets

"""A map of tags and regions: their last hidden states, in two dimensions by t-SNE.

Source: arXiv 2004.06165, Section 5.2 and Figure 4: image-text pairs go through the pre-trained
model, and its last layer gives the features. The method is van der Maaten and Hinton, "Visualizing
Data using t-SNE" (2008), exact, started from the first two principal components.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from oscar import checkpoints, modeling
from oscar.config import OscarConfig
from oscar.input import layouts, texts
from oscar.input.regions import pad_regions
from oscar.tokenization import Tokenizer

if TYPE_CHECKING:
  from matplotlib.figure import Figure

SCENES = 60  # About 200 regions with as many tags.
_MAX_SEQ_LENGTH, _MAX_REGIONS = 50, 10
_COLOURED = 10  # Most frequent tags, each with a colour in a figure.
_BATCH = 16
_STEPS, _EARLY, _EXAGGERATION, _PERPLEXITY = 600, 150, 8.0, 25.0


def draw(
  folder: str,
  examples: Sequence[tuple[str, str, list[str], np.ndarray]],
  max_seq_length: int = _MAX_SEQ_LENGTH,
  max_regions: int = _MAX_REGIONS,
) -> dict[str, Any]:
  """Places the tags and regions of scenes on a map.

  Args:
    folder: export or official checkpoint of the pre-trained model, or of one that was trained from
      it.
    examples: (key, caption, tags, features [regions, 2054]) of each scene; a tag for each region.
      Regions of scenes with another number of tags are left out.
    max_seq_length: tokens of caption and tags; tags that do not fit are left out.
    max_regions: regions of a scene; others are left out.

  Returns:
    {'points': [[x, y, kind, tag, key, number of the region]], 'nearest': share of the regions whose
    nearest tag of another scene is their own tag, 'chance': the same for a tag at random, 'same':
    {kind: share of its points whose nearest one of the kind has the same tag}}, x and y in [0, 1],
    kind 'tag' or 'region'.

  Raises:
    ValueError: the checkpoint has not seen regions, or does not fit; or no tag fits.
    OSError: it cannot be read.
  """
  hidden, points = _hidden_states(folder, examples, max_seq_length, max_regions)
  x = hidden - hidden.mean(axis=0)
  placed = embed(x)
  low, high = placed.min(axis=0), placed.max(axis=0)
  placed = (placed - low) / np.maximum(high - low, 1e-9)
  share, chance = nearest(hidden, points, 'region', 'tag')
  rounded = np.round(placed, 4).tolist()
  return {
    'points': [[*xy, *point] for xy, point in zip(rounded, points, strict=True)],
    'nearest': round(share, 4),
    'chance': round(chance, 4),
    'same': {k: round(nearest(hidden, points, k, k)[0], 4) for k in ('tag', 'region')},
  }


def nearest(
  hidden: np.ndarray, points: Sequence[Sequence[Any]], kind: str, other: str
) -> tuple[float, float]:
  """Returns the share of points of a kind whose nearest one of the other kind has their tag.

  Args:
    hidden: float [n, width]; nearness is the cosine.
    points: (kind, tag, key, ...) of each; points of the same scene do not count as near.
    kind: 'tag' or 'region'.
    other: likewise.

  Returns:
    (the share, the share expected of points at random); zeros where there are none.
  """
  unit = hidden / np.maximum(np.linalg.norm(hidden, axis=1, keepdims=True), 1e-9)
  kinds, tags, keys = (np.array([point[i] for point in points]) for i in range(3))
  right, chances = [], []
  for i in np.flatnonzero(kinds == kind):
    others = np.flatnonzero((kinds == other) & (keys != keys[i]))
    if len(others):
      same = tags[others] == tags[i]
      right.append(same[np.argmax(unit[others] @ unit[i])])
      chances.append(same.mean())
  return (float(np.mean(right)), float(np.mean(chances))) if right else (0.0, 0.0)


def embed(x: np.ndarray) -> np.ndarray:
  """Returns t-SNE's two coordinates of vectors, the same at every call.

  Args:
    x: float [n, width], centred.

  Returns:
    float64 [n, 2].
  """
  x = x.astype(np.float64)
  n = len(x)
  y = x @ np.linalg.svd(x, full_matrices=False)[2][:2].T
  if y.shape[1] < 2 or n < 5:
    return np.pad(y, [(0, 0), (0, 2 - y.shape[1])])
  y *= 1e-2 / max(y[:, 0].std(), 1e-12)
  target = _affinities(_squares(x), min(_PERPLEXITY, (n - 1) / 3))
  velocity, gains = np.zeros_like(y), np.ones_like(y)
  rate = max(n / _EXAGGERATION / 4, 10.0)
  for step in range(_STEPS):
    early = step < _EARLY
    closeness = 1 / (1 + _squares(y))
    np.fill_diagonal(closeness, 0)
    found = np.maximum(closeness / closeness.sum(), 1e-12)
    force = ((_EXAGGERATION if early else 1) * target - found) * closeness
    gradient = 4 * (force.sum(axis=1)[:, None] * y - force @ y)
    same = np.sign(gradient) == np.sign(velocity)
    gains = np.maximum(np.where(same, gains * 0.8, gains + 0.2), 0.01)
    velocity = (0.5 if early else 0.8) * velocity - rate * gains * gradient
    y = y + velocity
    y -= y.mean(axis=0)
  return y


def _squares(x):
  """Returns the squared distances [n, n]."""
  norms = (x**2).sum(axis=1)
  return np.maximum(norms[:, None] + norms - 2 * x @ x.T, 0)


def _affinities(squares, perplexity):
  """Returns the symmetric probabilities of neighbours, each row of the wanted perplexity."""
  n = len(squares)
  low, high = np.zeros(n), np.full(n, np.inf)
  beta = 1 / np.maximum(squares.mean(axis=1), 1e-12)
  for _ in range(60):
    p = np.exp(-(squares - _second_least(squares)) * beta[:, None])
    np.fill_diagonal(p, 0)
    p /= np.maximum(p.sum(axis=1, keepdims=True), 1e-300)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    wide = entropy > np.log(perplexity)
    low, high = np.where(wide, beta, low), np.where(wide, high, beta)
    beta = np.where(np.isinf(high), beta * 2, (low + np.where(np.isinf(high), beta, high)) / 2)
  return np.maximum((p + p.T) / (2 * n), 1e-12)


def _second_least(squares):
  """Returns the squared distance of each point to its nearest neighbour, [n, 1]."""
  return np.partition(squares, 1, axis=1)[:, 1:2]


def figure(found: dict[str, Any], title: str) -> Figure:
  """Draws a map as Figure 4 of the paper does: tags as crosses, regions as dots.

  Args:
    found: see `draw`.
    title: of the figure.
  """
  from matplotlib.figure import Figure

  counts = collections.Counter(point[3] for point in found['points'])
  frequent = [tag for tag, _ in counts.most_common(_COLOURED)]
  made = Figure(figsize=(8, 7.2), layout='constrained')
  axes = made.subplots()
  for kind, marker in (('region', 'o'), ('tag', 'x')):
    for tag in (None, *frequent):  # The others first, so that they lie below.
      points = [
        point for point in found['points']
        if point[2] == kind and (point[3] == tag or (tag is None and point[3] not in frequent))
      ]  # fmt: skip
      color = 'lightgrey' if tag is None else f'C{frequent.index(tag)}'
      axes.scatter(
        [point[0] for point in points], [point[1] for point in points], 22, color, marker=marker,
        alpha=0.7, linewidths=1.2 if marker == 'x' else 0,
      )  # fmt: skip
  for number, tag in enumerate(frequent):
    axes.scatter([], [], 22, f'C{number}', label=f'{tag} ({counts[tag]})')
  axes.scatter([], [], 22, 'black', marker='x', label='x: tag')
  axes.scatter([], [], 22, 'black', marker='o', label='dot: region')
  axes.legend(fontsize='small', ncols=2)
  axes.set(
    xticks=[], yticks=[],
    xlabel=(
      f'{found["nearest"]:.0%} of the regions have their own tag as the nearest one of another '
      f'image; by chance {found["chance"]:.0%}.\nNearest one of the same kind in another image has '
      f'the same tag: {found["same"]["region"]:.0%} of regions, {found["same"]["tag"]:.0%} of tags.'
    ),
  )  # fmt: skip
  axes.set_title(title, fontsize='medium')
  return made


def _hidden_states(folder, examples, max_seq_length, max_regions):
  """Returns (float32 [n, width], (kind, tag, key, region) of each)."""
  config = OscarConfig.from_json(folder)
  tokenizer = Tokenizer.from_folder(folder)
  model = modeling.build_model(config, 'pretrain')
  report = checkpoints.initialize(model, folder)
  if any('img_embedding' in name for name in report.kept):
    raise ValueError(f'{folder} has no embedding of regions: it is a BERT; give an OSCAR.')
  hidden, is_tag = [], []
  for first in range(0, len(examples), _BATCH):
    states, places = _last_layer(
      model, tokenizer, examples[first : first + _BATCH], max_seq_length, max_regions
    )
    hidden += list(states)
    is_tag += list(places)
  found, points = [], []
  for (key, _, own, rows), states, places in zip(examples, hidden, is_tag, strict=True):
    ends = np.cumsum([len(pieces) for pieces in tokenizer.encode_batch(own)] if own else [])
    slots = np.flatnonzero(places)
    start = 0
    for number, (tag, end) in enumerate(zip(own, ends, strict=True)):
      if start < end <= len(slots):
        found.append(states[slots[start:end]].mean(axis=0))  # Of its word pieces.
        points.append(('tag', tag, key, number))
      start = end
    regions = min(len(rows), max_regions) if len(own) == len(rows) else 0
    found += list(states[max_seq_length : max_seq_length + regions])
    points += [('region', tag, key, number) for number, tag in enumerate(own[:regions])]
  if not found:
    raise ValueError('Images without tags have no map.')
  return np.stack(found), points


def _last_layer(model, tokenizer, examples, max_seq_length, max_regions):
  """Returns (hidden states [n, length, width], which of the words are tags [n, words])."""
  words, tags = (
    _words(tokenizer.encode_batch(list(column)))
    for column in zip(*((caption, ' '.join(own)) for _, caption, own, _ in examples), strict=True)
  )
  layout = layouts.pair_layout(words, tags, max_seq_length, texts.special_ids(tokenizer))
  padded = [pad_regions(tf.constant(rows), max_regions) for *_, rows in examples]
  feats, counts = (tf.stack(column) for column in zip(*padded, strict=True))
  inputs = layouts.model_inputs(layout, feats, counts)
  hidden = model.bert(**inputs, training=False)['sequence_output'].numpy()
  return hidden, (layout.is_word & (layout.kind == layouts.LABEL)).numpy()


def _words(rows):
  length = tf.constant([len(row) for row in rows], tf.int32)
  return texts.Words(tf.ragged.constant(rows, tf.int32, ragged_rank=1).to_tensor(), length)

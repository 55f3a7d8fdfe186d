"""Self-critical sequence training of captions: REINFORCE with CIDEr-D as the reward.

A step draws captions from the model, scores them on the host, and raises the log-probability of
those that score above a baseline: the caption of the greedy search, or the mean of the other
captions drawn for the image. The loss is the mean over captions of minus the mean log-probability
of the words, [SEP] included, times (reward - baseline).

The cached decoder draws the captions without gradient; one pass of the model then scores all their
words with gradient. Both are without dropout, so that captions are drawn from the very distribution
that is trained. (Officially both are one pass per word with dropout, `drop_out`. Two passes would
have different dropout, and gradients for captions of another distribution are not those of the
expected reward.)

Source: arXiv 1612.00563; `scst_train_iter` of oscar/run_captioning.py and `ScstRewardCriterion` of
oscar/utils/caption_evaluate.py, microsoft/Oscar.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from oscar import decoding
from oscar.datasets import coco_caption
from oscar.decoding.config import GenerationConfig
from oscar.metrics import cider
from oscar.modeling import OscarModel
from tpu_utils.task import Task

Decode = Callable[[Sequence[int]], str]


def scst_task(
  model: OscarModel,
  reward: Callable,
  drawing: GenerationConfig,
  baseline: GenerationConfig | None,
  *,
  predict: Callable | None = None,
  summarize: Callable | None = None,
) -> Task:
  """Returns the `Task`. Batches are those of `CaptionInput` with `self_critical`.

  Args:
    model: the model that is trained.
    reward: see `Critic.reward`.
    drawing: settings of the captions to draw, `num_return_sequences` for each image.
    baseline: settings of the search that writes the baseline caption; None if the other drawn
      captions are the baseline.
    predict: see `tpu_utils.task.Task`.
    summarize: see `tpu_utils.task.Task`.
  """

  def rollout(model, batch, seed):
    drawn = decoding.generate(model, batch, drawing, seed)
    rows = {'row': batch['row'], 'ids': drawn['ids'], 'drawn_ids': drawn['drawn_ids']}
    if baseline is not None:
      rows['baseline_ids'] = decoding.generate(model, batch, baseline)['ids'][:, 0]
    return rows

  def loss(outputs, batch, step):
    del outputs, step  # Outputs for [MASK]s in place of a caption; the graph leaves them out.
    scores = decoding.score_captions(model, batch, batch['drawn_ids'], drawing)
    return policy_loss(scores['logprobs'], scores['weights'], batch['advantage'])

  def mean_of(name):
    return lambda outputs, batch, step: _sum_and_count(batch[name])

  def share_ended(outputs, batch, step):
    del outputs, step
    return _sum_and_count(ended({'drawn_ids': batch['drawn_ids']}, drawing))

  return Task(
    losses={'scst_loss': loss},
    metrics={'reward': mean_of('reward'), 'baseline': mean_of('baseline'), 'ended': share_ended},
    train_metrics=('reward', 'baseline', 'ended'),
    predict=predict,
    summarize=summarize,
    rollout=rollout,
    reward=reward,
  )


def policy_loss(
  logprobs: tf.Tensor, weights: tf.Tensor, advantage: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Computes the loss of drawn captions.

  Args:
    logprobs: float32 [B, N, words], log-probabilities of the words of N captions of each image.
    weights: the same shape, 1 for words up to [SEP], then 0.
    advantage: float32 [B, N], reward - baseline.

  Returns:
    (sum over captions of -mean(logprobs) * advantage, number of captions).
  """
  means = tf.reduce_sum(logprobs * weights, axis=-1) / tf.reduce_sum(weights, axis=-1)
  return _sum_and_count(-means * advantage)


def _sum_and_count(values):
  return tf.reduce_sum(tf.cast(values, tf.float32)), tf.size(values)


def ended(found: Mapping[str, Any], config: GenerationConfig) -> tf.Tensor:
  """Returns whether captions ended before they were cut at `max_gen_length`.

  A caption of beam search that takes the full length counts as cut.

  Args:
    found: result of `decoding.generate`.
    config: its settings.

  Returns:
    bool, the shape of the captions without their words.
  """
  ids = found['drawn_ids'] if 'drawn_ids' in found else found['ids'][..., :-1]
  return tf.reduce_any(ids == config.eos_token_id, axis=-1)


def rewards(
  references: Sequence[Sequence[str]],
  drawn: Sequence[Sequence[str]],
  baseline: Sequence[str] | None,
  frequencies: cider.DocumentFrequencies | None,
) -> tuple[np.ndarray, np.ndarray]:
  """Scores drawn captions and the baseline.

  Args:
    references: captions of each image, at least one each.
    drawn: drawn captions of each image, equally many.
    baseline: a caption of each image; None for the mean of the other drawn captions, of which
      there must be two or more.
    frequencies: document frequencies; None counts them in this batch, each scored caption's
      references as an image.

  Returns:
    (CIDEr-D of the drawn captions, that of their baselines), float64 [images, drawn captions].
  """
  count = len(drawn[0])
  captions = [caption for captions in drawn for caption in captions] + list(baseline or ())
  images = [*np.repeat(range(len(drawn)), count), *range(len(baseline or ()))]
  ended_references = [[cider.with_end(text) for text in texts] for texts in references]
  scores = cider.cider_d(
    [cider.with_end(caption) for caption in captions],
    [ended_references[image] for image in images],
    frequencies,
  )
  of_drawn = scores[: len(drawn) * count].reshape(-1, count)
  if baseline is not None:
    return of_drawn, np.tile(scores[len(drawn) * count :, None], [1, count])
  return of_drawn, (of_drawn.sum(1, keepdims=True) - of_drawn) / (count - 1)


def references_of(
  split: coco_caption.CocoCaption, lower_case: bool
) -> dict[str, list[str]]:
  """Returns {image key: captions} in the order of a split's images; without captions, no text.

  Args:
    split: the split.
    lower_case: whether to lower-case them, as all captions of an uncased model are. (Officially
      they must be so already.)
  """
  found: dict[str, list[str]] = {image_id: [] for image_id in split.image_ids}
  for caption in split.captions:
    found[caption.image_id].append(caption.caption.lower() if lower_case else caption.caption)
  return found


def document_frequencies(
  split: coco_caption.CocoCaption, lower_case: bool
) -> cider.DocumentFrequencies:
  """Counts document frequencies for the reward in the captions of a split.

  Raises:
    ValueError: the split has no captions.
  """
  texts = references_of(split, lower_case).values()
  ends = [[cider.with_end(text) for text in captions] for captions in texts if captions]
  if not ends:
    where = split.files.get('caption', split.files['feature'])
    raise ValueError(f'{where}: there are no captions to count document frequencies in.')
  return cider.document_frequencies(ends)


class Critic:
  """Scores captions on the host; opens its files when first needed.

  Args:
    open_split: function() -> the split that is trained on.
    decode: function(ids) -> text, without special tokens.
    frequencies: function() -> document frequencies.
    lower_case: see `references_of`.
  """

  def __init__(
    self,
    open_split: Callable[[], coco_caption.CocoCaption],
    decode: Decode,
    frequencies: Callable[[], cider.DocumentFrequencies],
    lower_case: bool,
  ) -> None:
    self._open_split, self._decode = open_split, decode
    self._frequencies, self._lower_case = frequencies, lower_case

  @functools.cached_property
  def _references(self):
    """Captions of the images in the order of the split."""
    return list(references_of(self._open_split(), self._lower_case).values())

  def reward(self, rows: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scores the captions of a rollout.

    Args:
      rows: 'row' [n], the images' places in the split; 'ids' [n, N, T]; and with a greedy baseline
        'baseline_ids' [n, T].

    Returns:
      float32 [n, N] each: 'reward', 'baseline' and 'advantage', their difference.
    """
    drawn = [[self._decode(ids) for ids in captions] for captions in rows['ids'].tolist()]
    baseline = None
    if 'baseline_ids' in rows:
      baseline = [self._decode(ids) for ids in rows['baseline_ids'].tolist()]
    references = [self._references[row] for row in rows['row']]
    reward, of_baseline = rewards(references, drawn, baseline, self._frequencies())
    found = {'reward': reward, 'baseline': of_baseline, 'advantage': reward - of_baseline}
    return {name: values.astype(np.float32) for name, values in found.items()}

  def mean_reward(
    self, split: coco_caption.CocoCaption, captions: Mapping[str, str]
  ) -> float:
    """Returns the mean reward of written captions, of images with references.

    Args:
      split: the images' split, which has captions.
      captions: {image key: caption}.
    """
    texts = references_of(split, self._lower_case)
    texts = {image_id: references for image_id, references in texts.items() if references}
    scores = cider.cider_d(
      [cider.with_end(captions[image_id]) for image_id in texts],
      [[cider.with_end(text) for text in references] for references in texts.values()],
      self._frequencies(),
    )
    return float(scores.mean())

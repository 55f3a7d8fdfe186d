"""Captioning: a sentence about an image, learnt from captions with masked words.

How captions are written is not decided here: `captioning_task` takes a function for it.

Source: paper arXiv 2004.06165, section 4 and appendix A; microsoft/Oscar, oscar/run_captioning.py.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from oscar import losses
from oscar.datasets import coco_caption
from oscar.metrics import captions as metrics
from oscar.modeling import OscarModel
from tpu_utils import files
from tpu_utils.trainer import Task

OBJECTIVE = 'CIDEr'  # The score by which the official script chooses a checkpoint.


class Decoder(Protocol):
  """The part of `oscar.Tokenizer` that turns ids into captions."""

  def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
    """Returns the text of ids."""
    ...


def captioning_task(
  model: OscarModel,
  generate: Callable,
  *,
  label_smoothing: float = 0.0,
  drop_worst_ratio: float = 0.0,
  drop_worst_after: int = 0,
  forward_passes: int = 1,
  summarize: Callable | None = None,
) -> Task:
  """Returns the `Task`: the loss of masked words, and captions as predictions.

  Batches are those of `CaptionInput`. Its evaluation batches have no masked words, so that losses
  exist in training only.

  Args:
    model: the model that is trained.
    generate: function(model, batch) -> {'ids': int32 [batch, captions, tokens], 'logprobs': float32
      [batch, captions]}, the best caption first.
    label_smoothing: see `losses.captioning`.
    drop_worst_ratio: see `losses.captioning`.
    drop_worst_after: forward passes before words are dropped.
    forward_passes: forward passes of a step: parts of a batch whose gradients are accumulated.
    summarize: function({'row', 'ids', 'logprobs'} of a split) -> {metric: float}; None for none.
  """

  def loss(outputs, batch, step):
    return losses.captioning(
      outputs['logits'],
      batch['masked_ids'],
      label_smoothing,
      drop_worst_ratio,
      drop_worst_after,
      step * forward_passes + 1,
    )

  def predict(outputs, batch):
    del outputs  # Of [MASK]s in place of a caption; the graph leaves them out.
    found = generate(model, batch)
    return {'row': batch['row'], 'ids': found['ids'], 'logprobs': found['logprobs']}

  return Task(
    losses={'caption_loss': loss},
    metrics={'masked_accuracy': masked_accuracy},
    train_metrics=('masked_accuracy',),
    predict=predict,
    summarize=summarize,
    losses_in_evaluation=False,
  )


def masked_accuracy(
  outputs: Mapping, batch: Mapping, step: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns (masked words that are the most probable ones, masked words)."""
  del step
  words = tf.cast(batch['masked_ids'], tf.int32)
  best = tf.argmax(outputs['logits'], axis=-1, output_type=tf.int32)
  masked = tf.cast(words != 0, tf.float32)
  return tf.reduce_sum(tf.cast(best == words, tf.float32) * masked), tf.reduce_sum(masked)


def records(
  split: coco_caption.CocoCaption, tokenizer: Decoder, rows: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
  """Returns the captions of a split in the order of its images.

  Args:
    split: the split.
    tokenizer: the tokenizer.
    rows: 'row' [n], 'ids' [n, captions, tokens] and 'logprobs' [n, captions] of its images.

  Returns:
    [{'image_id', 'captions': [{'caption', 'conf'}]}]; 'conf' is exp(log-probability).
  """
  made = []
  for place in np.argsort(rows['row'], kind='stable'):
    found = zip(rows['ids'][place], np.exp(rows['logprobs'][place]), strict=True)
    captions = [
      {'caption': tokenizer.decode(ids.tolist(), skip_special_tokens=True), 'conf': float(conf)}
      for ids, conf in found
    ]
    made.append({'image_id': split.image_ids[int(rows['row'][place])], 'captions': captions})
  return made


def evaluate(
  split: coco_caption.CocoCaption,
  made: Sequence[Mapping[str, Any]],
  where: str,
  java: bool = True,
) -> metrics.CaptionScores | None:
  """Scores the first caption of each image that has captions.

  Args:
    split: the split.
    made: `records` of it.
    where: name of the split or file of the captions, for errors and notes.
    java: see `metrics.captions.evaluate`.

  Returns:
    The scores; None for a split without captions.

  Raises:
    ValueError: an image of the split has no record; see also `metrics.captions.evaluate`.
  """
  if not split.captions:
    return None
  references: dict[str, list[str]] = {image_id: [] for image_id in split.image_ids}
  for caption in split.captions:
    references[caption.image_id].append(caption.caption)
  references = {image_id: texts for image_id, texts in references.items() if texts}
  bare = set(split.image_ids) - set(references)
  candidates = {
    record['image_id']: record['captions'][0]['caption']
    for record in made
    if record['image_id'] not in bare
  }
  return metrics.evaluate(candidates, references, where, java)


def write_predictions(made: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
  """Writes the official prediction file: a line for each image, key and JSON of its captions.

  Args:
    made: `records` of a split.
    path: the file, officially `.tsv`.

  Raises:
    OSError: the file cannot be written.
  """
  lines = [f'{record["image_id"]}\t{json.dumps(record["captions"])}\n' for record in made]
  files.write_text(path, ''.join(lines))

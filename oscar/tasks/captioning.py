"""Captioning: a sentence about an image, learnt from captions with masked words.

`captioning_task` takes a function that writes captions; `TASK` gives it `oscar.decoding`. With
`scst` the training is that of `oscar.tasks.scst`.

Source: paper arXiv 2004.06165, section 4 and appendix A; microsoft/Oscar, oscar/run_captioning.py.
"""

import functools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
import tensorflow as tf

from oscar import caption_settings, decoding, losses, task_settings
from oscar import job as oscar_job
from oscar.caption_settings import CaptioningData
from oscar.datasets import coco_caption, tags
from oscar.input import layouts
from oscar.input.captions import CaptionInput
from oscar.metrics import captions as metrics
from oscar.metrics import cider
from oscar.modeling import OscarModel
from oscar.tasks import kept, nocaps, scst
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
    return prediction_rows(found, batch)

  return Task(
    losses={'caption_loss': loss},
    metrics={'masked_accuracy': masked_accuracy},
    train_metrics=('masked_accuracy',),
    predict=predict,
    summarize=summarize,
    losses_in_evaluation=False,
  )


def prediction_rows(found: Mapping[str, tf.Tensor], batch: Mapping) -> dict[str, tf.Tensor]:
  """Returns the predictions of a batch from the result of a search."""
  names = ('ids', 'logprobs', nocaps.MET)
  return {'row': batch['row'], **{name: found[name] for name in names if name in found}}


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


# ---- The task of the script


@kept.once_a_job(maxsize=4)  # The number of steps, the input and the results need the captions.
def _open(
  yaml_file: str, region_dim: int = 2054, with_constraints: bool = False
) -> coco_caption.CocoCaption:
  return nocaps.open_split(yaml_file, region_dim, with_constraints)


def count(data: CaptioningData, split: str) -> int:
  """Returns the number of a split's examples: its captions, or with `scst` images with captions."""
  captions = _open(caption_settings.yaml_of(data, split)).captions
  return len({caption.image_id for caption in captions}) if data.scst else len(captions)


def prediction_records(
  data: CaptioningData, source: CaptionInput, rows: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
  """Returns `records` of the predicted split."""
  split = source.open_captions(data.eval_split)
  made = records(split, cast(Decoder, source.tokenizer), rows)  # It encodes and decodes.
  if data.use_cbs:
    least = data.min_constraints_to_satisfy
    nocaps.add_constraints(made, rows, _constraints(data, source), least)
  return made


def write_results(
  data: CaptioningData, made: Sequence[Mapping[str, Any]], path: str
) -> dict[str, float]:
  """Writes the official files of a split: its captions, and their scores if there are references.

  The scores are beside the captions, in NAME.eval.json, for NoCaps also those of each domain; and
  the file for its server, NAME.server.json.

  Args:
    data: the flags, with the predicted split.
    made: `records` of all its images.
    path: the file of the captions, NAME.tsv.

  Returns:
    The scores.

  Raises:
    ValueError: a Java program fails; captions do not fit NoCaps' annotations.
    OSError: a file cannot be written.
  """
  yaml_file, stem = caption_settings.yaml_of(data, data.eval_split), os.path.splitext(path)[0]
  split, scores_file = _open(yaml_file, with_constraints=data.use_cbs), f'{stem}.eval.json'
  write_predictions(made, path)
  files.remove(scores_file)  # Of an earlier run.
  for line in nocaps.result_lines(yaml_file, made, f'{stem}.server.json'):
    print(line)
  scores = evaluate(split, made, data.eval_split)
  if scores is None:
    return {}
  for note in scores.notes:
    print(f'Note: {note}')
  means = scores.means | nocaps.domain_scores(yaml_file, split, made, evaluate)
  files.write_json(scores_file, means)
  if table := nocaps.domain_table(means):
    print(table)
  return scores.means


def _constraints(data, source):
  """Returns the constraints of the evaluated split."""
  split = source.open_captions(data.eval_split)
  tokenizer, length = source.tokenizer, data.max_gen_length
  return nocaps.open_constraints(split, tokenizer, length, data.suppress_general)


def _open_input(data, tokenizer, config, seed):
  last = max(data.max_seq_a_length, data.max_gen_length)
  last += caption_settings.text_length(data) - data.max_seq_a_length - 1
  layouts.check_positions(last, config.max_position_embeddings)
  return CaptionInput(
    lambda split: _open(
      caption_settings.yaml_of(data, split),
      config.img_feature_dim,
      data.use_cbs and split == data.eval_split,
    ),
    tokenizer,
    max_seq_length=data.max_seq_length,
    max_seq_a_length=data.max_seq_a_length,
    max_gen_length=data.max_gen_length,
    with_tags=data.add_od_labels,
    choose_tags=tags.chooser(data.tags),
    self_critical=data.scst,
    mask_prob=data.mask_prob,
    max_masked_tokens=data.max_masked_tokens,
    region_dim=config.img_feature_dim,
    train_batch_size=data.train_batch_size,
    eval_batch_size=data.eval_batch_size,
    train_split=data.train_split,
    eval_split=data.eval_split,
    max_img_seq_length=data.max_img_seq_length,
    mask_regions=data.mask_regions,
    seed=seed,
  )


def _learn(data, source, model):
  settings = {name: getattr(data, name) for name in caption_settings.OF_GENERATION}
  config = decoding.GenerationConfig.for_tokenizer(
    source.tokenizer, od_labels_start_posid=data.max_seq_a_length, **settings
  )

  critic = _critic(data, source) if data.scst else None

  def summarize(rows):
    split = source.open_captions(data.eval_split)
    made = records(split, source.tokenizer, rows)
    # Java starts for seconds, and its scores choose no checkpoint.
    scores = evaluate(split, made, data.eval_split, java=False)
    if scores is None:
      raise ValueError(
        f'{caption_settings.yaml_of(data, data.eval_split)}: the split has no captions to compare '
        "with ('caption' in the YAML file); use --mode=predict, which writes captions."
      )
    yaml_file = caption_settings.yaml_of(data, data.eval_split)
    without_java = functools.partial(evaluate, java=False)
    means = scores.means | nocaps.domain_scores(yaml_file, split, made, without_java)
    if critic is None:
      return means
    captions = {record['image_id']: record['captions'][0]['caption'] for record in made}
    own = {'reward': critic.mean_reward(split, captions), 'ended': rows['ended'][:, 0].mean()}
    return {**means, **own}

  generate = _generator(data, source, config)
  if critic is not None:
    return _self_critical_task(data, model, config, critic, generate, summarize)
  return captioning_task(
    model,
    generate,
    label_smoothing=data.label_smoothing,
    drop_worst_ratio=data.drop_worst_ratio,
    drop_worst_after=data.drop_worst_after,
    forward_passes=data.forward_passes,
    summarize=summarize,
  )


def _generator(data, source, config):
  """Returns function(model, batch) that writes the captions of an evaluation."""
  if not data.use_cbs:
    return lambda model, batch: decoding.generate(model, batch, config)
  constraints = _constraints(data, source)
  for note in constraints.notes:
    print(f'Note: {note}')
  least = data.min_constraints_to_satisfy
  return nocaps.searcher(constraints, config.replace(min_constraints_to_satisfy=least))


def _self_critical_task(data, model, config, critic, generate, summarize):
  single = config.replace(num_beams=1, num_keep_best=1)
  drawing = single.replace(
    do_sample=True,
    num_return_sequences=data.sc_train_sample_n,
    **{name: getattr(data, name) for name in caption_settings.OF_DRAWING},
  )
  greedy = single.replace(num_beams=data.sc_beam_size)

  def predict(outputs, batch):
    del outputs
    found = generate(model, batch)
    return prediction_rows(found, batch) | {'ended': scst.ended(found, config)}

  return scst.scst_task(
    model,
    critic.reward,
    drawing,
    greedy if data.sc_baseline_type == 'greedy' else None,
    predict=predict,
    summarize=summarize,
  )


def _critic(data, source):
  tokenizer = source.tokenizer
  return scst.Critic(
    lambda: source.open_captions(source.train_split),
    functools.partial(tokenizer.decode, skip_special_tokens=True),
    lambda: _frequencies(data, tokenizer.do_lower_case),
    tokenizer.do_lower_case,
  )


def _frequencies_file(data):
  return caption_settings.frequencies_file(data.data_dir, data.cider_cached_tokens)


def _frequencies(data, lower_case):
  """Returns the document frequencies for the reward."""
  train = caption_settings.yaml_of(data, data.train_split or 'train')
  return _read_or_count(_frequencies_file(data), train, lower_case)


@kept.once_a_job(maxsize=1)  # The record of the job and the reward need them.
def _read_or_count(path, train_yaml, lower_case):
  if path is not None:
    print(f'Document frequencies for CIDEr-D: {path}')
    return cider.read(path)
  split = _open(train_yaml)
  found = scst.document_frequencies(split, lower_case)
  print(
    f'Document frequencies for CIDEr-D: of the captions of {found.num_images} images in '
    f'{split.files["caption"]}'
  )
  return found


def _run_files(data, tokenizer):
  """Returns the document frequencies as a file of the job, unless they come from a file."""
  if not data.scst:
    return {}
  frequencies = _frequencies(data, tokenizer.do_lower_case)
  if _frequencies_file(data) is not None:
    return {}
  return {caption_settings.FREQUENCIES_FILE: frequencies.to_json()}


_OF_THE_CONFIG = (
  'freeze_embedding', 'label_smoothing', 'drop_worst_ratio', 'drop_worst_after', 'tie_weights',
)  # fmt: skip


def _config(data):
  own = {name: getattr(data, name) for name in _OF_THE_CONFIG}
  return {name: value for name, value in own.items() if value is not None}


def _info(data):
  """Returns the entries of task.json; a SavedModel takes the settings of the search from it."""
  made = task_settings.info(data)
  made['settings'] |= {name: getattr(data, name) for name in caption_settings.OF_GENERATION}
  return made


TASK = oscar_job.OscarTask(
  name='captioning',
  objective=OBJECTIVE,
  open_input=_open_input,
  learn=_learn,
  config=_config,
  identity=('tie_weights',),
  curves=(
    ('caption_loss', 'scst_loss'), ('masked_accuracy', OBJECTIVE, 'reward', 'baseline', 'ended'),
  ),
  info=_info,
  records=prediction_records,
  run_files=_run_files,
)

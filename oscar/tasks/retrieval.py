"""Retrieval: whether a caption belongs to an image; ranking of captions and of images.

Source: paper arXiv 2004.06165, section 4 and appendix A; microsoft/Oscar, oscar/run_retrieval.py.
"""

import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from oscar import job as oscar_job
from oscar import task_settings
from oscar.datasets import retrieval_files, tags
from oscar.datasets.coco_retrieval import CocoRetrieval
from oscar.input import texts
from oscar.input.pairs import RetrievalInput
from oscar.metrics import retrieval as metrics
from oscar.retrieval_settings import RetrievalData
from oscar.tasks import classification, kept, stored_scores
from oscar.tasks.pair_scores import PairScorer
from tpu_utils import claims, files
from tpu_utils.command_line.progress import Progress
from tpu_utils.trainer import Task, Trainer

OBJECTIVE = metrics.OBJECTIVE
ACCURACY = 'pair_accuracy'
_CHUNK_IMAGES = 64  # Images whose regions are in memory together during an evaluation.


def files_of(data: RetrievalData, region_dim: int = 2054) -> retrieval_files.RetrievalFiles:
  """Returns the official files that the flags select."""
  return retrieval_files.RetrievalFiles(
    data.data_dir,
    data.img_feat_file,
    data.eval_img_keys_file,
    data.eval_caption_index_file,
    data.cross_image_eval,
    data.num_captions_per_img_val,
    data.num_eval_images,
    data.eval_folds,
    region_dim,
  )


@kept.once_a_job(maxsize=4)  # The number of steps and the input need the captions.
def _open(opened: retrieval_files.RetrievalFiles, split: str, evaluated: bool) -> CocoRetrieval:
  return opened.open(split, evaluated)


def count(data: RetrievalData, split: str) -> int:
  """Returns the number of a split's captions that are trained on, each with a wrong pair."""
  reader = _open(files_of(data), split, False)
  return len(reader.own_pairs(data.num_captions_per_img_train))


def retrieval_task(data: RetrievalData) -> Task:
  """Returns the `Task`: the loss and the accuracy of pairs as those of `RetrievalInput`.

  Args:
    data: the flags.
  """
  return Task(
    losses={'pair_loss': classification.loss_of_labels(data.loss_type)},
    metrics={ACCURACY: accuracy},
    train_metrics=(ACCURACY,),
  )


def accuracy(outputs: Mapping, batch: Mapping, step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns (pairs that are judged right, pairs): the score that the official script prints."""
  logits = outputs['logits']
  if logits.shape[-1] > 1:
    return classification.accuracy(outputs, batch, step)
  # As officially: a probability of a half or more, although the loss compares the output itself.
  right = tf.cast((logits[:, 0] >= 0) == (batch['labels'] == 1), tf.float32)
  weights = batch.get('weights')
  weights = tf.ones_like(right) if weights is None else tf.cast(weights, tf.float32)
  return tf.reduce_sum(right * weights), tf.reduce_sum(weights)


class Ranking:
  """The pairs of an evaluation and their scores.

  Args:
    data: the flags, with the split in `eval_split`.
    opened: the files.
    tokenizer: the tokenizer.
  """

  def __init__(
    self,
    data: RetrievalData,
    opened: retrieval_files.RetrievalFiles,
    tokenizer: texts.Tokenizer,
  ) -> None:
    self._data, self._files, self._tokenizer = data, opened, tokenizer
    self._scorer: PairScorer | None = None
    self._trainer: Trainer | None = None
    self._captions: list[list[int]] | None = None

  @property
  def reader(self) -> CocoRetrieval:
    """The images and captions of the split."""
    return _open(self._files, self._data.eval_split, True)

  @functools.cached_property
  def candidates(self) -> retrieval_files.Candidates:
    """The pairs; reading them raises ValueError or OSError for bad files."""
    return self._files.candidates(self.reader)

  def rows(
    self,
    trainer: Trainer,
    first: int,
    last: int,
    progress: Callable[[int], object] | None = None,
  ) -> np.ndarray:
    """Scores the candidates of images first <= i < last; each image is read once.

    Args:
      trainer: the trainer of the model; its weights are taken as they are.
      first: first image.
      last: image after the last.
      progress: called with the number of pairs done; None for nobody.

    Returns:
      float32 [images, candidates].

    Raises:
      ValueError: an image is damaged, or has no tags.
    """
    scorer = self._scorer_of(trainer)
    captions = self._encoded(scorer)
    parts, done = [], 0
    for start in range(first, last, _CHUNK_IMAGES):
      stop = min(start + _CHUNK_IMAGES, last)
      keys = self.candidates.image_ids[start:stop]
      images = scorer.images([self.reader.regions[key] for key in keys], self.image_tags(keys))
      if self._data.mask_regions:
        images = images._replace(counts=np.zeros_like(images.counts))
      chosen = self.candidates.of_image[start:stop]
      image = np.repeat(np.arange(stop - start), chosen.shape[1])
      report = None if progress is None else _shifted(progress, done)
      scores = scorer.score(images, captions, image, chosen.ravel(), report)
      parts.append(scores.reshape(chosen.shape))
      done += chosen.size
    return np.concatenate(parts)

  def image_tags(self, keys: Sequence[str]) -> list[str] | None:
    """Returns the tags of images as --tags has them; None for a model without."""
    if not self._data.add_od_labels:
      return None
    if tags.chooser(self._data.tags) is None:
      return [self.reader.tags(key) for key in keys]
    return [self._chosen_tags[key] for key in keys]

  @functools.cached_property
  def _chosen_tags(self):
    """{image: tags} of all images, in place of their own."""
    own = {key: self.reader.tags(key) for key in self.candidates.image_ids}
    return tags.replaced(self._data.tags, own)

  def _encoded(self, scorer):
    """Returns the token ids of all captions, made once."""
    if self._captions is None:
      self._captions = scorer.encode(self.candidates.captions)
    return self._captions

  def _scorer_of(self, trainer):
    """Returns the scorer of a trainer, which keeps its compiled functions."""
    if self._scorer is not None and self._trainer is trainer:
      return self._scorer
    self._trainer, data = trainer, self._data
    self._scorer = PairScorer(
      trainer.model,
      self._tokenizer,
      max_seq_length=data.max_seq_length,
      max_img_seq_length=data.max_img_seq_length,
      attention=data.att_mask_type,
      batch_size=data.eval_batch_size,
      strategy=trainer.strategy,
    )
    return self._scorer

  def evaluate(self, trainer: Trainer) -> dict[str, float]:
    """Scores all pairs and returns the recall; see `stored_scores.results`.

    Args:
      trainer: evaluated with its moving averages, if there are any.
    """
    images, width = self.candidates.of_image.shape
    with Progress(images * width, 'rank', unit='pair') as bar, trainer.averaged_weights():
      scores = stored_scores.MemoryScores(self.rows(trainer, 0, images, bar.update))
    found, _ = stored_scores.results(scores, self.candidates)
    whole, *others = found.items()
    return {
      **whole[1], **{f'{name}_{key}': v for name, part in others for key, v in part.items()}
    }  # fmt: skip


def _shifted(progress, before):
  return lambda done: progress(before + done)


class RankedInput(RetrievalInput):
  """Training pairs, and the pairs that an evaluation ranks.

  Args:
    ranking: the latter.
    *args: as for `RetrievalInput`.
    **settings: as for `RetrievalInput`.
  """

  def __init__(self, ranking: Ranking, *args: Any, **settings: Any) -> None:
    super().__init__(*args, **settings)
    self.ranking = ranking

  @property
  def num_eval_examples(self) -> int:
    """Right pairs in an evaluation; reads the files of the pairs to rank, too."""
    _ = self.ranking.candidates
    return super().num_eval_examples


def write_scores(
  data: RetrievalData, settings: Any, trainer: Trainer, source: RankedInput, name: str
) -> None:
  """Scores all pairs of a split into chunk files, and writes recall and ranks.

  Started again, it scores what is missing. The names are the official ones, with the name of the
  file of images or candidates, which the official names lack.

  Args:
    data: the flags, with the split in `eval_split`.
    settings: the job's settings, with `model_dir`.
    trainer: scores with its moving averages, if there are any.
    source: the input.
    name: name of the checkpoint, for messages.

  Raises:
    ValueError: the folder holds scores of another model or of other pairs, or an image is damaged.
    OSError: a file cannot be written.
  """
  candidates = source.ranking.candidates
  stem = os.path.join(settings.model_dir, results_name(data))
  with trainer.averaged_weights() as model:
    identity = {
      'weights': _digest(model), 'split': data.eval_split,
      **{flag: getattr(data, flag) for flag in _OF_SCORES},
    }  # fmt: skip
    if data.tags != tags.GIVEN:
      identity['tags'] = data.tags
    stored = stored_scores.StoredScores(stem, candidates, identity)
    with claims.claimed('output_dir', stem):
      _fill(stored, candidates, trainer, source)
  found, ranks = stored_scores.results(stored, candidates)
  (whole, *others) = found.items()
  content = metrics.official(whole[1]) | {key: metrics.official(part) for key, part in others}
  files.write_json(f'{stem}.eval.json', content)
  files.write_json(f'{stem}.ranks.json', {'image_ids': candidates.image_ids, **ranks}, None)
  for key, part in found.items():
    text = ', '.join(f'{metric} {value:.4f}' for metric, value in part.items())
    print(f'{data.eval_split}, {key.replace("_", " ")}: {text}')
  print(f'Scores of {name}: {stem}/; recall and ranks: {stem}.eval.json, {stem}.ranks.json')


def _fill(stored, candidates, trainer, source):
  """Scores the missing chunks."""
  width = candidates.of_image.shape[1]
  missing, total = stored.missing(), candidates.of_image.size
  done = total - sum(last - first for first, last in missing) * width
  if done:
    print(f'{done:,} of {total:,} pairs are scored already: {stored.folder}/')
  with Progress(total, 'score', initial=done, unit='pair') as bar:
    for chunk in missing:
      stored.write(chunk, source.ranking.rows(trainer, *chunk, _shifted(bar.update, done)))
      done += (chunk[1] - chunk[0]) * width


# Flags that decide the scores, beside the weights.
_OF_SCORES = (
  'max_seq_length', 'max_img_seq_length', 'add_od_labels', 'att_mask_type', 'num_labels',
  'mask_regions',
)  # fmt: skip


def results_name(data: RetrievalData) -> str:
  """Returns the name of the scores of `data.eval_split`, without ending."""
  folder = os.path.basename(data.data_dir.rstrip('/'))
  parts = [] if folder == 'coco_ir' else [folder]
  parts.append(data.eval_split)
  if data.add_od_labels:
    parts.append(f'wlabels{data.od_label_type}')
  if data.mask_regions:
    parts.append('masked_regions')
  if data.tags != tags.GIVEN:
    parts.append(tags.name(data.tags))
  chosen = data.eval_img_keys_file, '' if data.cross_image_eval else data.eval_caption_index_file
  parts += [os.path.splitext(os.path.basename(name))[0] for name in chosen if name]
  if data.num_eval_images:
    parts.append(f'first{data.num_eval_images}')
  if data.eval_folds > 1:
    parts.append(f'{data.eval_folds}folds')
  return f'{".".join(parts)}.results'


def _digest(model):
  """Returns a hash of the weights."""
  digest = hashlib.sha256()
  for variable in sorted(model.trainable_variables, key=lambda v: v.path):
    digest.update(variable.path.encode())
    digest.update(np.ascontiguousarray(variable.numpy()).tobytes())
  return digest.hexdigest()[:16]


def _open_input(data, tokenizer, config, seed):
  opened = files_of(data, config.img_feature_dim)
  return RankedInput(
    Ranking(data, opened, tokenizer),
    lambda split: _open(opened, split, split != data.train_split),
    tokenizer,
    max_seq_length=data.max_seq_length,
    captions_per_image=data.num_captions_per_img_train,
    with_tags=data.add_od_labels,
    choose_tags=tags.chooser(data.tags),
    attention=data.att_mask_type,
    trim=data.trim_padding,
    region_memory=data.region_memory,
    region_dim=config.img_feature_dim,
    log=print,
    train_batch_size=data.train_batch_size,
    eval_batch_size=data.eval_batch_size,
    train_split=data.train_split,
    eval_split=data.eval_split,
    max_img_seq_length=data.max_img_seq_length,
    mask_regions=data.mask_regions,
    seed=seed,
  )


def _config(data):
  return {
    'num_labels': data.num_labels,
    'loss_type': data.loss_type,
    'classifier': data.classifier,
    'cls_hidden_scale': data.cls_hidden_scale,
  }


TASK = oscar_job.OscarTask(
  name='retrieval',
  objective=OBJECTIVE,
  open_input=_open_input,
  learn=lambda data, source, model: retrieval_task(data),
  config=_config,
  identity=('num_labels', 'classifier', 'cls_hidden_scale'),
  evaluators={'ranking': lambda trainer, source: source.ranking.evaluate(trainer)},
  curves=(('pair_loss',), (ACCURACY, OBJECTIVE, 't2i_R@1')),
  info=task_settings.info,
  predictor=write_scores,
)

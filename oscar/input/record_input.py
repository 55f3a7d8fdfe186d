"""Batches from prepared records: streamed, shuffled, resumable to the example.

A record is an image (or a pair of images) with all its examples: texts, questions or captions.
Texts are tokenized once and stay in memory; the images are streamed, each read once an epoch for
all its examples. Order and random draws are functions of the seed and the position of the example,
so a resumed job continues with the next example.

A task subclasses `RecordInput` and defines `open_split`:

    class VqaInput(record_input.RecordInput):
      def open_split(self, name):
        questions, tags, labels, counts = ...       # Of all examples, record by record.
        def make_batch(rows):
          layout = layouts.pair_layout(
            questions.rows(rows.example, 128), tags.rows(rows.example, 128), 128, special
          )
          inputs = layouts.model_inputs(layout, *rows.regions['regions'])
          return inputs | {'labels': tf.gather(labels, rows.example)}
        return record_input.Split(RegionRecords(builder, name), counts, make_batch)
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from oscar.datasets import features
from oscar.input import batching, masking
from oscar.input.official_records import OfficialRecords
from oscar.input.regions import decode_regions, hide_regions
from tpu_utils.images import tfrecords
from tpu_utils.order import ShuffledOrder

BLOCK = 8  # Consecutive records read together; 3 MB of images with 50 regions.
WINDOW = 64  # Blocks shuffled together; 200 MB of images with 50 regions.
_READS_AHEAD = 8  # Blocks of records read in parallel.
_PADDING = -1  # Example number in rows that only fill up a batch.

# No function here has Python control flow over tensors; AutoGraph would take seconds to search.
_without_autograph = tf.autograph.experimental.do_not_convert


class Rows(NamedTuple):
  """The rows of a batch, as `Split.make_batch` gets them.

  Attributes:
    example: int64 [batch], number of each example, counted over the records of the split.
    regions: {field of the records: (float32 [batch, max_img_seq_length, dim], padded; int32
      [batch], how many regions are real)}; with a partner also those of its record, under
      'other_FIELD'.
    draws: float64 [batch, num_draws] in [0, 1), random numbers of each example.
    partner: int64 [batch], number of the record that `Split.partner` chose; None without.
  """

  example: tf.Tensor
  regions: dict[str, tuple[tf.Tensor, tf.Tensor]]
  draws: tf.Tensor
  partner: tf.Tensor | None = None


class RegionRecords:
  """The image regions that the records of a split hold.

  Args:
    builder: TFDS builder of the prepared records.
    split: name of the split.
    region_dim: numbers in a region.
    fields: names of the records' fields of regions.

  Attributes:
    region_dim: numbers in a region.
    fields: names of the fields.

  Raises:
    ValueError: there is no such split, or its first record is damaged.
  """

  def __init__(
    self,
    builder: Any,
    split: str,
    region_dim: int = features.REGION_DIM,
    fields: Sequence[str] = ('regions',),
  ) -> None:
    check_split(builder, split)
    self.region_dim, self.fields = region_dim, tuple(fields)
    paths = [str(path) for path in builder.info.splits[split].filepaths]
    self._files = tfrecords.RecordFiles(paths)
    self._features = {name: tf.io.FixedLenFeature([], tf.string) for name in self.fields}
    self.check(0)

  def __len__(self) -> int:
    return len(self._files)

  def check(self, number: int) -> None:
    """Checks one record.

    Raises:
      ValueError: the record is damaged; the message names file and record.
    """
    data = tf.io.parse_single_example(self._files.read_one(number), self._features)
    for name in self.fields:
      regions = np.frombuffer(data[name].numpy(), np.float32).reshape(-1, self.region_dim)
      features.check(regions, self._files.where(number), self.region_dim)

  def read(self, blocks: tf.data.Dataset, count: tf.Tensor) -> tf.data.Dataset:
    """Reads the regions of records, still encoded, `count` records at a time.

    Encoded regions are many small pieces of memory, which are reused; memory for a decoded window
    would be requested from the system each time, which costs as much as copying it.

    Args:
      blocks: dataset of (first, last), the records first <= r < last.
      count: int64 scalar.

    Returns:
      Dataset of tuples of string [count], one for each of `fields`.
    """
    records = blocks.interleave(
      self._files.stream,
      cycle_length=_READS_AHEAD,
      block_length=BLOCK,
      num_parallel_calls=_READS_AHEAD,
      deterministic=True,
    )

    def parse(data):
      parsed = tf.io.parse_example(data, self._features)
      return tuple(parsed[name] for name in self.fields)

    return records.batch(count).map(parse)


@dataclasses.dataclass(frozen=True)
class Split:
  """The examples of a split.

  Attributes:
    records: the records, which hold the images.
    counts: int64 [records], how many examples each record has.
    make_batch: called with `Rows`, inside a dataset; returns the model's inputs and labels,
      {name: tensor [batch, ...]}. Rows that only fill up a batch have example number 0.
    num_draws: random numbers that `make_batch` takes for an example.
    partner: function(draws [n, num_draws], slot [n], records) -> int64 [n]: for each example, with
      its place among the records in memory and their number, the place of another record that a
      training batch gets, too. None for none.
  """

  records: RegionRecords | OfficialRecords
  counts: np.ndarray
  make_batch: Callable[[Rows], dict[str, tf.Tensor]]
  num_draws: int = 0
  partner: Callable | None = None


class RecordInput:
  """Batches of a task's training and evaluation split; a subclass defines `open_split`.

  Args:
    train_batch_size: over all replicas.
    eval_batch_size: over all replicas.
    train_split: name of the split to train on.
    eval_split: name of the split to evaluate on.
    max_img_seq_length: regions of an image that the model gets; further ones are cut off.
    seed: determines the order of training and all random draws.
    window: blocks of `BLOCK` records that are held in memory and shuffled together.
    mask_regions: whether the model sees no regions, in training and in evaluation.

  Raises (also the methods):
    ValueError: bad data; one line that names the file and, if one record is wrong, the record.
  """

  def __init__(
    self,
    *,
    train_batch_size: int | None = None,
    eval_batch_size: int | None = None,
    train_split: str = 'train',
    eval_split: str = 'val',
    max_img_seq_length: int = 50,
    seed: int = 0,
    window: int = WINDOW,
    mask_regions: bool = False,
  ) -> None:
    self.train_batch_size = train_batch_size
    self.eval_batch_size = eval_batch_size
    self.train_split = train_split
    self.eval_split = eval_split
    self.max_img_seq_length = max_img_seq_length
    self.seed = seed
    self.mask_regions = mask_regions
    self._window = window
    self._splits: dict[str, Split] = {}

  def open_split(self, name: str) -> Split:
    """Opens a split; called once for each name, on first use."""
    raise NotImplementedError

  @property
  def num_train_examples(self) -> int:
    """Examples in an epoch of training, over all hosts."""
    return int(self._split(self.train_split).counts.sum())

  @property
  def num_eval_examples(self) -> int:
    """Examples in an evaluation, over all hosts."""
    return int(self._split(self.eval_split).counts.sum())

  @property
  def num_eval_batches(self) -> int:
    """Batches in an evaluation by one host, over all replicas."""
    assert self.eval_batch_size is not None
    return -(-self.num_eval_examples // self.eval_batch_size)

  @_without_autograph
  def train_dataset(
    self, context: tf.distribute.InputContext | None = None, start_example: int = 0
  ) -> tf.data.Dataset:
    """Returns the endless training batches of one input pipeline (host).

    Args:
      context: place among the pipelines; None for one pipeline and one replica.
      start_example: training examples already taken, over all hosts, by batches of any size; the
        dataset begins with the next one.

    Returns:
      Dataset of the results of `Split.make_batch`, one for each replica's batch. Successive batches
      belong to the pipeline's replicas in turn.
    """
    context = context or tf.distribute.InputContext()
    split = self._split(self.train_split)
    first, last = _share(len(split.records), context)
    order = ShuffledOrder(
      first, last, self.seed, block=BLOCK, window=self._window, counts=split.counts
    )
    batch_size = context.get_per_replica_batch_size(self.train_batch_size)
    start = start_example // context.num_input_pipelines
    number, skipped = order.window_at(start)
    host = context.input_pipeline_id

    def read(number):
      window = order.window(number)
      blocks = tf.data.Dataset.from_tensor_slices((window.first, window.last))
      count = tf.reduce_sum(window.last - window.first)
      examples, slots = self._with_partners(split, window, count, host)
      regions = split.records.read(blocks, count)
      return regions.map(lambda *regions: (examples, slots, regions))

    # While one window is consumed the next is read.
    windows = tf.data.Dataset.counter(number).flat_map(read).prefetch(1)
    dataset = batching.batches(windows, batch_size, skipped)
    return self._finish(dataset, split, start, batch_size, context)

  @_without_autograph
  def eval_dataset(self, context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
    """Returns the evaluation batches of one input pipeline (host), the same every time.

    Args:
      context: as for `train_dataset`.

    Returns:
      Dataset as for training, with each example once and 'weights' float32 [batch]. Rows of weight
      0 fill up the end, so that all pipelines and all their replicas get equally many batches.
    """
    context = context or tf.distribute.InputContext()
    split = self._split(self.eval_split)
    records, counts = split.records, split.counts
    first, last = _share(len(records), context)
    batch_size = context.get_per_replica_batch_size(self.eval_batch_size)
    shares = [_share(len(records), context, p) for p in range(context.num_input_pipelines)]
    largest = max(int(counts[slice(*share)].sum()) for share in shares)
    num_batches = -(-largest // (batch_size * _local_replicas(context))) * _local_replicas(context)
    starts = np.concatenate([[0], np.cumsum(counts)])
    missing = num_batches * batch_size - int(starts[last] - starts[first])
    blocks = tf.data.Dataset.range(first, last, BLOCK).map(
      lambda b: (b, tf.minimum(b + BLOCK, last))
    )

    def window(numbers, regions):
      slot = tf.repeat(tf.range(tf.size(numbers, tf.int64)), tf.gather(counts, numbers))
      begins, ends = tf.gather(starts, numbers), tf.gather(starts, numbers + 1)
      return tf.ragged.range(begins, ends).flat_values, slot, regions

    numbers = tf.data.Dataset.range(first, last).batch(BLOCK)
    windows = tf.data.Dataset.zip(numbers, records.read(blocks, BLOCK)).map(window)
    zeros = tf.zeros([missing], tf.int64)
    nothing = tuple(tf.constant(['']) for _ in records.fields)
    padding = tf.data.Dataset.from_tensors((zeros + _PADDING, zeros, nothing))
    dataset = batching.batches(windows.concatenate(padding), batch_size)
    return self._finish(dataset, split, 0, batch_size, context, weighted=True)

  def explain(self, error: Exception) -> ValueError | None:
    """Finds the damaged record that caused an error of a dataset.

    Args:
      error: raised while reading a dataset.

    Returns:
      A ValueError of one line that names file and record; None if no record is damaged.
    """
    if not isinstance(error, tf.errors.DataLossError | tf.errors.InvalidArgumentError):
      return None
    for split in self._splits.values():
      for number in range(len(split.records)):
        try:
          split.records.check(number)
        except ValueError as cause:
          return cause
    return None

  def _split(self, name):
    """Returns the `Split` of a name, opened on first use."""
    if name not in self._splits:
      self._splits[name] = self.open_split(name)
    return self._splits[name]

  def _with_partners(self, split, window, count, host):
    """Returns (examples, slots) of a window of `count` records, with those of the partners.

    The partner's record is a second column of both.
    """
    if split.partner is None:
      return window.example, window.slot
    n = tf.size(window.example, tf.int64)
    draws = masking.uniform(self.seed, host, window.position, n, split.num_draws)
    other = split.partner(draws, window.slot, count)
    records = tf.ragged.range(window.first, window.last).flat_values
    examples = tf.stack([window.example, tf.gather(records, other)], axis=1)
    return examples, tf.stack([window.slot, other], axis=1)

  def _finish(self, dataset, split, start, batch_size, context, weighted=False):
    """Turns batches of (example, encoded regions of each field) into the task's batches."""
    host, width, fields = context.input_pipeline_id, split.num_draws, split.records.fields
    paired = split.partner is not None and not weighted
    if paired:
      fields = (*fields, *(f'other_{field}' for field in fields))

    def finish(number, rows):
      example, *data = rows
      partner = None
      if paired:
        example, partner = tf.unstack(example, axis=1)
      position = start + number * batch_size
      if width:
        draws = masking.uniform(self.seed, host, position, batch_size, width)
      else:
        draws = tf.zeros([batch_size, 0], tf.float64)
      weights = {'weights': tf.cast(example != _PADDING, tf.float32)} if weighted else {}
      decoded = (
        decode_regions(x, self.max_img_seq_length, split.records.region_dim) for x in data
      )
      regions = dict(zip(fields, decoded, strict=True))
      batch = split.make_batch(Rows(tf.maximum(example, 0), regions, draws, partner))
      return weights | (hide_regions(batch) if self.mask_regions else batch)

    dataset = dataset.enumerate().map(finish, tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    options.deterministic = True
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def check_split(builder: Any, split: str) -> None:
  """Checks that a TFDS builder has a split.

  Raises:
    ValueError: it has none of that name; the message lists the splits.
  """
  if split not in builder.info.splits:
    raise ValueError(
      f'{builder.info.full_name} has no split {split!r}; it has {", ".join(builder.info.splits)}.'
    )


def _local_replicas(context):
  return context.num_replicas_in_sync // context.num_input_pipelines


def _share(num_records, context, pipeline=None):
  """Returns the records (first, last), first <= r < last, that an input pipeline reads."""
  pipelines = context.num_input_pipelines
  pipeline = context.input_pipeline_id if pipeline is None else pipeline
  if num_records < pipelines:
    raise ValueError(
      f'{num_records} images for {pipelines} hosts; each needs one. Use fewer hosts.'
    )
  return num_records * pipeline // pipelines, num_records * (pipeline + 1) // pipelines

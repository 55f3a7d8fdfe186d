"""The prepared pre-training corpus as batches.

The texts are tokenized once and held in memory; the images are streamed, each read once an epoch
for all its texts. What is drawn at random is a function of the seed and the position of the
example, so a stopped job goes on with the very next example.

Source: microsoft/Oscar, oscar/datasets/oscar_tsv.py and build.py (shuffled documents in batches).
"""

import dataclasses

import numpy as np
import tensorflow as tf

from oscar import features, inputs, masking, text_order
from oscar.datasets import builders
from tpu_utils.images import tfrecords

_READS_AHEAD = 8  # Blocks of records read side by side.
_TEXTS_AT_ONCE = 20_000  # Tokenized together: enough for the library's threads.
_NO_TEXT = -1  # Number of the text of rows that only fill up a batch.
_RECORD = {'regions': tf.io.FixedLenFeature([], tf.string)}

# No function in here has Python control flow over tensors, and looking for it takes seconds.
_without_autograph = tf.autograph.experimental.do_not_convert


@dataclasses.dataclass(frozen=True)
class _Split:
  """A split in memory: its texts by record, and where its images are.

  Attributes:
    documents: `masking.Documents`, record by record.
    counts: int64 [records], how many documents each has.
    records: `tfrecords.RecordFiles`.
  """

  documents: masking.Documents
  counts: np.ndarray
  records: tfrecords.RecordFiles


class PretrainInput:
  """Batches of a corpus that `oscar.datasets.prepare` wrote.

  Args:
    data_dir: folder of the prepared data sets.
    tokenizer: `oscar.Tokenizer`.
    options: `masking.PretrainOptions`.
    train_batch_size: over all replicas.
    eval_batch_size: over all replicas.
    train_split: name of the corpus' split to train on.
    eval_split: that to evaluate on.
    region_dim: numbers a region.
    seed: decides the order of training and everything drawn.
    window: blocks of `text_order.BLOCK` images that are held and shuffled together.

  Raises (here and from the methods):
    ValueError: bad data; one line that names the file, and the record if it is one.
  """

  def __init__(
    self,
    data_dir,
    tokenizer,
    options,
    *,
    train_batch_size=None,
    eval_batch_size=None,
    train_split='train',
    eval_split='val',
    region_dim=features.REGION_DIM,
    seed=0,
    window=text_order.WINDOW,
  ):
    self.options = options
    self.train_batch_size = train_batch_size
    self.eval_batch_size = eval_batch_size
    self.region_dim = region_dim
    self.seed = seed
    self._data_dir = data_dir
    self._tokenizer = tokenizer
    self._special = inputs.special_ids(tokenizer)
    self._names = {'train': train_split, 'eval': eval_split}
    self._splits = {}
    self._window = window

  @property
  def num_train_examples(self):
    """Documents in an epoch of training, over all hosts."""
    return int(self._split('train').counts.sum())

  @property
  def num_eval_examples(self):
    """Documents that an evaluation sees, over all hosts."""
    return int(self._split('eval').counts.sum())

  @_without_autograph
  def train_dataset(self, context=None, start_step=0):
    """The endless training stream of one input pipeline (host).

    Args:
      context: `tf.distribute.InputContext`; None for one pipeline and one replica.
      start_step: training steps already taken; the stream begins with the batch after them.

    Returns:
      Dataset of what `masking.pretrain_batch` returns, of one replica's batch. Consecutive batches
      belong to the pipeline's replicas in turn.
    """
    context = context or tf.distribute.InputContext()
    split = self._split('train')
    first, last = _share(len(split.records), context)
    order = text_order.TextOrder(split.counts, first, last, self.seed, window=self._window)
    batch_size = context.get_per_replica_batch_size(self.train_batch_size)
    start = start_step * batch_size * _local_replicas(context)
    window, skipped = order.window_at(start)

    def read(number):
      place = order.window(number)
      blocks = tf.data.Dataset.from_tensor_slices((place.first, place.last))
      regions = self._regions(split, blocks, tf.reduce_sum(place.last - place.first))
      return regions.map(lambda regions: (place.text, place.slot, (regions,)))

    # While one window is used up the next is read.
    windows = tf.data.Dataset.counter(window).flat_map(read).prefetch(1)
    dataset = text_order.batches(windows, batch_size, skipped)
    return self._finish(dataset, split, start, batch_size, context)

  @_without_autograph
  def eval_dataset(self, context=None):
    """The documents of one input pipeline (host), each once; equal every time.

    Args:
      context: as for `train_dataset`.

    Returns:
      Dataset as for training, with 'weights' float32 [batch]. Rows of weight 0 fill up the end, so
      that every pipeline gives equally many batches, and every replica of it too.
    """
    context = context or tf.distribute.InputContext()
    split = self._split('eval')
    first, last = _share(len(split.records), context)
    batch_size = context.get_per_replica_batch_size(self.eval_batch_size)
    shares = [_share(len(split.records), context, p) for p in range(context.num_input_pipelines)]
    largest = max(int(split.counts[slice(*share)].sum()) for share in shares)
    num_batches = -(-largest // (batch_size * _local_replicas(context))) * _local_replicas(context)
    starts = np.concatenate([[0], np.cumsum(split.counts)])
    missing = num_batches * batch_size - int(starts[last] - starts[first])
    block = text_order.BLOCK
    blocks = tf.data.Dataset.range(first, last, block).map(
      lambda b: (b, tf.minimum(b + block, last))
    )

    def window(records, regions):
      slot = tf.repeat(tf.range(tf.size(records, tf.int64)), tf.gather(split.counts, records))
      start, end = tf.gather(starts, records), tf.gather(starts, records + 1)
      return tf.ragged.range(start, end).flat_values, slot, (regions,)

    records = tf.data.Dataset.range(first, last).batch(block)
    windows = tf.data.Dataset.zip(records, self._regions(split, blocks, block)).map(window)
    zeros = tf.zeros([missing], tf.int64)
    padding = tf.data.Dataset.from_tensors((zeros + _NO_TEXT, zeros, (tf.constant(['']),)))
    dataset = text_order.batches(windows.concatenate(padding), batch_size)
    return self._finish(dataset, split, 0, batch_size, context, weighted=True)

  def explain(self, error):
    """A ValueError of one line that names the damaged record behind an error; None if none is.

    Args:
      error: the exception (`tf.errors.OpError`).
    """
    if not isinstance(error, tf.errors.DataLossError | tf.errors.InvalidArgumentError):
      return None
    for split in self._splits.values():
      for number in range(len(split.records)):
        try:
          self._check_record(split.records, number)
        except ValueError as cause:
          return cause
    return None

  def _split(self, kind):
    """The `_Split` for 'train' or 'eval', read on first use."""
    if kind not in self._splits:
      self._splits[kind] = self._read_split(self._names[kind])
    return self._splits[kind]

  def _read_split(self, name):
    texts, images = (
      builders.prepare('pretrain', None, self._data_dir, part, self.region_dim)
      for part in ('documents', 'regions')
    )
    for builder in (texts, images):
      if name not in builder.info.splits:
        raise ValueError(
          f'{builder.info.full_name} has no split {name!r}; it has '
          f'{", ".join(builder.info.splits)}.'
        )
    records = tfrecords.RecordFiles(map(str, images.info.splits[name].filepaths))
    self._check_record(records, 0)
    documents, record = read_documents(texts, name, self._tokenizer)
    if self.options.textb_sample_mode == 2 and not len(documents.questions):
      raise ValueError(
        f'textb_sample_mode=2 takes wrong texts from questions, but {texts.info.full_name} {name} '
        'has none; choose 0 or 1.'
      )
    return _Split(documents, np.bincount(record, minlength=len(records)), records)

  def _check_record(self, records, number):
    """Raises ValueError with what is wrong with a record, if anything is."""
    data = records.read_one(number)
    regions = tf.io.parse_single_example(data, _RECORD)['regions']
    regions = np.frombuffer(regions.numpy(), np.float32).reshape(-1, self.region_dim)
    features.check(regions, records.where(number), self.region_dim)

  def _regions(self, split, blocks, count):
    """Regions of records, still encoded, by `count` together.

    Encoded they are many small pieces of memory, which are used again and again; a window of
    decoded ones would be fetched anew from the system each time, at the price of the copying
    itself.

    Args:
      split: `_Split`.
      blocks: dataset of (first, last), the records first <= r < last.
      count: int64 scalar.

    Returns:
      Dataset of string [count].
    """
    records = blocks.interleave(
      split.records.stream,
      cycle_length=_READS_AHEAD,
      block_length=text_order.BLOCK,
      num_parallel_calls=_READS_AHEAD,
      deterministic=True,
    )
    return records.batch(count).map(lambda data: tf.io.parse_example(data, _RECORD)['regions'])

  def _decode(self, data):
    """(float32 [batch, max_img_seq_length, dim], padded; int32 [batch], how many are real)."""
    most, dim = self.options.max_img_seq_length, self.region_dim
    # Decodes, cuts off and fills up with zeros, all in one.
    regions = tf.io.decode_raw(data, tf.float32, fixed_length=most * dim * 4)
    number = tf.minimum(tf.strings.length(data) // (dim * 4), most)
    return tf.ensure_shape(tf.reshape(regions, [-1, most, dim]), [data.shape[0], most, dim]), number

  def _finish(self, dataset, split, start, batch_size, context, weighted=False):
    """Decodes and draws for batches of (document, encoded regions)."""
    count = masking.pretrain_draws(self.options)

    def finish(number, rows):
      document, regions = rows
      position = start + number * batch_size
      draws = masking.uniform(self.seed, context.input_pipeline_id, position, batch_size, count)
      weights = {'weights': tf.cast(document != _NO_TEXT, tf.float32)} if weighted else {}
      document = tf.maximum(document, 0)
      return weights | masking.pretrain_batch(
        split.documents, document, draws, *self._decode(regions), self.options, self._special
      )

    dataset = dataset.enumerate().map(finish, tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    options.deterministic = True
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def read_documents(builder, split, tokenizer):
  """The texts of a prepared corpus, tokenized.

  Args:
    builder: of the corpus' documents.
    split: name.
    tokenizer: `oscar.Tokenizer`.

  Returns:
    (`masking.Documents` record by record, int64 [documents] the record of each)
  """
  columns = {name: [] for name in ('record', 'is_question')}
  tokens = {name: [] for name in ('text_a', 'text_b')}
  dataset = builder.as_dataset(split=split, shuffle_files=False).batch(_TEXTS_AT_ONCE)
  for batch in dataset.as_numpy_iterator():
    for name, column in columns.items():
      column.append(batch[name])
    for name, column in tokens.items():
      texts = [text.decode() for text in batch[name]]
      column.append(inputs.tokenize(texts, tokenizer, f'{builder.info.full_name} {name}'))
  record, is_question = (np.concatenate(column) for column in columns.values())
  # Documents of the same image share its record and lie together.
  order = np.argsort(record, kind='stable')
  record, is_question = record[order], is_question[order]
  documents = masking.Documents(
    *(inputs.TokenTable.joined(column, order) for column in tokens.values()),
    image=tf.constant(record, tf.int32),
    questions=tf.constant(np.flatnonzero(is_question), tf.int64),
    is_question=tf.constant(is_question),
  )
  return documents, record


def _local_replicas(context):
  return context.num_replicas_in_sync // context.num_input_pipelines


def _share(num_records, context, pipeline=None):
  """The records first <= r < last that one of the input pipelines reads."""
  pipelines = context.num_input_pipelines
  pipeline = context.input_pipeline_id if pipeline is None else pipeline
  if num_records < pipelines:
    raise ValueError(
      f'{num_records} images for {pipelines} hosts; each needs one. Use fewer hosts.'
    )
  return num_records * pipeline // pipelines, num_records * (pipeline + 1) // pipelines

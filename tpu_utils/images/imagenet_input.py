"""ImageNet-format TFRecord shards as batches for training and evaluation.

Source: tensorflow/tpu, models/official/efficientnet/imagenet_input.py. The format is that one's: files
`train-*` and `validation-*`, features `image/encoded` and `image/class/label` (1..1000). Unlike it, the order
is a function of the seed (`order.py`), a stopped job goes on at the very next example, and evaluation
drops no image.
"""
import functools
import re

import tensorflow as tf

from tpu_utils.images import mixup, order, preprocessing, tfrecords
from tpu_utils.images.spec import Augmentation

_READS_AHEAD = 16  # Blocks read side by side; what hides the latency of remote storage.
_FEATURES = {
  'image/encoded': tf.io.FixedLenFeature([], tf.string, ''),
  'image/class/label': tf.io.FixedLenFeature([], tf.int64, -1),
}
_UNREADABLE = 'unreadable record of split'

# No function in here has Python control flow over tensors, and looking for it takes seconds.
_without_autograph = tf.autograph.experimental.do_not_convert


class ImageNetInput:
  """Batches from a folder of TFRecord shards.

  Args:
    data_dir: folder of the shards, local or remote.
    spec: `PreprocessSpec`, what the model expects of an image.
    train_batch_size: over all replicas.
    eval_batch_size: over all replicas.
    num_label_classes: width of the one-hot labels.
    include_background_label: label 0 is the background and the labels stay as they are in the files;
      otherwise they begin at 1 there and at 0 here. By default only if num_label_classes is 1001.
    holdout_shards: evaluate on the first so many training shards, and train on the others.
    augmentation: `Augmentation`, what training does to an image.
    seed: decides the order of training and every random crop.
    use_bfloat16: images in bfloat16 rather than float32.
    transpose_input: images as [height, width, 3, batch], which TPUs take without padding.
    num_parallel_calls: images prepared side by side; by default as many as the machine is found to take.

  Raises (here and from the methods):
    ValueError: bad data; one line that names the file, and the record if it is one.
  """

  def __init__(
    self,
    data_dir,
    spec,
    *,
    train_batch_size=None,
    eval_batch_size=None,
    num_label_classes=1000,
    include_background_label=None,
    holdout_shards=None,
    augmentation=None,
    seed=0,
    use_bfloat16=False,
    transpose_input=False,
    num_parallel_calls=tf.data.AUTOTUNE,
  ):
    self.data_dir = data_dir
    self.spec = spec
    self.train_batch_size = train_batch_size
    self.eval_batch_size = eval_batch_size
    self.num_label_classes = num_label_classes
    if include_background_label is None:
      include_background_label = num_label_classes == 1001
    self.include_background_label = include_background_label
    self.holdout_shards = holdout_shards
    self.augmentation = augmentation or Augmentation()
    self.seed = seed
    self.use_bfloat16 = use_bfloat16
    self.transpose_input = transpose_input
    self.num_parallel_calls = num_parallel_calls
    self._splits = {}

  @property
  def num_train_images(self):
    """Images in an epoch of training, over all hosts."""
    return len(self._records('train'))

  @property
  def num_eval_images(self):
    """Images that an evaluation sees, over all hosts."""
    return len(self._records('validation'))

  @_without_autograph
  def train_dataset(self, context=None, start_step=0):
    """The endless training stream of one input pipeline (host).

    Args:
      context: `tf.distribute.InputContext`; None for one pipeline and one replica.
      start_step: training steps already taken; the stream begins with the batch after them.

    Returns:
      Dataset of {'images': [b, size, size, 3], 'labels': float32 [b, num_label_classes]}, where b is the
      batch of one replica. Consecutive batches belong to the pipeline's replicas in turn.
    """
    context = context or tf.distribute.InputContext()
    records = self._records('train')
    first, last = _share(len(records), context, self.data_dir)
    batch_size = context.get_per_replica_batch_size(self.train_batch_size)
    start = start_step * batch_size * _local_replicas(context)
    serialized = _training_stream(records, first, last - first, self.seed, start)

    def example(position, record):
      # Positions are counted on each host; this makes them differ between hosts.
      number = position * context.num_input_pipelines + context.input_pipeline_id
      return self._example(position, record, tf.stack([tf.constant(self.seed, tf.int64), number]))

    dataset = serialized.map(example, self.num_parallel_calls, deterministic=True).ignore_errors()
    dataset = dataset.batch(batch_size, drop_remainder=True)
    if self.augmentation.mixup_alpha or self.augmentation.cutmix_alpha:
      pipelines, pipeline = context.num_input_pipelines, context.input_pipeline_id
      mix = functools.partial(self._mix, pipelines=pipelines, pipeline=pipeline)
      dataset = dataset.map(mix, tf.data.AUTOTUNE, deterministic=True)

    def record_at(position):
      window, place = order.window_at(position, last - first)
      examples, _ = order.window_examples(window, last - first, self.seed)
      return first + examples[place]

    return self._finish(_checked(dataset, start, batch_size, 'train', record_at))

  @_without_autograph
  def eval_dataset(self, context=None):
    """The evaluation images of one input pipeline (host), each once.

    Args:
      context: as for `train_dataset`.

    Returns:
      Dataset of {'images', 'labels', 'weights': float32 [b]}, as for training. Rows of weight 0 fill up
      the end, so that every pipeline gives equally many batches, and every replica of it too.
    """
    context = context or tf.distribute.InputContext()
    records = self._records('validation')
    first, last = _share(len(records), context, self.data_dir)
    batch_size = context.get_per_replica_batch_size(self.eval_batch_size)
    per_step = batch_size * _local_replicas(context)
    largest_share = -(-len(records) // context.num_input_pipelines)
    num_batches = -(-largest_share // per_step) * _local_replicas(context)

    def example(record, serialized):
      example = self._example(record - first, serialized)
      return example | {'weights': tf.constant(1.0)}

    def padding(position):
      like = dataset.element_spec
      zeros = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in like.items()}
      return zeros | {'position': position}

    dataset = _blocks(records, tf.data.Dataset.range(first, last, order.BLOCK), last)
    dataset = dataset.map(example, self.num_parallel_calls, deterministic=True).ignore_errors()
    dataset = dataset.concatenate(tf.data.Dataset.counter(last - first).map(padding))
    dataset = dataset.batch(batch_size, drop_remainder=True).take(num_batches)
    return self._finish(_checked(dataset, 0, batch_size, 'validation', lambda p: first + p))

  def explain(self, error):
    """What lies behind an error that a dataset of this input raised.

    Args:
      error: the exception (`tf.errors.OpError`).

    Returns:
      A ValueError of one line that names file, record, cause and mend; None if the error is not of the
      input's making.
    """
    found = re.search(_UNREADABLE + r' (\w+)\D+(\d+)', str(error))
    if not found:
      return None
    records, number = self._records(found[1]), int(found[2])
    try:
      # A wrong checksum ends the reading of a block, so the record before may be to blame.
      for suspect in (number, *range(max(number - order.BLOCK, 0), number)):
        self._check_record(records, suspect)
    except ValueError as cause:
      return cause
    return ValueError(
      f'{records.where(number)}: could not be read when its turn came, and can be now; start the job again.'
    )

  def _records(self, split):
    """The `RecordFiles` of a split, made and checked on first use."""
    if split not in self._splits:
      records = tfrecords.RecordFiles(self._paths(split))
      # Finds at once what is wrong with all records: features, labels, format.
      for number in {0, len(records) - 1}:
        self._check_record(records, number)
      self._splits[split] = records
    return self._splits[split]

  def _paths(self, split):
    holdout = self.holdout_shards
    if not holdout:
      return tfrecords.find_shards(self.data_dir, split)
    paths = tfrecords.find_shards(self.data_dir, 'train')
    if not 0 < holdout < len(paths):
      raise ValueError(
        f'holdout_shards={holdout} must be between 1 and {len(paths) - 1}: {self.data_dir} has '
        f'{len(paths)} training shards.'
      )
    return paths[holdout:] if split == 'train' else paths[:holdout]

  def _example(self, position, record, seed=None):
    """Parses one record; with a seed for training, without for evaluation."""
    features = tf.io.parse_single_example(record, _FEATURES)
    label = features['image/class/label'] - self._lowest_label
    is_label = (label >= 0) & (label < self.num_label_classes)
    return {
      'images': self._image(features['image/encoded'], seed),
      'labels': tf.one_hot(label, self.num_label_classes),
      # An impossible position: `_checked` finds it, at no cost for each example.
      'position': tf.where(is_label, position, -1),
    }

  def _image(self, image_bytes, seed):
    spec, augmentation = self.spec, self.augmentation
    settings = {'resize_method': spec.interpolation, 'crop': spec.crop}
    if seed is not None:
      settings |= {'seed': seed, 'padding_color': spec.mean_rgb, **augmentation.of_one_image()}
    image = preprocessing.preprocess_image(
      image_bytes, seed is not None, self.use_bfloat16, spec.image_size, **settings
    )
    probability = augmentation.random_erasing_prob
    if seed is None or not probability:
      return image
    erase_seed = preprocessing.stream(seed, preprocessing.ERASE_STREAM)
    return mixup.random_erasing(image, probability, spec.mean_rgb, erase_seed)

  def _mix(self, batch, pipelines, pipeline):
    """Mixup and CutMix of a training batch, in a way that its first position decides."""
    number = batch['position'][0] * pipelines + pipeline
    seed = tf.stack([tf.constant(self.seed, tf.int64), number])
    images, labels = mixup.mix_batch(
      batch['images'],
      batch['labels'],
      self.augmentation.mixup_alpha,
      self.augmentation.cutmix_alpha,
      preprocessing.stream(seed, preprocessing.MIX_STREAM),
    )
    return batch | {'images': images, 'labels': labels}

  @property
  def _lowest_label(self):
    return 0 if self.include_background_label else 1

  def _check_record(self, records, number):
    """Raises ValueError with what is wrong with a record, if anything is."""
    where = records.where(number)
    data = records.read_one(number)
    try:
      features = tf.io.parse_single_example(data, _FEATURES)
    except tf.errors.InvalidArgumentError:
      raise ValueError(
        f'{where}: no tf.train.Example with a string image/encoded and an integer image/class/label; '
        'prepare the file again.'
      ) from None
    low, label = self._lowest_label, int(features['image/class/label'])
    high = low + self.num_label_classes - 1
    if not low <= label <= high:
      raise ValueError(
        f'{where}: image/class/label is {label}, expected {low} to {high}; set --num_label_classes to '
        "the data's number of classes, or correct the record."
      )
    try:
      tf.io.decode_image(features['image/encoded'], expand_animations=False)
    except tf.errors.InvalidArgumentError:
      size = len(features['image/encoded'].numpy())
      raise ValueError(
        f'{where}: image/encoded ({size} bytes) is no image that can be decoded; prepare the file again.'
      ) from None

  def _finish(self, dataset):
    def transpose(batch):
      return batch | {'images': tf.transpose(batch['images'], [1, 2, 3, 0])}

    if self.transpose_input:
      dataset = dataset.map(transpose, tf.data.AUTOTUNE, deterministic=True)
    options = tf.data.Options()
    options.deterministic = True
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def _local_replicas(context):
  return context.num_replicas_in_sync // context.num_input_pipelines


def _share(num_records, context, data_dir):
  """The records first <= r < last that one of the input pipelines reads."""
  pipelines, pipeline = context.num_input_pipelines, context.input_pipeline_id
  if num_records < pipelines:
    raise ValueError(
      f'{data_dir} has {num_records} records for {pipelines} hosts; each needs at least one. '
      'Use fewer hosts.'
    )
  return num_records * pipeline // pipelines, num_records * (pipeline + 1) // pipelines


def _blocks(records, starts, last):
  """The records of blocks that begin at `starts` and end before `last`, in order."""
  return starts.interleave(
    lambda start: records.read(start, tf.minimum(start + order.BLOCK, last)),
    cycle_length=_READS_AHEAD,
    block_length=order.BLOCK,
    num_parallel_calls=_READS_AHEAD,
    deterministic=True,
  )


def _training_stream(records, first, size, seed, start):
  """Endless dataset of (position, serialised record) over the `size` records from `first` on.

  Args:
    records: what to read.
    first: int, where the host's share begins.
    size: int, how many records it has.
    seed: int.
    start: position to begin at.
  """

  def read(window):
    begins, _ = order.window_blocks(window, size, seed)
    blocks = _blocks(records, tf.data.Dataset.from_tensor_slices(first + begins), first + size)
    return blocks.batch(order.WINDOW).map(lambda *read: in_order(window, *read))

  def in_order(window, numbers, serialized):
    examples, position = order.window_examples(window, size, seed)
    # The k-th smallest example is the rank[k]-th in order. Unreadable ones are missing from `numbers`.
    rank = tf.argsort(examples)
    place = tf.gather(rank, tf.searchsorted(tf.gather(examples, rank), numbers - first))
    by_place = tf.argsort(place)
    place = tf.cast(tf.gather(place, by_place), tf.int64)
    return position + place, tf.gather(serialized, by_place)

  window, skipped = order.window_at(start, size)
  windows = tf.data.Dataset.counter(window).flat_map(read)
  # While one window is used up the next is read.
  return windows.prefetch(1).unbatch().skip(skipped)


def _checked(dataset, start, batch_size, split, record_at):
  """Takes 'position' out of the batches, and fails at the first that is not the expected one.

  Records that could not be read, decoded or used are missing from `dataset`. That they are is seen here,
  once for each batch, and named; the cause is found afterwards (`ImageNetInput.explain`).

  Args:
    dataset: batches with 'position'.
    start: the first expected position.
    batch_size: examples in a batch.
    split: for the message.
    record_at: function from a position to the number of the record.
  """

  def check(number, batch):
    batch = dict(batch)
    expected = start + number * batch_size + tf.range(batch_size, dtype=tf.int64)
    wrong = expected != batch.pop('position')
    first_wrong = expected[tf.argmax(tf.cast(wrong, tf.int8))]
    bad = tf.reduce_any(wrong)
    record = tf.cond(bad, lambda: tf.cast(record_at(first_wrong), tf.int64), lambda: first_wrong)
    with tf.control_dependencies([tf.debugging.Assert(~bad, [f'{_UNREADABLE} {split}', record])]):
      return {name: tf.identity(value) for name, value in batch.items()}

  return dataset.enumerate().map(check)

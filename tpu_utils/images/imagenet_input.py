"""Input pipelines of image classification: batches for training and evaluation.

Source: tensorflow/tpu, models/official/efficientnet/imagenet_input.py. Unlike it, the order is a
function of the seed (`tpu_utils/order.py`), a stopped job resumes at the very next example,
evaluation drops no image, and images come from any storage that `sources` reads.
"""
import functools
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tpu_utils.images import decoding, mixup, preprocessing, stream
from tpu_utils.images.bad_records import BadRecords
from tpu_utils.images.decoded_cache import DecodedCache
from tpu_utils.images.service_client import DataService
from tpu_utils.images.sources import open_dataset
from tpu_utils.images.sources.slices import Cached
from tpu_utils.images.spec import Augmentation, PreprocessSpec

# No function of this module has Python control flow over tensors, and AutoGraph takes seconds to
# look for it.
_without_autograph = tf.autograph.experimental.do_not_convert

_SAMPLE_PLACE = 1 << 60  # Beyond the places of training, so that a sample draws other numbers.


class ImageNetInput:
  """Input pipelines of one data set.

  Args:
    data: the data set (`sources.open_dataset`) or its folder.
    spec: preprocessing that the model expects.
    train_batch_size: over all replicas; `train_dataset` needs it.
    eval_batch_size: over all replicas; `eval_dataset` needs it.
    num_label_classes: width of the one-hot labels.
    include_background_label: whether label 0 is the background and the first class is 1; otherwise
      the first class is 0. By default only if num_label_classes is 1001.
    augmentation: augmentation of training images; None for the defaults of `Augmentation`.
    seed: determines the training order and all random crops.
    use_bfloat16: images in bfloat16 rather than float32.
    transpose_input: images as [height, width, 3, batch], which TPUs need not pad.
    use_cache: keep the encoded training images in memory after the first read.
    decoded_cache_gb: memory for decoded training images (`DecodedCache`) in units of 1e9 bytes; 0
      disables the cache.
    max_bad_records: how many unusable records to skip before failing. In training the next example
      replaces a skipped one, so all others keep their positions.
    tf_data_service: address of a tf.data service that prepares the training batches, or 'local';
      see `service_client`.
    num_parallel_calls: how many images to prepare in parallel; tuned automatically by default.

  Raises:
    ValueError: bad data. Raised by the methods too; a one-line message names the file and, for a
      bad record, its number.
  """

  def __init__(
    self,
    data: Any,
    spec: PreprocessSpec,
    *,
    train_batch_size: int | None = None,
    eval_batch_size: int | None = None,
    num_label_classes: int = 1000,
    include_background_label: bool | None = None,
    augmentation: Augmentation | None = None,
    seed: int = 0,
    use_bfloat16: bool = False,
    transpose_input: bool = False,
    use_cache: bool = False,
    decoded_cache_gb: float = 0.0,
    max_bad_records: int = 0,
    tf_data_service: str | None = None,
    num_parallel_calls: int = tf.data.AUTOTUNE,
  ):
    self.data = open_dataset(data) if isinstance(data, str) else data
    self.spec = spec
    self.train_batch_size = train_batch_size
    self.eval_batch_size = eval_batch_size
    self.num_label_classes = num_label_classes
    if include_background_label is None:
      include_background_label = num_label_classes == 1001
    self.include_background_label = include_background_label
    self.augmentation = augmentation or Augmentation()
    self.seed = seed
    self.use_bfloat16 = use_bfloat16
    self.transpose_input = transpose_input
    self.use_cache = use_cache
    self.decoded_cache_gb = decoded_cache_gb
    self.service = DataService(tf_data_service) if tf_data_service else None
    self.num_parallel_calls = num_parallel_calls
    self.bad_records = BadRecords(max_bad_records, self._cause)
    self._sources: dict[str, Any] = {}
    self._decoded_cache: DecodedCache | None = None

  @property
  def resizing_note(self) -> str:
    """What the order loses if the batch size changes; see `runner.Input`. Empty for nothing."""
    if self.service is None or self.service.is_local:
      return ''
    return (
      'The tf.data service: if it has several workers, up to one batch of each is repeated or left '
      'out after the change.'
    )

  @property
  def num_train_images(self) -> int:
    """Number of images in a training epoch, over all hosts."""
    return len(self._source('train'))

  @property
  def num_eval_images(self) -> int:
    """Number of images in an evaluation, over all hosts."""
    return len(self._source('validation'))

  @property
  def num_eval_batches(self) -> int:
    """Number of batches in an evaluation, over all replicas."""
    assert self.eval_batch_size is not None
    return -(-self.num_eval_images // self.eval_batch_size)

  @_without_autograph
  def train_dataset(
    self, context: tf.distribute.InputContext | None = None, start_example: int = 0
  ) -> tf.data.Dataset:
    """Returns the endless training dataset of one input pipeline (host).

    Args:
      context: identifies the pipeline; None for one pipeline and one replica.
      start_example: training examples already taken, over all hosts, by batches of any size; the
        dataset begins with the next one. With several workers of a tf.data service that is exact
        if their batches were of the present size.

    Returns:
      Dataset of {'images': [b, size, size, 3], 'labels': float32 [b, num_label_classes]}, where b
      is the batch size of a replica. Consecutive batches belong to the pipeline's replicas in turn.

    Raises:
      ValueError: bad data, fewer examples than pipelines, or no answer from the tf.data service.
    """
    context = context or tf.distribute.InputContext()
    pipelines, pipeline = context.num_input_pipelines, context.input_pipeline_id
    batch_size = context.get_per_replica_batch_size(self.train_batch_size)
    start = start_example // pipelines
    if self.service is None:
      dataset = self._train_batches(pipelines, pipeline, batch_size, start)
    else:
      start_batch, rest = divmod(start, batch_size)

      def worker_batches(workers, worker, first_batch, distribute):
        # The workers share the host's images as hosts share those of the data set.
        share = pipelines * workers, pipeline * workers + worker
        start = first_batch * batch_size + (rest if worker == start_batch % workers else 0)
        return self._train_batches(*share, batch_size, start, distribute)

      self.service.check_portable(self._source('train'), self.data.name)
      dataset = self.service.round_robin(worker_batches, start_batch)
    return _finish(dataset)

  def _train_batches(self, pipelines, pipeline, batch_size, start, distribute=None):
    """Returns the batches of one share of the training images.

    Args:
      pipelines: number of shares.
      pipeline: index of the share.
      batch_size: examples in a batch.
      start: examples of the share already taken.
      distribute: called with the dataset; returns one that another process computes. Or None.
    """
    source = self._source('train')
    first, last = _share(len(source), pipelines, pipeline, self.data.name)

    def number_at(position):
      return stream.number_at(position, first, last - first, self.seed)

    def example(position, number, data):
      # Every pipeline counts positions from 0; `place` is unique across pipelines.
      place = position * pipelines + pipeline
      seed = tf.stack([tf.constant(self.seed, tf.int64), place])
      return self._example(source, position, number, data, seed)

    dataset = stream.training(source, first, last - first, self.seed, start)
    dataset = dataset.map(example, self.num_parallel_calls, deterministic=True).ignore_errors()
    dataset = self._skip_bad(dataset, start, 'train', number_at)
    mix = None
    if self.augmentation.mixup_alpha or self.augmentation.cutmix_alpha:
      mix = functools.partial(self._mix, pipelines=pipelines, pipeline=pipeline)
    dataset = self._batched(dataset, batch_size, mix)
    if distribute is not None:
      dataset = distribute(dataset)
    return stream.checked(dataset, start, batch_size, 'train', number_at)

  @_without_autograph
  def eval_dataset(self, context: tf.distribute.InputContext | None = None) -> tf.data.Dataset:
    """Returns the evaluation images of one input pipeline (host), each once.

    Args:
      context: see `train_dataset`.

    Returns:
      Dataset of {'images', 'labels', 'weights': float32 [b]}; see `train_dataset`. Rows of weight
      0 pad the end, so that all pipelines and all their replicas get equally many batches.

    Raises:
      ValueError: bad data, or fewer examples than pipelines.
    """
    context = context or tf.distribute.InputContext()
    source = self._source('validation')
    pipelines, pipeline = context.num_input_pipelines, context.input_pipeline_id
    first, last = _share(len(source), pipelines, pipeline, self.data.name)
    batch_size = context.get_per_replica_batch_size(self.eval_batch_size)
    per_step = batch_size * _local_replicas(context)
    largest_share = -(-len(source) // pipelines)
    num_batches = -(-largest_share // per_step) * _local_replicas(context)

    def number_at(position):
      return first + position

    def example(number, data):
      example = self._example(source, number - first, number, data)
      return example | {'weights': tf.constant(1.0)}

    def padding(position):
      like = dataset.element_spec
      zeros = {name: tf.zeros(spec.shape, spec.dtype) for name, spec in like.items()}
      return zeros | {'position': position}

    dataset = stream.stored(source, first, last)
    dataset = dataset.map(example, self.num_parallel_calls, deterministic=True).ignore_errors()
    dataset = dataset.concatenate(tf.data.Dataset.counter(last - first).map(padding))
    dataset = self._skip_bad(dataset, 0, 'validation', number_at)
    dataset = self._batched(dataset, batch_size).take(num_batches)
    return _finish(stream.checked(dataset, 0, batch_size, 'validation', number_at))

  @_without_autograph
  def sample(self, numbers: Sequence[int], draws: int) -> np.ndarray:
    """Prepares training images for people to look at.

    Args:
      numbers: of the examples.
      draws: how often to augment (and mix) each; training draws other numbers.

    Returns:
      float32 [images, 1 + draws, size, size, 3] on the 0..255 scale: first as for evaluation.

    Raises:
      ValueError, tf.errors.OpError: an example cannot be read.
    """
    source = self._source('train')
    data = [source.read_one(number) for number in numbers]

    def each(times):
      draws = [draw for draw in range(times) for _ in numbers]
      return tf.data.Dataset.from_tensor_slices(
        (tf.constant(draws, tf.int64), tf.constant([*numbers] * times, tf.int64), data * times)
      )

    def drawn(draw, number, data):
      place = _SAMPLE_PLACE + draw * 2**32 + number
      seed = tf.stack([tf.constant(self.seed, tf.int64), place])
      return self._example(source, draw, number, data, seed)

    whole = each(1).map(lambda _, number, data: self._example(source, 0, number, data))
    augmented = each(draws).map(drawn)
    columns = []
    for dataset, mixes in ((whole, False), (augmented, True)):
      for batch in dataset.batch(len(data)):
        if mixes and (self.augmentation.mixup_alpha or self.augmentation.cutmix_alpha):
          batch = self._mix(batch, 1, 0)
        columns.append(tf.cast(batch['images'], tf.float32).numpy())
    return np.stack(columns, axis=1)

  def explain(self, error: Exception) -> ValueError | None:
    """Finds the cause of an error raised by a dataset of this input.

    Args:
      error: the exception (`tf.errors.OpError`).

    Returns:
      A ValueError with a one-line message that names file, record, cause and remedy; None if the
      input did not cause the error.
    """
    missing = stream.missing_example(error)
    if not missing:
      return None
    cause = self._cause(*missing)
    limit = self.bad_records.limit
    if limit:
      return ValueError(f'{cause} More bad records than --max_bad_records={limit} allows.')
    return cause

  def _cause(self, split, number):
    """Returns the ValueError that explains why an example was missing."""
    source = self._source(split)
    flaw = self._flaw(source, number)
    if flaw:
      return flaw
    worker = ', or a worker of the tf.data service was restarted' if self.service else ''
    return ValueError(
      f'{source.where(number)}: reading failed during the run but succeeds now{worker}; start the '
      'job again.'
    )

  def _source(self, split):
    """Returns the source of a split; opens and checks it on first use."""
    if split not in self._sources:
      source = self.data.open(split)
      self._check_some(source)
      if split == 'train':
        source = self._kept_in_memory(source)
      self._sources[split] = source
    return self._sources[split]

  def _kept_in_memory(self, source):
    if self.decoded_cache_gb:
      self._decoded_cache = DecodedCache(source, self.decoded_cache_gb)
      fit = f'{self._decoded_cache.capacity:,} of {len(source):,}'
      print(
        f'--decoded_cache_gb={self.decoded_cache_gb:g}: {fit} decoded training images fit.',
        file=sys.stderr,
      )
    return Cached(source) if self.use_cache else source

  def _check_some(self, source):
    """Checks a few examples, to fail early if features, labels or format are wrong in all."""
    limit, last = self.bad_records.limit, len(source) - 1
    if not limit:
      for flaw in filter(None, (self._flaw(source, number) for number in (0, last))):
        raise flaw
    # limit + 1 examples, or all if there are fewer: at least one must be usable.
    samples = min(limit, last) + 1
    numbers = (i * last // max(samples - 1, 1) for i in range(samples))
    flaws = list(itertools.takewhile(bool, (self._flaw(source, number) for number in numbers)))
    if len(flaws) == samples:
      raise flaws[0]

  def _skip_bad(self, dataset, start, split, number_at):
    if not self.bad_records.limit:
      return dataset  # `checked` detects missing examples, without a cost per example.

    def report(position):
      number = tf.cast(number_at(position), tf.int64)
      too_many = tf.numpy_function(
        lambda n: self.bad_records.report(split, int(n)), [number], tf.bool
      )
      return stream.fail_if(too_many, split, number)

    return stream.fill_gaps(dataset, start, report)

  def _batched(self, dataset, batch_size, mix=None):
    def transpose(batch):
      return batch | {'images': tf.transpose(batch['images'], [1, 2, 3, 0])}

    dataset = dataset.batch(batch_size, drop_remainder=True)
    for change in filter(None, (mix, self.transpose_input and transpose)):
      dataset = dataset.map(change, tf.data.AUTOTUNE, deterministic=True)
    return dataset

  def _example(self, source, position, number, data, seed=None):
    """Prepares one example for training, or without a seed for evaluation."""
    image, label = source.parse(number, data)
    if seed is not None and self._decoded_cache is not None:
      image = self._decoded_cache.decode(number, image)
    low, high = self._labels(source)
    return {
      'images': self._image(image, seed),
      'labels': tf.one_hot(label - self._lowest_label(source), self.num_label_classes),
      # A bad label gives an impossible position, which costs less than a check of each example.
      'position': tf.where((label >= low) & (label <= high), position, -1),
    }

  def _image(self, image, seed):
    spec, augmentation = self.spec, self.augmentation
    settings = {'resize_method': spec.interpolation, 'crop': spec.crop}
    if seed is not None:
      settings |= augmentation.per_image_settings()
      settings |= {'seed': seed, 'padding_color': spec.mean_rgb}
    image = preprocessing.preprocess_image(
      image, seed is not None, self.use_bfloat16, spec.image_size, **settings
    )
    probability = augmentation.random_erasing_prob
    if seed is None or not probability:
      return image
    erase_seed = preprocessing.fold_in(seed, preprocessing.ERASE_STREAM)
    return mixup.random_erasing(image, probability, spec.mean_rgb, erase_seed)

  def _mix(self, batch, pipelines, pipeline):
    """Applies mixup or CutMix to a training batch; its first position determines the draws."""
    number = batch['position'][0] * pipelines + pipeline
    seed = tf.stack([tf.constant(self.seed, tf.int64), number])
    images, labels = mixup.mix_batch(
      batch['images'],
      batch['labels'],
      self.augmentation.mixup_alpha,
      self.augmentation.cutmix_alpha,
      preprocessing.fold_in(seed, preprocessing.MIX_STREAM),
    )
    return batch | {'images': images, 'labels': labels}

  def _labels(self, source):
    """Returns the least and the greatest valid label."""
    lowest = self._lowest_label(source)
    return max(lowest, 0), lowest + self.num_label_classes - 1

  def _lowest_label(self, source):
    return source.lowest_label - self.include_background_label

  def _flaw(self, source, number):
    """Returns the ValueError that explains why an example is unusable, or None if it is usable."""
    try:
      self._check_example(source, number)
    except ValueError as e:
      return e
    return None

  def _check_example(self, source, number):
    where = source.where(number)
    data = source.read_one(number)
    try:
      image_bytes, label = source.parse(number, data)
    except (tf.errors.InvalidArgumentError, UnicodeDecodeError):  # The message quotes the data.
      raise ValueError(f'{where}: not a valid {source.format}; prepare the file again.') from None
    low, high = self._labels(source)
    if not low <= int(label) <= high:
      raise ValueError(
        f'{where}: {source.label_name} is {int(label)}, expected {low} to {high}; set '
        "--num_label_classes to the data's number of classes, or correct the record."
      )
    try:
      preprocessing.decode(image_bytes)
    except tf.errors.InvalidArgumentError:
      raise ValueError(f'{where}: {decoding.flaw(image_bytes)}.') from None


def _finish(dataset):
  options = tf.data.Options()
  options.deterministic = True
  # One thread per image, because there are enough images to occupy all threads.
  options.threading.max_intra_op_parallelism = 1
  return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def _local_replicas(context):
  return context.num_replicas_in_sync // context.num_input_pipelines


def _share(num_examples, pipelines, pipeline, name):
  """Returns (first, last) of the examples first <= n < last that an input pipeline reads."""
  if num_examples < pipelines:
    raise ValueError(
      f'{name} has {num_examples} records for {pipelines} hosts; each needs at least one. Use '
      'fewer hosts (or workers of --tf_data_service).'
    )
  return num_examples * pipeline // pipelines, num_examples * (pipeline + 1) // pipelines

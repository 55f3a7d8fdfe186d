"""Tests shards, their manifest and parsing; reading of records is in `tfrecords_test.py`."""
import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.tpu_utils.images import small_sets
from tpu_utils.images.sources import manifest
from tpu_utils.images.sources.shards import IMAGENET_FORMAT, Shards


def test_the_manifest_gives_the_classes_and_is_compared(tmp_path):
  folder = small_sets.shards(tmp_path)
  shard = manifest.ShardRecord('x', 1, '0', {'ash': 20, 'birch': 17}, '0')
  saved = manifest.Manifest(('ash', 'birch'), {'train': [shard], 'validation': []}, (), {})
  manifest.save(folder, saved)
  data = Shards(folder)
  assert data.num_classes == 2
  assert len(data.open('train')) == 37
  with pytest.raises(
    ValueError, match='lists 0 validation records and the shards hold 23; .*--verify'
  ):
    data.open('validation')
  # Held-out shards are training shards, so the count of validation records does not matter.
  assert len(Shards(folder, holdout_shards=1).open('validation')) == 5


any_feature = st.one_of(
  st.lists(st.binary(max_size=8), max_size=3).map(
    lambda v: tf.train.Feature(bytes_list=tf.train.BytesList(value=v))
  ),
  st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3).map(
    lambda v: tf.train.Feature(int64_list=tf.train.Int64List(value=v))
  ),
  st.lists(st.floats(width=32), max_size=3).map(
    lambda v: tf.train.Feature(float_list=tf.train.FloatList(value=v))
  ),
)
any_example = st.dictionaries(
  st.sampled_from(['image/encoded', 'image/class/label', 'image/height', '']), any_feature
).map(lambda f: tf.train.Example(features=tf.train.Features(feature=f)).SerializeToString())


def parse(data):
  image, label = IMAGENET_FORMAT.parse(data)
  return image.numpy(), int(label)


@hypothesis.given(any_example)
def test_any_example_is_parsed_or_refused(data):
  features = tf.train.Example.FromString(data).features.feature
  try:
    image, label = parse(data)
  except tf.errors.InvalidArgumentError:
    kinds = {'image/encoded': 'bytes_list', 'image/class/label': 'int64_list'}
    present = {name: features[name] for name in kinds if name in features}
    assert any(
      feature.WhichOneof('kind') != kinds[name] or len(getattr(feature, kinds[name]).value) != 1
      for name, feature in present.items()
    )
  else:
    assert image == (features['image/encoded'].bytes_list.value or [b''])[0]
    assert label == (features['image/class/label'].int64_list.value or [-1])[0]


@hypothesis.given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_parsed_or_refused(data, keep):
  """Arbitrary bytes after `keep` bytes of a good record."""
  good = small_sets.example(b'image', 7)
  try:
    image, label = parse(good[:keep] + data)
  except (tf.errors.InvalidArgumentError, UnicodeDecodeError):  # The message quotes the bytes.
    return
  assert isinstance(image, bytes) and -(2**63) <= label < 2**63


@pytest.mark.slow
@hypothesis.given(st.binary(max_size=100), st.integers(-(2**63), 2**63 - 1))
def test_what_was_written_is_read(encoded, label):
  assert parse(small_sets.example(encoded, label)) == (encoded, label)
  with tf.device('CPU'):
    graph = tf.data.Dataset.from_tensors(small_sets.example(encoded, label)).map(
      IMAGENET_FORMAT.parse
    )
  image, found = next(iter(graph))
  assert (image.numpy(), int(found)) == (encoded, label)
  assert found.dtype == np.int64

"""`--max_bad_records`: bad records are skipped, reported and counted; others keep their places."""
import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.images import small_sets
from tests.tpu_utils.images.small_sets import example, png
from tpu_utils.images import record_index
from tpu_utils.images.bad_records import BadRecords
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.spec import Augmentation, PreprocessSpec

COUNT = 40
# Records with a wrong checksum, a label out of range, a broken image, and a broken Example.
BAD = (5, 17, 18, 33)


@pytest.fixture(params=['train', 'validation'])
def split(request):
  return request.param


@pytest.fixture
def folder(tmp_path):
  """Writes images of colour n and label n + 1, except for the bad ones, in both splits."""
  records = [example(png(n), n + 1) for n in range(COUNT)]
  for name in ('train', 'validation'):
    bad = list(records)
    bad[17], bad[18], bad[33] = example(png(17), 99), example(b'no image', 19), b'no example'
    small_sets.write_shards(tmp_path, name, [bad])
    path = tmp_path / f'{name}-00000-of-00001'
    data = bytearray(path.read_bytes())
    data[record_index.record_offsets(str(path))[5] + 30] ^= 1
    path.write_bytes(data)
  return str(tmp_path)


def make_input(folder, limit, **settings):
  settings = {'train_batch_size': 8, 'eval_batch_size': 8, 'num_label_classes': COUNT} | settings
  spec = PreprocessSpec(image_size=4, crop='whole')
  augmentation = Augmentation(flip=False)
  return ImageNetInput(folder, spec, augmentation=augmentation, max_bad_records=limit, **settings)


def run(images, split, batches=15, start=0):
  dataset = images.train_dataset(None, 8 * start) if split == 'train' else images.eval_dataset()
  return [{k: v.numpy() for k, v in batch.items()} for batch in dataset.take(batches)]


def colours(batches):
  return [int(round(float(i[0, 0, 0]))) for b in batches for i in b['images']]


@pytest.mark.slow
def test_the_next_example_replaces_a_bad_one_and_others_keep_their_places(folder, tmp_path_factory):
  good = tmp_path_factory.mktemp('good')
  small_sets.write_shards(good, 'train', [[example(png(n), n + 1) for n in range(COUNT)]])
  expected = colours(run(make_input(str(good), 4), 'train'))
  actual = colours(run(make_input(folder, 4), 'train'))
  assert sorted(expected[:COUNT]) == list(range(COUNT))
  for position in range(len(expected) - 2):
    place = position
    while expected[place] in BAD:
      place += 1
    assert actual[position] == expected[place]
  for batch in run(make_input(folder, 4), 'train', 3):
    np.testing.assert_array_equal(batch['labels'].argmax(1), batch['images'][:, 0, 0, 0].round())


def test_in_evaluation_bad_records_have_weight_0(folder):
  batches = run(make_input(folder, 4), 'validation', -1)
  assert len(batches) == 5
  weights = np.concatenate([b['weights'] for b in batches])
  assert [n for n, w in enumerate(weights) if not w] == list(BAD)
  good = [c for c, w in zip(colours(batches), weights, strict=True) if w]
  assert good == [n for n in range(COUNT) if n not in BAD]


@pytest.mark.slow
def test_a_stopped_run_resumes_exactly(folder):
  whole = run(make_input(folder, 4), 'train')
  for start in (1, 2, 4, 9):
    resumed = run(make_input(folder, 4), 'train', 2, start)
    for a, b in zip(resumed, whole[start:], strict=False):
      np.testing.assert_array_equal(a['images'], b['images'])


def test_each_bad_record_is_reported_once_with_its_cause(folder, split, capsys):
  images = make_input(folder, 4)
  run(images, split, 15 if split == 'train' else -1)
  lines = capsys.readouterr().err.splitlines()
  path = f'Skipped: {folder}/{split}-00000-of-00001, record'
  assert len(lines) == len(images.bad_records) == 4
  causes = (
    'checksum', 'label is 99', 'no image that can be decoded', 'not a valid tf.train.Example'
  )
  for number, cause in zip(BAD, causes, strict=True):
    line, = (line for line in lines if line.startswith(f'{path} {number}:'))
    assert cause in line
  counts = {line.split('Bad record ')[1] for line in lines}
  assert counts == {f'{i} of at most 4.)' for i in (1, 2, 3, 4)}


@pytest.mark.parametrize('limit', [0, 1, 3])
def test_one_too_many_ends_the_run_with_one_line(folder, split, limit, capsys):
  images = make_input(folder, limit)
  with pytest.raises(tf.errors.InvalidArgumentError) as error:
    run(images, split, 15 if split == 'train' else -1)
  line = str(images.explain(error.value))
  assert line.startswith(f'{folder}/{split}-00000-of-00001, record ') and '\n' not in line
  assert line.endswith(f'More bad records than --max_bad_records={limit} allows.') == (limit > 0)
  assert len(capsys.readouterr().err.splitlines()) == limit


@pytest.mark.parametrize('limit, count', [(3, 3), (3, 4), (3, 50), (50, 10)])
def test_a_set_of_only_bad_records_fails_early(tmp_path, limit, count):
  small_sets.write_shards(tmp_path, 'train', [[example(png(1), 99)] * count])
  with pytest.raises(ValueError, match=r'record 0: image/class/label is 99'):
    make_input(str(tmp_path), limit).train_dataset()


@pytest.mark.slow
def test_counting():
  seen = []
  bad = BadRecords(2, lambda *record: seen.append(record) or ValueError('broken'))
  assert [bad.report('train', n) for n in (3, 3, 4, 3, 4)] == [False] * 5
  assert bad.report('train', 5) and bad.report('validation', 3)
  assert seen == [('train', 3), ('train', 4)] and len(bad) == 2

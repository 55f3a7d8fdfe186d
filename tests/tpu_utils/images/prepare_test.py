"""Tests `python -m tpu_utils.images.prepare` with real files, processes and a kill."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.images import bombs
from tests.tpu_utils.images.animations import ANIMATED
from tests.tpu_utils.images.preparation import published
from tpu_utils import claims
from tpu_utils.images import prepare, record_index
from tpu_utils.images.imagenet_input import ImageNetInput
from tpu_utils.images.preparation import job, shard, verify
from tpu_utils.images.sources import manifest
from tpu_utils.images.spec import PreprocessSpec

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[3]


def command(*arguments):
  return [sys.executable, '-m', 'tpu_utils.images.prepare', *arguments]


def run(*arguments):
  environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
  done = subprocess.run(
    command(*arguments), cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900
  )
  return done.returncode, done.stdout, done.stderr


def prepared(output_dir, **settings):
  """Runs the preparation in this process; returns its manifest."""
  return job.prepare(prepare.PrepareConfig(output_dir=str(output_dir), **settings), num_processes=1)


def one_line(output_dir, **settings):
  with pytest.raises(ValueError) as error:
    prepared(output_dir, **settings)
  assert '\n' not in str(error.value)
  return str(error.value)


def records(output_dir, split):
  """Returns the features of all records of a split, in order."""
  paths = sorted(tf.io.gfile.glob(f'{output_dir}/{split}-*'))
  return [
    tf.train.Example.FromString(data.numpy()).features.feature
    for data in tf.data.TFRecordDataset(paths)
  ]


def labels(output_dir, split):
  """Returns {file name: label} for all records of a split."""
  return {
    f['image/filename'].bytes_list.value[0].decode(): f['image/class/label'].int64_list.value[0]
    for f in records(output_dir, split)
  }


def shards(output_dir):
  return sorted(p.name for p in pathlib.Path(output_dir).iterdir())


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
  """A folder with class folders in train and validation."""
  folder = tmp_path_factory.mktemp('photos')
  published.class_folders(folder / 'train', per_class=7)
  published.class_folders(folder / 'validation', per_class=2, first_seed=500)
  return folder


@pytest.fixture
def images(photos, tmp_path):
  """A copy of `photos` that a test may change."""
  return shutil.copytree(photos, tmp_path / 'images')


def test_a_second_preparation_of_one_output_is_refused(tmp_path, photos):
  (tmp_path / 'out').mkdir()
  with claims.claimed('output_dir', str(tmp_path / 'out')):
    error = one_line(tmp_path / 'out', input_dir=str(photos))
  assert f'in use by process {os.getpid()} on' in error
  assert not shards(tmp_path / 'out')


@pytest.fixture(scope='module')
def finished(photos, tmp_path_factory):
  """(folder, stdout, stderr) of the command on `photos` with two processes."""
  output_dir = tmp_path_factory.mktemp('finished') / 'shards'
  code, out, err = run(
    f'--input_dir={photos}', f'--output_dir={output_dir}', '--train_shards=4',
    '--validation_shards=2', '--num_processes=2',
  )  # fmt: skip
  assert code == 0, err
  return output_dir, out, err


def test_writes_records_with_the_official_features(finished, photos):
  output_dir, out, err = finished
  assert shards(output_dir) == sorted(
    ['manifest.json', 'offsets-train.npz', 'offsets-validation.npz']
    + [f'train-{i:05d}-of-00004' for i in range(4)]
    + [f'validation-{i:05d}-of-00002' for i in range(2)]
  )
  assert 'train: 21 images of 3 classes in 4 shards' in out
  assert 'prepare image 27/27' in err
  for split, count in (('train', 21), ('validation', 6)):
    found = records(output_dir, split)
    assert len(found) == count
    for features in found:
      name = features['image/filename'].bytes_list.value[0].decode()
      synset = features['image/class/synset'].bytes_list.value[0].decode()
      path = photos / split / synset / name
      assert features['image/encoded'].bytes_list.value[0] == path.read_bytes()
      assert features['image/class/label'].int64_list.value[0] == 1 + published.CLASSES.index(
        synset
      )
      assert features['image/height'].int64_list.value[0] == 10
      assert features['image/width'].int64_list.value[0] == 12
      assert features['image/format'].bytes_list.value[0] == b'JPEG'
      assert features['image/colorspace'].bytes_list.value[0] == b'RGB'
      assert features['image/channels'].int64_list.value[0] == 3


def test_training_is_shuffled_and_validation_is_not(finished):
  assert list(labels(finished[0], 'train').values()) != sorted(
    labels(finished[0], 'train').values()
  )
  assert list(labels(finished[0], 'validation').values()) == [1, 1, 2, 2, 3, 3]


def test_manifest_and_index(finished, photos):
  output_dir = finished[0]
  written = manifest.load(output_dir)
  assert written.class_names == published.CLASSES
  assert written.examples_per_class('train') == dict.fromkeys(published.CLASSES, 7)
  assert written.source == {
    'input_dir': str(photos), 'keep_png': False, 'deep_pixels': 'refuse', 'seed': 0
  }  # fmt: skip
  for split in ('train', 'validation'):
    index = record_index.load(record_index.path_beside(output_dir, split))
    assert sum(len(o) - 1 for o in index.values()) == written.num_examples(split)
    for name, offsets in index.items():
      np.testing.assert_array_equal(offsets, record_index.record_offsets(str(output_dir / name)))


def test_imagenet_input_reads_the_shards(finished):
  images = ImageNetInput(
    str(finished[0]), PreprocessSpec(8), train_batch_size=7, eval_batch_size=4, num_label_classes=3
  )
  assert images.data.num_classes == 3
  assert next(iter(images.train_dataset()))['images'].shape == (7, 8, 8, 3)
  assert sum(float(tf.reduce_sum(b['weights'])) for b in images.eval_dataset()) == 6


def test_the_same_command_again_writes_nothing(finished, photos):
  output_dir = finished[0]
  before = {
    name: (output_dir / name).stat().st_mtime_ns for name in shards(output_dir) if '-of-' in name
  }
  prepared(output_dir, input_dir=str(photos), train_shards=4, validation_shards=2)
  assert before == {name: (output_dir / name).stat().st_mtime_ns for name in before}


def test_reads_the_published_imagenet_files(tmp_path):
  train = published.train_tar(tmp_path / 'train.tar')
  validation, labels_file = published.validation_tar(tmp_path / 'val.tar', tmp_path / 'labels.txt')
  made = prepared(tmp_path / 'a', train=train, validation=validation, validation_labels=labels_file)
  assert labels(tmp_path / 'a', 'train') == {
    f'{c}_{n}.JPEG': label for label, c in enumerate(published.CLASSES, start=1) for n in range(4)
  }
  assert list(labels(tmp_path / 'a', 'validation').values()) == [1, 3, 2, 1, 3, 2]
  assert [made.num_examples(s) for s in ('train', 'validation')] == [12, 6]
  # Preparing one split after the other gives the same result.
  prepared(tmp_path / 'b', train=train)
  both = prepared(tmp_path / 'b', validation=validation, validation_labels=labels_file)
  assert both.splits == made.splits and shards(tmp_path / 'a') == shards(tmp_path / 'b')


def test_remote_storage(photos, tmp_path, monkeypatch):
  """Uses TensorFlow's in-memory file system, which has the same functions as a bucket."""
  monkeypatch.setattr(record_index, '_WORTH_SAVING_BYTES', 1)
  published.train_tar(tmp_path / 'train.tar')
  tf.io.gfile.copy(str(tmp_path / 'train.tar'), 'ram://published/train.tar')
  prepared('ram://prepared', train='ram://published/train.tar', train_shards=3)
  assert [n for n in tf.io.gfile.listdir('ram://prepared') if 'train' in n] == [
    'offsets-train.npz',
    'train-00000-of-00003',
    'train-00001-of-00003',
    'train-00002-of-00003',
  ]
  assert not tf.io.gfile.exists('ram://prepared/unfinished/train-00000-of-00003.json')
  verify.verify('ram://prepared', 1)
  expected = record_index.load('ram://prepared/offsets-train.npz')
  tf.io.gfile.remove('ram://prepared/offsets-train.npz')
  images = ImageNetInput(
    'ram://prepared', PreprocessSpec(8), train_batch_size=12, num_label_classes=3
  )
  assert (
    sorted(next(iter(images.train_dataset()))['labels'].numpy().argmax(1))
    == [0] * 4 + [1] * 4 + [2] * 4
  )
  again = record_index.load('ram://prepared/offsets-train.npz')
  assert {k: v.tolist() for k, v in again.items()} == {k: v.tolist() for k, v in expected.items()}
  # Image files.
  for path in photos.glob('train/*/*'):
    tf.io.gfile.makedirs(f'ram://photos/{path.parent.relative_to(photos)}')
    tf.io.gfile.copy(str(path), f'ram://photos/{path.relative_to(photos)}')
  images = ImageNetInput(
    'ram://photos', PreprocessSpec(8), train_batch_size=21, num_label_classes=3
  )
  assert next(iter(images.train_dataset()))['labels'].numpy().sum(0).tolist() == [7, 7, 7]


def test_holds_out_the_same_images_as_training_on_the_folder(photos, tmp_path):
  prepared(tmp_path, input_dir=str(photos / 'train'), holdout_fraction=0.3)
  from tpu_utils.images.sources import open_dataset

  source = open_dataset(str(photos / 'train'), holdout_fraction=0.3).open('validation')
  expected = {os.path.basename(source.where(n)) for n in range(len(source))}
  assert set(labels(tmp_path, 'validation')) == expected and len(expected) == 6
  assert len(labels(tmp_path, 'train')) == 15


@pytest.mark.parametrize(
  'split, images, shards',
  [
    ('train', 1281167, 1024),
    ('validation', 50000, 128),
    ('train', 1000, 1),
    ('train', 5120, 10),
    ('validation', 3, 1),
  ],
)
def test_default_numbers_of_shards(split, images, shards):
  assert job.default_shards(split, images) == shards


def test_converts_other_formats_to_rgb_jpeg(images, tmp_path, capsys):
  folder = images / 'train' / published.CLASSES[0]
  (folder / 'n01440764_0.JPEG').write_bytes(published.encoded(1, kind='PNG'))
  (folder / 'n01440764_1.JPEG').write_bytes(published.encoded(2, mode='CMYK'))
  (folder / 'extra.png').write_bytes(published.encoded(3, kind='PNG'))
  prepared(tmp_path / 'out', input_dir=str(images))
  assert 'Converted to JPEG: 1 CMYK JPEG, 2 PNG' in capsys.readouterr().out
  for features in records(tmp_path / 'out', 'train'):
    assert int(tf.io.extract_jpeg_shape(features['image/encoded'].bytes_list.value[0])[2]) == 3
  prepared(tmp_path / 'png', input_dir=str(images), keep_png=True)
  formats = [f['image/format'].bytes_list.value[0] for f in records(tmp_path / 'png', 'train')]
  assert sorted(formats) == [b'JPEG'] * 20 + [b'PNG'] * 2


class TestBadImages:
  @pytest.fixture
  def damaged(self, images):
    """Images of which one is truncated, one is in the wrong class and one is an HTML file."""
    first, second, _ = (images / 'train' / name for name in published.CLASSES)
    (first / 'n01440764_2.JPEG').write_bytes((first / 'n01440764_2.JPEG').read_bytes()[:-90])
    (first / 'n01440764_3.JPEG').rename(second / 'n01440764_3.JPEG')
    (images / 'validation' / published.CLASSES[2] / 'n02102040_1.JPEG').write_bytes(b'<html>')
    return images

  def test_each_is_named(self, damaged, tmp_path, capsys):
    line = one_line(tmp_path / 'out', input_dir=str(damaged))
    assert line.startswith('3 of the images cannot be used') and '--max_bad_images=3' in line
    said = [text for text in capsys.readouterr().err.splitlines() if text.startswith('Unusable: ')]
    for path, cause in (
      ('train/n01440764/n01440764_2.JPEG', 'JPEG that cannot be decoded'),
      ('train/n01443537/n01440764_3.JPEG', 'its name says n01440764 and it lies in n01443537'),
      ('validation/n02102040/n02102040_1.JPEG', 'its 6 bytes are no image of a known format'),
    ):
      assert any(text.startswith(f'Unusable: {damaged}/{path}: {cause}') for text in said), path
    assert len(said) == 3
    assert not (tmp_path / 'out' / 'manifest.json').exists()

  def test_they_may_be_left_out(self, damaged, tmp_path):
    assert one_line(tmp_path / 'out', input_dir=str(damaged), max_bad_images=2).startswith(
      '3 of the images'
    )
    made = prepared(tmp_path / 'out', input_dir=str(damaged), max_bad_images=3)
    assert [made.num_examples(s) for s in ('train', 'validation')] == [19, 5]
    assert len(made.left_out) == 3 and len(records(tmp_path / 'out', 'train')) == 19
    assert not (tmp_path / 'out' / 'unfinished').exists()

  def test_they_are_included_once_they_are_fixed(self, damaged, photos, tmp_path):
    one_line(tmp_path / 'out', input_dir=str(damaged), train_shards=3)
    for name in ('train', 'validation'):
      shutil.rmtree(damaged / name)
      shutil.copytree(photos / name, damaged / name)
    made = prepared(tmp_path / 'out', input_dir=str(damaged), train_shards=3)
    assert [made.num_examples(s) for s in ('train', 'validation')] == [21, 6] and not made.left_out

  def test_a_shard_with_only_bad_images(self, images, tmp_path):
    for path in (images / 'validation').glob('*/*'):
      path.write_bytes(b'')
    line = one_line(tmp_path / 'out', input_dir=str(images), max_bad_images=9)
    assert line.startswith('validation-00000-of-00001 would be empty')


class TestStoppedRun:
  def test_resumes_with_the_missing_shards(self, photos, tmp_path):
    """Kills the command after the first shards, and resumes in this process."""
    arguments = [
      f'--input_dir={photos}',
      f'--output_dir={tmp_path}',
      '--train_shards=21',
      '--validation_shards=6',
    ]
    process = subprocess.Popen(
      command(*arguments, '--num_processes=2'),
      cwd=ROOT,
      stderr=subprocess.PIPE,
      stdout=subprocess.PIPE,
      text=True,
    )
    deadline = time.monotonic() + 600
    while len(list(tmp_path.glob('train-*'))) < 3:
      assert process.poll() is None and time.monotonic() < deadline
      time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()  # Waits for its workers too, since they have its output open.
    there = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob('*-of-*')}
    assert 3 <= len(there) < 27 and not (tmp_path / 'manifest.json').exists()
    made = prepared(tmp_path, input_dir=str(photos), train_shards=21, validation_shards=6)
    assert made.num_examples('train') == 21
    kept = sum((tmp_path / name).stat().st_mtime_ns == t for name, t in there.items())
    assert kept == len(there)
    assert 'unfinished' not in shards(tmp_path)
    verify.verify(str(tmp_path), 1)

  def test_writes_a_truncated_shard_again(self, photos, tmp_path, monkeypatch):
    settings = {'input_dir': str(photos), 'train_shards': 3}
    monkeypatch.setattr(manifest, 'save', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
      prepared(tmp_path, **settings)
    monkeypatch.undo()
    path = tmp_path / 'train-00001-of-00003'
    path.write_bytes(path.read_bytes()[:-5])
    (tmp_path / 'unfinished' / 'train-00002-of-00003.json').write_text('{"record"')
    with pytest.raises(
      ValueError, match='train-00002-of-00003, which were not made from these images'
    ):
      prepared(tmp_path, **settings)
    (tmp_path / 'train-00002-of-00003').unlink()
    prepared(tmp_path, **settings)
    verify.verify(str(tmp_path), 1)

  def test_prepares_changed_images_again(self, images, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, 'save', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
      prepared(tmp_path / 'out', input_dir=str(images))
    monkeypatch.undo()
    (images / 'train' / published.CLASSES[0] / 'n01440764_0.JPEG').unlink()
    assert prepared(tmp_path / 'out', input_dir=str(images)).num_examples('train') == 20


class TestRefusals:
  def test_a_folder_of_other_shards(self, finished, images, tmp_path):
    output_dir = shutil.copytree(finished[0], tmp_path / 'out')
    (images / 'train' / published.CLASSES[0] / 'n01440764_0.JPEG').unlink()
    settings = {'input_dir': str(images), 'train_shards': 4, 'validation_shards': 2}
    assert 'holds train-00000-of-00004, ' in one_line(output_dir, **settings)
    assert 'train-00001-of-00004' in one_line(output_dir, **settings | {'train_shards': 5})
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'train-00000-of-00001').write_bytes(b'not ours')
    line = one_line(tmp_path / 'other', input_dir=str(images))
    assert line.endswith('give another --output_dir, or empty this one.')
    assert shards(tmp_path / 'other') == ['train-00000-of-00001']

  def test_other_classes_for_the_second_split(self, finished, tmp_path):
    output_dir = shutil.copytree(finished[0], tmp_path / 'out')
    for path in output_dir.glob('*validation*'):
      path.unlink()
    published.class_folders(tmp_path / 'x', classes=('a', 'b'))
    assert 'has no folder for n01440764' in one_line(output_dir, validation=str(tmp_path / 'x'))

  def test_empty_splits(self, images, tmp_path):
    shutil.rmtree(images / 'validation')
    (images / 'validation').mkdir()
    assert 'validation needs a folder of images for each' in one_line(
      tmp_path / 'out', input_dir=str(images)
    )
    assert one_line(tmp_path / 'out', input_dir=str(tmp_path / 'nothing')).endswith(
      'of images for each class.'
    )
    assert not (tmp_path / 'out').exists()

  def test_reports_a_missing_validation_split(self, photos, images, tmp_path, capsys):
    prepared(tmp_path / 'out', input_dir=str(photos / 'train'))
    assert (
      'validation: none. For images to evaluate on, set --validation' in capsys.readouterr().out
    )
    shutil.rmtree(images / 'train')
    line = one_line(tmp_path / 'other', input_dir=str(images), holdout_fraction=0.5)
    assert line == f'--holdout_fraction divides the training images, and {images} has none.'

  def test_more_shards_than_images(self, photos, tmp_path):
    line = one_line(tmp_path, input_dir=str(photos), validation_shards=7)
    assert (
      line == '--validation_shards=7 is more than the 6 images there are; no shard may be empty.'
    )

  @pytest.mark.parametrize(
    'settings, message',
    [
      ({}, '--output_dir is missing'),
      ({'output_dir': 'x'}, '--input_dir is missing'),
      (
        {'output_dir': 'x', 'input_dir': 'y', 'train': 'z'},
        '--input_dir replaces --train and --validation',
      ),
      (
        {'output_dir': 'x', 'train': 'y', 'holdout_fraction': 1.5},
        '--holdout_fraction=1.5 must lie between',
      ),
      (
        {'output_dir': 'x', 'train': 'y', 'validation': 'z', 'holdout_fraction': 0.5},
        '--holdout_fraction makes',
      ),
      (
        {'output_dir': 'x', 'train': 'y', 'validation_labels': 'z'},
        '--validation_labels needs --validation',
      ),
      ({'output_dir': 'x', 'train': 'y', 'train_shards': 0}, '--train_shards=0 must be at least 1'),
    ],
  )
  def test_flags(self, settings, message):
    with pytest.raises(ValueError) as error:
      prepare.PrepareConfig(**settings)
    assert str(error.value).startswith(message)

  def test_a_mistake_is_one_line_without_traceback(self, tmp_path):
    code, out, err = run(f'--output_dir={tmp_path}/out', '--input_dir=/no/where')
    assert code == 1 and not out
    assert err == (
      'Error: /no/where is not a folder; give one that holds a folder of images for each class.\n'
    )

  def test_an_output_dir_that_cannot_be_written(self, photos, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises((OSError, tf.errors.OpError)):
      prepared(tmp_path / 'file' / 'out', input_dir=str(photos))


def test_verify(finished):
  code, out, _ = run('--verify', f'--output_dir={finished[0]}', '--num_processes=2')
  assert code == 0
  assert 'train: 21 images of 3 classes in 4 shards, verified' in out


def test_index_of_shards_without_a_manifest(finished, tmp_path):
  for path in finished[0].glob('*-of-*'):
    shutil.copy(path, tmp_path)
  code, out, err = run('--index', f'--output_dir={tmp_path}')
  assert code == 0, err
  assert f'{tmp_path}/offsets-train.npz: 21 records' in out
  for split in ('train', 'validation'):
    found, expected = (
      record_index.load(record_index.path_beside(f, split)) for f in (tmp_path, finished[0])
    )
    assert {k: v.tolist() for k, v in found.items()} == {k: v.tolist() for k, v in expected.items()}
  with pytest.raises((ValueError, OSError)):
    prepare.SCRIPT.call(['--index', f'--output_dir={tmp_path}/no'])


def test_the_result_of_a_shard_is_stored_as_json(tmp_path, photos):
  """So that nothing is unpickled from the folder of shards."""
  image = next((photos / 'train' / published.CLASSES[0]).iterdir())
  from tpu_utils.images.preparation.collect import Image

  images = (Image(image.name, str(image), 0, None, 1),)
  (tmp_path / 'unfinished').mkdir()
  task = shard.ShardTask(str(tmp_path), 'train-00000-of-00001', images, ('a', 'b'), False)
  result = shard.write(task)
  assert json.loads(pathlib.Path(task.note_path).read_text())['offsets'] == list(result.offsets)
  assert shard.read_note(task.note_path).record == result.record
  text_offset = pathlib.Path(task.note_path).read_text().replace('[0,', '["0",')
  for damage in ('[' * 5000, '[1]', text_offset):
    pathlib.Path(task.note_path).write_text(damage)
    assert shard.read_note(task.note_path) is None


def test_deep_pixels_are_refused_unless_the_user_chooses(tmp_path):
  for label in ('a', 'b'):
    (tmp_path / 'in' / label).mkdir(parents=True)
    (tmp_path / 'in' / label / 'x.jpg').write_bytes(published.encoded(1))
  path = tmp_path / 'in' / 'b' / 'deep.tif'
  path.write_bytes(published.encoded(1, kind='TIFF', mode='F'))
  message = one_line(tmp_path / 'refused', input_dir=str(tmp_path / 'in'))
  assert f'{path}: TIFF that cannot be decoded (32-bit float levels' in message
  made = prepared(
    tmp_path / 'out', input_dir=str(tmp_path / 'in'), deep_pixels='file_range'
  )
  assert len(records(tmp_path / 'out', 'train')) == 3
  assert made.source['deep_pixels'] == 'file_range'


def two_classes(folder):
  """Writes an image for each of two classes."""
  for label in ('a', 'b'):
    (folder / label).mkdir(parents=True)
    (folder / label / 'x.jpg').write_bytes(published.encoded(1))
  return folder


def test_names_that_are_no_text(tmp_path, capsys):
  folder = two_classes(tmp_path / 'in')
  (folder / 'a' / os.fsdecode(b'caf\xe9.jpg')).write_bytes(published.encoded(2))
  (folder / 'b' / os.fsdecode(b'th\xe9.jpg')).write_bytes(b'<html>')
  made = prepared(tmp_path / 'out', input_dir=str(folder), max_bad_images=1)
  names = [f['image/filename'].bytes_list.value[0] for f in records(tmp_path / 'out', 'train')]
  assert sorted(names) == [b'caf\xe9.jpg', b'x.jpg', b'x.jpg']
  (line,) = manifest.load(str(tmp_path / 'out')).left_out
  assert line == made.left_out[0]
  assert line == rf'{folder}/b/th\xe9.jpg: its 6 bytes are no image of a known format'
  assert f'Unusable: {line}' in capsys.readouterr().err


def test_of_animations_and_pages_the_first_is_stored_and_their_number_printed(tmp_path, capsys):
  folder = two_classes(tmp_path / 'in')
  for kind, data in ANIMATED.items():
    (folder / 'a' / f'{kind}.{kind.split()[0].lower()}').write_bytes(data)
  prepared(tmp_path / 'out', input_dir=str(folder))
  out = capsys.readouterr().out
  assert 'Of 5 files with several pictures (animations, pages) the first was taken.' in out
  for features in records(tmp_path / 'out', 'train'):
    if b'x.jpg' not in features['image/filename'].bytes_list.value:
      pixels = tf.io.decode_jpeg(features['image/encoded'].bytes_list.value[0]).numpy()
      assert abs(pixels.astype(int) - [255, 0, 0]).max() <= 4


def test_pictures_of_too_many_pixels_are_counted_as_unusable(tmp_path):
  folder = two_classes(tmp_path / 'in')
  for kind, data in bombs.ALL.items():
    (folder / 'a' / f'bomb.{kind.lower()}').write_bytes(data)
  made = prepared(tmp_path / 'out', input_dir=str(folder), max_bad_images=len(bombs.ALL))
  assert len(made.left_out) == len(bombs.ALL)
  for line in made.left_out:
    assert '13,000 x 13,000 pixels, more than the 134,217,728 that are read; scale it down' in line

"""Verification finds every difference between shards, index and manifest."""
import shutil

import pytest

from tests.tpu_utils.images.preparation import published
from tpu_utils.images import prepare
from tpu_utils.images.preparation import job, verify


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A folder of shards."""
  folder = tmp_path_factory.mktemp('verify')
  published.class_folders(folder / 'images' / 'train', per_class=7)
  published.class_folders(folder / 'images' / 'validation', per_class=2, first_seed=500)
  config = prepare.PrepareConfig(
    output_dir=str(folder / 'shards'), input_dir=str(folder / 'images'), train_shards=4,
    validation_shards=2,
  )  # fmt: skip
  job.prepare(config, num_processes=1)
  return folder / 'shards'


@pytest.fixture
def copy(finished, tmp_path):
  return shutil.copytree(finished, tmp_path / 'copy')


def faults(folder, capsys):
  with pytest.raises(ValueError) as error:
    verify.verify(str(folder), 1)
  assert '\n' not in str(error.value)
  return str(error.value), capsys.readouterr().err


@pytest.mark.parametrize('damage', ['bit', 'cut', 'missing', 'swapped'])
def test_a_damaged_shard(copy, capsys, damage):
  path = copy / 'train-00002-of-00004'
  content = path.read_bytes()
  if damage == 'bit':
    path.write_bytes(content[:300] + bytes([content[300] ^ 1]) + content[301:])
  elif damage == 'cut':
    path.write_bytes(content[:-9])
  elif damage == 'missing':
    path.unlink()
  else:
    path.write_bytes((copy / 'train-00001-of-00004').read_bytes())
  expected = {
    'bit': f'{path} was changed',
    'cut': f'{path} has {len(content) - 9} bytes, expected {len(content)}.',
    'missing': f'{path} is missing.',
    'swapped': str(path),
  }  # fmt: skip
  line, said = faults(copy, capsys)
  assert f'in {copy}, the first: {expected[damage]}' in line
  assert expected[damage] in said


def test_a_shard_that_is_not_in_the_manifest(copy, capsys):
  (copy / 'train-00004-of-00005').write_bytes(b'')
  assert 'train-00004-of-00005 is not in the manifest' in faults(copy, capsys)[0]


def test_an_index_that_does_not_fit(copy, capsys):
  shutil.copy(copy / 'offsets-validation.npz', copy / 'offsets-train.npz')
  assert (
    'offsets-train.npz does not fit train-00000-of-00004: run --index'
    in faults(copy, capsys)[0]
  )
  assert len(list(job.write_indices(str(copy)))) == 2
  verify.verify(str(copy), 1)


def test_a_missing_or_damaged_manifest(copy, capsys):
  for content in ('{', '[]', '{"format": 1}', '{"format": 9, "splits": {}}'):
    (copy / 'manifest.json').write_text(content)
    with pytest.raises(ValueError, match='cannot be read as a manifest of prepared shards'):
      verify.verify(str(copy), 1)
  (copy / 'manifest.json').unlink()
  assert 'has no manifest.json to verify by' in faults(copy, capsys)[0]

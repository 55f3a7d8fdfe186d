"""Weights of each format at remote paths, with files that are read together, and the errors."""
import json
import os
import pathlib

import keras
import numpy as np
import pytest

from tests import remote
from tpu_utils import checkpoints, files, weights
from tpu_utils.weights import copies, tf1, torch_files

weights.register('toy', 'tests.tpu_utils.weights.toy_names')
TORCH_FILES = pathlib.Path(__file__).parents[2] / 'goldens' / 'oscar' / 'torch_files'
TENSORS = {'net.dense.kernel': np.full((3, 2), 7.0), 'net.dense.bias': np.full(2, 7.0)}


@pytest.fixture
def model():
  inputs = keras.Input((3,))
  return keras.Model(inputs, keras.layers.Dense(2, name='dense')(inputs), name='toy-1')


def save_job(model, folder):
  values = {f'model/{v.path}': v.numpy() for v in model.weights}
  checkpoints.write(f'{folder}/model.ckpt-3', values, {'step': 3})
  files.write_text(f'{folder}/checkpoint', 'model_checkpoint_path: "model.ckpt-3"\n')
  return folder


def save_folder(model, folder):
  del model
  folder.mkdir()
  torch_files.write(folder / 'model.safetensors', TENSORS)
  return folder


def save_sharded(model, folder):
  del model
  folder.mkdir()
  places = {}
  for number, (name, value) in enumerate(TENSORS.items()):
    places[name] = f'part-{number}.safetensors'
    torch_files.write(folder / places[name], {name: value})
  index = folder / 'model.safetensors.index.json'
  index.write_text(json.dumps({'weight_map': places}))
  return folder


def save_keras(ending):
  def save(model, folder):
    folder.mkdir()
    path = folder / f'm{ending}'
    (model.save_weights if 'weights' in ending else model.save)(path)
    return path

  return save


def save_safetensors(model, folder):
  return save_folder(model, folder) / 'model.safetensors'


WRITERS = {
  'job': save_job, 'folder': save_folder, 'sharded': save_sharded, 'keras': save_keras('.keras'),
  'weights.h5': save_keras('.weights.h5'), 'safetensors': save_safetensors,
}  # fmt: skip


@pytest.mark.parametrize('kind', WRITERS)
def test_remote_weights_are_loaded(tmp_path, model, kind):
  model.set_weights([np.full_like(value, 7.0) for value in model.get_weights()])
  path = WRITERS[kind](model, tmp_path / 'local')
  folder = remote.upload(tmp_path / 'local', remote.new_folder())
  path = os.path.join(folder, os.path.relpath(path, tmp_path / 'local')).removesuffix('/.')
  model.set_weights([np.zeros_like(value) for value in model.get_weights()])
  report = weights.load(model, path)
  assert report.path == path and str(report) == f'{path}: 2 variables loaded.'
  assert all((value == 7).all() for value in model.get_weights())


def test_tf1_checkpoints_are_read_and_written_remotely(tmp_path):
  prefix = f'{remote.new_folder()}/model.ckpt-5'
  tf1.write(prefix, {'a': np.ones(2, np.float32)}, 5)
  for path in (prefix, os.path.dirname(prefix), f'{prefix}.index'):
    with copies.readable(path) as readable:
      assert readable == path
      np.testing.assert_array_equal(tf1.read(readable)['a'], np.ones(2))


@pytest.mark.parametrize('name', ['zip.pt', 'old.pt', 'bfloat16.pt'])
def test_remote_torch_files(name):
  path = remote.upload(TORCH_FILES / name, f'{remote.new_folder()}/{name}')
  with copies.readable(path) as copy:
    found, expected = torch_files.read(copy), torch_files.read(TORCH_FILES / name)
  assert found.keys() == expected.keys()
  for key, value in expected.items():
    np.testing.assert_array_equal(found[key], value)


def test_remote_files_are_written(model):
  path = f'{remote.new_folder()}/m.safetensors'
  torch_files.write(path, TENSORS)
  assert weights.load(model, path).path == path


def test_of_a_folder_only_the_files_that_are_read_are_copied(tmp_path):
  folder = remote.upload(save_folder(None, tmp_path / 'local'), remote.new_folder())
  for name in ('pytorch_model.bin', 'tf_model.h5'):
    remote.write(f'{folder}/{name}', b'large')
  remote.write(f'{folder}/config.json', b'{}')
  with copies.readable(folder) as copy:
    assert os.path.basename(copy) == 'model.safetensors'
    assert sorted(os.listdir(os.path.dirname(copy))) == ['config.json', 'model.safetensors']


def test_normalisation_beside_remote_weights(tmp_path):
  from tpu_utils.weights import hugging_face

  config = {'pretrained_cfg': {'mean': [0.5] * 3, 'std': [0.5] * 3, 'crop_pct': 0.9}}
  folder = remote.upload(save_folder(None, tmp_path / 'local'), remote.new_folder())
  remote.write(f'{folder}/config.json', json.dumps(config))
  for path in (folder, f'{folder}/model.safetensors'):
    fields, _ = hugging_face.preprocessing(path)
    assert fields['crop'] == '0.9'


def test_errors_name_the_remote_path(model):
  folder = remote.new_folder()
  cases = {
    'cut.safetensors': (b'\xff', 'cut.safetensors cannot be read as a safetensors file'),
    'cut.keras': (b'no zip', 'cut.keras cannot be read as a Keras file'),
    'cut.pth': (b'no zip', 'cut.pth'),
    'notes.txt': (b'x', 'notes.txt: cannot tell which program wrote this'),
  }
  for name, (content, message) in cases.items():
    remote.write(f'{folder}/{name}', content)
    with pytest.raises(ValueError, match=f'^{folder}/{message}') as error:
      weights.load(model, f'{folder}/{name}')
    assert '\n' not in str(error.value) and 'tmp' not in str(error.value)
  with pytest.raises(ValueError, match=f'^{folder}: cannot tell which program wrote this'):
    weights.load(model, folder)
  with pytest.raises(FileNotFoundError, match=f'^{folder}/none.pth: no checkpoint there'):
    weights.load(model, f'{folder}/none.pth')
  with pytest.raises(ValueError, match="^Unknown file system in gcs://b/m.pth: 'gcs'"):
    weights.load(model, 'gcs://b/m.pth')


@pytest.mark.parametrize('content', [b'{', b'[]', b'{"weight_map": {"a": 1, "b": "none.bin"}}'])
def test_a_damaged_index_is_reported_by_its_reader(model, content):
  folder = remote.new_folder()
  path = remote.write(f'{folder}/pytorch_model.bin.index.json', content)
  with pytest.raises(ValueError, match=f'^{path}') as error:
    weights.load(model, folder)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['', '/model.safetensors'])
def test_incomplete_folders_are_refused(tmp_path, model, name):
  folder = remote.upload(save_folder(None, tmp_path / 'local'), remote.new_folder())
  remote.write(f'{folder}/{files.UNFINISHED}', b'')
  with pytest.raises(ValueError, match=f'^{folder} is incomplete'):
    weights.load(model, f'{folder}{name}')

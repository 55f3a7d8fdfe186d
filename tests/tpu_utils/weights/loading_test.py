"""`load`: its choice of reader and names, and the imports of the library."""
import ast
import pathlib

import keras
import numpy as np
import pytest

import tpu_utils.weights
from efficientnet import checkpoint_names as efficientnet_names
from oscar import checkpoint_names as oscar_names
from resnext import checkpoint_names as resnext_names
from tpu_utils import weights
from tpu_utils.weights import torch_files

weights.register('toy', 'tests.tpu_utils.weights.toy_names')
FOLDER = pathlib.Path(tpu_utils.weights.__file__).parent
PAPERS = ('efficientnet', 'resnext', 'resnet', 'oscar')
MODULES = sorted(FOLDER.glob('*.py'))
LIBRARIES_BELOW = (
  'assignment', 'checkpoints', 'errors', 'file_systems', 'files', 'lazy', 'local_copies', 'names',
  'reading', 'text_table',
)  # fmt: skip


@pytest.fixture
def model():
  inputs = keras.Input((3,))
  return keras.Model(inputs, keras.layers.Dense(2, name='dense')(inputs), name='toy-1')


def save(path, **changes):
  tensors = {'net.dense.kernel': np.full((3, 2), 7.0), 'net.dense.bias': np.full(2, 7.0)} | changes
  torch_files.write(path, tensors)
  return path


@pytest.mark.parametrize('source', ['auto', 'torch', 'toyland'])
def test_sources_of_one_format(tmp_path, model, source):
  report = weights.load(model, save(tmp_path / 'm.safetensors'), source)
  assert report.loaded == ('dense/kernel', 'dense/bias') and not report.kept and not report.unused
  assert all((v.numpy() == 7).all() for v in model.weights)


def test_buffers_are_left_out_and_tensors_prepared(tmp_path, model):
  tensors = {'dense.kernel': np.ones((3, 2)), 'dense.bias': np.ones(2), 'steps': np.ones(1)}
  path = tmp_path / 'm.safetensors'
  torch_files.write(path, {f'old.{name}': value for name, value in tensors.items()})
  assert len(weights.load(model, path).loaded) == 2


def test_a_file_of_another_network_is_refused(tmp_path, model):
  before = model.get_weights()
  path = save(tmp_path / 'm.safetensors', **{'net.other': np.ones(1)})
  with pytest.raises(ValueError, match='is not for toy-1'):
    weights.load(model, path)
  for then, now in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(then, now)


@pytest.mark.parametrize('prefix', ['model.', 'student.model.'])
def test_tensors_beside_the_network_are_left_out_and_named(tmp_path, model, prefix):
  path = tmp_path / 'm.safetensors'
  prefix += 'net.dense.'
  tensors = {f'{prefix}kernel': np.full((3, 2), 7.0), f'{prefix}bias': np.full(2, 7.0)}
  beside = {'criterion.pos_weight': np.ones(2), 'loss': np.ones(1)}
  torch_files.write(path, tensors | beside)
  report = weights.load(model, path)
  assert sorted(report.unused) == ['criterion.pos_weight', 'loss'] and len(report.loaded) == 2
  assert all((v.numpy() == 7).all() for v in model.weights)
  del tensors[f'{prefix}bias']
  torch_files.write(path, tensors | {'criterion.pos_weight': np.ones(2)})
  with pytest.raises(ValueError, match='missing: net.dense.bias; 1 unexpected: criterion.pos'):
    weights.load(model, path)


def test_two_networks_that_fit_are_refused(tmp_path, model):
  path = tmp_path / 'm.safetensors'
  tensors = {'net.dense.kernel': np.ones((3, 2)), 'net.dense.bias': np.ones(2)}
  torch_files.write(path, {f'{k}.{n}': v for k in ('g', 'd') for n, v in tensors.items()})
  with pytest.raises(ValueError, match='several networks that fit toy-1, under [dg]., [dg].;'):
    weights.load(model, path)


def test_own_files_need_no_names(tmp_path, model):
  model.save(tmp_path / 'm.keras')
  before = model.get_weights()
  model.set_weights([np.zeros_like(v) for v in before])
  weights.load(model, tmp_path / 'm.keras')
  for then, now in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(then, now)


def test_unknown_sources(tmp_path, model):
  with pytest.raises(ValueError, match="Unknown source 'toylend': did you mean toyland"):
    weights.load(model, save(tmp_path / 'm.safetensors'), 'toylend')


def test_programs_without_such_a_model_are_reported(tmp_path, model):
  with pytest.raises(ValueError, match='official TF1 program .*like toy-1; save it as .keras'):
    weights.save_tf1(model, tmp_path / 'm')
  with pytest.raises(ValueError, match='torch program .*like toy-1; save it as .keras'):
    weights.save_torch(model, tmp_path / 'm.pth')


def test_a_model_without_a_classifier_is_reported(model):
  with pytest.raises(ValueError, match='toy-1 has no classifier of images'):
    weights.classifier_of(model)


@pytest.mark.parametrize('names', [efficientnet_names, resnext_names, oscar_names])
def test_every_source_has_a_reader(names):
  for name, source in names.NAME_MAP.sources.items():
    assert (source.format or name) in weights.READERS


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.stem)
def test_the_library_imports_only_what_is_below_it(path):
  imported = set()
  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
    if isinstance(node, ast.Import):
      imported |= {name.name for name in node.names}
    elif isinstance(node, ast.ImportFrom):
      imported |= {f'{node.module}.{name.name}' for name in node.names}
  for name in imported:
    package, *inside = name.split('.')
    assert package not in PAPERS
    assert package != 'tpu_utils' or inside[0] in ('weights', *LIBRARIES_BELOW), name


@pytest.mark.parametrize('path', MODULES, ids=lambda path: path.stem)
def test_the_library_names_no_paper(path):
  syntax = ast.parse(path.read_text(encoding='utf-8'))
  for node in ast.walk(syntax):
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node):
      node.body[0] = ast.Pass()  # A docstring may name a source.
  code = ast.unparse(syntax).lower()
  assert not [paper for paper in PAPERS if paper in code]

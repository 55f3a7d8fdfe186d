"""TF1 checkpoints of the official training: variables, moving averages, slots, step."""
import gc
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from tests.efficientnet import golden
from tests.goldens import weights as golden_weights
from tpu_utils import weights
from tpu_utils.weights import tf1

NAME = 'efficientnet-b0'
SHADOW = '/ExponentialMovingAverage'


def official_tensors(ema=True, step=True, slots=True, scale_raw=3.0, model_name=NAME):
  """Returns the tensors of a training job; with `ema`, the averages are the reference values."""
  tensors = {}
  for variable in golden.variables(model_name):
    name, value = variable['name'], golden.value(variable)
    tensors[name] = value * scale_raw if ema else value
    if ema:
      tensors[name + SHADOW] = value
    if slots and variable['trainable']:
      tensors[name + '/RMSProp'] = np.ones_like(value)
      tensors[name + '/RMSProp_1'] = np.zeros_like(value)
  if step:
    tensors['global_step'] = np.asarray(218949, np.int64)
  return tensors


def save(folder, tensors, prefix='model.ckpt-218949', state=True):
  """Writes a TF1 checkpoint, as tf.train.Saver does, and its `checkpoint` file."""
  path = str(folder / prefix)
  names = list(tensors)
  tf.raw_ops.SaveV2(
    prefix=path, tensor_names=names, shape_and_slices=[''] * len(names),
    tensors=list(tensors.values()),
  )  # fmt: skip
  if state:
    (folder / 'checkpoint').write_text(f'model_checkpoint_path: "{prefix}"\n')
  return path


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  folder = tmp_path_factory.mktemp('trained')
  return pathlib.Path(save(folder, official_tensors()))


@pytest.fixture(scope='module')
def model():
  return efficientnet.build_model(NAME, image_size=64)


def reset(model):
  for variable in model.weights:
    variable.assign(np.zeros(variable.shape))


def error_of(model):
  want = golden.read_npz(f'logits_{NAME}_S64.npz')['logits']
  return golden.relative_error(model(golden.images(64), training=False), want)


@pytest.mark.parametrize('form', ['prefix', 'folder', 'index', 'data'])
def test_moving_averages_give_the_official_logits(model, trained, form):
  reset(model)
  path = {
    'prefix': trained,
    'folder': trained.parent,
    'index': f'{trained}.index',
    'data': f'{trained}.data-00000-of-00001',
  }[form]
  weights.load(model, path)
  assert error_of(model) < 2e-4


@pytest.mark.slow
@pytest.mark.parametrize(
  'name', [n for n in golden.names('variables') if not n.startswith('efficientnet-b')]
)
def test_checkpoints_of_the_other_families(tmp_path, name):
  path = save(tmp_path, official_tensors(model_name=name))
  model = efficientnet.build_model(name, image_size=64, weights=path)
  want = golden.read_npz(f'logits_{name}_S64.npz')['logits']
  assert golden.relative_error(model(golden.images(64), training=False), want) < 2e-4


def test_raw_weights(model, trained):
  reset(model)
  weights.load(model, trained, source='tf1', use_ema=False)
  by_name = {v['name']: golden.value(v) for v in golden.variables(NAME)}
  for ours, value in zip(model.weights, by_name.values(), strict=True):
    np.testing.assert_array_equal(ours, value * 3.0)


def test_checkpoint_without_averages(model, tmp_path):
  path = save(tmp_path, official_tensors(ema=False))
  with pytest.raises(ValueError, match='no moving averages.*use_ema=False') as error:
    weights.load(model, path)
  assert '\n' not in str(error.value)
  reset(model)
  weights.load(model, path, use_ema=False)
  assert error_of(model) < 2e-4


def test_checkpoint_with_averages_only(model, tmp_path):
  shadows = {k: v for k, v in official_tensors().items() if k.endswith(SHADOW)}
  reset(model)
  path = save(tmp_path, shadows)
  weights.load(model, path)
  assert error_of(model) < 2e-4
  with pytest.raises(ValueError, match='missing: .*/stem/tpu_batch_normalization/gamma'):
    weights.load(model, path, use_ema=False)


def test_lars_names(model, tmp_path):
  def value(name, shape):
    return golden_weights.value(name, shape)

  names = {
    v['name'].replace('tpu_batch_normalization', 'batch_normalization'): v['shape']
    for v in golden.variables(NAME)
  }
  reset(model)
  weights.load(model, save(tmp_path, {n: value(n, s) for n, s in names.items()}), use_ema=False)
  for ours, (name, shape) in zip(model.weights, names.items(), strict=True):
    np.testing.assert_array_equal(ours, value(name, shape))


@pytest.mark.slow
def test_build_model_loads_a_path(trained):
  features = efficientnet.feature_extractor(NAME, image_size=64, weights=trained)
  want = golden.read_npz(f'logits_{NAME}_S64.npz')
  names = list(want['endpoint_names'])
  got = features(golden.images(64), training=False)
  for name, value in got.items():
    first8 = want['endpoint_first8'][names.index(name)]
    std = want['endpoint_std'][names.index(name)]
    assert np.abs(np.ravel(value)[:8] - first8).max() < 2e-4 * std
  assert error_of(efficientnet.build_model(NAME, image_size=64, weights=trained)) < 2e-4
  pooled = efficientnet.build_model(
    NAME, image_size=64, weights=trained, pooled_features_only=True
  )
  got = pooled(golden.images(64), training=False)
  assert golden.relative_error(got, want['pooled_features']) < 2e-4


@pytest.mark.parametrize('use_ema', [True, False])
def test_an_unexpected_name_is_reported_and_nothing_is_loaded(model, tmp_path, use_ema):
  tensors = official_tensors(slots=False)
  tensors[f'{NAME}/blocks_16/conv2d/kernel'] = np.zeros((1, 1, 2, 2), np.float32)
  tensors[f'{NAME}/blocks_16/conv2d/kernel{SHADOW}'] = np.zeros((1, 1, 2, 2), np.float32)
  reset(model)
  with pytest.raises(ValueError, match=f'1 unexpected: {NAME}/blocks_16/conv2d/kernel'):
    weights.load(model, save(tmp_path, tensors), use_ema=use_ema)
  assert not any(np.any(v.numpy()) for v in model.weights)


def test_a_variable_without_its_average_is_reported(model, tmp_path):
  tensors = official_tensors()
  del tensors[f'{NAME}/stem/conv2d/kernel{SHADOW}']
  with pytest.raises(ValueError, match=f'no moving average of {NAME}/stem/conv2d/kernel .1 of'):
    weights.load(model, save(tmp_path, tensors))


def test_missing_and_misshapen_variables_are_reported(model, tmp_path):
  tensors = official_tensors(ema=False)
  del tensors[f'{NAME}/head/dense/bias']
  tensors[f'{NAME}/head/dense/kernel'] = np.zeros((1280, 10), np.float32)
  with pytest.raises(ValueError) as error:
    weights.load(model, save(tmp_path, tensors), use_ema=False)
  assert '1 missing: efficientnet-b0/head/dense/bias' in str(error.value)
  assert 'efficientnet-b0/head/dense/kernel [1280, 10] for head_dense/kernel [1280, 1000]' in str(
    error.value
  )


def test_checkpoint_of_another_model(trained):
  other = efficientnet.build_model('efficientnet-b1', image_size=32)
  with pytest.raises(ValueError, match='does not fit efficientnet-b1.*missing.*unexpected'):
    weights.load(other, trained)


def test_no_checkpoint(model, tmp_path, caplog):
  with pytest.raises(FileNotFoundError, match='model.ckpt'):
    weights.load(model, tmp_path / 'model.ckpt')
  with pytest.raises(FileNotFoundError, match='model.ckpt-7.index'):
    weights.load(model, tmp_path / 'model.ckpt-7.index')
  (tmp_path / 'checkpoint').write_text('model_checkpoint_path: "gone"\n')
  message = 'no `checkpoint` file that names an existing checkpoint'
  with pytest.raises(FileNotFoundError, match=message):
    weights.load(model, tmp_path)
  assert not caplog.records


def test_unknown_kind_of_file(model, tmp_path):
  (tmp_path / 'weights.xyz').write_bytes(b'?')
  with pytest.raises(ValueError, match='cannot tell which program wrote this'):
    weights.load(model, tmp_path / 'weights.xyz')
  with pytest.raises(ValueError, match="Unknown source 'tf'.*tf1"):
    weights.load(model, tmp_path / 'weights.xyz', source='tf')


@pytest.mark.parametrize('suffix', ['.index', '.data-00000-of-00001'])
def test_truncated_checkpoint(model, tmp_path, suffix):
  path = pathlib.Path(save(tmp_path, official_tensors(slots=False)) + suffix)
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  before = model.get_weights()
  with pytest.raises(ValueError, match='cannot be read') as error:
    weights.load(model, tmp_path)
  assert '\n' not in str(error.value)
  for then, now in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(then, now)


def test_missing_data_file(model, tmp_path):
  path = pathlib.Path(save(tmp_path, official_tensors(slots=False)) + '.data-00000-of-00001')
  path.unlink()
  with pytest.raises(ValueError, match='cannot be read'):
    weights.load(model, tmp_path)


def test_object_based_checkpoint(model, tmp_path):
  path = tf.train.Checkpoint(v=tf.Variable(1.0)).write(str(tmp_path / 'object'))
  with pytest.raises(ValueError, match='object-based TF2'):
    weights.load(model, path)


def test_written_checkpoints_have_all_that_the_official_program_reads(model, tmp_path):
  """Raw values, the averages that its evaluation restores, the step, and the `checkpoint` file."""
  for variable in model.weights:
    variable.assign(golden_weights.value(variable.path, variable.shape))
  weights.save_tf1(model, tmp_path / 'model.ckpt', step=5)
  prefix = tf.train.latest_checkpoint(str(tmp_path))
  reader = tf.train.load_checkpoint(prefix)
  official = golden.read_json(f'variables_{NAME}.json')
  assert reader.get_tensor('global_step') == 5
  names = {v['name'] for v in official['variables']}
  shadows = {f'{name}{SHADOW}' for name in names}
  assert shadows == {name for name in official['ema_names']}
  assert set(reader.get_variable_to_shape_map()) == names | shadows | {'global_step'}
  values = {v.path: v.numpy() for v in model.weights}
  for form in (True, False):
    reset(model)
    weights.load(model, tmp_path, use_ema=form)
    for variable in model.weights:
      np.testing.assert_array_equal(variable, values[variable.path])


@pytest.mark.parametrize('folder', ['lr[0.1]', 'what?'])
def test_folders_with_special_characters_of_glob_patterns(tmp_path, folder):
  (tmp_path / folder).mkdir()
  prefix = str(tmp_path / folder / 'model.ckpt')
  tf1.write(prefix, {'a/kernel': np.float32([1, 2])}, step=5)
  tensors = tf1.read(prefix)
  gc.collect()  # The data are read late.
  np.testing.assert_array_equal(tensors['a/kernel'], [1, 2])

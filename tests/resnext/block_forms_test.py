"""Block forms (a), (b) and (c) against reference blocks and each other: values and gradients."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import resnext
from resnext import block_forms, layers, network_params, resnext_model
from tests.resnext import golden

CASES = {
  'identity': {'channels': 256, 'width': 64, 'cardinality': 32, 'path_width': 4, 'strides': 1},
  'project_s2': {'channels': 256, 'width': 128, 'cardinality': 32, 'path_width': 8, 'strides': 2},
  'small': {'channels': 32, 'width': 8, 'cardinality': 4, 'path_width': 2, 'strides': 1},
}
TOLERANCE = 1e-5  # Relative to the largest number; float32 errors are about 1e-6.


def block_model(case, form, dtype='float32'):
  """Returns a model of one block with the reference weights."""
  settings = CASES[case]
  size = 8 if case == 'small' else 14
  block = network_params.Block(
    'layer1_0', settings['width'] * 4, settings['strides'], settings['cardinality'],
    settings['path_width'], form, ('bn1', 'bn2'),
  )
  params = network_params.NetworkParams((1,))
  x = keras.Input((size, size, settings['channels']), dtype=dtype)
  outputs = resnext_model.original_block(x, block, params, layers.LayerMaker(dtype))
  model = keras.Model(x, outputs, name=f'{case}_{form}')
  if form == 'c':
    golden.set_weights(model, f'{case}.', lambda name: name.removeprefix('layer1.0.'))
  else:
    block_forms.convert_weights(block_model(case, 'c', dtype), model)
  return model


@pytest.mark.parametrize('form', ['a', 'b', 'c'])
@pytest.mark.parametrize('case', CASES)
def test_each_form_agrees_with_the_reference(case, form):
  want = golden.read_npz('block_forms.npz')
  model = block_model(case, form)
  x = want[f'{case}/input']
  for mode in ('eval', 'train'):
    key = f'{case}/{mode}/out_{form.upper()}'
    wanted = want.get(key, want[f'{case}/{mode}/out_C'])
    assert golden.relative_error(model(x, training=mode == 'train'), wanted) < TOLERANCE, key


def test_intermediate_values_agree_with_the_reference():
  want = golden.read_npz('block_forms.npz')
  for form, width in (('c', 256), ('b', 8)):
    model = block_model('project_s2', form)
    prefix = 'layer1_0' if form == 'c' else 'layer1_0_path0'
    probe = keras.Model(
      model.input,
      [model.get_layer(f'{prefix}_relu2').output, model.get_layer('layer1_0_conv3').output],
    )
    path, conv3 = probe(want['project_s2/input'])
    assert path.shape[-1] == width
    wanted = want['project_s2/eval/branch0_after_3x3']
    assert golden.relative_error(path[..., :8], wanted) < TOLERANCE
    assert golden.relative_error(conv3, want['project_s2/eval/sum_before_bn3']) < TOLERANCE


def gradients(model, x, training):
  x = tf.constant(x)
  with tf.GradientTape() as tape:
    tape.watch(x)
    loss = tf.reduce_sum(tf.sin(model(x, training=training)))
  return tape.gradient(loss, [x, *(v.value for v in model.trainable_variables)])


@pytest.mark.parametrize('training', [False, True])
def test_gradients_of_the_forms_agree(training):
  """Compares each form's gradients, converted to form (c), in float64."""
  x = golden.read_npz('block_forms.npz')['small/input'].astype(np.float64)
  model = block_model('small', 'c', 'float64')
  want = gradients(model, x, training)
  for form in 'ab':
    other = block_model('small', form, 'float64')
    got = gradients(other, x, training)
    assert golden.relative_error(got[0], want[0]) < 1e-12
    for variable, gradient in zip(other.trainable_variables, got[1:], strict=True):
      variable.assign(gradient)
    merged = block_model('small', 'c', 'float64')
    block_forms.convert_weights(other, merged)
    for variable, gradient in zip(merged.trainable_variables, want[1:], strict=True):
      assert golden.relative_error(variable.numpy(), gradient) < 1e-12, variable.path


@pytest.mark.parametrize('settings', [{}, {'preactivation': True}, {'shortcut_type': 'A'}], ids=str)
def test_whole_networks_agree(settings):
  images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
  models = {
    form: resnext.build_model('resnext-11-4x8d', block_form=form, **settings) for form in 'abc'
  }
  want = models['c'](images)
  for form in 'ab':
    assert golden.relative_error(models[form](images), want) > 1e-3  # Weights differ.
    resnext.convert_weights(models['c'], models[form])
    assert golden.relative_error(models[form](images), want) < 1e-5
  resnext.convert_weights(models['a'], models['b'])
  assert golden.relative_error(models['b'](images), want) < 1e-5


def test_cardinality_one_is_an_ordinary_bottleneck_in_every_form():
  shapes = [
    [tuple(v.shape) for v in resnext.build_model('resnet-11-1x8d', block_form=form).weights]
    for form in 'abc'
  ]
  assert shapes[0] == shapes[1] == shapes[2]


def test_convert_weights_refuses_other_networks():
  source = resnext.build_model('resnext-11-4x8d')
  target = resnext.build_model('resnext-11-4x16d', block_form='b')
  before = target.get_weights()
  with pytest.raises(ValueError, match=r'layer1_0_bn1/beta is \[32\], not \[64\]'):
    resnext.convert_weights(source, target)
  for old, new in zip(before, target.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)


def test_aggregated_transform():
  x = np.arange(6.0).reshape(1, 6)
  transforms = [lambda x: x, lambda x: 10.0 * x, lambda x: 100.0 * x]
  np.testing.assert_allclose(resnext.aggregated_transform(x, transforms), 111 * x)
  got = resnext.aggregated_transform(x, transforms[:2], 'concatenate')
  np.testing.assert_allclose(got, np.concatenate([x, 10 * x], -1))
  np.testing.assert_allclose(resnext.aggregated_transform(x, transforms[1:2]), 10 * x)
  with pytest.raises(ValueError, match='at least one'):
    resnext.aggregated_transform(x, [])
  with pytest.raises(ValueError, match='did you mean sum'):
    resnext.aggregated_transform(x, transforms, 'sums')

"""Networks against torchvision, timm and the official definition: logits, blocks, training."""
import keras
import numpy as np
import pytest
import tensorflow as tf

import resnext
from resnext import checkpoint_names as names
from tests.resnext import golden

NETWORKS = [
  ('tv_resnext50_32x4d_s64', 'resnext-50-32x4d', 64, 1000),
  ('tv_resnet50_s64', 'resnet-50', 64, 1000),
  ('timm_resnext50d_32x4d_s64', 'resnext-50d-32x4d', 64, 1000),
  ('cifar_resnext29_4x24d_c100_s32', 'resnext-29-4x24d', 32, 100),
]
TOLERANCE = 1e-5  # Relative to the largest number. A wrong padding or epsilon exceeds 1e-2.


def points(want):
  return sorted({key.rsplit('/', 1)[0] for key in want if key.endswith('/shape')})


@pytest.mark.parametrize(('file', 'name', 'size', 'classes'), NETWORKS)
def test_logits_and_every_block_agree(file, name, size, classes):
  want = golden.read_npz(f'{file}.npz')
  wanted = points(want)
  model = resnext.feature_extractor(
    name,
    endpoints=[*(point.replace('.', '_') for point in wanted), 'features', 'fc'],
    image_size=size,
    num_classes=classes,
    **golden.NOT_NORMALISED,
  )
  golden.set_weights(model)
  got = {key: np.asarray(value) for key, value in model(want['input']).items()}

  assert golden.relative_error(got['fc'], want['logits']) < TOLERANCE
  for point in wanted:
    tensor = got[point.replace('.', '_')]
    assert list(tensor.shape) == list(want[f'{point}/shape'])
    tolerance = TOLERANCE * np.abs(tensor).max()
    height, width = tensor.shape[1:3]
    summary = {
      'mean': tensor.mean(),
      'std': tensor.std(),
      'first': tensor[0, 0, 0, :16],
      'mid': tensor[-1, height // 2, width // 2, :16],
      'chan_mean': tensor.mean((0, 1, 2))[:64],
    }
    for key, value in summary.items():
      assert np.abs(value - want[f'{point}/{key}']).max() < tolerance, (point, key)


def test_float64_agrees_to_float64_rounding():
  """Detects errors that float32 cannot distinguish from rounding."""
  want = golden.read_npz('tv_resnext50_32x4d_s64.npz')
  model = resnext.build_model(
    'resnext-50-32x4d', image_size=64, dtype_policy='float64', **golden.NOT_NORMALISED
  )
  golden.set_weights(model)
  assert golden.relative_error(model(want['input']), want['logits_f64']) < 1e-13


def test_normalisation_is_part_of_the_model():
  images = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
  model = resnext.build_model('resnext-29-1x8d')
  bare = resnext.build_model('resnext-29-1x8d', **golden.NOT_NORMALISED)
  bare.set_weights(model.get_weights())
  normalised = (images - [125.3, 123.0, 113.9]) / [63.0, 62.1, 66.7]
  assert golden.relative_error(model(images), bare(normalised.astype(np.float32))) < TOLERANCE


@pytest.mark.slow
def test_training_steps_agree():
  """Compares losses, first gradients, final variables and logits of six steps in float64.

  The optimizer is this test's own; `trainer_trajectory_test.py` tests ours, also without Nesterov.
  """
  want = golden.read_npz('train_cifar_4x8d_lr0.001.npz')
  model = resnext.build_model('resnext-29-4x8d', dtype_policy='float64', **golden.NOT_NORMALISED)
  golden.set_weights(model)
  initial = {v.path: v.numpy() for v in model.weights}
  variables = model.trainable_variables
  velocities = [np.zeros(v.shape) for v in variables]
  for step in range(6):
    loss, gradients = loss_and_gradients(model, step)
    assert abs(loss - want['loss_f64'][step]) < 1e-8
    if step == 0:
      for variable, gradient in zip(variables, gradients, strict=True):
        check_summary(want, f'grad0/{names.torch_name(variable.path)}', gradient)
    for i, (variable, gradient) in enumerate(zip(variables, gradients, strict=True)):
      gradient = gradient + 1e-4 * variable.numpy()  # Every parameter decays, as in train.lua.
      velocities[i] = 0.9 * velocities[i] + gradient
      variable.assign(variable.numpy() - 0.001 * (gradient + 0.9 * velocities[i]))

  for variable in model.weights:
    if variable.name == 'moving_variance':
      unbias(model, variable, initial[variable.path], steps=6)
    check_summary(want, f'final/{names.torch_name(variable.path)}', variable.numpy())
  images = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
  assert golden.relative_error(model(images), want['eval_logits_after_f64']) < 1e-7


def loss_and_gradients(model, step):
  """Returns (loss, gradients) for the batch of a step of the reference run."""
  rng = np.random.default_rng(step)
  images = rng.normal(size=(8, 32, 32, 3)).astype(np.float32)
  labels = rng.integers(0, 10, 8)
  with tf.GradientTape() as tape:
    logits = model(images, training=True)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
  gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
  return loss.numpy(), [gradient.numpy() for gradient in gradients]


def check_summary(want, key, value):
  value = golden.to_torch(value)
  summary = [value.mean(), value.std(), np.sqrt((value**2).sum()), np.abs(value).max()]
  tolerance = 1e-7 * max(1.0, summary[3])
  np.testing.assert_allclose(summary, want[f'{key}/stats'], rtol=1e-7, atol=tolerance, err_msg=key)
  np.testing.assert_allclose(
    value.ravel()[:8], want[f'{key}/first'], rtol=0, atol=tolerance, err_msg=key
  )


def unbias(model, variable, initial, steps):
  """Converts a moving average of biased variances to one of unbiased variances, as in torch."""
  _, height, width, _ = model.get_layer(variable.path.split('/')[0]).output.shape
  count = 8 * height * width
  kept = 0.9**steps * initial
  variable.assign(kept + (variable.numpy() - kept) * count / (count - 1))


# Options without reference numbers.


def model_and_layers(name, image_size=32, **overrides):
  """Returns (model, names of its layers)."""
  model = resnext.build_model(name, 10, image_size, **overrides)
  return model, [layer.name for layer in model.layers]


def test_a_preactivated_network_has_no_layers_after_its_sums():
  """Batch norm and ReLU come before convolutions and after the last stage, never after a sum."""
  _, layers = model_and_layers('resnext-50-4x4d', stage_blocks=(2, 2), preactivation=True)
  assert {'bn1', 'norm', 'layer1_1_bn1', 'layer2_0_bn1', 'layer2_0_downsample_0'} <= set(layers)
  assert 'layer1_0_bn1' not in layers  # The stem ends with a ReLU.
  assert not any(name.endswith('downsample_1') for name in layers)
  _, layers = model_and_layers('resnext-29-4x4d', preactivation=True)
  assert 'bn1' not in layers
  assert 'layer1_0_bn1' in layers


def test_a_preactivated_block_by_hand():
  """In the first block of a stage the shortcut starts after the ReLU, in the others before it."""
  model, _ = model_and_layers('resnet-11-1x8d', preactivation=True, stage_blocks=(2,), width=8)
  rng = np.random.default_rng(1)
  for variable in model.weights:
    variable.assign(rng.uniform(0.5, 1.5, variable.shape))
  images = rng.uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
  layers = [model.get_layer(n) for n in ('conv1', 'layer1_0_relu', 'layer1_0_add', 'layer1_1_add')]
  probe = keras.Model(model.input, [layer.output for layer in layers])
  stem, relu, first, second = (np.asarray(t) for t in probe(images))

  def bottleneck(x, block):
    for i in (1, 2, 3):
      if not (block == 0 and i == 1):
        x = keras.ops.relu(model.get_layer(f'layer1_{block}_bn{i}')(x))
      x = model.get_layer(f'layer1_{block}_conv{i}')(x)
    return np.asarray(x)

  want = np.asarray(keras.ops.relu(model.get_layer('layer1_0_bn1')(stem)))
  np.testing.assert_allclose(relu, want)
  shortcut = np.asarray(model.get_layer('layer1_0_downsample_0')(relu))
  assert golden.relative_error(first, shortcut + bottleneck(relu, 0)) < TOLERANCE
  assert golden.relative_error(second, first + bottleneck(first, 1)) < TOLERANCE


@pytest.mark.parametrize(
  ('shortcut_type', 'projected'),
  [
    ('A', []),
    ('B', ['layer1_0', 'layer2_0']),
    ('C', ['layer1_0', 'layer1_1', 'layer2_0', 'layer2_1']),
  ],
)
def test_shortcut_types(shortcut_type, projected):
  _, layers = model_and_layers('resnext-50-4x4d', stage_blocks=(2, 2), shortcut_type=shortcut_type)
  suffix = '_downsample_0'
  assert [name.removesuffix(suffix) for name in layers if name.endswith(suffix)] == projected


def test_shortcut_type_a_skips_pixels_and_adds_zeros():
  model, _ = model_and_layers(
    'resnext-50-4x4d', stage_blocks=(1, 1), shortcut_type='A', width=16, image_size=36
  )
  before, after = model.get_layer('layer1_0_relu').output, model.get_layer('layer2_0_add').input[1]
  images = np.random.default_rng(0).uniform(0, 255, (2, 36, 36, 3)).astype(np.float32)
  x, shortcut = keras.Model(model.input, [before, after])(images)
  assert (x.shape, shortcut.shape) == ((2, 9, 9, 64), (2, 5, 5, 128))
  np.testing.assert_array_equal(shortcut[..., :64], x[:, ::2, ::2])
  assert not np.asarray(shortcut[..., 64:]).any()


def test_without_residual_connections_there_is_no_sum_and_no_projection():
  _, layers = model_and_layers('resnext-50-4x4d', stage_blocks=(2, 2), residual=False)
  assert not any('add' in name or 'downsample' in name for name in layers)
  assert 'layer1_0_relu' in layers


def test_16_bit_policies_keep_input_and_output_in_float32():
  model, _ = model_and_layers('resnext-29-4x8d', dtype_policy='mixed_bfloat16')
  assert model.get_layer('normalization').compute_dtype == 'float32'
  assert model.get_layer('layer1_0_conv2').compute_dtype == 'bfloat16'
  images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
  logits = model(images)
  assert logits.dtype == 'float32'
  full = resnext.build_model('resnext-29-4x8d')
  full.set_weights(model.get_weights())
  assert golden.relative_error(logits, full(images)) < 0.1

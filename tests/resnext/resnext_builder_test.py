"""Models of `build_model` and `feature_extractor`, their counts, and refusal of bad input."""
import functools

import keras
import numpy as np
import pytest

import resnext
from resnext import resnext_builder
from tests import traced
from tests.resnext import golden
from tpu_utils import profile


def test_preprocess_spec_agrees_with_the_model():
  spec = resnext_builder.get_preprocess_spec('resnext-29-8x64d')
  model = resnext.build_model('resnext-29-1x4d')
  got = np.asarray(model.get_layer('normalization')(np.full((1, 1, 1, 3), 100.0)))
  want = (100 - np.array(spec.mean_rgb)) / spec.stddev_rgb
  np.testing.assert_allclose(got[0, 0, 0], want, rtol=1e-5)


def test_bad_arguments():
  with pytest.raises(ValueError, match="model parameter 'block_from': did you mean block_form"):
    resnext.build_model('resnext-29-8x64d', block_from='a')
  with pytest.raises(ValueError, match='pooling'):
    resnext.build_model('resnext-29-8x64d', pooling='avg')
  with pytest.raises(ValueError, match='image_size'):
    resnext.build_model('resnext-29-8x64d', image_size=0)
  with pytest.raises(ValueError, match=r"endpoints='layer1' must be a list"):
    resnext.feature_extractor('resnext-29-1x4d', endpoints='layer1')


def test_model_without_top():
  settings = {'image_size': 64, 'include_top': False, 'stage_blocks': (1, 1, 1, 1)}
  features = resnext.build_model('resnext-50-4x4d', **settings)
  assert features.output.shape == (None, 2, 2, 2048)
  x = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype(np.float32)
  want = np.asarray(features(x))
  for pooling, function in (('avg', np.mean), ('max', np.max)):
    model = resnext.build_model('resnext-50-4x4d', pooling=pooling, **settings)
    model.set_weights(features.get_weights())
    np.testing.assert_allclose(model(x), function(want, (1, 2)), rtol=1e-4, atol=1e-4)


def test_no_classes_leave_out_the_classifier():
  model = resnext.build_model('resnext-29-1x4d', num_classes=0)
  assert model.output.shape == (None, 1024)


def test_feature_extractor():
  model = resnext.feature_extractor('resnext-50-4x4d', image_size=64, stage_blocks=(1, 1, 1, 1))
  assert {k: tuple(v.shape[1:]) for k, v in model.output.items()} == {
    'reduction_1': (32, 32, 64),
    'reduction_2': (16, 16, 256),
    'reduction_3': (8, 8, 512),
    'reduction_4': (4, 4, 1024),
    'reduction_5': (2, 2, 2048),
    'features': (2, 2, 2048),
  }
  cifar = resnext.feature_extractor('resnext-29-1x4d')
  assert {k: v.shape[1] for k, v in cifar.output.items()} == {
    'reduction_0': 32, 'reduction_1': 16, 'reduction_2': 8, 'features': 8
  }
  with pytest.raises(ValueError, match='did you mean layer4'):
    resnext.feature_extractor('resnext-29-1x4d', endpoints=['layer4_x'], stage_blocks=(1, 1, 1, 1))


def test_open_image_size():
  model = resnext.feature_extractor(
    'resnext-50-4x4d', ['features'], (None, None), stage_blocks=(1, 1, 1, 1)
  )
  assert model(np.zeros((1, 70, 45, 3), np.float32))['features'].shape == (1, 3, 2, 2048)


def test_model_survives_saving(tmp_path):
  model = resnext.build_model('resnext-11-4x8d', shortcut_type='A')
  model.save(tmp_path / 'm.keras')
  again = keras.models.load_model(tmp_path / 'm.keras')
  x = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
  np.testing.assert_allclose(again(x), model(x), rtol=1e-5, atol=1e-5)


def test_initial_weights_have_the_official_spread():
  """Convolutions: normal, variance 2 / (k * k * filters of all groups); classifier: uniform."""
  model = resnext.build_model('resnext-29-4x64d')
  for layer, fan in (('conv1', 9 * 64), ('layer2_1_conv2', 9 * 512), ('layer3_0_conv3', 1024)):
    kernel = model.get_layer(layer).kernel.numpy()
    assert abs(kernel.std() / np.sqrt(2 / fan) - 1) < 0.05
    assert np.abs(kernel).max() > 2.5 * kernel.std()  # Not truncated.
  kernel = model.get_layer('fc').kernel.numpy()
  assert 0.95 / 32 < np.abs(kernel).max() <= 1 / 32
  assert not model.get_layer('fc').bias.numpy().any()
  assert (model.get_layer('layer1_0_bn3').gamma.numpy() == 1).all()


# Counts of the networks in the paper's Tables 1 to 4 and 7.


@functools.cache
def counts_of(name, num_classes=None):
  return profile.count(lambda: resnext.build_model(name, num_classes=num_classes))


def reference_rows():
  """Yields (name, number of classes, reference counts)."""
  for row in golden.read_json('counts_imagenet.json')['rows']:
    yield f'resnext-{row["depth"]}-{row["cardinality"]}x{row["baseWidth"]}d', 1000, row
  for setting, row in golden.read_json('counts_cifar.json')['rows'].items():
    depth, path, classes = setting.split('_')
    yield f'resnext-{depth}-{path}', int(classes[1:]), row


@pytest.mark.parametrize(('name', 'classes', 'row'), reference_rows())
def test_reference_counts(name, classes, row):
  want = profile.Counts(row['params'], row['bn_running_stats'], row['macs_total'])
  assert counts_of(name, classes) == want


@pytest.mark.parametrize(
  'overrides',
  [
    {'preactivation': True},
    {'preactivation': True, 'stem': 'cifar'},
    {'shortcut_type': 'A'},
    {'shortcut_type': 'C'},
    {'residual': False},
    {'stem': 'deep', 'average_shortcut': True},
    {'num_classes': 0},
    {'width': 16, 'base_width': 16, 'stem_width': 32},
  ],
  ids=str,
)
@pytest.mark.parametrize('image_size', [64, 45])
def test_counts_without_weights_are_those_of_the_graph(overrides, image_size):
  overrides = {'stage_blocks': (2, 1, 1), 'num_classes': 10, **overrides}
  overrides['image_size'] = image_size
  build = functools.partial(resnext.build_model, 'resnext-11-4x8d', **overrides)
  model, counts = build(), profile.count(build)
  assert counts.parameters == sum(int(np.prod(v.shape)) for v in model.trainable_variables)
  assert counts.parameters + counts.non_trainable == model.count_params()
  assert counts.multiply_adds == traced.multiply_adds(model)


# Printed in the paper: millions of parameters (truncated), billions of multiply-adds (rounded).
PRINTED = {
  'resnet-50': (25.5, 4.1),  # Table 1.
  'resnext-50-32x4d': (25.0, 4.2),
  'resnext-29-8x64d': (34.4, None),  # Table 7.
  'resnext-29-16x64d': (68.1, None),
}


@pytest.mark.parametrize(('name', 'printed'), PRINTED.items())
def test_printed_totals(name, printed):
  millions, billions = printed
  assert int(counts_of(name).parameters / 1e5) / 10 == millions
  assert billions is None or round(counts_of(name).multiply_adds / 1e9, 1) == billions


@pytest.mark.slow
@pytest.mark.parametrize(
  ('baseline', 'names', 'times'),
  [
    ('resnet-50', [f'resnext-50-{path}' for path in ('2x40d', '4x24d', '8x14d', '32x4d')], 1),
    ('resnet-101', [f'resnext-101-{path}' for path in ('2x40d', '4x24d', '8x14d', '32x4d')], 1),
    (
      'resnet-101',
      ['resnet-200', 'resnet-101-1x100d', 'resnext-101-2x64d', 'resnext-101-64x4d'],
      2,
    ),
  ],
)
def test_complexities_of_tables_3_and_4(baseline, names, times):
  """The networks are within 5 % of the printed 1x and 2x."""
  for name in names:
    ratio = counts_of(name).multiply_adds / counts_of(baseline).multiply_adds
    assert ratio == pytest.approx(times, rel=0.05), name

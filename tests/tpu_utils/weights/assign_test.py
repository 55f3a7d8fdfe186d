"""Assignment of named arrays: all variables or none."""
import keras
import numpy as np
import pytest

from tpu_utils.weights import Rule, assign

SHAPES = {'dense/kernel': (3, 2), 'dense/bias': (2,)}


@pytest.fixture
def model():
  inputs = keras.Input((3,))
  return keras.Model(inputs, keras.layers.Dense(2, name='dense')(inputs), name='net')


def rules(**transforms):
  return {path: Rule(f'net/{path}', transforms.get(path[6:])) for path in SHAPES}


def tensors(**changes):
  return {f'net/{path}': np.full(shape, 7.0) for path, shape in SHAPES.items()} | changes


def test_sets_every_variable(model):
  assign.assign(model, rules(), tensors(), 'file')
  assert all((v.numpy() == 7).all() for v in model.weights)


def test_transform_comes_before_the_shape_check(model):
  kernel = np.arange(6.0).reshape(2, 3)
  assign.assign(model, rules(kernel=np.transpose), tensors() | {'net/dense/kernel': kernel}, 'file')
  np.testing.assert_array_equal(model.weights[0], kernel.T)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (
      {'net/dense/kernel': np.zeros((2, 3))},
      r'wrong shape: net/dense/kernel \[2, 3\] for .*\[3, 2\]',
    ),
    ({'net/other': np.zeros(1)}, '1 unexpected: net/other'),
    ({'net/dense/bias': None}, '1 missing: net/dense/bias'),
  ],
)
def test_a_mismatch_leaves_the_model_unchanged(model, change, message):
  before = model.get_weights()
  given = {k: v for k, v in (tensors() | change).items() if v is not None}
  with pytest.raises(ValueError, match=message) as error:
    assign.assign(model, rules(), given, 'some/file')
  assert 'some/file' in str(error.value)
  assert '\n' not in str(error.value)
  for then, now in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(then, now)


def test_a_prefix_of_all_names_is_reported(model):
  given = {f'backbone.{name}': value for name, value in tensors().items()}
  message = r"with 'backbone\.' before them, such as backbone\.net/dense/kernel"
  with pytest.raises(ValueError, match=message) as error:
    assign.assign(model, rules(), given, 'file')
  assert 'unexpected' not in str(error.value)
  # With a further unexpected name, all names are listed.
  message = r'2 missing: .*3 unexpected: backbone\.net/dense/kernel, .*other'
  with pytest.raises(ValueError, match=message):
    assign.assign(model, rules(), given | {'other': np.zeros(1)}, 'file')


def test_a_missing_array_of_several_rules_is_listed_once(model):
  shared = {path: Rule('both', part=i) for i, path in enumerate(SHAPES)}
  with pytest.raises(ValueError, match='nothing was loaded. 1 missing: both. '):
    assign.assign(model, shared, {}, 'file')


def test_every_unexpected_name_is_listed(model):
  extra = {f'net/extra_{i}': np.zeros(1) for i in range(30)}
  with pytest.raises(ValueError, match='30 unexpected: ') as error:
    assign.assign(model, rules(), tensors() | extra, 'file')
  assert all(name in str(error.value) for name in extra)


@pytest.mark.parametrize('kernel', [np.zeros((3, 5)), None])
def test_a_reinitialised_layer_keeps_all_its_values_on_a_mismatch(model, kernel):
  given = {'net/dense/bias': np.ones(2)} | ({} if kernel is None else {'net/dense/kernel': kernel})
  before = model.get_weights()
  report = assign.assign(model, rules(), given, 'file', reinit_on_mismatch=['dense/'])
  assert (report.loaded, report.kept) == ((), tuple(SHAPES))
  for then, now in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(then, now)
  report = assign.assign(model, rules(), tensors(), 'file', reinit_on_mismatch=['dense/'])
  assert (report.loaded, report.kept) == (tuple(SHAPES), ())


def test_table():
  report = assign.Report('file', ('a', 'b'), ('head/bias',), ('fc.bias', 'fc.weight'), 'And more.')
  assert report.table().splitlines() == [
    'Weights of file:',
    '  loaded   2',
    '  missing  1  head/bias',
    '  skipped  2  fc.bias, fc.weight',
    'And more.',
  ]


def test_a_name_map_must_be_one_to_one(model):
  twice = {path: Rule('net/dense/bias') for path in SHAPES}
  with pytest.raises(ValueError, match='one name twice'):
    assign.assign(model, twice, tensors(), 'file')
  with pytest.raises(ValueError, match='no rule'):
    assign.assign(model, {}, tensors(), 'file')


def test_keep_initial_ignores_the_file(model):
  before = model.weights[1].numpy() + 3
  model.weights[1].assign(before)
  wrong = tensors() | {'net/dense/bias': np.zeros(9)}
  report = assign.assign(model, rules(), wrong, 'file', keep_initial=['dense/bias'])
  np.testing.assert_array_equal(model.weights[1], before)
  assert (report.loaded, report.kept) == (('dense/kernel',), ('dense/bias',))
  assert report.unused == ('net/dense/bias',)
  assert str(report) == (
    'file: 1 variables loaded; 1 kept as they were: dense/bias; '
    '1 unused in the file: net/dense/bias.'
  )


def test_allow_missing_does_not_allow_part_of_a_layer(model):
  report = assign.assign(model, rules(), {}, 'file', allow_missing=['dense'])
  assert report.kept == tuple(SHAPES)
  with pytest.raises(ValueError, match='1 missing: net/dense/bias'):
    kernel = {'net/dense/kernel': np.zeros((3, 2))}
    assign.assign(model, rules(), kernel, 'file', allow_missing=['dense'])


def test_allow_unused_names(model):
  extra = {'head/kernel': np.zeros(1)}
  report = assign.assign(model, rules(), tensors() | extra, 'file', allow_unused=['head/'])
  assert report.unused == ('head/kernel',)


def test_copies_must_be_equal(model):
  copied = {**rules(), 'dense/bias': Rule('net/dense/bias', copies=('tied',))}
  assign.assign(model, copied, tensors(tied=np.full(2, 7.0)), 'file')
  with pytest.raises(ValueError, match='tied differs from net/dense/bias') as error:
    assign.assign(model, copied, tensors(tied=np.full(2, 8.0)), 'file')
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize('dtype', ['float32', 'float16', 'bfloat16'])
def test_values_that_are_not_finite_are_refused_by_name(model, value, dtype):
  before = model.get_weights()
  kernel = np.zeros((3, 2), np.float32)
  kernel[1, 1] = value
  given = tensors() | {'net/dense/kernel': kernel.astype(np.dtype(dtype))}
  message = r'some/file: NaN or infinite values for dense/kernel \(net/dense/kernel\); nothing'
  with pytest.raises(ValueError, match=message) as error:
    assign.assign(model, rules(), given, 'some/file')
  assert '\n' not in str(error.value)
  for then, now in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(then, now)
  # A layer that keeps its initial values does not read them.
  assign.assign(model, rules(), given, 'some/file', keep_initial=['dense/'])

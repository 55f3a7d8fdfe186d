"""Recordings of six official training steps, and comparisons of our training with them.

A recording is `tests/goldens/efficientnet/train_trajectory_<case>.npz`. `Recording` provides
everything that is needed to repeat it (settings, model with initial weights, batches), and checks
the results of each step.
"""
import json
import pathlib

import numpy as np

import efficientnet
from efficientnet.checkpoint_names import official as names
from tests.goldens import weights
from tpu_utils import ema, optimizers, schedules

FOLDER = pathlib.Path(__file__).parent.parent / 'goldens' / 'efficientnet'
CASES = ('rmsprop_exponential', 'momentum_cosine', 'lars_poly')

# Largest differences: absolute for logits and loss, relative to the root mean square for arrays.
# From the README of the goldens. With LARS' large learning rate, rounding alone makes a training
# drift, so the last two of its six steps are compared loosely.
_CLOSE = {'logits': 1e-3, 'loss': 1e-4, 'arrays': 1e-3}
_LOOSE = {'logits': 3e-2, 'loss': 3e-3, 'arrays': 3e-2}
# Allowed in addition: some betas have a true gradient of zero, and noise of 1e-7 in its place.
_FLOOR = 2e-6


def state_of(model, optimizer, average):
  """Returns {(kind, path): array} of a training; kind is 'var', 'ema' or 'slot:<slot>'."""
  state = {('var', v.path): v.numpy() for v in model.weights}
  state |= {('ema', path): shadow.numpy() for path, shadow in average.variables.items()}
  for name, variable in optimizer.variables.items():
    slot, path = name.split('/', 1)
    state['slot:' + slot, path] = variable.numpy()
  return state


class Recording:
  """Recorded training.

  Args:
    case: one of `CASES`.
  """

  def __init__(self, case):
    with np.load(FOLDER / f'train_trajectory_{case}.npz') as data:
      self.data = dict(data)
    self.config = json.loads(str(self.data['config_json']))
    self.steps = self.config['steps']
    keys = map(_without_suffix, self.data['variable_kinds'], self.data['variable_names'])
    self._index = {key: i for i, key in enumerate(keys)}

  def build_model(self):
    """Builds the model with the recording's initial weights; called in the strategy's scope."""
    c = self.config
    model = efficientnet.build_model(
      c['model_name'], num_classes=c['num_classes'], image_size=c['input_size'],
      width_coefficient=c['width_coefficient'], depth_coefficient=c['depth_coefficient'],
      dropout_rate=c['dropout_rate'], survival_prob=c['survival_prob'],
      mean_rgb=(0.0, 0.0, 0.0), stddev_rgb=(1.0, 1.0, 1.0),
    )
    official = self.official_names(model)
    for variable in model.weights:
      variable.assign(weights.value(official[variable.path], variable.shape, c['salt']))
    return model

  def official_names(self, model):
    """Returns {variable.path: official name in this recording}."""
    rules = names.rules(model, [name for kind, name in self._index if kind == 'var'])
    return {path: rule.name for path, rule in rules.items()}

  def build_optimizer(self):
    c = self.config
    settings = {
      'rmsprop': {
        'decay': c['rms_decay'], 'momentum': c['momentum'], 'epsilon': c['rms_epsilon']
      },
      'momentum': {'momentum': c['momentum']},
      'lars': {
        'momentum': c['momentum'], 'weight_decay': c['lars_weight_decay'],
        'eeta': c['lars_eeta'], 'epsilon': c['lars_epsilon'],
      },
    }
    return optimizers.build_optimizer(c['optimizer'], **settings[c['optimizer']])

  def build_learning_rate(self):
    c = self.config
    return schedules.build_learning_rate(
      c['scaled_lr'], c['steps_per_epoch'], c['lr_schedule'], c['lr_decay_factor'],
      c['lr_decay_epoch'], c['train_steps'], c['warmup_epochs'],
    )

  def build_ema(self):
    return ema.ExponentialMovingAverage(self.config['moving_average_decay'])

  def batch(self, step):
    """Returns the batch of a step, counted from 0, as {'images', 'labels'}."""
    c = self.config
    size = c['input_size']
    images = np.random.default_rng(step + c['x_seed_offset']).normal(
      size=(c['batch_size'], size, size, 3)
    )
    classes = np.random.default_rng(step + c['label_seed_offset']).integers(
      c['num_classes'], size=c['batch_size']
    )
    labels = np.eye(c['num_classes'], dtype=np.float32)[classes]
    return {'images': images.astype(np.float32), 'labels': labels}

  # The checks raise AssertionError; steps count from 0.

  def limits(self, step):
    return _LOOSE if self.config['optimizer'] == 'lars' and step >= 4 else _CLOSE

  def check_outputs(self, step, learning_rate, cross_entropy, total_loss, logits):
    """Checks a step's values from before its update."""
    limits, data = self.limits(step), self.data
    self.check_learning_rate(step, learning_rate)
    self.check_loss(step, cross_entropy, total_loss)
    np.testing.assert_allclose(logits, data['logits'][step], rtol=0, atol=limits['logits'])

  def check_learning_rate(self, step, learning_rate):
    expected = self.data['learning_rate'][step]
    np.testing.assert_array_max_ulp(np.float32(learning_rate), expected, 2)

  def check_loss(self, step, cross_entropy, total_loss):
    for name, value in [('cross_entropy', cross_entropy), ('total_loss', total_loss)]:
      np.testing.assert_allclose(
        value, self.data[name][step], rtol=0, atol=self.limits(step)['loss'], err_msg=name
      )

  def check_gradients(self, step, model, gradients):
    """Checks the gradients of the total loss at a step, {path: array}."""
    names, data = self.official_names(model), self.data
    order = {str(name): i for i, name in enumerate(data['gradient_names'])}
    assert {names[path] for path in gradients} == set(order)
    for path, gradient in gradients.items():
      i = order[names[path]]
      self._check_array(
        f'gradient of {path} at step {step}', self.limits(step)['arrays'], np.asarray(gradient),
        data['gradient_first8'][step, i], data['gradient_l2'][step, i],
      )

  def check_gradient_norm(self, step, norm):
    """Checks the joint norm of all gradients of a step."""
    expected = np.linalg.norm(self.data['gradient_l2'][step])
    np.testing.assert_allclose(norm, expected, rtol=self.limits(step)['arrays'])

  def check_start(self, model, state):
    """Checks the state before the first step, {(kind, path): array}; see `state_of`."""
    for key, array, i in self._recorded(model, state):
      got = np.mean(array, dtype=np.float64), np.linalg.norm(array.astype(np.float64))
      expected = self.data['init_mean'][i], self.data['init_l2'][i]
      np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9, err_msg=str(key))

  def check_state(self, step, model, state):
    """Checks every variable, slot and average after a step."""
    data, tolerance = self.data, self.limits(step)['arrays']
    names = self.official_names(model)
    whole = {
      _without_suffix(*key.split('/', 3)[2:]): value
      for key, value in data.items() if key.startswith(f'full/step{step + 1}/')
    }
    for (kind, path), array, i in self._recorded(model, state):
      what = f'{kind} {path} after step {step}'
      l2 = data['stat_l2'][step, i]
      limit = self._check_array(what, tolerance, array, data['first8'][step, i], l2)
      got = array.mean(dtype=np.float64), array.std(dtype=np.float64)
      expected = data['stat_mean'][step, i], data['stat_std'][step, i]
      np.testing.assert_allclose(got, expected, rtol=0, atol=limit, err_msg=what)
      if (kind, names[path]) in whole:
        np.testing.assert_allclose(
          array, whole[kind, names[path]], rtol=0, atol=limit, err_msg=what
        )

  def _recorded(self, model, state):
    """Yields (key, array, index in the recording); the keys must be exactly the recorded ones."""
    names = self.official_names(model)
    official = {(kind, names[path]): (kind, path) for kind, path in state}
    assert official.keys() == self._index.keys()
    for name, key in official.items():
      yield key, state[key], self._index[name]

  def _check_array(self, what, tolerance, array, first8, l2):
    """Compares the first elements and the norm of an array; returns the limit that was used."""
    limit = tolerance * l2 / np.sqrt(array.size) + _FLOOR
    first8 = first8[:array.size]  # Shorter arrays are padded with NaN.
    np.testing.assert_allclose(
      array.ravel()[:8], first8, rtol=0, atol=limit, err_msg=what, equal_nan=False
    )
    norm = np.linalg.norm(array.astype(np.float64))
    np.testing.assert_allclose(norm, l2, rtol=0, atol=limit * np.sqrt(array.size), err_msg=what)
    return limit


def _without_suffix(kind, name):
  """Returns (kind, name of the variable); names of slots and averages have one more part."""
  return str(kind), str(name if kind == 'var' else name.rsplit('/', 1)[0])

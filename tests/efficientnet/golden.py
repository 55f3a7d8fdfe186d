"""Reads the reference numbers and sets the weights that they were made with."""
import json
import pathlib

import numpy as np

from tests.goldens import weights

FOLDER = pathlib.Path(__file__).parent.parent / 'goldens' / 'efficientnet'


def read_json(name):
  return json.loads((FOLDER / name).read_text())


def read_npz(name):
  return dict(np.load(FOLDER / name))


def variables(model_name):
  """The official variables in creation order: dicts with name, shape, trainable, fan_in."""
  return read_json(f'variables_{model_name}.json')['variables']


def value(variable):
  """The reference value of one of `variables`."""
  fan = variable['fan_in'] if variable.get('explicit_fan') else None
  return weights.value(variable['name'], variable['shape'], fan=fan)


def set_weights(model, model_name):
  """Gives the model the reference weights, by order of creation (which the tests check by name)."""
  official = variables(model_name)
  assert [tuple(v.shape) for v in model.weights] == [tuple(v['shape']) for v in official]
  for ours, theirs in zip(model.weights, official, strict=True):
    ours.assign(value(theirs))


def images(size):
  return np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)


def relative_error(got, want):
  """Largest difference as a fraction of the standard deviation of `want`."""
  want = np.asarray(want, np.float64)
  return np.abs(np.asarray(got, np.float64) - want).max() / want.std()

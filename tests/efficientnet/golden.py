"""Reference numbers of the official code, and the weights that they were computed with."""
import json
import pathlib

import numpy as np

from tests.goldens import weights

FOLDER = pathlib.Path(__file__).parent.parent / 'goldens' / 'efficientnet'


def read_json(name):
  return json.loads((FOLDER / name).read_text())


def read_npz(name):
  return dict(np.load(FOLDER / name))


def names(kind):
  """Returns the models that have a file `<kind>_<model>.json`."""
  return sorted(path.stem.removeprefix(f'{kind}_') for path in FOLDER.glob(f'{kind}_*.json'))


def variables(model_name):
  """Returns the official variables in creation order: dicts of name, shape, trainable, fan_in."""
  return read_json(f'variables_{model_name}.json')['variables']


def value(variable):
  """Returns the reference value of one of `variables`."""
  fan = variable['fan_in'] if variable.get('explicit_fan') else None
  return weights.value(variable['name'], variable['shape'], fan=fan)


def set_weights(model, model_name):
  """Assigns the reference weights by order of creation (tests compare the order by name)."""
  official = variables(model_name)
  assert [tuple(v.shape) for v in model.weights] == [tuple(v['shape']) for v in official]
  for ours, theirs in zip(model.weights, official, strict=True):
    ours.assign(value(theirs))


def images(size):
  return np.random.default_rng(0).uniform(0, 255, (2, size, size, 3)).astype(np.float32)


def relative_error(got, want):
  """Returns the largest difference as a fraction of the standard deviation of `want`."""
  got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
  assert got.shape == want.shape
  return np.abs(got - want).max() / want.std()


def global_params(model_name):
  """Returns those official `GlobalParams` of a model that the official builder sets."""
  params = read_json('blocks.json')[model_name]['global_params']
  # Not parameters of our networks: layout, kind of batch norm and precision are chosen elsewhere.
  others = ('data_format', 'batch_norm', 'use_bfloat16', 'blocks_args')
  return {k: v for k, v in params.items() if v is not None and k not in others}

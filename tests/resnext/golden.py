"""Reference numbers, and the weights that they were computed with."""
import json
import pathlib

import numpy as np
from keras import ops

from resnext import checkpoint_names as names
from tests.goldens import weights

FOLDER = pathlib.Path(__file__).parent.parent / 'goldens' / 'resnext'
NOT_NORMALISED = {'mean_rgb': (0.0, 0.0, 0.0), 'stddev_rgb': (1.0, 1.0, 1.0)}


def read_json(name):
  return json.loads((FOLDER / name).read_text())


def read_npz(name):
  return dict(np.load(FOLDER / name))


def to_torch(value):
  """Returns one of our arrays in torch's layout."""
  value = np.asarray(value)
  return value.transpose({4: (3, 2, 0, 1), 2: (1, 0)}.get(value.ndim, (0,)))


def from_torch(value):
  return value.transpose({4: (2, 3, 1, 0), 2: (1, 0)}.get(value.ndim, (0,)))


def set_weights(model, prefix='', rename=lambda name: name):
  """Assigns the reference weights, by torchvision's names, to a model in form (c)."""
  for variable in model.weights:
    name = prefix + rename(names.torch_name(variable.path))
    shape = to_torch(np.zeros(variable.shape)).shape
    variable.assign(from_torch(weights.value(name, shape, layout='torch')))


def relative_error(got, want):
  """Returns the largest difference relative to the largest value (see goldens/README.md)."""
  want = np.asarray(want, np.float64)
  return np.abs(np.asarray(ops.convert_to_numpy(got), np.float64) - want).max() / np.abs(want).max()

"""The models of the reference data in tests/goldens/oscar: configuration and weights."""
import json
import pathlib

import numpy as np

import oscar
from oscar import checkpoint_names as names
from tests.goldens import weights

GOLDENS = pathlib.Path(__file__).parents[1] / 'goldens' / 'oscar'
CONFIG = {
  'vocab_size': 400,
  'hidden_size': 48,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'intermediate_size': 96,
  'max_position_embeddings': 64,
  'img_feature_dim': 26,
}


def load(name):
  """Returns the arrays of an .npz file, or the content of a .json file."""
  if name.endswith('.json'):
    return json.loads((GOLDENS / name).read_text())
  return np.load(GOLDENS / name)


def value(name, shape):
  """Returns the weight `name` (torch name, torch shape) of every golden model."""
  name = name.replace('embeddings.LayerNorm', 'emb_norm.LayerNorm')
  array = weights.value(name, shape, layout='torch')
  return array * 10 if 'embedding' in name and name.endswith('.weight') else array


def build(task, **overrides):
  """Builds the tiny model of `task` with its golden weights."""
  model = oscar.build_model(oscar.OscarConfig(**CONFIG), task, **overrides)
  for variable in model.variables:
    if 'seed_generator' in variable.path:
      continue
    transposed = variable.path.endswith('kernel')
    shape = variable.shape[::-1] if transposed else variable.shape
    array = value(names.torch_name(variable.path), shape)
    variable.assign(array.T if transposed else array)
  return model


def inputs(arrays, *keys, prefix=''):
  """Returns {key: array at prefix + key}."""
  return {key: arrays[prefix + key] for key in keys}

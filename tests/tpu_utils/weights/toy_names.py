"""A `NameMap` for tests: names in torch files are 'net.' and the variable's path."""
from tpu_utils.weights import NameMap, Rule, Source


def rules(model, names):
  del names
  return {v.path: Rule('net.' + v.path.replace('/', '.')) for v in model.weights}


def check(model, path, names):
  if 'net.other' in names:
    raise ValueError(f'{path} is not for {model.name}.')


def prepare(tensors):
  return {name.replace('old.', 'net.'): value for name, value in tensors.items()}


TORCH = Source(rules, format='torch', prepare=prepare, buffers=('.steps',), check=check)
NAME_MAP = NameMap({'torch': TORCH, 'toyland': TORCH})

"""Loads and writes checkpoints of this and other programs.

    from tpu_utils import weights
    print(weights.load(model, 'model.ckpt-350000'))       # all variables or none; prints one line
    weights.save_torch(model, 'model.safetensors')

This folder knows file formats. Variable names belong to the packages of the models, which register
a `NameMap` of them.
"""
from tpu_utils import lazy

__all__ = [
  'NameMap', 'READERS', 'Report', 'Rule', 'Source', 'classifier_of', 'load', 'register', 'save_tf1',
  'save_torch',
]  # fmt: skip

__getattr__, __dir__ = lazy.attach(
  __name__,
  {
    'NameMap': 'name_map',
    'READERS': 'loading',
    'Report': 'assign',
    'Rule': 'name_map',
    'Source': 'name_map',
    'classifier_of': 'loading',
    'load': 'loading',
    'register': 'name_map',
    'save_tf1': 'saving',
    'save_torch': 'saving',
  },
)

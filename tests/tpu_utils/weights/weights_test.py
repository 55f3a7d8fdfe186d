"""Which reader and which name map `load` picks; the readers have their own tests."""
import keras
import pytest

from tpu_utils import weights


def test_model_of_no_paper():
  inputs = keras.Input((3,))
  model = keras.Model(inputs, inputs, name='mlp')
  with pytest.raises(ValueError, match="'mlp'.*efficientnet"):
    weights.load(model, 'model.ckpt')


def test_every_source_has_a_reader():
  for module in weights.NAMES.values():
    model = keras.Model(*[keras.Input((1,))] * 2, name=_start_of(module))
    maps = weights._names_module(model).NAME_MAPS
    assert set(maps) <= set(weights.READERS)


def _start_of(module):
  return next(start for start, m in weights.NAMES.items() if m == module)


def test_models_that_no_official_tf1_program_has(tmp_path):
  model = keras.Model(*[keras.Input((1,))] * 2, name='oscar-base')
  with pytest.raises(ValueError, match='like oscar-base; save it as .keras'):
    weights.save_tf1(model, tmp_path / 'm')


def test_only_classifiers_have_one_to_leave_out():
  model = keras.Model(*[keras.Input((1,))] * 2, name='oscar-base')
  with pytest.raises(ValueError, match='oscar-base has no classifier of images'):
    weights.classifier_of(model)

"""Name maps are selected by the model's name, also after saving or cloning."""
import importlib
import types

import keras
import numpy as np
import pytest

import efficientnet
from tpu_utils import weights
from tpu_utils.weights import name_map


@pytest.mark.parametrize(
  ('model_name', 'package'),
  [
    ('efficientnet-b0', 'efficientnet'), ('resnext-50-32x4d', 'resnext'), ('resnet-50', 'resnext'),
    ('oscar_vqa', 'oscar'),
  ],
)  # fmt: skip
def test_a_package_registers_its_names_when_it_is_imported(model_name, package):
  importlib.import_module(package)
  found = name_map.name_map_of(types.SimpleNamespace(name=model_name))
  assert found is importlib.import_module(f'{package}.checkpoint_names').NAME_MAP


def test_a_model_of_no_family_is_reported():
  message = "called 'mlp', .*one of: .*efficientnet.*Import the package"
  with pytest.raises(ValueError, match=message) as error:
    name_map.name_map_of(types.SimpleNamespace(name='mlp'))
  assert '\n' not in str(error.value)


@pytest.mark.slow
def test_loaded_and_cloned_models_keep_their_names(tmp_path):
  model = efficientnet.build_model(
    'efficientnet-lite0', num_classes=3, image_size=32, width_coefficient=0.1, depth_coefficient=0.1
  )
  weights.save_torch(model, tmp_path / 'm.safetensors')
  model.save(tmp_path / 'm.keras')
  for again in (keras.models.load_model(tmp_path / 'm.keras'), keras.models.clone_model(model)):
    for variable in again.weights:
      variable.assign(np.zeros(variable.shape))
    weights.load(again, tmp_path / 'm.safetensors')
    for got, want in zip(again.weights, model.weights, strict=True):
      np.testing.assert_array_equal(got, want)

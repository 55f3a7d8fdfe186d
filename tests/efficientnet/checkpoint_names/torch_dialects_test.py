"""State dicts of timm, efficientnet_pytorch and torchvision: loading, saving, logits."""
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

import efficientnet
from efficientnet.checkpoint_names import torch_dialects
from tests.efficientnet import golden
from tests.goldens import weights as golden_weights
from tpu_utils import weights
from tpu_utils.weights import torch_files

SYMMETRIC = {'padding': 'symmetric', 'batch_norm_epsilon': 1e-5}
# {torch network: (our model, settings that a state dict does not contain)}.
PEERS = {
  'tf_efficientnet_b0': ('efficientnet-b0', {}),
  'efficientnet_b0': ('efficientnet-b0', SYMMETRIC),
  'tf_efficientnet_es': ('efficientnet-edgetpu-S', {'num_classes': 1000}),
  'tf_efficientnet_cc_b0_4e': ('efficientnet-condconv-b0-4e', {}),
  'efficientnet_lite0': ('efficientnet-lite0', SYMMETRIC),
  'torchvision_efficientnet_b0': ('efficientnet-b0', SYMMETRIC),
}
PLAIN = {'mean_rgb': (0, 0, 0), 'stddev_rgb': (1, 1, 1)}  # The images are normalised already.


def values(shapes):
  return {
    name: golden_weights.value(name, shape, layout='torch') for name, shape in shapes.items()
  }


def state_dict(name):
  return values(golden.read_json('torch_peers.json')[name])


def dialect_of(name):
  return 'torchvision' if name.startswith('torchvision') else 'timm'


@pytest.mark.parametrize('name', PEERS)
def test_logits(tmp_path, name):
  tensors = state_dict(name)
  path = tmp_path / f'{name}.safetensors'
  torch_files.write(path, tensors)
  model_name, settings = PEERS[name]
  model = efficientnet.build_model(model_name, image_size=64, weights=path, **settings, **PLAIN)
  images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
  want = golden.read_npz('torch_peers.npz')[f'{name}/logits']
  assert golden.relative_error(model(images), want) < 2e-4
  back = torch_dialects.torch_state_dict(model, dialect_of(name))
  assert set(back) == {key for key in tensors if not key.endswith('num_batches_tracked')}
  for key, value in back.items():
    np.testing.assert_array_equal(value, tensors[key])


def test_names_of_efficientnet_pytorch(tmp_path):
  """They load, and `save_torch` writes them back."""
  tensors = values(golden.read_json('pretrained_lite0_peer.json')['shapes'])
  path = tmp_path / 'model.safetensors'
  torch_files.write(path, {f'module.{name}': value for name, value in tensors.items()})
  model = efficientnet.build_model('efficientnet-lite0', image_size=32, weights=path)
  weights.save_torch(model, tmp_path / 'back.safetensors', dialect='lukemelas')
  back = torch_files.read(tmp_path / 'back.safetensors')
  assert set(back) == {key for key in tensors if not key.endswith('num_batches_tracked')}
  for key, value in back.items():
    np.testing.assert_array_equal(value, tensors[key])


def test_padding_of_another_kind_is_refused(tmp_path):
  tensors = state_dict('efficientnet_lite0')
  torch_files.write(tmp_path / 'efficientnet_lite0_ra-37913777.safetensors', tensors)
  message = "has padding 'symmetric'.*padding='symmetric', .*epsilon=1e-05"
  with pytest.raises(ValueError, match=message) as error:
    efficientnet.build_model(
      'efficientnet-lite0', image_size=32,
      weights=tmp_path / 'efficientnet_lite0_ra-37913777.safetensors',
    )
  assert '\n' not in str(error.value)
  torch_files.write(tmp_path / 'tf_efficientnet_lite0-0aa007d2.safetensors', tensors)
  with pytest.raises(ValueError, match="padding='same', batch_norm_epsilon=0.001"):
    efficientnet.build_model(
      'efficientnet-lite0', image_size=32,
      weights=tmp_path / 'tf_efficientnet_lite0-0aa007d2.safetensors',
      **SYMMETRIC,
    )


def test_the_library_transformers_is_named(tmp_path):
  """Also in a folder that is called like timm's networks."""
  (tmp_path / 'efficientnet_b0').mkdir()
  path = tmp_path / 'efficientnet_b0' / 'model.safetensors'
  torch_files.write(path, {'efficientnet.embeddings.convolution.weight': np.ones((32, 3, 3, 3))})
  with pytest.raises(ValueError, match="is transformers' own EfficientNet.* Take timm's or"):
    efficientnet.build_model('efficientnet-lite0', image_size=32, weights=path.parent)


@pytest.mark.parametrize(('name', 'epsilon'), [('b0', '1e-05'), ('b4', '1e-05'), ('b5', '0.001')])
def test_torchvision_pads_symmetrically(tmp_path, name, epsilon):
  torch_files.write(tmp_path / 'm.safetensors', state_dict('torchvision_efficientnet_b0'))
  small = {'width_coefficient': 0.25, 'depth_coefficient': 0.1, 'image_size': 32}
  message = (
    "is from torchvision, which has padding 'symmetric' "
    f".*with padding='symmetric', batch_norm_epsilon={epsilon}"
  )
  with pytest.raises(ValueError, match=message):
    efficientnet.build_model(f'efficientnet-{name}', weights=tmp_path / 'm.safetensors', **small)


def test_epsilon_of_another_kind_is_refused(tmp_path):
  torch_files.write(tmp_path / 'm.safetensors', state_dict('torchvision_efficientnet_b0'))
  with pytest.raises(ValueError, match="built with 'symmetric' and 0.001; nothing was loaded"):
    efficientnet.build_model(
      'efficientnet-b0', image_size=32, weights=tmp_path / 'm.safetensors', padding='symmetric'
    )


def test_variable_names_override_the_file_name(tmp_path):
  """By its file name the network would be timm's, with symmetric padding."""
  path = tmp_path / 'efficientnet_lite0.safetensors'
  torch_files.write(path, values(golden.read_json('pretrained_lite0_peer.json')['shapes']))
  model = efficientnet.build_model('efficientnet-lite0', image_size=32)
  weights.load(model, path)
  message = "is from efficientnet_pytorch, which has padding 'same' and epsilon 0.001"
  with pytest.raises(ValueError, match=message):
    weights.load(efficientnet.build_model('efficientnet-lite0', image_size=32, **SYMMETRIC), path)


def test_unknown_dialect():
  model = efficientnet.build_model('efficientnet-b0', image_size=32, width_coefficient=0.25)
  with pytest.raises(ValueError, match='Unknown dialect .tim.: did you mean timm'):
    torch_dialects.torch_state_dict(model, 'tim')


def test_hugging_faces_config_next_to_the_weights(tmp_path):
  torch_files.write(tmp_path / 'model.safetensors', state_dict('efficientnet_lite0'))
  record = {
    'architecture': 'tf_efficientnet_lite0',
    'pretrained_cfg': {'mean': [0.5, 0.5, 0.5], 'std': [0.25, 0.5, 0.5]},
  }
  (tmp_path / 'config.json').write_text(json.dumps(record))
  model = efficientnet.build_model('efficientnet-lite0', image_size=32)
  report = weights.load(model, tmp_path)
  assert 'mean_rgb 127.5, 127.5, 127.5; stddev_rgb 63.75, 127.5, 127.5.' in str(report)
  normalised = np.asarray(model.get_layer('normalization')(np.full((1, 32, 32, 3), 255.0)))
  np.testing.assert_allclose(normalised[0, 0, 0], [2, 1, 1], rtol=1e-6)
  (tmp_path / 'config.json').write_text('{"architecture": ')
  with pytest.raises(ValueError, match='config.json cannot be read as JSON'):
    weights.load(model, tmp_path)


def test_incomplete_state_dict_and_that_of_another_network(tmp_path):
  tensors = state_dict('efficientnet_lite0')
  half = dict(list(tensors.items())[: len(tensors) // 2])
  path = tmp_path / 'half.safetensors'
  torch_files.write(path, half)
  model = efficientnet.build_model('efficientnet-lite0', image_size=32)
  before = model.get_weights()
  missing = [k for k in tensors if k not in half and 'num_batches' not in k]
  with pytest.raises(ValueError, match=f'{len(missing)} missing: ') as error:
    weights.load(model, path)
  assert all(name in str(error.value) for name in missing) and '\n' not in str(error.value)
  torch_files.write(path, state_dict('tf_efficientnet_es'))
  with pytest.raises(ValueError, match='does not fit efficientnet-lite0.*wrong shape: '):
    weights.load(model, path)
  for then, now in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(then, now)


@pytest.mark.slow
def test_a_model_without_classifier_takes_a_file_with_one(tmp_path):
  path = tmp_path / 'm.safetensors'
  torch_files.write(path, state_dict('efficientnet_lite0'))
  for settings in ({'num_classes': 0}, {'include_top': False}, {'features_only': True}):
    model = efficientnet.build_model('efficientnet-lite0', image_size=32, weights=path, **settings)
    want = golden_weights.value('conv_stem.weight', (32, 3, 3, 3), layout='torch')
    want = want.transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(model.get_layer('stem_conv2d').kernel, want)
  features = efficientnet.feature_extractor(
    'efficientnet-lite0', image_size=32, weights=path, num_classes=7
  )
  assert 'reduction_5' in features.output


def test_networks_that_torch_does_not_have(tmp_path):
  model = efficientnet.build_model('efficientnet-x-b0', image_size=32)
  with pytest.raises(ValueError, match='no other program has a layer like'):
    weights.save_torch(model, tmp_path / 'm.safetensors')


# In a separate process, because timm's dependencies and TensorFlow crash each other in one.
PEER = """
import sys, numpy, torch
name, state_dict, images, logits = sys.argv[1:]
if name.startswith('torchvision_'):
  import torchvision
  peer = getattr(torchvision.models, name.removeprefix('torchvision_'))()
else:
  import timm
  peer = timm.create_model(name)
peer.load_state_dict(torch.load(state_dict, weights_only=True))
with torch.no_grad():
  found = peer.eval()(torch.tensor(numpy.load(images).transpose(0, 3, 1, 2).copy()))
numpy.save(logits, found.numpy())
"""


@pytest.mark.skipif(
  not all(map(importlib.util.find_spec, ('torch', 'torchvision', 'timm'))),
  reason='torch or timm is not installed',
)
@pytest.mark.parametrize('name', PEERS)
def test_the_torch_network_gives_our_logits(tmp_path, name):
  """With the weights that we write."""
  model_name, settings = PEERS[name]
  model = efficientnet.build_model(model_name, image_size=64, **settings, **PLAIN)
  for variable in model.weights:
    variable.assign(golden_weights.value(variable.path, variable.shape, salt=1))
  weights.save_torch(model, tmp_path / 'm.pth', dialect=dialect_of(name))
  images = np.random.default_rng(1).normal(size=(2, 64, 64, 3)).astype(np.float32)
  np.save(tmp_path / 'images.npy', images)
  paths = [tmp_path / file for file in ('m.pth', 'images.npy', 'logits.npy')]
  subprocess.run([sys.executable, '-c', PEER, name, *paths], check=True)
  assert golden.relative_error(model(images), np.load(paths[-1])) < 2e-4

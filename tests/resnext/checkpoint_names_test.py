"""Checkpoints of torchvision, timm and Lua Torch load here, and ours load there."""
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

import resnext
from resnext import checkpoint_names as names
from tests import t7_writer
from tests.goldens import weights as golden_weights
from tests.resnext import golden
from tpu_utils import weights
from tpu_utils.weights import torch_files

pytestmark = pytest.mark.slow


def state_dict(file):
  """Returns the reference state dict as in a file, including batch norm's counters."""
  shapes = golden.read_json(f'{file}_shapes.json')['shapes']
  tensors = {n: golden_weights.value(n, s, layout='torch') for n, s in shapes.items()}
  counters = [n for n in shapes if n.endswith('running_var')]
  return {
    **tensors,
    **{n.replace('running_var', 'num_batches_tracked'): np.int64(1) for n in counters},
  }


def test_the_library_transformers_is_named(tmp_path):
  path = tmp_path / 'model.safetensors'
  torch_files.write(path, {'resnet.embedder.embedder.convolution.weight': np.ones((64, 3, 7, 7))})
  with pytest.raises(ValueError, match="is transformers' own ResNet.* Take timm's or torch"):
    weights.load(resnext.build_model('resnet-50', image_size=32), path)


PEERS = [
  ('tv_resnext50_32x4d', 'resnext-50-32x4d', {}),
  ('tv_resnet50', 'resnet-50', {}),
  ('timm_resnext50d_32x4d', 'resnext-50d-32x4d', {}),
  ('cifar_resnext29_4x24d_c100', 'resnext-29-4x24d', {'num_classes': 100, 'block_form': 'b'}),
  ('cifar_resnext29_4x24d_c100', 'resnext-29-4x24d', {'num_classes': 100, 'block_form': 'a'}),
]


@pytest.mark.parametrize(('file', 'name', 'overrides'), PEERS)
def test_logits_with_weights_from_a_file(tmp_path, file, name, overrides):
  size = 32 if file.startswith('cifar') else 64
  torch_files.write(tmp_path / 'm.safetensors', state_dict(file))
  model = resnext.build_model(
    name, image_size=size, weights=tmp_path / 'm.safetensors', **golden.NOT_NORMALISED, **overrides
  )
  want = golden.read_npz(f'{file}_s{size}.npz')
  assert golden.relative_error(model(want['input']), want['logits']) < 1e-5


@pytest.mark.parametrize('form', ['a', 'b', 'c'])
@pytest.mark.parametrize(
  ('name', 'network'),
  [
    ('tiny_resnext', {'stage_blocks': (2, 1), 'cardinality': 4, 'base_width': 16, 'width': 8}),
    ('tiny_resnext_nn', {'stage_blocks': (1, 1), 'cardinality': 2, 'base_width': 32, 'width': 4}),
  ],
)
def test_logits_with_weights_from_lua(name, network, form):
  want = golden.read_npz(f'{name}_expected.npz')
  model = resnext.build_model(
    'resnext-50-1x1d', want['logits'].shape[1], 32, golden.FOLDER / f'{name}.t7', stem_width=8,
    block_form=form, **network, **golden.NOT_NORMALISED,
  )
  assert golden.relative_error(model(want['input']), want['logits']) < 1e-5


def test_a_model_without_classifier_loads_a_file_with_one(tmp_path):
  """Files of Torch and of Lua."""
  tensors = state_dict('cifar_resnext29_4x24d_c100')
  torch_files.write(tmp_path / 'm.safetensors', tensors)
  model = resnext.build_model('resnext-29-4x24d', num_classes=0, weights=tmp_path / 'm.safetensors')
  kernel = model.get_layer('conv1').kernel
  np.testing.assert_array_equal(golden.to_torch(kernel), tensors['conv1.weight'])
  path = golden.FOLDER / 'tiny_resnext_nn.t7'
  model = resnext.build_model(
    'resnext-50-1x1d', num_classes=0, image_size=32, weights=path, stage_blocks=(1, 1),
    cardinality=2, base_width=32, width=4, stem_width=8,
  )  # fmt: skip
  want = golden.read_npz('tiny_resnext_nn_expected.npz')['param/conv1.weight']
  np.testing.assert_array_equal(golden.to_torch(model.get_layer('conv1').kernel), want)


def lua_network(model, paths):
  """Returns the object that models/resnext.lua would save for a CIFAR network in form (b).

  Args:
    model: the source of the parameters, in form (b).
    paths: its cardinality.
  """
  values = {v.path: np.asarray(v) for v in model.weights}

  def conv(layer):
    weight = np.ascontiguousarray(golden.to_torch(values[f'{layer}/kernel']))
    return t7_writer.module('cudnn.SpatialConvolution', weight=weight)

  def norm(layer):
    return t7_writer.module(
      'nn.SpatialBatchNormalization',
      weight=values[f'{layer}/gamma'],
      bias=values[f'{layer}/beta'],
      running_mean=values[f'{layer}/moving_mean'],
      running_var=values[f'{layer}/moving_variance'],
    )

  def container(kind, *modules):
    return t7_writer.module(f'nn.{kind}', modules=list(modules))

  relu, other = t7_writer.module('cudnn.ReLU'), t7_writer.module('nn.JoinTable')

  def block(name):
    def path(i):
      prefix = f'{name}_path{i}'
      first, second = (
        (conv(f'{prefix}_conv{k}'), norm(f'{prefix}_bn{k}'), relu) for k in (1, 2)
      )
      return container('Sequential', *first, *second)

    table = container('ConcatTable', *(path(i) for i in range(paths)))
    body = container('Sequential', table, other, conv(f'{name}_conv3'), norm(f'{name}_bn3'))
    shortcut = container('Sequential', conv(f'{name}_downsample_0'), norm(f'{name}_downsample_1'))
    return container('Sequential', container('ConcatTable', body, shortcut), other, relu)

  stages = [container('Sequential', block(f'layer{i}_0')) for i in (1, 2, 3)]
  kernel = np.ascontiguousarray(values['fc/kernel'].T)
  head = t7_writer.module('nn.Linear', weight=kernel, bias=values['fc/bias'])
  return container('Sequential', conv('conv1'), norm('bn1'), relu, *stages, other, other, head)


@pytest.mark.parametrize('form', ['a', 'b', 'c'])
def test_lua_networks_in_form_b_load_into_every_form(tmp_path, form):
  settings = {'width': 16, 'stem_width': 8, 'image_size': 16}
  source = resnext.build_model('resnext-11-12x4d', block_form='b', **settings)
  rng = np.random.default_rng(0)
  for variable in source.weights:
    variable.assign(rng.uniform(0.5, 1.5, variable.shape))
  path = t7_writer.save(tmp_path / 'model.t7', lua_network(source, paths=12))
  model = resnext.build_model('resnext-11-12x4d', block_form=form, weights=path, **settings)
  images = rng.uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
  assert golden.relative_error(model(images), source(images)) < 1e-5


@pytest.mark.parametrize(
  ('network', 'name'),
  [('imagenet_50', 'resnext-50-32x4d'), ('imagenet_101', 'resnet-101'), ('cifar_29', 'resnet-29')],
)
def test_positions_in_the_official_networks(network, name):
  want = golden.read_json('lua_index_map.json')['maps'][network]
  model = resnext.build_model(name, image_size=64)
  rules = names.t7_rules(model, [])
  for variable in model.weights:
    module, _, field = names.torch_name(variable.path).rpartition('.')
    assert rules[variable.path].name == f'{want[module]}.{field}'


def test_positions_in_pre_activated_networks():
  """As nested in preresnet.lua; CIFAR networks have no batch norm in the stem."""
  for stem, first, activated in (('imagenet', 5, True), ('cifar', 2, False)):
    model = resnext.build_model(
      'resnext-11-2x8d', image_size=32, stage_blocks=(2, 2), preactivation=True, stem=stem
    )
    rules = {path: rule.name for path, rule in names.t7_rules(model, []).items()}
    if activated:
      assert rules['layer1_0_conv1/kernel'] == f'{first}.1.1.1.1.weight'
      assert rules['layer1_0_conv3/kernel'] == f'{first}.1.1.1.7.weight'
      assert rules['layer1_0_downsample_0/kernel'] == f'{first}.1.1.2.1.weight'
    else:
      assert rules['layer1_0_bn1/gamma'] == f'{first}.1.1.weight'
      assert rules['layer1_0_conv1/kernel'] == f'{first}.1.3.1.1.weight'
      assert rules['layer1_0_downsample_0/kernel'] == f'{first}.1.3.2.1.weight'
    assert rules['layer1_1_bn1/gamma'] == f'{first}.2.1.1.1.weight'
    assert rules['layer1_1_conv3/kernel'] == f'{first}.2.1.1.9.weight'
    assert rules['layer2_0_bn1/beta'] == f'{first + 1}.1.1.bias'
    assert rules['layer2_0_bn2/moving_mean'] == f'{first + 1}.1.3.1.2.running_mean'
    assert rules['norm/gamma'] == f'{first + 2}.weight'
    assert rules['fc/kernel'] == f'{first + 6}.weight'
    assert len(set(rules.values())) == len(rules)


def test_a_file_of_another_network_changes_nothing(tmp_path):
  torch_files.write(tmp_path / 'm.safetensors', state_dict('tv_resnext50_32x4d'))
  model = resnext.build_model('resnext-50-2x40d', image_size=32, stage_blocks=(3, 4, 6, 4))
  before = model.get_weights()
  message = r'does not fit resnext-50-2x40d.*missing: layer4.3.*wrong shape: layer1.0.conv1.weight'
  with pytest.raises(ValueError, match=message):
    weights.load(model, tmp_path / 'm.safetensors')
  for old, new in zip(before, model.get_weights(), strict=True):
    np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize('form', ['a', 'c'])
def test_save_torch_round_trip(tmp_path, form):
  model = resnext.build_model('resnext-11-4x8d', block_form=form)
  weights.save_torch(model, tmp_path / 'm.safetensors')
  again = resnext.build_model('resnext-11-4x8d', weights=tmp_path / 'm.safetensors')
  merged = resnext.build_model('resnext-11-4x8d')
  resnext.convert_weights(model, merged)
  for got, want in zip(again.get_weights(), merged.get_weights(), strict=True):
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
  ('network', 'head', 'beside'),
  [
    ('', 'fc.1.', ()),
    ('backbone.', 'head.', ('loss.class_weights',)),
    ('', 'fc.', ('criterion.pos_weight',)),
    ('model.', 'model.classifier.2.', ('criterion.pos_weight',)),
  ],
)
def test_heads_of_other_names_and_tensors_beside_the_network(tmp_path, network, head, beside):
  path = tmp_path / 'm.safetensors'
  model = resnext.build_model('resnext-11-4x8d')
  tensors = {
    name.replace('fc.', head) if name.startswith('fc.') else network + name: value
    for name, value in names.torch_state_dict(model).items()
  }
  torch_files.write(path, tensors | {name: np.ones(10) for name in beside})
  again = resnext.build_model('resnext-11-4x8d')
  assert weights.load(again, path).unused == beside
  assert all(map(np.array_equal, again.get_weights(), model.get_weights()))
  hidden = {f'{head}norm.weight': np.ones(10)}  # The network's results would be others.
  torch_files.write(path, tensors | hidden)
  if head != 'fc.':
    with pytest.raises(ValueError, match='nothing was loaded. 2 missing: fc.weight, fc.bias'):
      weights.load(again, path)


def test_saved_names_and_shapes_are_those_of_torchvision():
  model = resnext.build_model('resnext-50-32x4d', image_size=32)
  want = golden.read_json('tv_resnext50_32x4d_shapes.json')['shapes']
  assert {n: list(v.shape) for n, v in names.torch_state_dict(model).items()} == want


# torchvision and timm, if installed, in a separate process: torch's compiler and TensorFlow contain
# different versions of LLVM and crash each other.

PEER = """
import sys
import numpy as np, torch
library, peer, folder, weights = sys.argv[1:]
torch.manual_seed(0)
if library == 'timm':
  import timm
  network = timm.create_model(peer)
else:
  import torchvision
  network = torchvision.models.get_model(peer)
for module in network.modules():
  if isinstance(module, torch.nn.BatchNorm2d):
    module.running_mean.normal_(0, 0.1)
    module.running_var.uniform_(0.5, 1.5)
if weights:
  network.load_state_dict(torch.load(weights, weights_only=True))
network.eval()
torch.save(network.state_dict(), f'{folder}/theirs.pth')
images = torch.tensor(np.load(f'{folder}/images.npy').transpose(0, 3, 1, 2))
with torch.no_grad():
  np.save(f'{folder}/logits.npy', network(images).numpy())
"""


def peer_logits(library, peer, folder, weights=''):
  """Returns the peer's logits with its own or a file's weights; writes them to theirs.pth."""
  command = [sys.executable, '-c', PEER, library, peer, str(folder), str(weights)]
  subprocess.run(command, check=True)
  return np.load(folder / 'logits.npy')


def test_images_are_normalised_as_hugging_faces_config_says(tmp_path):
  scaling = {'mean_rgb': (127.5,) * 3, 'stddev_rgb': (127.5,) * 3}
  written = resnext.build_model('resnext-29-2x4d', 7, 32, **scaling)
  weights.save_torch(written, tmp_path / 'model.safetensors')
  config = {'pretrained_cfg': {'mean': [0.5] * 3, 'std': [0.5] * 3}}
  (tmp_path / 'config.json').write_text(json.dumps(config))
  model = resnext.build_model('resnext-29-2x4d', 7, 32)
  report = weights.load(model, tmp_path)
  assert 'mean_rgb 127.5, 127.5, 127.5; stddev_rgb 127.5, 127.5, 127.5.' in str(report)
  images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
  np.testing.assert_allclose(model(images), written(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ('library', 'peer', 'name'),
  [
    ('torchvision', 'resnext50_32x4d', 'resnext-50-32x4d'),
    ('torchvision', 'resnet101', 'resnet-101'),
    ('timm', 'resnet50d', 'resnet-50d'),
    ('timm', 'resnext101_32x8d', 'resnext-101-32x8d'),
  ],
)
def test_both_directions_with_the_peer(tmp_path, library, peer, name):
  if not importlib.util.find_spec(library):
    pytest.skip(f'{library} is not installed')
  images = np.random.default_rng(0).normal(size=(2, 96, 96, 3)).astype(np.float32)
  np.save(tmp_path / 'images.npy', images)
  want = peer_logits(library, peer, tmp_path)
  model = resnext.build_model(
    name, image_size=96, weights=tmp_path / 'theirs.pth', **golden.NOT_NORMALISED
  )
  assert golden.relative_error(model(images), want) < 1e-5
  for variable in model.trainable_variables:
    variable.assign(variable.numpy() * 1.01)
  weights.save_torch(model, tmp_path / 'ours.pth')
  changed = peer_logits(library, peer, tmp_path, tmp_path / 'ours.pth')
  assert golden.relative_error(model(images), changed) < 1e-5
  assert golden.relative_error(changed, want) > 0.01

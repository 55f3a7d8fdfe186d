"""Baselines of compound scaling: published sizes, and counts of scaled networks."""
import numpy as np
import pytest

import efficientnet
from efficientnet import scaling_bases
from tests import traced
from tpu_utils import profile

# (parameters, multiply-adds). MobileNets: arXiv 1704.04861, Table 4 (4.2M and 569M), and
# arXiv 1801.04381, Table 4 (3.4M and 300M). ResNet-50: counts of torchvision's network.
PUBLISHED = {
  'mobilenet-v1': (4.2e6, 569e6),
  'mobilenet-v2': (3.5e6, 300e6),
  'resnet-50': (25_557_032, 4_089_184_256),
}


@pytest.mark.parametrize(('base', 'published'), PUBLISHED.items())
def test_baselines_are_as_large_as_published(base, published):
  found = scaling_bases.count(base)
  assert (found.parameters, found.multiply_adds) == pytest.approx(published, rel=0.01)


def test_efficientnets_are_those_of_build_model():
  for name, size in (('efficientnet-b1', None), ('efficientnet-lite0', 64)):
    want = profile.count(lambda n=name, s=size: efficientnet.build_model(n, image_size=s))
    assert scaling_bases.count(name, size) == want


@pytest.mark.parametrize('base', ['efficientnet-b0', 'mobilenet-v1', 'mobilenet-v2', 'resnet-50'])
def test_counts_equal_those_of_the_built_network(base):
  scaled = {'width_coefficient': 0.3, 'depth_coefficient': 0.4, 'num_classes': 7}
  model = scaling_bases.build_model(base, image_size=40, **scaled)
  found = scaling_bases.count(base, 40, **scaled)
  trainable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
  assert found == profile.Counts(
    trainable, model.count_params() - trainable, traced.multiply_adds(model)
  )
  images = np.random.default_rng(0).uniform(0, 255, (2, 40, 40, 3)).astype(np.float32)
  logits = model(images)
  assert logits.shape == (2, 7)
  assert np.isfinite(logits).all()
  assert model.name == base


def test_shortcuts_and_stages_of_resnet_50():
  model = scaling_bases.build_model('resnet-50', 10, 32)
  names = [layer.name for layer in model.layers]
  assert sum(name.endswith('_add') for name in names) == 16
  shortcuts = [name for name in names if name.endswith('_conv2d_3')]
  assert shortcuts == [f'stages_{i}_0_conv2d_3' for i in range(4)]


def test_unknown_names_and_fields():
  with pytest.raises(ValueError, match="Unknown model_name 'resnet50': did you mean resnet-50"):
    scaling_bases.build_model('resnet50')
  with pytest.raises(ValueError, match="Unknown model parameter 'width': did you mean"):
    scaling_bases.count('mobilenet-v1', width=2)

"""Counts without building, against the official profiler's and against networks that are built."""
import numpy as np
import pytest

import efficientnet
from efficientnet import counting, model_builder_factory
from tests.efficientnet import golden
from tpu_utils import profile

COUNTS = golden.read_json('counts.json')


@pytest.mark.parametrize('name', COUNTS)
def test_official_counts(name):
  want, got = COUNTS[name], counting.count(name)
  assert got.parameters == want['trainable_parameters']
  assert got.moving_statistics == want['non_trainable']
  assert got.multiply_adds == want['multiply_adds']


def test_published_sizes_of_models_without_reference_counts():
  got = counting.count('efficientnet-condconv-b0-8e-depth')
  assert round(got.parameters / 1e6, 1) == 39.7  # Official condconv/README.
  # Its 614M must count more than convolutions and products, as the 402M and 413M for the 4e and 8e.
  assert got.multiply_adds == pytest.approx(614e6, rel=0.02)


def test_every_model_is_counted():
  for name in model_builder_factory.model_names():
    assert counting.count(name).multiply_adds > 1e8


@pytest.mark.parametrize(
  ('name', 'settings'),
  [
    ('efficientnet-b0', {'image_size': (65, 43), 'width_coefficient': 0.3, 'num_classes': 7}),
    ('efficientnet-b0', {'image_size': 33, 'num_classes': 0, 'clip_projection_output': True}),
    ('efficientnet-lite2', {'image_size': 71, 'depth_coefficient': 0.5}),
    ('efficientnet-edgetpu-M', {'image_size': 45, 'width_coefficient': 0.5}),
    ('efficientnet-condconv-b0-8e', {'image_size': 50, 'condconv_num_experts': 3}),
    ('efficientnet-h-tpu-b5', {'image_size': 51, 'width_coefficient': 0.4, 'depth_coefficient': 0.6}),
    (
      'efficientnet-condconv-b0-4e',
      {'image_size': 37, 'blocks_args': ['r2_k3_s22_e2_i32_o16_se0.25_f1_cc', 'r1_k3_s22_e1_i16_o24_cc']},
    ),
  ],
)
def test_built_networks_have_these_counts(name, settings):
  model = efficientnet.build_model(name, **settings)
  got = counting.count(name, **settings)

  def size(variables):
    return sum(int(np.prod(v.shape)) for v in variables)

  assert got.parameters == size(model.trainable_weights)
  assert got.moving_statistics == size(model.non_trainable_weights)
  assert got.multiply_adds == profile.flops(model)


def test_bad_input():
  with pytest.raises(ValueError, match='efficientnet-b8'):
    counting.count('efficientnet-b9')
  with pytest.raises(ValueError, match='width_coefficient'):
    counting.count('efficientnet-b0', width_coeficient=2)
  with pytest.raises(ValueError, match='image_size=0'):
    counting.count('efficientnet-b0', image_size=0)

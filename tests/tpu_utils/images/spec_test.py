import pytest

from tpu_utils.images import spec


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'image_size': 0}, 'image_size=0'),
    ({'image_size': 224.0}, 'image_size=224.0'),
    ({'image_size': 224, 'interpolation': 'cubic'}, 'bicubic, bilinear'),
    ({'image_size': 224, 'crop': 'centre'}, 'official, size_plus_32'),
  ],
)
def test_bad_values(arguments, message):
  with pytest.raises(ValueError, match=message):
    spec.PreprocessSpec(**arguments)


def test_defaults_are_imagenets():
  got = spec.PreprocessSpec(224)
  assert got.mean_rgb == pytest.approx((123.675, 116.28, 103.53))
  assert got.stddev_rgb == pytest.approx((58.395, 57.12, 57.375))

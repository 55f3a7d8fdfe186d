"""Defaults, overrides and checks of `PreprocessSpec`."""
import pytest

from tpu_utils.images import spec


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ({'image_size': 0}, 'image_size=0'),
    ({'image_size': 224.0}, 'image_size=224.0'),
    ({'image_size': 224, 'interpolation': 'cubic'}, 'bicubic, bilinear'),
    ({'image_size': 224, 'crop': 'centre'}, 'official, size_plus_32'),
    ({'image_size': 224, 'crop': '95'}, '0.95'),
    ({'image_size': 224, 'crop': '0.0'}, "'0.0' keeps 0 of .* such as 0.95"),
    ({'image_size': 224, 'crop': '224/232'}, r'keeps 1\.03571 of .* such as 232/224'),
  ],
)
def test_bad_values(arguments, message):
  with pytest.raises(ValueError, match=message):
    spec.PreprocessSpec(**arguments)


def test_defaults_are_imagenets():
  got = spec.PreprocessSpec(224)
  assert got.mean_rgb == pytest.approx((123.675, 116.28, 103.53))
  assert got.stddev_rgb == pytest.approx((58.395, 57.12, 57.375))


def test_fitted_replaces_only_given_values():
  own = spec.PreprocessSpec(224, crop='size_plus_32')
  assert spec.fitted(own) == own
  assert spec.fitted(own, image_size=8, crop='whole', interpolation='bilinear') == (
    spec.PreprocessSpec(8, interpolation='bilinear', crop='whole')
  )
  assert spec.fitted(own, advprop=True) == spec.with_advprop(own)
  with pytest.raises(ValueError, match='bicubic, bilinear'):
    spec.fitted(own, interpolation='cubic')


@pytest.mark.parametrize(
  ('crop', 'size', 'expected'),
  [('0.95', 224, 0.95), ('232/224', 224, 224 / 232), ('whole', 9, 1), ('official', 224, 0.875)],
)
def test_crop_share(crop, size, expected):
  assert spec.crop_share(crop, size) == pytest.approx(expected)


@pytest.mark.parametrize(('crop', 'expected'), [(None, 'whole'), ('official', 'official')])
def test_digits_are_not_cropped_by_default(crop, expected):
  assert spec.fitted(spec.PreprocessSpec(8), crop=crop, is_digits=True).crop == expected

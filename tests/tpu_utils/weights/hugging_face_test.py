"""Preprocessing in Hugging Face's config.json."""
import json

import pytest

from tpu_utils.weights import hugging_face

PUBLISHED = {
  'input_size': [3, 224, 224], 'mean': [0.5, 0.5, 0.5], 'std': [0.5, 0.25, 0.5], 'crop_pct': 0.95,
  'interpolation': 'bicubic',
}  # fmt: skip
FIELDS = {
  'image_size': 224, 'mean_rgb': (127.5,) * 3, 'stddev_rgb': (127.5, 63.75, 127.5), 'crop': '0.95',
  'interpolation': 'bicubic',
}  # fmt: skip


def write(folder, **changes):
  config = {'pretrained_cfg': PUBLISHED | changes}
  (folder / 'config.json').write_text(json.dumps(config))


def test_all_fields_of_a_folder_and_of_its_file(tmp_path):
  write(tmp_path)
  for path in (tmp_path, tmp_path / 'model.safetensors'):
    assert hugging_face.preprocessing(str(path)) == (FIELDS, {})
  assert hugging_face.preprocessing(str(tmp_path / 'other.pth')) == ({}, {})
  assert hugging_face.normalization({}, str(tmp_path)) == ((127.5,) * 3, (127.5, 63.75, 127.5))


@pytest.mark.parametrize(
  ('changes', 'field', 'text'),
  [
    ({'input_size': [3, 224, 192]}, 'image_size', 'input_size [3, 224, 192]'),
    ({'input_size': [3, 224.5, 224.5]}, 'image_size', 'input_size [3, 224.5, 224.5]'),
    ({'input_size': [3, float('inf'), float('inf')]}, 'image_size', 'input_size [3, inf, inf]'),
    ({'interpolation': 'lanczos'}, 'interpolation', 'interpolation lanczos'),
    ({'crop_pct': 1.5}, 'crop', 'crop_pct 1.5'),
    ({'crop_pct': '0.95'}, 'crop', "crop_pct '0.95'"),
    ({'crop_mode': 'squash'}, 'crop', 'crop_mode squash'),
    ({'crop_mode': 'border', 'crop_pct': 1.0}, 'crop', 'crop_mode border'),
  ],
)
def test_values_without_counterpart_are_named(tmp_path, changes, field, text):
  write(tmp_path, **changes)
  left = {name: value for name, value in FIELDS.items() if name != field}
  assert hugging_face.preprocessing(str(tmp_path)) == (left, {field: text})


@pytest.mark.parametrize(
  ('name', 'field'),
  [('input_size', 'image_size'), ('interpolation', 'interpolation'), ('crop_pct', 'crop')],
)
def test_absent_values_are_left_out(tmp_path, name, field):
  write(tmp_path, **{name: None})
  left = {name: value for name, value in FIELDS.items() if name != field}
  assert hugging_face.preprocessing(str(tmp_path)) == (left, {})


@pytest.mark.parametrize(
  'std',
  [[0.5, 0.0, 0.5], [0.5, float('nan'), 0.5], [0.5, float('inf'), 0.5], [0.5], 'imagenet', None],
)
def test_unusable_scaling_is_refused(tmp_path, std):
  write(tmp_path, std=std)
  with pytest.raises(ValueError, match='config.json has mean .* and std .*, expected three'):
    hugging_face.normalization({}, str(tmp_path))
  (tmp_path / 'config.json').write_text('{"pretrained_cfg": {"crop_pct": 0.9}}')
  assert hugging_face.normalization({}, str(tmp_path)) is None


def test_damaged_or_missing_files(tmp_path):
  assert hugging_face.preprocessing(str(tmp_path)) == ({}, {})
  (tmp_path / 'config.json').write_text('\ufeff[1]', encoding='utf-8')
  assert hugging_face.preprocessing(str(tmp_path)) == ({}, {})
  for damage in ('{"pretrained_cfg": ', '[' * 5000):
    (tmp_path / 'config.json').write_text(damage)
    with pytest.raises(ValueError, match='config.json cannot be read as JSON'):
      hugging_face.preprocessing(str(tmp_path))

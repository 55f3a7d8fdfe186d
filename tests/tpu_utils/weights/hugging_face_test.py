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
  assert hugging_face.preprocessing(str(tmp_path)) == FIELDS
  assert hugging_face.preprocessing(str(tmp_path / 'model.safetensors')) == FIELDS
  assert hugging_face.preprocessing(str(tmp_path / 'other.pth')) == {}
  assert hugging_face.normalization({}, str(tmp_path)) == ((127.5,) * 3, (127.5, 63.75, 127.5))


@pytest.mark.parametrize(
  ('changes', 'without'),
  [
    ({'input_size': [3, 224, 192]}, 'image_size'),
    ({'input_size': None}, 'image_size'),
    ({'input_size': [3, 224.5, 224.5]}, 'image_size'),
    ({'input_size': [3, float('inf'), float('inf')]}, 'image_size'),
    ({'interpolation': 'lanczos'}, 'interpolation'),
    ({'crop_pct': 1.5}, 'crop'),
    ({'crop_pct': '0.95'}, 'crop'),
    ({'crop_mode': 'squash'}, 'crop'),
  ],
)
def test_values_without_counterpart_are_left_out(tmp_path, changes, without):
  write(tmp_path, **changes)
  left = {name: value for name, value in FIELDS.items() if name != without}
  assert hugging_face.preprocessing(str(tmp_path)) == left


@pytest.mark.parametrize('value', [0.0, float('nan'), float('inf')])
def test_unusable_scaling_is_left_out(tmp_path, value):
  write(tmp_path, std=[0.5, value, 0.5])
  assert hugging_face.normalization({}, str(tmp_path)) is None


def test_damaged_or_missing_files(tmp_path):
  assert hugging_face.preprocessing(str(tmp_path)) == {}
  (tmp_path / 'config.json').write_text('\ufeff[1]', encoding='utf-8')
  assert hugging_face.preprocessing(str(tmp_path)) == {}
  for damage in ('{"pretrained_cfg": ', '[' * 5000):
    (tmp_path / 'config.json').write_text(damage)
    with pytest.raises(ValueError, match='config.json cannot be read as JSON'):
      hugging_face.preprocessing(str(tmp_path))

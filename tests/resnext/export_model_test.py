"""A torch state dict of a ResNeXt as a SavedModel and as a TFLite file."""
import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

import resnext
from resnext import export_model
from tests import script_jobs
from tests.tpu_utils.export.folding_test import with_random_statistics
from tests.tpu_utils.images.preparation import published as published_images
from tpu_utils import export, weights
from tpu_utils.images import decoding, preprocessing
from tpu_utils.images.spec import PreprocessSpec

SETTINGS = {'width': 8, 'stem_width': 8}


@pytest.mark.slow
def test_exports_of_a_state_dict_compute_the_same(tmp_path):
  model = resnext.build_model('resnext-20-2x32d', num_classes=10, image_size=16, **SETTINGS)
  with_random_statistics(model)
  weights.save_torch(model, tmp_path / 'model.safetensors')
  export_model.SCRIPT.call([
    '--model_name=resnext-20-2x32d', '--input_image_size=16', '--num_label_classes=10',
    '--width=8', '--stem_width=8', f'--ckpt_dir={tmp_path / "model.safetensors"}', '--noquantize',
    f'--output_tflite={tmp_path / "model.tflite"}',
    f'--output_saved_model_dir={tmp_path / "saved"}',
  ])  # fmt: skip
  images = np.random.default_rng(0).uniform(0, 255, (3, 16, 16, 3)).astype(np.float32)
  expected = model(images, training=False).numpy()
  served = tf.saved_model.load(str(tmp_path / 'saved')).signatures['images'](images=images)
  np.testing.assert_allclose(served['logits'], expected, rtol=0, atol=1e-5 * np.abs(expected).max())
  probabilities = export.tflite.Classifier((tmp_path / 'model.tflite').read_bytes()).predict(images)
  np.testing.assert_allclose(probabilities, tf.nn.softmax(expected), atol=1e-5)


@pytest.mark.slow
def test_an_export_prepares_images_as_hugging_faces_config_says(tmp_path):
  half = {'mean_rgb': (127.5,) * 3, 'stddev_rgb': (127.5,) * 3}
  model = resnext.build_model('resnext-20-2x32d', 10, image_size=16, **SETTINGS, **half)
  weights.save_torch(model, tmp_path / 'model.safetensors')
  published = {
    'mean': [0.5] * 3, 'std': [0.5] * 3, 'input_size': [3, 16, 16], 'crop_pct': 0.95,
    'interpolation': 'bilinear',
  }  # fmt: skip
  (tmp_path / 'config.json').write_text(json.dumps({'pretrained_cfg': published}))
  export_model.SCRIPT.call([
    '--model_name=resnext-20-2x32d', '--num_label_classes=10', '--width=8', '--stem_width=8',
    f'--ckpt_dir={tmp_path}', f'--output_saved_model_dir={tmp_path / "saved"}',
  ])  # fmt: skip
  said = json.loads((tmp_path / 'saved' / 'export.json').read_text())['preprocessing']
  spec = PreprocessSpec(16, **half, interpolation='bilinear', crop='0.95')
  assert {name: said[name] for name in dataclasses.asdict(spec)} == json.loads(
    json.dumps(dataclasses.asdict(spec))
  )
  served = tf.saved_model.load(str(tmp_path / 'saved')).signatures['image_bytes']
  photograph = published_images.encoded(1, (30, 20))
  images = preprocessing.eval_function(spec)(photograph)[tf.newaxis]
  expected = model(images, training=False).numpy()
  got = served(image_bytes=tf.constant([photograph]))['logits']
  np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
  palette = published_images.encoded(1, kind='BMP', mode='P')
  with pytest.raises(tf.errors.InvalidArgumentError, match=decoding.REMEDY):
    served(image_bytes=tf.constant([palette]))


def test_help_is_quick():
  code, out, seconds = script_jobs.user_seconds('-m', 'resnext.export_model', '--help')
  assert code == 0 and '--output_tflite' in out and '--cardinality' in out
  assert seconds < 2

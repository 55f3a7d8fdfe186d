"""A torch state dict of a ResNeXt as a SavedModel and as a TFLite file."""
import numpy as np
import tensorflow as tf

import resnext
from resnext import export_model
from tests import script_jobs
from tests.tpu_utils.export.folding_test import with_random_statistics
from tpu_utils import export, weights

SETTINGS = {'width': 8, 'stem_width': 8}


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


def test_help_is_quick():
  code, out, seconds = script_jobs.user_seconds('-m', 'resnext.export_model', '--help')
  assert code == 0 and '--output_tflite' in out and '--cardinality' in out
  assert seconds < 2

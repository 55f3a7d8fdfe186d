"""Classifiers from files of other programs, and models from checkpoints."""
import io
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnet import main as training
from tests.efficientnet import lite_job
from tpu_utils.image_jobs import loading
from tpu_utils.images.spec import PreprocessSpec

SPEC = PreprocessSpec(224)


def model(activation=None, classes=3, size=8):
  inputs = keras.Input((size, size, 3))
  x = keras.layers.GlobalAveragePooling2D()(inputs)
  return keras.Model(inputs, keras.layers.Dense(classes, activation=activation)(x))


def test_logits_become_probabilities_and_probabilities_stay():
  logits = np.float32([[1, 2, 3], [1000, 0, 0]])
  got = loading.probabilities(logits)
  np.testing.assert_allclose(got, tf.nn.softmax(logits), rtol=1e-6)
  np.testing.assert_array_equal(loading.probabilities(got), got)


@pytest.mark.parametrize('activation', [None, 'softmax'])
def test_keras_files_of_other_programs(tmp_path, activation):
  original = model(activation)
  original.save(tmp_path / 'm.keras')
  classifier = loading.from_file(str(tmp_path / 'm.keras'), SPEC)
  images = np.random.default_rng(0).uniform(0, 1, (2, 8, 8, 3)).astype(np.float32)
  want = np.asarray(original(images))
  want = want if activation else np.asarray(tf.nn.softmax(want))
  np.testing.assert_allclose(classifier.predict(images), want, rtol=1e-5)
  assert (classifier.num_classes, classifier.class_names) == (3, None)
  assert classifier.spec.image_size == 8


def test_a_network_without_images_is_refused(tmp_path):
  inputs = keras.Input((4,))
  keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / 'm.keras')
  with pytest.raises(ValueError, match='expected images of a fixed size'):
    loading.from_file(str(tmp_path / 'm.keras'), SPEC)


def test_a_damaged_keras_file_is_refused(tmp_path):
  (tmp_path / 'm.keras').write_bytes(b'cut off')
  with pytest.raises(ValueError, match='m.keras is not a complete .keras file'):
    loading.from_file(str(tmp_path / 'm.keras'), SPEC)


def test_a_keras_file_with_links_to_other_files_is_refused(tmp_path):
  model().save(tmp_path / 'm.keras')
  with zipfile.ZipFile(tmp_path / 'm.keras') as archive:
    contents = {name: archive.read(name) for name in archive.namelist()}
  weights = io.BytesIO(contents['model.weights.h5'])
  with h5py.File(weights, 'r+') as file:
    del file['layers/dense/vars/1']
    file['layers/dense/vars/1'] = h5py.ExternalLink(tmp_path / 'secret.h5', 'values')
  with h5py.File(tmp_path / 'secret.h5', 'w') as file:
    file['values'] = np.ones(3, np.float32)
  contents['model.weights.h5'] = weights.getvalue()
  with zipfile.ZipFile(tmp_path / 'm.keras', 'w') as archive:
    for name, content in contents.items():
      archive.writestr(name, content)
  with pytest.raises(ValueError, match='m.keras .*vars/1 is a link to another file'):
    loading.from_file(str(tmp_path / 'm.keras'), SPEC)


@pytest.mark.parametrize(
  'preprocessing, message',
  [
    ([1], 'expected an object'),
    ({'mean_rgb': 'abc'}, "mean_rgb in export.json is 'abc'; expected 3 numbers"),
    ({'stddev_rgb': [1, 2]}, 'stddev_rgb in export.json is .1, 2.; expected 3 numbers'),
    ({'image_size': 1.5}, 'export.json: image_size=1.5 must be a positive whole number'),
    ({'crop': ['whole']}, 'export.json: .*'),
    ({'image_size': [1]}, 'export.json: image_size=.1. must be a positive whole number'),
  ],
)
def test_preprocessing_that_is_none_is_refused(tmp_path, preprocessing, message):
  model().save(tmp_path / 'm.keras')
  (tmp_path / 'export.json').write_text(json.dumps({'preprocessing': preprocessing}))
  with pytest.raises(ValueError, match=f'm.keras: .*{message}'):
    loading.from_file(str(tmp_path / 'm.keras'), SPEC)


def test_a_saved_model_without_images_is_refused(tmp_path):
  module = tf.Module()
  module.f = tf.function(lambda x: {'y': x}, input_signature=[tf.TensorSpec([None], tf.string)])
  tf.saved_model.save(module, tmp_path / 'm', signatures={'text': module.f})
  assert loading.is_program(str(tmp_path / 'm'))
  with pytest.raises(ValueError, match='no signature that takes images.*it has text'):
    loading.from_file(str(tmp_path / 'm'), SPEC)
  (tmp_path / 'm' / 'saved_model.pb').write_bytes(b'cut off')
  with pytest.raises(ValueError, match='cannot be read as a SavedModel') as error:
    loading.from_file(str(tmp_path / 'm'), SPEC)
  assert '\n' not in str(error.value)


def load(directory):
  settings = training.ModelConfig(
    'efficientnet-lite0', width_coefficient=lite_job.FLAGS['width_coefficient'],
    depth_coefficient=lite_job.FLAGS['depth_coefficient'],
  )  # fmt: skip
  model_spec = training.resolve_model(settings)
  return loading.load_model(
    model_spec, settings, lite_job.SPEC, str(directory), num_classes=10
  )


def test_the_best_checkpoint_of_a_job_is_taken(tmp_path, capsys):
  newest, best = lite_job.build_model(), lite_job.build_model()
  lite_job.write(newest, tmp_path / 'job')
  lite_job.write(best, tmp_path / 'job' / 'archive')
  loaded = load(tmp_path / 'job').get_layer('head_dense').kernel.numpy()
  assert (loaded == best.get_layer('head_dense').kernel.numpy()).all()
  assert (loaded != newest.get_layer('head_dense').kernel.numpy()).any()
  assert 'variables loaded' in capsys.readouterr().out

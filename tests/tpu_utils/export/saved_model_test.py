"""SavedModel exports: outputs of the model, and replacement of an earlier export."""
import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.export import tiny
from tests.tpu_utils.export.tiny import IMAGE_SIZE, PREPROCESSING, build_model, preprocess
from tests.tpu_utils.images import bombs
from tests.tpu_utils.images.preparation.published import encoded
from tpu_utils import export
from tpu_utils.image_jobs import saved_model_ops
from tpu_utils.images import preprocessing, spec

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def images():
  return tiny.images(3)


@pytest.fixture(scope='module')
def files(images):
  return tf.constant([tf.io.encode_png(image).numpy() for image in images])


@pytest.fixture(scope='module', params=['float32', 'mixed_bfloat16'])
def exported(request, tmp_path_factory):
  model = build_model(request.param)
  directory = str(tmp_path_factory.mktemp('export') / request.param)
  export.export(model, directory, preprocess, PREPROCESSING, class_names=list('abcde'))
  return model, directory, tf.saved_model.load(directory)


def assert_close(model, actual, expected):
  """Within rounding: a graph's fused kernels round bfloat16 less often than the eager model."""
  # bfloat16 has 8 bits; folded kernels round differently, and processors in intermediate results.
  rounding = 1e-5 if model.get_layer('conv2d').compute_dtype == 'float32' else 2 ** -5
  np.testing.assert_allclose(actual, expected, rtol=0, atol=rounding * np.abs(expected).max())


def expected_outputs(model, images):
  logits = model(images.astype('float32'), training=False).numpy()
  exponentials = np.exp(logits - logits.max(-1, keepdims=True))
  return logits, exponentials / exponentials.sum(-1, keepdims=True), logits.argmax(-1)


@pytest.mark.parametrize('signature', ['images', 'serve', 'image_bytes', 'serving_default'])
@pytest.mark.parametrize('batch', [1, 3])
def test_saved_model_gives_the_models_outputs(exported, images, files, signature, batch):
  model, _, served = exported
  serve = served.signatures[signature]
  if signature in ('images', 'serve'):
    outputs = serve(images=tf.constant(images[:batch], tf.float32))
  else:
    outputs = serve(image_bytes=files[:batch])
  logits, probabilities, classes = expected_outputs(model, images[:batch])
  assert set(outputs) == {'logits', 'probabilities', 'classes'}
  assert outputs['classes'].dtype == tf.int64 and outputs['logits'].dtype == tf.float32
  assert_close(model, outputs['logits'], logits)
  assert_close(model, outputs['probabilities'], probabilities)
  np.testing.assert_array_equal(outputs['classes'], classes)


def test_image_of_another_size_goes_through_preprocess(exported):
  model, _, served = exported
  photograph = np.random.default_rng(2).integers(0, 256, (31, 17, 3), np.uint8)
  contents = tf.io.encode_jpeg(photograph)
  outputs = served.signatures['image_bytes'](image_bytes=[contents])
  logits = model(preprocess(contents)[tf.newaxis], training=False).numpy()
  assert_close(model, outputs['logits'], logits)


@pytest.mark.parametrize('interpolation', spec.INTERPOLATIONS)
@pytest.mark.parametrize('crop', spec.CROPS)
def test_export_with_the_evaluations_preprocessing(tmp_path, interpolation, crop):
  """The exported model prepares a file as evaluation does."""
  model = build_model()
  own = spec.PreprocessSpec(image_size=IMAGE_SIZE, interpolation=interpolation, crop=crop)
  evaluation = preprocessing.eval_function(own)
  export.export(model, tmp_path / 'export', evaluation, dataclasses.asdict(own))
  photograph = np.random.default_rng(2).integers(0, 256, (31, 57, 3), np.uint8)
  encoded = [tf.io.encode_jpeg(photograph), tf.io.encode_png(photograph)]
  outputs = tf.saved_model.load(str(tmp_path / 'export')).signatures['image_bytes'](
    image_bytes=tf.stack(encoded))
  logits = model(tf.stack([evaluation(contents) for contents in encoded]), training=False)
  assert_close(model, outputs['logits'], logits)


@pytest.mark.parametrize('endpoint', ['serve', 'images', 'serving_default', 'image_bytes'])
def test_tfsm_layer(exported, images, files, endpoint):
  model, directory, _ = exported
  layer = keras.layers.TFSMLayer(directory, call_endpoint=endpoint)
  inputs = images.astype('float32') if endpoint in ('serve', 'images') else files
  logits = expected_outputs(model, images)[0]
  assert_close(model, layer(inputs)['logits'], logits)


def test_keras_file_gives_the_same_model(exported, images):
  model, directory, _ = exported
  loaded = keras.models.load_model(os.path.join(directory, export.KERAS_FILE))
  assert loaded.name == model.name
  assert [layer.dtype_policy.name for layer in loaded.layers] == [
    layer.dtype_policy.name for layer in model.layers]
  assert_close(model, loaded(images.astype('float32')), expected_outputs(model, images)[0])


def test_keras_file_loads_without_this_package(exported):
  _, directory, _ = exported
  code = (
    'import sys, keras\n'
    'model = keras.models.load_model(sys.argv[1])\n'
    'assert not any(name.startswith("tpu_utils") for name in sys.modules)\n'
    'print(model.name)'
  )
  path = os.path.join(directory, export.KERAS_FILE)
  result = subprocess.run(
    [sys.executable, '-c', code, path], capture_output=True, text=True, check=False, cwd='/')
  assert (result.returncode, result.stdout) == (0, 'tiny\n'), result.stderr


@pytest.mark.parametrize('exported', ['mixed_bfloat16'], indirect=True)
def test_saved_model_needs_none_of_our_code(exported, images, tmp_path):
  model, directory, _ = exported
  np.save(tmp_path / 'images.npy', images.astype('float32'))
  script = (
    'import sys, numpy as np, tensorflow as tf\n'
    'images = np.load(sys.argv[2])\n'
    "logits = tf.saved_model.load(sys.argv[1]).signatures['images'](images=images)['logits']\n"
    "assert not any(m.startswith(('tpu_utils', 'efficientnet')) for m in sys.modules)\n"
    'np.save(sys.argv[3], logits)\n'
  )
  paths = [directory, tmp_path / 'images.npy', tmp_path / 'logits.npy']
  subprocess.run([sys.executable, '-c', script, *map(str, paths)], check=True, cwd=tmp_path)
  logits = expected_outputs(model, images)[0]
  assert_close(model, np.load(paths[2]), logits)


def test_export_json_names_the_model_and_its_preprocessing(exported):
  model, directory, _ = exported
  with open(os.path.join(directory, export.EXPORT_INFO_FILE), encoding='utf-8') as record_file:
    export_info = json.load(record_file)
  assert export_info['model_name'] == model.name
  assert export_info['preprocessing'] == PREPROCESSING
  assert export_info['class_names'] == list('abcde') and export_info['num_classes'] == 5
  dtype = model.get_layer('conv2d').compute_dtype
  assert export_info['precision'] == dtype
  assert export_info['image_shape'] == [IMAGE_SIZE, IMAGE_SIZE, 3]
  assert export_info['versions']['tensorflow'] == tf.__version__


CUT = {kind: encoded(1, (40, 30), kind=kind)[:-60] for kind in ('JPEG', 'PNG', 'GIF', 'BMP')}
ODD = ['cat, black', 'tab\there', 'line\nbreak', 'naïve 猫', 'x']


@pytest.fixture(scope='module')
def odd(tmp_path_factory):
  directory = str(tmp_path_factory.mktemp('odd') / 'export')
  export.export(build_model(), directory, preprocess, PREPROCESSING, ODD)
  return directory


def test_names_are_read_without_this_package(odd, tmp_path):
  script = (
    'import json, sys, zipfile, keras, tensorflow as tf\n'
    "names = tf.saved_model.load(sys.argv[1]).signatures['class_names']()['class_names']\n"
    "keras_file = sys.argv[1] + '/model.keras'\n"
    "metadata = json.loads(zipfile.ZipFile(keras_file).read('metadata.json'))\n"
    'keras.models.load_model(keras_file)\n'
    "assert not any(m.startswith('tpu_utils') for m in sys.modules)\n"
    "print(json.dumps([[n.decode() for n in names.numpy()], metadata['class_names']]))\n"
  )
  result = subprocess.run(
    [sys.executable, '-c', script, odd], capture_output=True, text=True, check=False, cwd=tmp_path)
  assert result.returncode == 0, result.stderr
  assert json.loads(result.stdout) == [ODD, ODD]


def test_an_unnamed_model_has_no_signature_of_names(earlier):
  directory, _ = earlier
  assert 'class_names' not in tf.saved_model.load(str(directory)).signatures


@pytest.mark.parametrize('contents, message', [
  (b'photos/cat.jpg', 'is no image.* 14 bytes'),
  (b'', 'is no image.* 0 bytes'),
  (b'\xff\xd8\xff\xe0 cut off', 'is no image that can be decoded.* 12 bytes.*cut off'),
  *((CUT[kind], f'is no image that can be decoded.* {len(CUT[kind])} bytes.*cut off')
    for kind in CUT),
  (encoded(1, kind='WebP'), 'is no image that.*Images of other formats: convert with'),
  *((bombs.ALL[kind], 'has 13000 x 13000 pixels, more than the 134,217,728 that are read')
    for kind in bombs.READ_BY_TENSORFLOW),
], ids=[
  'a path', 'nothing', 'a JPEG cut in its header', *(f'a {kind} cut off' for kind in CUT),
  'WebP', *(f'a large {kind}' for kind in bombs.READ_BY_TENSORFLOW),
])
@pytest.mark.parametrize('place', [0, 2])
def test_undecodable_image_is_named(exported, files, contents, message, place):
  serve = exported[2].signatures['image_bytes']
  batch = [files[0], files[1], contents] if place else [contents, files[0], contents]
  with pytest.raises(tf.errors.InvalidArgumentError, match=rf'image_bytes\[{place}\] {message}'):
    serve(image_bytes=tf.stack(batch))


@pytest.mark.parametrize('signature', ['images', 'serve', 'image_bytes', 'serving_default'])
def test_an_empty_batch_has_an_empty_answer(exported, signature):
  empty = {
    'images': tf.zeros([0, IMAGE_SIZE, IMAGE_SIZE, 3]), 'image_bytes': tf.zeros([0], tf.string),
  }  # fmt: skip
  name = 'images' if signature in ('images', 'serve') else 'image_bytes'
  outputs = exported[2].signatures[signature](**{name: empty[name]})
  shapes = {key: tuple(value.shape) for key, value in outputs.items()}
  assert shapes == {'logits': (0, 5), 'probabilities': (0, 5), 'classes': (0,)}


def test_evaluation_takes_the_export_for_harmless(exported):
  saved_model_ops.check(exported[1])


def read_tree(directory):
  return {
    str(path.relative_to(directory)): path.read_bytes()
    for path in sorted(directory.rglob('*')) if path.is_file()
  }


@pytest.fixture(scope='module')
def original(tmp_path_factory):
  directory = tmp_path_factory.mktemp('original') / 'export'
  export.export(build_model(name='earlier'), directory, preprocess, PREPROCESSING)
  return directory


@pytest.fixture
def earlier(original, tmp_path):
  """Returns a complete export, which the test may change, and the contents of its files."""
  directory = tmp_path / 'export'
  shutil.copytree(original, directory)
  return directory, read_tree(directory)


def model_name(directory):
  return json.loads((directory / export.EXPORT_INFO_FILE).read_text())['model_name']


def test_new_export_replaces_the_old_one(earlier):
  directory, _ = earlier
  export.export(build_model(name='later'), directory, preprocess, PREPROCESSING)
  assert model_name(directory) == 'later'
  assert os.listdir(directory.parent) == ['export']


def test_failure_while_writing_leaves_the_old_export(earlier, monkeypatch):
  directory, before = earlier

  def interrupted_save(*_):
    raise KeyboardInterrupt  # The SavedModel is written by now, the .keras file is not.

  monkeypatch.setattr(keras.Model, 'save', interrupted_save)
  with pytest.raises(KeyboardInterrupt):
    export.export(build_model(name='later'), directory, preprocess, PREPROCESSING)
  assert read_tree(directory) == before
  assert os.listdir(directory.parent) == ['export']


def test_full_disk_is_one_error_and_leaves_the_old_export(earlier):
  directory, before = earlier
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))  # No file may grow past this.
  try:
    with pytest.raises(OSError, match=r'export cannot be written .*free space'):
      export.export(build_model(name='later'), directory, preprocess, PREPROCESSING)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert read_tree(directory) == before
  assert os.listdir(directory.parent) == ['export']


def test_an_export_killed_between_its_renames_is_restored(earlier):
  directory, before = earlier
  directory.rename(directory.with_suffix('.previous'))
  (directory.with_suffix('.writing')).mkdir()
  with pytest.raises(RuntimeError, match='no preprocessing'):
    export.export(build_model(name='later'), directory, _failing_preprocess, PREPROCESSING)
  assert read_tree(directory) == before
  assert os.listdir(directory.parent) == ['export']


def test_failing_preprocess_leaves_tensorflow_usable(tmp_path, two_replicas):
  with pytest.raises(RuntimeError, match='no preprocessing'):
    export.export(build_model(), tmp_path / 'export', _failing_preprocess, PREPROCESSING)
  with two_replicas.scope():  # NotImplementedError if map_fn left its caching device set.
    pass


def _failing_preprocess(image_bytes):
  raise RuntimeError('no preprocessing')


def test_parent_that_is_a_file_is_one_error(tmp_path):
  (tmp_path / 'file').write_text('')
  with pytest.raises(OSError, match='file/export cannot be written'):
    export.export(build_model(), tmp_path / 'file' / 'export', preprocess, PREPROCESSING)


def test_directory_of_other_files_is_not_deleted(tmp_path):
  (tmp_path / 'thesis.tex').write_text('years of work')
  with pytest.raises(ValueError, match="holds 'thesis.tex'.*choose another folder"):
    export.export(build_model(), tmp_path, preprocess, PREPROCESSING)
  assert (tmp_path / 'thesis.tex').read_text() == 'years of work'


def test_file_is_not_deleted(tmp_path):
  (tmp_path / 'thesis.tex').write_text('years of work')
  message = 'thesis.tex: expected a folder or nothing there, found a file'
  with pytest.raises(ValueError, match=message):
    export.export(build_model(), tmp_path / 'thesis.tex', preprocess, PREPROCESSING)
  assert (tmp_path / 'thesis.tex').read_text() == 'years of work'
  assert os.listdir(tmp_path) == ['thesis.tex']


def test_empty_directory_is_filled(tmp_path):
  export.export(build_model(), tmp_path, preprocess, PREPROCESSING)
  assert model_name(tmp_path) == 'tiny'


def test_feature_extractor_is_refused(tmp_path):
  classifier = build_model()
  features = keras.Model(classifier.input, classifier.get_layer('conv2d').output, name='features')
  with pytest.raises(ValueError, match='Only image classifiers.*features.*build it with its top'):
    export.export(features, tmp_path / 'export', preprocess, PREPROCESSING)
  assert not os.listdir(tmp_path)


def test_class_names_of_another_length_are_refused(tmp_path):
  with pytest.raises(ValueError, match='each of the 5 classes of tiny, found 2'):
    export.export(build_model(), tmp_path / 'export', preprocess, PREPROCESSING, ['cat', 'dog'])

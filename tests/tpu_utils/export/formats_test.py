"""Exports in every format: the numbers of the model, from files and from memory."""
import hashlib
import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
import resnext
from tests.tpu_utils.export import tiny
from tests.tpu_utils.export.folding_test import SMALL, with_random_statistics
from tpu_utils import export, model_formats
from tpu_utils.export import formats, onnx_file, openvino_ir, program
from tpu_utils.export.folding import fold_batch_norm
from tpu_utils.image_jobs import loading, runtimes
from tpu_utils.image_jobs.reporting import exports as report_exports
from tpu_utils.images.spec import PreprocessSpec

NAMES = ['a "quoted" <name>', 'naïve 猫', 'line\nbreak', "d'", 'e, f']
ALL = ('saved_model', 'keras', 'tflite', 'openvino', 'onnx')


def needs(*names):
  """Skips a test without the packages of some formats."""
  for name in names:
    for package in model_formats.FORMATS[name].packages:
      pytest.importorskip(package)


def expected(model, images):
  return tf.nn.softmax(model(images, training=False)).numpy()


@pytest.fixture(scope='module')
def exported(tmp_path_factory):
  needs('openvino', 'onnx')
  folder = tmp_path_factory.mktemp('export') / 'all'
  model = tiny.build_model()
  measured = {}
  export.export(
    model, folder, tiny.preprocess, tiny.PREPROCESSING, NAMES, formats=ALL,
    measure=lambda staged, info: measured.update(formats.programs(staged, info)) or {'a': 1},
  )  # fmt: skip
  return model, folder, measured


@pytest.mark.slow
def test_all_formats_are_written(exported):
  model, folder, measured = exported
  info = json.loads((folder / 'export.json').read_text())
  assert list(info['formats']) == list(ALL) and info['measured'] == {'a': 1}
  assert all((folder / name).exists() for name in info['formats'].values())
  images = tiny.images(3).astype(np.float32)
  assert set(measured) == {'saved_model', 'tflite', 'openvino', 'onnx'}
  for name, found in measured.items():
    got = found.predict(images)
    np.testing.assert_allclose(got, expected(model, images), rtol=0, atol=1e-6, err_msg=name)
    assert found.image_shape == (12, 12, 3) and found.num_classes == 5
    assert found.predict(images[:0]).shape == (0, 5)
    assert found.info['class_names'] == NAMES
    assert found.info['preprocessing'] == tiny.PREPROCESSING


@pytest.mark.parametrize('variant, tolerance', [('float32', 1e-6), ('int8', 2 / 256)])
def test_openvino_reads_tflite_files_for_any_batch(exported, tmp_path, variant, tolerance):
  model, *_ = exported
  images = tiny.images(3).astype(np.float32)
  content = export.tflite.convert(model, variant, list(images))
  (tmp_path / 'model.tflite').write_bytes(content)
  choice = runtimes.choose(str(tmp_path), 'openvino')
  got = runtimes.load(choice).predict(images)
  want = export.tflite.Classifier(content).predict(images)
  assert got.dtype == np.float32 and got.shape == (3, 5)
  np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)
  (tmp_path / 'model.tflite').write_bytes(content[:1000])
  with pytest.raises(ValueError, match='model.tflite'):
    runtimes.load(choice)


def test_the_card_has_the_checksums_of_all_files(exported):
  _, folder, _ = exported
  card = (folder / 'README.md').read_text(encoding='utf-8')
  for name in ('saved_model.pb', 'model.keras', 'model.tflite', 'model.xml', 'model.bin',
               'model.onnx', 'export.json'):  # fmt: skip
    checksum = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    assert re.search(rf'^\| {name} \| [\d,]+ \| `{checksum}` \|$', card, re.M), name


def test_speeds_and_accuracies_for_the_report(exported, tmp_path):
  model, folder, _ = exported
  images = tiny.images(8).astype(np.float32)
  classes = expected(model, images).argmax(-1)
  classes[0] = (classes[0] + 1) % 5
  batches = [(images[:5], classes[:5]), (images[5:], classes[5:])]
  found = {each.name: each for each in report_exports.measure(str(folder), lambda: batches)}
  assert all((each.accuracy, each.images) == (7 / 8, 8) for each in found.values())
  assert set(found) == {'SavedModel', 'Keras', 'TFLite', 'OpenVINO model', 'ONNX file'}
  for name in ('SavedModel', 'OpenVINO model', 'ONNX file'):
    assert found[name].milliseconds > 0 and found[name].images_per_second > 0
  sizes = [(folder / name).stat().st_size for name in ('model.xml', 'model.bin')]
  assert found['OpenVINO model'].size == sum(sizes)
  assert found['TFLite'].milliseconds > 0 and found['Keras'].images_per_second > 0


def test_accuracies_that_the_export_has_are_not_measured_again(tmp_path):
  result = {'top_1_accuracy': 0.5, 'images': 20}
  measured = {'model': result, 'tflite': {**result, 'top_1_accuracy': 0.25}, 'onnx': {'images': 20}}
  (tmp_path / 'export.json').write_text(json.dumps({'measured': measured}))
  known = report_exports._known(str(tmp_path))
  find = lambda name: report_exports._accuracy(known, None, name, None)  # noqa: E731
  assert find('keras') == {'accuracy': 0.5, 'images': 20}
  assert find('tflite') == {'accuracy': 0.25, 'images': 20}
  assert find('onnx') == find('saved_model') == {}


def test_speeds_without_a_runtime(exported, monkeypatch):
  _, folder, _ = exported
  monkeypatch.setattr(report_exports, 'is_installed', lambda runtime: False)
  monkeypatch.setattr(report_exports, '_SECONDS', 0.0)
  found = {each.name: each for each in report_exports.measure(str(folder))}
  assert found['ONNX file'].note == 'not timed: ONNX Runtime is not installed'
  assert found['ONNX file'].milliseconds is None and found['ONNX file'].size > 0


def test_an_endpoint_needs_a_format_that_takes_it(tmp_path):
  model = tiny.build_model()
  features = keras.Model(model.inputs[0], model.layers[-1].input)
  arguments = (features, tmp_path / 'x', tiny.preprocess, tiny.PREPROCESSING)
  with pytest.raises(ValueError, match='^--endpoint_name=f is for the formats saved_model, keras, '
                     'tflite; leave onnx out of --export_formats'):  # fmt: skip
    export.export(*arguments, endpoint='f', formats=('keras', 'onnx'))
  assert not (tmp_path / 'x').exists()
  export.export(*arguments, endpoint='f', formats=('keras', 'tflite'))
  found = export.tflite.Classifier((tmp_path / 'x' / 'model.tflite').read_bytes())
  images = tiny.images(2).astype(np.float32)
  np.testing.assert_allclose(
    found.predict(images), features(images, training=False), rtol=0, atol=1e-4
  )
  assert 'up to its f;' in (tmp_path / 'x' / 'README.md').read_text()
  with pytest.raises(ValueError, match="outputs the endpoint 'f'; expected classes"):
    loading.from_file(str(tmp_path / 'x' / 'model.tflite'), PreprocessSpec(12), 'litert')
  with pytest.raises(ValueError, match="outputs the endpoint 'f'; expected classes"):
    loading.from_file(str(tmp_path / 'x' / 'model.keras'), PreprocessSpec(12))


@pytest.mark.parametrize('name', ['openvino', 'onnx'])
def test_files_say_what_other_programs_need(exported, name):
  """The names of inputs and outputs that the modules' docstrings promise."""
  model, folder, _ = exported
  images = tiny.images(3).astype(np.float32)
  if name == 'onnx':
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / 'model.onnx')
    logits, probabilities = session.run(['logits', 'probabilities'], {'images': images})
  else:
    import openvino

    config = {'INFERENCE_PRECISION_HINT': 'f32'}
    compiled = openvino.Core().compile_model(folder / 'model.xml', 'CPU', config)
    results = compiled(images)
    logits, probabilities = results['logits'], results['probabilities']
  np.testing.assert_allclose(logits, model(images, training=False), rtol=0, atol=1e-5)
  np.testing.assert_allclose(probabilities, expected(model, images), rtol=0, atol=1e-6)


def small_model(name):
  if name.startswith('resnext'):
    return resnext.build_model(name, num_classes=7, image_size=16, width=8, stem_width=8)
  return efficientnet.build_model(name, **SMALL)


MODULES = {'openvino': openvino_ir, 'onnx': onnx_file}


@pytest.mark.slow
@pytest.mark.parametrize('name', ['efficientnet-b0', 'resnext-20-2x32d'])
@pytest.mark.parametrize('kind', MODULES)
def test_the_families_compute_the_same(name, kind):
  needs(kind)
  model = with_random_statistics(small_model(name))
  shape = (3, *model.inputs[0].shape[1:])
  images = np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)
  got = MODULES[kind].compiled(fold_batch_norm(model)).predict(images)
  np.testing.assert_allclose(got, expected(model, images), rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('kind', MODULES)
def test_kernels_that_depend_on_the_image_are_refused(kind):
  needs(kind)
  model = fold_batch_norm(small_model('efficientnet-condconv-b0-4e'))
  with pytest.raises(ValueError, match='cannot (run|convert) efficientnet-condconv-b0-4e'):
    MODULES[kind].compiled(model)


def test_damaged_files_are_refused(tmp_path):
  needs('openvino', 'onnx')
  for name in ('model.xml', 'model.onnx', 'model.tflite'):
    (tmp_path / name).write_bytes(b'cut off')
    (tmp_path / 'model.bin').write_bytes(b'')
    reader = next(
      reader for key, reader in formats.READERS.items()
      if model_formats.FORMATS[key].file == name
    )  # fmt: skip
    with pytest.raises(ValueError, match=f'{name} cannot be read'):
      reader(str(tmp_path / name))


def test_damaged_information_is_left_out():
  assert program.parse_info('[' * 10**5) == program.parse_info('[1]') == {}
  assert program.parse_info('{"a": 1}') == {'a': 1}


def test_formats_of_a_flag(monkeypatch):
  parse = model_formats.parse_formats
  assert parse('f', 'keras, saved_model,keras') == ('keras', 'saved_model')
  with pytest.raises(ValueError, match="Unknown format of --f 'openvin': did you mean openvino"):
    parse('f', 'openvin')
  monkeypatch.setattr(model_formats.importlib.util, 'find_spec', lambda name: None)
  with pytest.raises(ValueError) as caught:
    parse('f', 'keras,onnx')
  message = "--f=onnx needs tf2onnx and onnxruntime, which are not installed: pip install '.[onnx]'"
  assert str(caught.value) == message
  with pytest.raises(ValueError, match='--runtime=openvino needs openvino, which is not installed'):
    model_formats.check_runtime('runtime', 'openvino')

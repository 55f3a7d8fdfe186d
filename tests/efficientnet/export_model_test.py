"""Exports from a job's checkpoint to each kind of file, and its error messages."""
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnet import export_model
from tests import script_jobs
from tests.efficientnet import lite_job
from tpu_utils import export, weights

pytestmark = pytest.mark.slow


def run(*arguments):
  export_model.SCRIPT.call([*map(str, arguments)])


@pytest.mark.long
def test_all_files_of_a_job_on_the_digits(lite_job_dir, tmp_path, capsys):
  run(
    f'--ckpt_dir={lite_job_dir}', f'--output_tflite={tmp_path / "digits.tflite"}',
    '--tflite_variants=all', f'--output_saved_model_dir={tmp_path / "saved"}', '--num_steps=50',
  )  # fmt: skip
  row = r'^(\w+) +([\d.]+)% +[\d.]+% +[\d.]+$'
  table = dict(re.findall(row, capsys.readouterr().out, re.MULTILINE))
  assert list(table) == ['model', 'float32', 'float16', 'dynamic_range', 'int8', 'full_int8']
  assert float(table['model']) > 80  # Percent of the held-out digits; chance is 10.
  assert table['float32'] == table['model']
  assert all(abs(float(accuracy) - float(table['model'])) < 3 for accuracy in table.values())
  images, labels = lite_job.held_out()
  model = lite_job.build_model()
  weights.load(model, lite_job_dir)
  expected = model(images, training=False).numpy()
  accuracy = (expected.argmax(-1) == labels.argmax(-1)).mean()
  assert float(table['model']) == pytest.approx(100 * accuracy, abs=0.01)
  content = (tmp_path / 'digits.float32.tflite').read_bytes()
  found = export.tflite.Classifier(content).predict(images[:4])
  np.testing.assert_allclose(found, tf.nn.softmax(expected[:4]), atol=1e-5)
  served = tf.saved_model.load(str(tmp_path / 'saved')).signatures['images'](images=images[:4])
  np.testing.assert_allclose(served['logits'], expected[:4], atol=1e-5 * np.abs(expected).max())


def test_quantize_selects_the_variant_of_a_single_file(lite_job_dir, tmp_path, capsys):
  checkpoint, few = f'--ckpt_dir={lite_job_dir}', '--num_eval_images=8'
  run(checkpoint, f'--output_tflite={tmp_path / "f.tflite"}', '--noquantize', few)
  assert 'on 8 images' in capsys.readouterr().out
  interpreter = tf.lite.Interpreter(str(tmp_path / 'f.tflite'))
  assert interpreter.get_input_details()[0]['dtype'] == np.float32
  run(checkpoint, f'--output_tflite={tmp_path / "q.tflite"}', '--num_steps=8', few)
  interpreter = tf.lite.Interpreter(str(tmp_path / 'q.tflite'))
  assert interpreter.get_input_details()[0]['dtype'] == np.uint8


def test_an_endpoint_is_the_output_of_all_files(lite_job_dir, tmp_path, capsys):
  run(
    f'--ckpt_dir={lite_job_dir}', '--endpoint_name=pooled_features', '--noquantize',
    f'--output_tflite={tmp_path / "f.tflite"}', f'--output_saved_model_dir={tmp_path / "saved"}',
    '--export_to_tpu',
  )  # fmt: skip
  assert 'Output: endpoint pooled_features, [None, ' in capsys.readouterr().out
  images, _ = lite_job.held_out()
  model = lite_job.build_model()
  weights.load(model, lite_job_dir)
  pooled = keras.Model(model.inputs, model.layers[-1].input)
  expected = pooled(images[:4], training=False).numpy()
  atol = 1e-5 * np.abs(expected).max()
  signatures = tf.saved_model.load(str(tmp_path / 'saved')).signatures
  assert set(signatures) == {'images', 'serve', 'image_bytes', 'serving_default'}
  served = signatures['images'](images=images[:4])
  assert set(served) == {'output'}
  np.testing.assert_allclose(served['output'].numpy().reshape(expected.shape), expected, atol=atol)
  content = (tmp_path / 'f.tflite').read_bytes()
  found = export.tflite.Classifier(content).predict(images[:4])
  np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=atol)
  with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    graph = tf.compat.v1.saved_model.load(session, ['serve'], str(tmp_path / 'saved' / 'tpu'))
    signature = graph.signature_def['images']
    feed = {signature.inputs['images'].name: images[:4]}
    found = session.run(signature.outputs['output'].name, feed)
  np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=atol)
  with pytest.raises(ValueError, match="'pool_features': did you mean pooled_features"):
    run(
      f'--ckpt_dir={lite_job_dir}', '--endpoint_name=pool_features', '--noquantize',
      f'--output_tflite={tmp_path / "g.tflite"}',
    )  # fmt: skip


def weights_alone(lite_job_dir, folder):
  """Copies the checkpoint without its job's record; returns the flags that replace the record."""
  folder.mkdir()
  for path in lite_job_dir.iterdir():
    if path.name != 'run.json':
      (folder / path.name).write_bytes(path.read_bytes())
  return [f'--ckpt_dir={folder}', *(f'--{name}={value}' for name, value in lite_job.FLAGS.items())]


def test_checkpoint_without_a_job_needs_images_only_for_int8(lite_job_dir, tmp_path, capsys):
  checkpoint = weights_alone(lite_job_dir, tmp_path / 'weights')
  with pytest.raises(ValueError, match='int8 file needs images.*--data_dir.*--noquantize'):
    run(*checkpoint, f'--output_tflite={tmp_path / "q.tflite"}')
  assert not (tmp_path / 'q.tflite').exists()
  run(*checkpoint, f'--output_tflite={tmp_path / "f.tflite"}', '--noquantize')
  assert 'Accuracy not measured' in capsys.readouterr().out and (tmp_path / 'f.tflite').exists()


def test_error_names_a_file_that_is_no_image(lite_job_dir, tmp_path):
  checkpoint = weights_alone(lite_job_dir, tmp_path / 'weights')
  for split in ('train', 'validation'):
    for name in range(10):
      folder = tmp_path / 'data' / split / str(name)
      folder.mkdir(parents=True)
      image = tf.io.encode_png(np.full((8, 8, 3), 20 * name, np.uint8)).numpy()
      (folder / 'a.png').write_bytes(image)
  (tmp_path / 'data' / 'train' / '5' / 'a.png').write_bytes(b'no image')
  with pytest.raises(ValueError, match=r'5/a\.png.*no image that can be decoded') as error:
    run(*checkpoint, f'--data_dir={tmp_path / "data"}', f'--output_tflite={tmp_path / "q.tflite"}')
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'q.tflite').exists()


@pytest.mark.parametrize('arguments, message', [
  ((), '--ckpt_dir is missing'),
  (('--ckpt_dir=x',), 'Nothing to write'),
  (('--ckpt_dir=x', '--tflite_variants=all'), '--tflite_variants needs --output_tflite'),
  (('--ckpt_dir=x', '--output_tflite=y', '--tflite_variants=int4'), "'int4': did you mean int8"),
  (
    ('--ckpt_dir=x', '--output_tflite=y', '--export_to_tpu'),
    '--export_to_tpu needs --output_saved_model_dir',
  ),
  (
    ('--ckpt_dir=x', '--output_tflite=y', '--endpoint_name=stem', '--labels_map_file=z'),
    '--labels_map_file names classes; --endpoint_name has none',
  ),
  (('--ckpt_dir=no/such', '--output_tflite=y', '--noquantize'), 'no/such: no checkpoint there'),
])
def test_wrong_flags(arguments, message):
  with pytest.raises((ValueError, OSError), match=message):
    run(*arguments)


def test_missing_data_are_found_before_tensorflow_is_imported():
  resolved = export_model.SCRIPT.resolve({'data_dir': '/does/not/exist'})
  with pytest.raises(ValueError, match='--data_dir=/does/not/exist does not exist'):
    export_model.SCRIPT.check(resolved)


def test_a_missing_checkpoint_is_found_before_tensorflow_is_imported():
  resolved = export_model.SCRIPT.resolve({'ckpt_dir': 'no/such', 'output_tflite': 'y'})
  with pytest.raises(FileNotFoundError, match='--ckpt_dir=no/such: no checkpoint there'):
    export_model.SCRIPT.check(resolved)


def test_help_is_quick_and_an_error_is_one_line():
  code, out, seconds = script_jobs.user_seconds('-m', 'efficientnet.export_model', '--help')
  assert code == 0 and '--output_tflite' in out and '--num_steps=2000' in out
  assert seconds < 2
  process = script_jobs.start('-m', 'efficientnet.export_model', '--output_tflite=x')
  code, out, err = script_jobs.finish(process)
  assert (code, out) == (1, '') and err.count('\n') == 1 and '--ckpt_dir is missing' in err


def test_an_endpoint_needs_a_format_that_takes_it():
  pytest.importorskip('openvino')
  with pytest.raises(ValueError, match='^--endpoint_name=stem is for the formats saved_model, '):
    run(
      '--ckpt_dir=x', '--output_saved_model_dir=y', '--endpoint_name=stem',
      '--export_formats=openvino',
    )  # fmt: skip

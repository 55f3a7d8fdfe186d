"""Names and precision on the way from a class folder through a job to every reader of its model."""
import csv
import hashlib
import io
import json
import os
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.image_jobs.small_scripts import EVALUATE, EXPORT, MAIN
from tpu_utils.image_jobs import classes

NAMES = ['cat, black', 'line\nbreak', 'naïve 猫', 'tab\there']  # Sorted, as folders are.


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
  """A class folder with names that are hard to write down."""
  folder = tmp_path_factory.mktemp('photographs')
  pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), np.uint8)
  for number, image in enumerate(pixels):
    for split in ('train', 'validation'):
      place = folder / split / NAMES[number % 4]
      place.mkdir(parents=True, exist_ok=True)
      (place / f'{number}.png').write_bytes(tf.io.encode_png(image).numpy())
  return folder


def train(photographs, model_dir, *arguments):
  MAIN.call([f'--data_dir={photographs}', f'--model_dir={model_dir}', '--noreport', *arguments])


@pytest.fixture(scope='module')
def job(photographs, tmp_path_factory):
  """The model_dir of a job that trained in bfloat16, with its export; the data are gone."""
  model_dir = tmp_path_factory.mktemp('job') / 'run'
  train(photographs, model_dir, '--use_bfloat16', f'--export_dir={model_dir}/export')
  hidden = photographs.with_name('hidden')
  photographs.rename(hidden)
  yield model_dir
  hidden.rename(photographs)


@pytest.fixture(scope='module')
def exported(job, tmp_path_factory):
  """What `export_model` makes of the job: (SavedModel's folder, TFLite file)."""
  folder = tmp_path_factory.mktemp('exported')
  tflite = folder / 'x.tflite'
  # Its data are gone, so no accuracy: weights and names come from model_dir alone.
  EXPORT.call([
    f'--ckpt_dir={job}', '--data_dir=', f'--output_saved_model_dir={folder}/saved',
    f'--output_tflite={tflite}', '--noquantize',
  ])  # fmt: skip
  return folder / 'saved', tflite


@pytest.fixture(scope='module')
def image(tmp_path_factory):
  path = tmp_path_factory.mktemp('image') / 'a, b.png'
  path.write_bytes(tf.io.encode_png(np.full((8, 8, 3), 99, np.uint8)).numpy())
  return str(path)


@pytest.mark.slow
def test_the_job_keeps_the_names(job):
  assert json.loads((job / 'classes.json').read_text()) == {'class_names': NAMES}


@pytest.mark.slow
def test_both_exports_name_the_classes(job, exported):
  for folder in (job / 'export', exported[0]):
    assert json.loads((folder / 'export.json').read_text())['class_names'] == NAMES
    names = tf.saved_model.load(str(folder)).signatures['class_names']()['class_names'].numpy()
    assert [name.decode() for name in names] == NAMES
  with zipfile.ZipFile(io.BytesIO(exported[1].read_bytes())) as archive:
    lines = archive.read('labels.txt').decode().splitlines()
  assert lines == ['cat, black', 'line break', 'naïve 猫', 'tab here']


def test_both_exports_have_a_card_of_the_job(job, exported):
  saved, tflite = exported
  paths = [folder / 'README.md' for folder in (job / 'export', saved)]
  for card in (*paths, tflite.with_name('x.model_card.md')):
    text = card.read_text(encoding='utf-8')
    assert 'license: unknown' in text and '4: cat, black, line break, naïve 猫, tab here' in text
    assert '| data | photographs' in text and '| steps | 2 (1.0 epochs) |' in text
  digest = hashlib.sha256(tflite.read_bytes()).hexdigest()
  assert f'| x.tflite | {tflite.stat().st_size:,} | `{digest}` |' in text


def test_an_export_as_checkpoint_keeps_the_names(exported, tmp_path):
  saved, _ = exported
  EXPORT.call([
    f'--ckpt_dir={saved}/model.keras', '--model_name=small-net', '--num_label_classes=4',
    f'--output_saved_model_dir={tmp_path}/again',
  ])  # fmt: skip
  assert json.loads((tmp_path / 'again' / 'export.json').read_text())['class_names'] == NAMES


def logits(folder, images):
  return tf.saved_model.load(str(folder)).signatures['images'](images=images)['logits'].numpy()


def test_both_exports_of_a_bfloat16_job_compute_the_same_bits_in_float32(job, exported):
  images = np.random.default_rng(1).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
  folders = [job / 'export', exported[0]]
  np.testing.assert_array_equal(*(logits(folder, images) for folder in folders))
  models = [keras.models.load_model(folder / 'model.keras') for folder in folders]
  np.testing.assert_array_equal(*(model(images, training=False).numpy() for model in models))
  assert {layer.compute_dtype for layer in models[0].layers} == {'float32'}
  for folder in folders:
    assert json.loads((folder / 'export.json').read_text())['precision'] == 'float32'


def test_a_flag_asks_for_bfloat16(job, tmp_path):
  flag = '--export_precision=bfloat16'
  saved = f'--output_saved_model_dir={tmp_path}/a'
  EXPORT.call([f'--ckpt_dir={job}', '--data_dir=', saved, flag])
  MAIN.call(['--mode=export', f'--model_dir={job}', f'--export_dir={tmp_path}/b', flag])
  images = np.random.default_rng(1).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
  np.testing.assert_array_equal(*(logits(tmp_path / name, images) for name in 'ab'))
  info = json.loads((tmp_path / 'b' / 'export.json').read_text())
  assert info['precision'] == 'bfloat16' and info['class_names'] == NAMES
  with pytest.raises(ValueError, match='TFLite files have --tflite_variants'):
    EXPORT.call([f'--ckpt_dir={job}', flag, '--output_tflite=x', '--noquantize'])


@pytest.mark.parametrize(
  'kind', ['job', 'saved_model', 'saved_model_alone', 'keras', 'keras_alone']
)
def test_evaluation_names_the_classes(job, exported, image, kind, tmp_path, capsys):
  saved = exported[0]
  path = {
    'job': job, 'saved_model': saved, 'keras': saved / 'model.keras',
    'saved_model_alone': saved, 'keras_alone': tmp_path / 'copy.keras',
  }[kind]  # fmt: skip
  if kind == 'keras_alone':
    path.write_bytes((saved / 'model.keras').read_bytes())
  if kind == 'saved_model_alone':
    path = tmp_path / 'copy'
    for name in ('saved_model.pb', 'variables'):
      path.mkdir(exist_ok=True)
      os.symlink(saved / name, path / name)
  results = EVALUATE.call([
    f'--ckpt_dir={path}', f'--output_csv={tmp_path}/out.csv', f'--output_json={tmp_path}/out.json',
    f'--picture={tmp_path}/out.png', image,
  ])  # fmt: skip
  guesses = results['examples'][image]
  assert sorted(guess['label'] for guess in guesses) == NAMES
  assert [NAMES[guess['class']] for guess in guesses] == [guess['label'] for guess in guesses]
  assert json.loads((tmp_path / 'out.json').read_text()) == results
  with open(tmp_path / 'out.csv', encoding='utf-8', newline='') as file:
    rows = list(csv.DictReader(file))
  assert [row['label'] for row in rows] == [guess['label'] for guess in guesses]
  assert [row['rank'] for row in rows] == ['1', '2', '3', '4'] and rows[0]['image'] == image
  out = capsys.readouterr().out
  assert ': line break\n' in out and ': tab here\n' in out and ': cat, black\n' in out


def test_a_job_with_other_classes_is_refused(job, photographs, tmp_path):
  for split in ('train', 'validation'):
    for name in [*NAMES[:3], 'zebra']:
      (tmp_path / split / name).mkdir(parents=True)
      image = tf.io.encode_png(np.zeros((8, 8, 3), np.uint8)).numpy()
      (tmp_path / split / name / '0.png').write_bytes(image)
  with pytest.raises(ValueError, match='learnt other classes: output 3 was .* call it .zebra.'):
    train(tmp_path, job)


def test_a_labels_map_names_the_exports(job, tmp_path):
  labels_map = tmp_path / 'map.json'
  labels_map.write_text(json.dumps({str(n): f'number {n}' for n in range(4)}))
  flag = f'--labels_map_file={labels_map}'
  MAIN.call(['--mode=export', f'--model_dir={job}', f'--export_dir={tmp_path}/x', flag])
  names = json.loads((tmp_path / 'x' / 'export.json').read_text())['class_names']
  assert names == [f'number {n}' for n in range(4)]
  labels_map.write_text('{"0": "a"}')
  with pytest.raises(ValueError, match='names 1 classes.* the model has 4'):
    saved = f'--output_saved_model_dir={tmp_path}/y'
    EXPORT.call([f'--ckpt_dir={job}', '--data_dir=', flag, saved])
  assert not (tmp_path / 'y').exists() and classes.of_checkpoint(str(job), 4) == NAMES

"""Predictions for folders of images: every kind of model, every output, and what goes wrong."""
import csv
import json
import os
import pathlib
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.image_jobs.small_scripts import EXPORT, MAIN, PREDICT, TRAINING
from tpu_utils.image_jobs import image_paths, predict, predictor

pytestmark = pytest.mark.slow

NAMES = ['cat, black', 'naïve 猫', 'zebra']


def picture(seed):
  pixels = np.random.default_rng(seed).integers(0, 256, (12, 10, 3), np.uint8)
  return tf.io.encode_png(pixels).numpy()


@pytest.fixture(scope='module')
def job(tmp_path_factory):
  """The model_dir of a job on three classes, with an export as SavedModel and Keras file."""
  folder = tmp_path_factory.mktemp('data')
  for number in range(6):
    for split in ('train', 'validation'):
      place = folder / split / NAMES[number % 3]
      place.mkdir(parents=True, exist_ok=True)
      (place / f'{number}.png').write_bytes(picture(number))
  model_dir = tmp_path_factory.mktemp('job') / 'run'
  MAIN.call([
    f'--data_dir={folder}', f'--model_dir={model_dir}', f'--export_dir={model_dir}/export',
    '--crop_rule=whole', '--interpolation=bilinear', '--train_batch_size=3', '--eval_batch_size=3',
  ])  # fmt: skip
  return model_dir


@pytest.fixture
def images(tmp_path):
  """A folder of seven images, a broken one, another file and clutter."""
  folder = tmp_path / 'images'
  (folder / 'below').mkdir(parents=True)
  for number in range(7):
    place = folder / 'below' if number > 4 else folder
    (place / f'{number}.PNG').write_bytes(picture(number))
  (folder / '3b.jpg').write_bytes(b'no image')
  (folder / 'notes.txt').write_text('left out')
  (folder / '.hidden.png').write_text('left out')
  return folder


def call(*arguments):
  return PREDICT.call([str(argument) for argument in arguments])


def rows(path):
  with open(path, encoding='utf-8', newline='') as file:
    return list(csv.DictReader(file))


def test_a_folder_to_csv(job, images, tmp_path, capsys):
  output = tmp_path / 'new' / 'out.csv'
  summary = call(f'--export_dir={job}/export', '--batch_size=2', images, f'--output={output}')
  assert summary.images == 8 and len(summary.failed) == 1
  table = rows(output)
  assert list(table[0]) == ['image', 'rank', 'class', 'label', 'probability', 'error']
  names = [os.path.relpath(row['image'], images) for row in table]
  assert names == ['0.PNG', '1.PNG', '2.PNG', '3.PNG', '3b.jpg', '4.PNG', 'below/5.PNG',
                   'below/6.PNG']  # fmt: skip
  good = [row for row in table if not row['error']]
  assert len(good) == 7 and all(row['label'] in NAMES and row['rank'] == '1' for row in good)
  assert 'no image that can be decoded' in table[4]['error'] and not table[4]['label']
  out = capsys.readouterr()
  assert '8 images; 1 other files are left out' in out.err
  assert f'{images}/3b.jpg: its 8 bytes are no image' in out.err
  assert '1 of 8 images cannot be read.' in out.err and 'predict image 8/8' in out.err
  assert 'Runtime: ' in out.err and 'predictions for 7 images' in out.out
  assert not output.with_name('out.csv.partial').exists()


def test_json_lines_have_the_numbers_of_the_model(job, images, tmp_path):
  """The preprocessing is the job's, though the model's own would take the centre."""
  output = tmp_path / 'out.jsonl'
  call(f'--ckpt_dir={job}/export', '--top_k=9', '--runtime=tensorflow', images / '*.PNG',
       images / '0.PNG', f'--output={output}')  # fmt: skip
  found = [json.loads(line) for line in output.read_text().splitlines()]
  assert [os.path.basename(row['image']) for row in found] == [f'{n}.PNG' for n in range(5)]
  serve = tf.saved_model.load(str(job / 'export')).signatures['image_bytes']
  want = serve(image_bytes=[picture(n) for n in range(5)])['probabilities'].numpy()
  for row, probabilities in zip(found, want, strict=True):
    assert [NAMES[guess['class']] for guess in row['predictions']] == [
      guess['label'] for guess in row['predictions']]
    got = [guess['probability'] for guess in row['predictions']]
    np.testing.assert_allclose(got, np.sort(probabilities)[::-1], rtol=1e-5)


def test_without_output_the_classes_are_printed(job, images, capsys):
  call(f'--ckpt_dir={job}', '--top_k=2', images / '0.PNG')
  out = capsys.readouterr().out
  assert f'predicted class for image {images}/0.PNG: ' in out and '-> top_1 (' in out
  assert '-> top_2 (' not in out


@pytest.fixture(scope='module')
def exported(job, tmp_path_factory):
  """The job's model in all formats."""
  for package in ('openvino', 'tf2onnx', 'onnxruntime'):
    pytest.importorskip(package)
  folder = tmp_path_factory.mktemp('exported') / 'all'
  EXPORT.call([
    f'--ckpt_dir={job}', f'--export_dir={folder}', '--num_eval_images=4',
    '--export_formats=saved_model,keras,tflite,openvino,onnx',
  ])  # fmt: skip
  return folder


@pytest.fixture(scope='module')
def three(exported, tmp_path_factory):
  """(Folder of three images, probabilities of the SavedModel for them)."""
  folder = tmp_path_factory.mktemp('three')
  for number in range(3):
    (folder / f'{number}.png').write_bytes(picture(number))
  serve = tf.saved_model.load(str(exported)).signatures['image_bytes']
  return folder, serve(image_bytes=[picture(n) for n in range(3)])['probabilities'].numpy()


def check(place, runtime, title, three):
  folder, want = three
  loaded = predict.Predicting(TRAINING).load(place, runtime)
  assert re.fullmatch(title, loaded.classifier.runtime)
  assert loaded.labels == NAMES and loaded.classifier.spec.crop == 'whole'
  found = loaded.predict(folder, top_k=3, batch_size=2)
  got = [[guess.probability for guess in prediction.guesses] for prediction in found]
  np.testing.assert_allclose(got, np.sort(want)[:, ::-1], rtol=1e-4)
  assert [p.label for p in found] == [NAMES[n] for n in want.argmax(-1)]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
  'path, runtime, title',
  [
    ('', 'auto', 'OpenVINO, .*model.xml'),
    ('', 'onnxruntime', 'ONNX Runtime, .*model.onnx'),
    ('', 'litert', 'LiteRT, .*model.tflite'),
    ('', 'tensorflow', 'TensorFlow'),
    ('model.keras', 'auto', 'OpenVINO, converted in memory'),
    ('model.keras', 'onnxruntime', 'ONNX Runtime, converted in memory'),
    ('model.keras', 'litert', 'LiteRT, converted in memory'),
    ('model.keras', 'tensorflow', 'TensorFlow'),
  ],
)
def test_every_runtime(exported, three, path, runtime, title):
  check(exported / path, runtime, title, three)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
  'names, runtime, title',
  [
    (['model.tflite'], 'auto', 'LiteRT, .*model.tflite'),
    (['model.xml', 'model.bin'], 'auto', 'OpenVINO, .*model.xml'),
    (['model.onnx'], 'onnxruntime', 'ONNX Runtime, .*model.onnx'),
    (['model.onnx'], 'openvino', 'OpenVINO, .*model.onnx'),
  ],
)
def test_files_alone_have_names_and_preprocessing(exported, three, tmp_path, names, runtime, title):
  for name in names:
    shutil.copy(exported / name, tmp_path / name)
  check(tmp_path / names[0], runtime, title, three)


@pytest.mark.long
@pytest.mark.slow
def test_a_job_is_converted_in_memory(job, three):
  check(job, 'auto', 'OpenVINO, converted in memory', three)


@pytest.mark.long
@pytest.mark.slow
def test_an_export_is_measured(exported):
  measured = json.loads((exported / 'export.json').read_text())['measured']
  assert list(measured) == ['model', 'saved_model', 'tflite', 'openvino', 'onnx']
  for result in measured.values():
    assert result['images'] == 4 and result['same_class'] == 1
    assert result['largest_change'] < 1e-5 and set(result['images_per_second']) == {'8', '1'}
    assert result['top_1_accuracy'] == measured['model']['top_1_accuracy']
  card = (exported / 'README.md').read_text(encoding='utf-8')
  for part in ('top-1 accuracy, onnx |', 'On 4 evaluation images', '| model.bin |', "'model.onnx'"):
    assert part in card


def test_a_runtime_without_a_file_is_refused(job, tmp_path):
  for name in ('saved_model.pb', 'variables'):
    tmp_path.joinpath('saved').mkdir(exist_ok=True)
    os.symlink(job / 'export' / name, tmp_path / 'saved' / name)
  with pytest.raises(ValueError, match='--runtime=litert cannot run .*, which has saved_model'):
    predict.Predicting(TRAINING).load(tmp_path / 'saved', 'litert')
  with pytest.raises(ValueError, match="Unknown value of --runtime 'tensorrt'"):
    predict.Predicting(TRAINING).load(tmp_path / 'saved', 'tensorrt')


def test_main_measures_other_formats(job, tmp_path, capsys):
  MAIN.call([
    '--mode=export', f'--model_dir={job}', f'--export_dir={tmp_path}/x',
    '--export_formats=keras,tflite',
  ])  # fmt: skip
  assert 'images a second' in capsys.readouterr().out
  info = json.loads((tmp_path / 'x' / 'export.json').read_text())
  assert list(info['measured']) == ['model', 'tflite'] and info['measured']['tflite']['images'] == 6
  assert sorted(os.listdir(tmp_path / 'x')) == [
    'README.md', 'export.json', 'model.keras', 'model.tflite'
  ]
  card = (tmp_path / 'x' / 'README.md').read_text()
  assert 'model.tflite' in card and 'signatures' not in card


def test_an_interrupted_run_continues(job, images, tmp_path, monkeypatch, capsys):
  output = tmp_path / 'out.csv'
  arguments = (f'--ckpt_dir={job}', '--batch_size=2', images, f'--output={output}')
  stream = predictor.Predictor.stream

  def interrupted(self, paths, *others):
    for number, found in enumerate(stream(self, paths, *others)):
      if number == 2:
        raise KeyboardInterrupt
      yield found

  with monkeypatch.context() as patch:
    patch.setattr(predictor.Predictor, 'stream', interrupted)
    with pytest.raises(KeyboardInterrupt):
      call(*arguments)
  assert not output.exists()
  with open(f'{output}.partial', 'a', encoding='ascii') as file:
    file.write('{"image": "cut o')
  capsys.readouterr()
  call(*arguments)
  assert '4 of them are in' in capsys.readouterr().err
  continued = output.read_text()
  call(*arguments)
  assert output.read_text() == continued and len(rows(output)) == 8


def test_another_job_does_not_continue(job, images, tmp_path, capsys):
  output = tmp_path / 'out.csv'
  pathlib.Path(f'{output}.partial').write_text(
    f'{{"job": {{}}}}\n{{"image": "{images}/0.PNG", "predictions": []}}\n'
  )
  call(f'--ckpt_dir={job}', images, f'--output={output}')
  assert 'already' not in capsys.readouterr().err and len(rows(output)) == 8


def test_names_that_are_not_text(job, tmp_path):
  folder = tmp_path / 'images'
  folder.mkdir()
  with open(os.fsencode(folder) + b'/caf\xe9.png', 'wb') as file:
    file.write(picture(0))
  call(f'--ckpt_dir={job}', folder, f'--output={tmp_path}/out.csv')
  call(f'--ckpt_dir={job}', folder, f'--output={tmp_path}/out.jsonl')
  assert b'/caf\xe9.png,1,' in (tmp_path / 'out.csv').read_bytes()
  image = json.loads((tmp_path / 'out.jsonl').read_text())['image']
  assert os.fsencode(image).endswith(b'/caf\xe9.png')


@pytest.mark.parametrize(
  'arguments, message',
  [
    ([], 'No images: name files, folders or patterns after the flags'),
    (['missing.jpg'], 'missing.jpg: no such image'),
    (['*.nothing'], r'\*.nothing: no such image, folder or pattern'),
    (['.', '--output=out.txt'], '--output=out.txt must end in .csv or .jsonl'),
    (['empty'], 'empty holds no image: expected files that end in .jpg'),
    (['broken.png'], 'None of the 1 images can be read; the first: broken.png: its 3 bytes'),
  ],
)
def test_wrong_arguments(job, tmp_path, monkeypatch, arguments, message):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'empty').mkdir()
  (tmp_path / 'broken.png').write_bytes(b'...')
  with pytest.raises((ValueError, OSError), match=message):
    call(f'--ckpt_dir={job}', *arguments)


def test_python(job, images):
  loaded = predict.Predicting(TRAINING).load(job / 'export', 'tensorflow')
  found = loaded.predict(images, top_k=2)
  assert [p.image for p in found] == image_paths.find([images])[0]
  assert [bool(p.error) for p in found] == [False] * 4 + [True] + [False] * 3
  assert found[0].label in NAMES and 1 / 3 <= found[0].probability <= 1
  assert len(found[0].guesses) == 2
  with pytest.raises(ValueError, match='3b.jpg: its 8 bytes are no image'):
    print(found[4].label)

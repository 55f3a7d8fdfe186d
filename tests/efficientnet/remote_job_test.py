"""A whole job of EfficientNet on remote folders: training, evaluation, exports, pictures."""
import contextlib
import io
import json
import os
import re

import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from efficientnet import cam, eval_ckpt_main, export_model, main
from tests import remote
from tpu_utils.images import digits

pytestmark = pytest.mark.slow

NETWORK = (
  '--model_name=efficientnet-lite0', '--width_coefficient=0.25', '--depth_coefficient=0.25',
  '--input_image_size=32', '--num_label_classes=10', '--crop_rule=whole',
)  # fmt: skip
LENGTH = (
  '--train_batch_size=16', '--eval_batch_size=71', '--num_train_images=1442',
  '--num_eval_images=355', '--train_steps=2', '--steps_per_eval=2', '--iterations_per_loop=2',
  '--noreport',
)  # fmt: skip


@pytest.fixture(scope='module')
def data_dir():
  return remote.upload(digits.DATA_DIR, remote.new_folder())


@pytest.fixture(scope='module')
def finished(data_dir, tmp_path_factory):
  """The remote --model_dir of a finished job that began with remote weights, and its output."""
  initial = tmp_path_factory.mktemp('initial') / 'm.weights.h5'
  efficientnet.build_model(
    'efficientnet-lite0', num_classes=10, image_size=32, width_coefficient=0.25,
    depth_coefficient=0.25,
  ).save_weights(initial)  # fmt: skip
  folder, out = remote.new_folder(), io.StringIO()
  remote.upload(initial, f'{folder}/m.weights.h5')
  with contextlib.redirect_stdout(out):
    main.SCRIPT.call([
      *NETWORK, *LENGTH, f'--data_dir={data_dir}', f'--model_dir={folder}/run',
      f'--export_dir={folder}/run/export', f'--init_checkpoint={folder}/m.weights.h5',
    ])  # fmt: skip
  return f'{folder}/run', out.getvalue()


@pytest.fixture(scope='module')
def model_dir(finished):
  return finished[0]


@pytest.fixture(scope='module')
def photograph():
  image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
  content = tf.io.encode_png(image).numpy()
  return remote.write(f'{remote.new_folder()}/a.png', content)


@pytest.fixture(scope='module')
def labels():
  names = {str(number): f'number {number}' for number in range(10)}
  return remote.write(f'{remote.new_folder()}/labels.json', json.dumps(names))


def test_the_job_writes_its_files(finished):
  model_dir, out = finished
  assert f'Weights of {os.path.dirname(model_dir)}/m.weights.h5:' in out
  assert f'Exported model.ckpt-2 to {model_dir}/export.' in out
  names = remote.names_in(model_dir)
  for name in ('checkpoint', 'best_objective.txt', 'run.json', 'curves.png', 'eval/results.jsonl',
               'archive/model.ckpt-2.index', 'export/saved_model.pb', 'export/export.json',
               'export/model.keras'):  # fmt: skip
    assert name in names
  assert not [name for name in names if name.endswith('.writing')]
  assert '.in_use.json' not in names


def test_the_job_is_evaluated_and_exported_again(model_dir):
  folder = f'{remote.new_folder()}/export'
  main.SCRIPT.call([
    f'--model_dir={model_dir}', '--mode=eval', '--eval_name=again', f'--export_dir={folder}'
  ])
  first, again = (
    json.loads(remote.read(f'{model_dir}/{name}/results.jsonl')) for name in ('eval', 'eval_again')
  )
  assert again == pytest.approx(first, rel=1e-5)
  assert remote.names_in(folder) == remote.names_in(f'{model_dir}/export')


@pytest.mark.parametrize('checkpoint', ['', '/export', '/export/model.keras'])
def test_a_photograph_is_classified(model_dir, photograph, labels, checkpoint):
  folder = remote.new_folder()
  results = eval_ckpt_main.SCRIPT.call([
    f'--ckpt_dir={model_dir}{checkpoint}', f'--labels_map_file={labels}',
    f'--output_json={folder}/results.json', f'--picture={folder}/top5.png', photograph,
  ])  # fmt: skip
  written = json.loads(remote.read(f'{folder}/results.json'))
  assert written == json.loads(json.dumps(results))
  assert re.fullmatch(r'number \d', written['examples'][photograph][0]['label'])
  assert remote.read(f'{folder}/top5.png').startswith(b'\x89PNG')


def test_accuracy_on_labelled_photographs(model_dir, photograph):
  folder = remote.new_folder()
  for number in range(2):
    remote.write(f'{folder}/{number}.png', remote.read(photograph))
  remote.write(f'{folder}/labels.txt', '1\n2\n')
  results = eval_ckpt_main.SCRIPT.call([
    f'--ckpt_dir={model_dir}', f'--imagenet_eval_glob={folder}/*.png',
    f'--imagenet_eval_label={folder}/labels.txt', f'--export_ckpt={folder}/tf1/model.ckpt',
  ])  # fmt: skip
  assert results['images'] == 2
  network = eval_ckpt_main.SCRIPT.call([
    *NETWORK[:4], f'--ckpt_dir={folder}/tf1', photograph, '--num_label_classes=10',
  ])  # fmt: skip
  assert network['ckpt_dir'] == f'{folder}/tf1'


def test_export_model(model_dir, data_dir):
  folder = remote.new_folder()
  export_model.SCRIPT.call([
    f'--ckpt_dir={model_dir}', f'--data_dir={data_dir}', '--num_eval_images=8',
    f'--output_saved_model_dir={folder}/saved', f'--output_tflite={folder}/lite/m.tflite',
    '--noquantize',
  ])  # fmt: skip
  assert remote.read(f'{folder}/lite/m.tflite')[4:8] == b'TFL3'
  assert 'export.json' in remote.names_in(f'{folder}/saved')


def test_class_activation_maps(model_dir, photograph, labels):
  picture = f'{remote.new_folder()}/cam.png'
  cam.SCRIPT.call([
    f'--ckpt_dir={model_dir}', f'--picture={picture}', f'--labels_map_file={labels}', photograph,
  ])  # fmt: skip
  assert remote.read(picture).startswith(b'\x89PNG')


NONE = 'ram://none'


@pytest.mark.parametrize('script, arguments, message', [
  (main, ['--data_dir=ram://none', '--model_dir=x'], '--data_dir=ram://none does not exist'),
  (main, ['--data_dir=gcs://b', '--model_dir=x'], "file system in --data_dir=gcs://b: 'gcs': did"),
  (main, ['--model_dir=s3://b/x'], '--model_dir=s3://b/x: s3:// needs the package tensorflow-io'),
  # The picture is there: pictures are looked for first.
  (eval_ckpt_main, [*NETWORK[:1], f'--ckpt_dir={NONE}', __file__], 'ram://none: no checkpoint'),
  (cam, [*NETWORK[:1], f'--ckpt_dir={NONE}', 'a.png'], 'ram://none: no checkpoint there'),
  (eval_ckpt_main, ['gs:/b/a.png'], '^gs:/b/a.png: expected gs://'),
])
def test_missing_paths_and_wrong_schemes(script, arguments, message):
  with pytest.raises((ValueError, OSError), match=message) as error:
    script.SCRIPT.call(arguments)
  assert '\n' not in str(error.value)


def test_missing_files_of_an_evaluation(model_dir, photograph):
  cases = (
    ([f'{NONE}/a.png'], f'{NONE}/a.png'),
    ([f'--labels_map_file={NONE}/l.json', photograph], f'{NONE}/l.json: no such file'),
    ([f'--imagenet_eval_glob={photograph}', f'--imagenet_eval_label={NONE}/l'], f'{NONE}/l'),
  )
  for arguments, message in cases:
    with pytest.raises((ValueError, OSError), match=message) as error:
      eval_ckpt_main.SCRIPT.call([f'--ckpt_dir={model_dir}', *arguments])
    assert '\n' not in str(error.value)


def test_an_export_folder_with_other_files_is_refused_before_training(data_dir):
  folder = remote.new_folder()
  remote.write(f'{folder}/export/thesis.tex', b'years of work')
  with pytest.raises(ValueError, match="the folder holds 'thesis.tex' and no export.json"):
    main.SCRIPT.call([
      *NETWORK, *LENGTH, f'--data_dir={data_dir}', f'--model_dir={folder}/run',
      f'--export_dir={folder}/export',
    ])  # fmt: skip
  assert remote.names_in(folder) == ['export/thesis.tex']


def test_an_incomplete_export_is_refused(model_dir, photograph):
  folder = remote.new_folder()
  for name in ('saved_model.pb', 'unfinished.writing'):
    remote.write(f'{folder}/{name}', b'')
  with pytest.raises(ValueError, match=f'{folder} is incomplete'):
    eval_ckpt_main.SCRIPT.call([f'--ckpt_dir={folder}', photograph])

"""The evaluation script on photographs and on labelled images, with every kind of checkpoint."""
import json
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from efficientnet import eval_ckpt_main, main
from tests import script_jobs
from tpu_utils import export, weights
from tpu_utils.image_jobs import predictions
from tpu_utils.images import preprocessing
from tpu_utils.images.spec import PreprocessSpec

PHOTOGRAPHS = pathlib.Path(__file__).parents[2] / 'goldens' / 'preprocessing'
COFFEE, CAT = (str(PHOTOGRAPHS / f'{name}.jpg') for name in ('coffee', 'chelsea'))
SMALL = (
  '--model_name=efficientnet-b0', '--width_coefficient=0.25', '--depth_coefficient=0.25',
  '--input_image_size=32',
)  # fmt: skip


def run(*arguments, photographs=()):
  return eval_ckpt_main.SCRIPT.call([*arguments, *photographs])


@pytest.fixture(scope='module')
def model():
  keras.utils.set_random_seed(0)
  model = efficientnet.build_model(
    'efficientnet-b0', num_classes=3, image_size=32, width_coefficient=0.25, depth_coefficient=0.25
  )
  model.get_layer('head_dense').kernel.assign(np.random.default_rng(0).normal(size=(320, 3)))
  return model


@pytest.fixture(scope='module')
def checkpoint(model, tmp_path_factory):
  folder = tmp_path_factory.mktemp('official')
  weights.save_tf1(model, folder / 'model.ckpt', step=7)
  return folder


@pytest.fixture(scope='module')
def labelled(model, tmp_path_factory):
  """(folder of five images and labels.txt, labels): the model gets all right but the last."""
  folder = tmp_path_factory.mktemp('images')
  rng = np.random.default_rng(1)
  for i in range(5):
    pixels = rng.integers(0, 255, size=(40 + i, 44, 3), dtype=np.uint8)
    (folder / f'ILSVRC2012_val_0000000{i}.JPEG').write_bytes(tf.io.encode_jpeg(pixels).numpy())
  paths = sorted(map(str, folder.iterdir()))
  order = np.argsort(model(predictions.read_images(paths, PreprocessSpec(32))).numpy())
  labels = [*order[:4, -1], order[4, 0]]
  (folder / 'labels.txt').write_text('\n'.join(map(str, labels)) + '\n')
  return folder, labels


def probabilities(model, paths):
  images = predictions.read_images(paths, PreprocessSpec(32))
  return tf.nn.softmax(model(images)).numpy()


def check_examples(results, model):
  for path, row in zip((COFFEE, CAT), probabilities(model, [COFFEE, CAT]), strict=True):
    got = results['examples'][path]
    assert [guess['class'] for guess in got] == list(np.argsort(-row))
    probability = [guess['probability'] for guess in got]
    np.testing.assert_allclose(probability, np.sort(row)[::-1], atol=1e-5)


def test_photographs(model, checkpoint, tmp_path, capsys):
  (tmp_path / 'labels.txt').write_text('{"0": "tea", "1": "coffee", "2": "milk"}')
  results = run(
    f'--ckpt_dir={checkpoint}', '--num_label_classes=3',
    f'--labels_map_file={tmp_path}/labels.txt', f'--picture={tmp_path}/top.png',
    f'--output_json={tmp_path}/out.json', '--batch_size=1', *SMALL, photographs=[COFFEE, CAT],
  )  # fmt: skip
  check_examples(results, model)
  assert json.loads((tmp_path / 'out.json').read_text()) == results
  assert tf.io.decode_png((tmp_path / 'top.png').read_bytes()).shape[1] == 1200
  out = capsys.readouterr().out
  first = results['examples'][COFFEE][0]
  assert f'predicted class for image {COFFEE}: ' in out
  assert f'  -> top_0 ({100 * first["probability"]:4.2f}%): {first["label"]}' in out
  assert first['label'] in ('tea', 'coffee', 'milk')


@pytest.mark.slow
def test_exported_files_are_evaluated(model, tmp_path):
  spec = PreprocessSpec(32)
  export.export(
    model, tmp_path / 'export', preprocessing.eval_function(spec),
    {'image_size': 32, 'interpolation': 'bicubic', 'crop': 'official'}, ['tea', 'coffee', 'milk'],
  )
  for path in (tmp_path / 'export', tmp_path / 'export' / 'model.keras'):
    results = run(f'--ckpt_dir={path}', photographs=[COFFEE, CAT])
    check_examples(results, model)
    assert {guess['label'] for guess in results['examples'][CAT]} == {'tea', 'coffee', 'milk'}


@pytest.mark.parametrize(
  ('arguments', 'right', 'images'),
  [(('--num_images=-1',), 4, 5), (('--num_images=3', '--batch_size=2'), 3, 3), ((), 4, 5)],
)
def test_accuracy_from_a_pattern_and_labels(checkpoint, labelled, arguments, right, images):
  folder, _ = labelled
  results = run(
    f'--ckpt_dir={checkpoint}', '--num_label_classes=3', f'--imagenet_eval_glob={folder}/*.JPEG',
    f'--imagenet_eval_label={folder}/labels.txt', *SMALL, *arguments,
  )
  assert results['images'] == images
  assert results['top_1_accuracy'] == pytest.approx(right / images)
  assert results['top_5_accuracy'] == 1


def test_accuracy_from_tfrecords(checkpoint, labelled, tmp_path):
  folder, labels = labelled
  with tf.io.TFRecordWriter(str(tmp_path / 'validation-00000-of-00001')) as writer:
    for path, label in zip(sorted(folder.glob('*.JPEG')), labels, strict=True):
      features = {
        'image/encoded': tf.train.Feature(bytes_list=tf.train.BytesList(value=[path.read_bytes()])),
        'image/class/label': tf.train.Feature(
          int64_list=tf.train.Int64List(value=[int(label) + 1])
        ),
      }
      example = tf.train.Example(features=tf.train.Features(feature=features))
      writer.write(example.SerializeToString())
  results = run(
    f'--ckpt_dir={checkpoint}', '--num_label_classes=3', f'--data_dir={tmp_path}', *SMALL
  )
  assert (results['images'], results['top_1_accuracy']) == (5, 0.8)


@pytest.mark.slow
def test_a_job_of_ours_needs_no_flags(tmp_path, capsys):
  script_jobs.in_process(
    main.SCRIPT, f'--model_dir={tmp_path}', '--export_dir=', '--train_steps=2', '--mode=train',
    '--width_coefficient=0.25', '--depth_coefficient=0.25', '--train_batch_size=16',
    '--iterations_per_loop=2',
  )  # fmt: skip
  results = run(f'--ckpt_dir={tmp_path}', '--runmode=imagenet', '--num_images=100')
  assert results['images'] == 100
  results = run(f'--ckpt_dir={tmp_path}', photographs=[COFFEE])
  assert '--width_coefficient=0.25' in capsys.readouterr().out
  assert {guess['label'] for guess in results['examples'][COFFEE]} < {
    'zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine'
  }  # fmt: skip


@pytest.mark.slow
def test_raw_weights_and_averages_differ(model, tmp_path):
  """`--noenable_ema` loads the raw variables; `--export_ckpt` writes the evaluated ones."""
  weights.save_tf1(model, tmp_path / 'model.ckpt')
  shared = [f'--ckpt_dir={tmp_path}', '--num_label_classes=3', *SMALL]
  results = run(
    *shared, '--noenable_ema', f'--export_ckpt={tmp_path}/out/model', photographs=[COFFEE, CAT]
  )
  check_examples(results, model)
  check_examples(run(f'--ckpt_dir={tmp_path}/out', *shared[1:], photographs=[COFFEE, CAT]), model)


def test_background_class(checkpoint):
  """With it, class numbers and names start after the background."""
  shared = [f'--ckpt_dir={checkpoint}', '--num_label_classes=3', *SMALL]
  plain = run(*shared, photographs=[COFFEE])['examples'][COFFEE]
  shifted = run(*shared, '--include_background_label', photographs=[COFFEE])['examples'][COFFEE]
  assert [guess['class'] for guess in shifted] == [guess['class'] - 1 for guess in plain]
  assert next(guess['label'] for guess in shifted if guess['class'] == -1) == 'background'


def test_advprop_scaling_changes_the_answer(checkpoint):
  shared = [f'--ckpt_dir={checkpoint}', '--num_label_classes=3', *SMALL]
  plain, other = (
    run(*shared, *extra, photographs=[COFFEE])['examples'][COFFEE]
    for extra in ([], ['--advprop_preprocessing'])
  )
  assert plain[0]['probability'] != other[0]['probability']


@pytest.mark.parametrize(
  ('arguments', 'photographs', 'message'),
  [
    ((), [COFFEE], '--ckpt_dir is missing: there are no pretrained weights of efficientnet-b0'),
    (('--ckpt_dir=x',), [], 'No images: name some after the flags'),
    (('--ckpt_dir=x', '--runmode=imagenet'), [], 'needs images with known classes'),
    (('--ckpt_dir=x', '--runmode=imagenet', '--data_dir=d'), [COFFEE], 'has no known class'),
    (('--ckpt_dir=x', '--imagenet_eval_glob=a'), [], 'go together'),
    (('--ckpt_dir=x', '--runmode=imagnet'), [COFFEE], 'did you mean imagenet'),
    (('--ckpt_dir=/nowhere/x', *SMALL), [COFFEE], '/nowhere/x: no checkpoint there'),
    (('--ckpt_dir=/nowhere/x.keras',), [COFFEE], '/nowhere/x.keras: no checkpoint there'),
    (('--runmode=imagenet', '--data_dir=d', '--ckpt_dir=x', '--output_csv=y'), [], 'holds guesses'),
  ],
)
def test_mistakes_end_in_one_line(arguments, photographs, message):
  with pytest.raises((ValueError, OSError), match=message) as error:
    run(*arguments, photographs=photographs)
  assert '\n' not in str(error.value)


@pytest.mark.slow
def test_damaged_images_and_labels_are_refused(checkpoint, labelled, tmp_path):
  folder, _ = labelled
  shared = [f'--ckpt_dir={checkpoint}', '--num_label_classes=3', *SMALL]
  (tmp_path / 'a.jpg').write_text('hello')
  with pytest.raises(ValueError, match='a.jpg: its 5 bytes are no image'):
    run(*shared, photographs=[str(tmp_path / 'a.jpg')])
  with pytest.raises(FileNotFoundError, match='none.jpg'):
    run(*shared, photographs=[str(tmp_path / 'none.jpg')])
  (tmp_path / 'labels.txt').write_text('0\n1\nx\n')
  glob = f'--imagenet_eval_glob={folder}/*.JPEG'
  with pytest.raises(ValueError, match="labels.txt: line 3 is 'x'; expected the number of a class"):
    run(*shared, glob, f'--imagenet_eval_label={tmp_path}/labels.txt')
  (tmp_path / 'labels.txt').write_text('0\n1\n')
  with pytest.raises(ValueError, match='has 2 lines, and .* fits 5 images'):
    run(*shared, glob, f'--imagenet_eval_label={tmp_path}/labels.txt')
  (tmp_path / 'labels.txt').write_text('0\n1\n0\n7\n0\n')
  with pytest.raises(ValueError, match='expected 0 to 2'):
    run(*shared, glob, f'--imagenet_eval_label={tmp_path}/labels.txt')
  (tmp_path / 'm.keras').write_bytes(b'PK')
  with pytest.raises(ValueError, match='m.keras is not a complete .keras file') as error:
    run(f'--ckpt_dir={tmp_path}/m.keras', photographs=[COFFEE])
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('module', ['efficientnet.eval_ckpt_main', 'efficientnet.cam'])
@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--ckpt_dir=no/such', COFFEE], 'no/such: no checkpoint there'),
    ([f'--ckpt_dir={PHOTOGRAPHS}', 'none.jpg'], 'none.jpg: no such image'),
  ],
  ids=['checkpoint', 'photograph'],
)
def test_missing_files_are_reported_before_tensorflow_is_imported(module, arguments, message):
  code = (
    'import importlib, sys\n'
    'script = importlib.import_module(sys.argv[1]).SCRIPT\n'
    'try:\n  script.call(sys.argv[2:])\nexcept OSError as error:\n  print(error)\n'
    "assert 'tensorflow' not in sys.modules\n"
  )
  process = script_jobs.start('-c', code, module, *arguments)
  returned, out, err = script_jobs.finish(process)
  assert returned == 0, err
  assert message in out

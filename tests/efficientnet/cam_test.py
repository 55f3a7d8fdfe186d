"""Class activation maps: their mean is the logit; pictures from checkpoints; error messages."""
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

import efficientnet
from efficientnet import cam
from tests import script_jobs
from tests.efficientnet import lite_job

SMALL = {'width_coefficient': 0.25, 'depth_coefficient': 0.3, 'image_size': 64, 'num_classes': 7}


@pytest.mark.parametrize(
  'name', ['efficientnet-b0', 'efficientnet-lite0', 'efficientnet-edgetpu-S']
)
def test_mean_plus_bias_is_the_logit(name):
  model = efficientnet.build_model(name, **SMALL)
  bias = np.linspace(-1, 1, 7)
  classifier = model.get_layer('head_dense')
  classifier.set_weights([classifier.get_weights()[0], bias])
  images = np.random.default_rng(0).uniform(0, 255, (3, 64, 64, 3)).astype(np.float32)
  logits = model(images, training=False).numpy()
  classes = np.array([4, 0, 6])
  maps, probabilities = cam.class_activation_maps(model, images, classes)
  assert maps.shape == (3, 2, 2)
  found = maps.mean((1, 2)) + bias[classes]
  np.testing.assert_allclose(found, logits[np.arange(3), classes], atol=1e-5 * np.abs(logits).max())
  np.testing.assert_allclose(probabilities, tf.nn.softmax(logits), atol=1e-5)
  likeliest, _ = cam.class_activation_maps(model, images)
  again, _ = cam.class_activation_maps(model, images, logits.argmax(-1))
  np.testing.assert_array_equal(likeliest, again)


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('photographs')
  images = lite_job.held_out()[0][:2]
  paths = [folder / f'{n}.png' for n in range(2)]
  for path, image in zip(paths, images, strict=True):
    path.write_bytes(tf.io.encode_png(image.round().clip(0, 255).astype(np.uint8)).numpy())
  return [str(path) for path in paths]


@pytest.mark.slow
def test_picture_of_two_models(lite_job_dir, photographs, tmp_path, capsys):
  path = str(tmp_path / 'cam.png')
  config = cam.CamConfig(ckpt_dir=f'{lite_job_dir},{lite_job_dir}', picture=path)
  columns = [
    cam.maps_of(name, checkpoint, photographs, config) for name, checkpoint in config.models()
  ]
  assert 'efficientnet-lite0: ' in capsys.readouterr().out
  cam.draw(config.picture, columns)
  picture = tf.io.decode_png((tmp_path / 'cam.png').read_bytes(), channels=3).numpy()
  height, width = picture.shape[:2]
  assert width > height  # Two rows of three.
  # The photographs are grey; the maps over them are not.
  colours = np.ptp(picture.astype(int), axis=-1)
  assert colours[:, : width // 3].max() == 0 < colours[:, width // 3 :].max()


def test_class_index(lite_job_dir, photographs):
  config = cam.CamConfig(ckpt_dir=str(lite_job_dir), class_index=3)
  maps = cam.maps_of(None, str(lite_job_dir), photographs, config)
  assert all('\nthree (' in shown.title for shown in maps)
  config = cam.CamConfig(ckpt_dir=str(lite_job_dir), class_index=10)
  with pytest.raises(ValueError, match='--class_index=10: efficientnet-lite0 has classes 0 to 9'):
    cam.maps_of(None, str(lite_job_dir), photographs, config)


def test_the_class_is_called_as_in_the_job(lite_job_dir, photographs, tmp_path, capsys):
  shutil.copytree(lite_job_dir, tmp_path / 'job')
  names = ['cat, black', 'line\nbreak', *map(str, range(8))]
  (tmp_path / 'job' / 'classes.json').write_text(json.dumps({'class_names': names}))
  for number, title in enumerate(('cat, black', 'line break')):
    config = cam.CamConfig(class_index=number)
    shown = cam.maps_of(None, str(tmp_path / 'job'), photographs, config)
    assert f'\n{title} (' in shown[0].title
    assert f'efficientnet-lite0: {title} (' in capsys.readouterr().out


def test_model_of_another_name(lite_job_dir, photographs):
  message = '--model_name=efficientnet-b0, but .* contains efficientnet-lite0'
  with pytest.raises(ValueError, match=message):
    cam.maps_of('efficientnet-b0', str(lite_job_dir), photographs, cam.CamConfig())


def test_error_names_a_file_that_is_no_image(lite_job_dir, tmp_path):
  (tmp_path / 'notes.txt').write_text('no image')
  with pytest.raises(ValueError, match=r'notes\.txt: its 8 bytes are no image'):
    cam.maps_of(None, str(lite_job_dir), [str(tmp_path / 'notes.txt')], cam.CamConfig())


@pytest.mark.parametrize('arguments, message', [
  (['a.png'], '--model_name and --ckpt_dir are missing'),
  (['--model_name=efficientnet-b0'], 'No images'),
  (['--ckpt_dir=no/such', 'a.png'], 'no/such: no checkpoint there'),
  (
    ['--model_name=efficientnet-b0,efficientnet-b1', '--ckpt_dir=x', 'a.png'],
    '2 models and --ckpt_dir 1',
  ),
])
def test_errors_are_one_line(arguments, message):
  code, out, err = script_jobs.finish(script_jobs.start('-m', 'efficientnet.cam', *arguments))
  assert (code, out) == (1, '') and err.count('\n') == 1 and message in err

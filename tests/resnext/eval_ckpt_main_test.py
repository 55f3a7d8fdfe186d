"""The shared evaluation script on a ResNeXt in a torch state dict."""
import dataclasses
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import resnext
from resnext import eval_ckpt_main
from tpu_utils import weights
from tpu_utils.image_jobs import predictions
from tpu_utils.images.spec import PreprocessSpec

COFFEE = str(pathlib.Path(__file__).parents[1] / 'goldens' / 'preprocessing' / 'coffee.jpg')


def test_classifies_a_photograph(tmp_path):
  model = resnext.build_model('resnext-29-2x4d', image_size=32)
  path = tmp_path / 'm.safetensors'
  weights.save_torch(model, path)
  arguments = ['--model_name=resnext-29-2x4d', f'--ckpt_dir={path}', COFFEE]
  guesses = eval_ckpt_main.SCRIPT.call(arguments)['examples'][COFFEE]
  images = predictions.read_images([COFFEE], PreprocessSpec(32, crop='whole'))
  row = tf.nn.softmax(model(images)).numpy()[0]
  got = [guess['probability'] for guess in guesses]
  np.testing.assert_allclose(got, np.sort(row)[::-1][:5], atol=1e-5)
  assert guesses[0]['label'] == f'class {row.argmax()}'


@pytest.mark.slow
def test_preprocessing_of_hugging_faces_config(tmp_path, capsys):
  folder = tmp_path / 'hub'
  folder.mkdir()
  half = {'mean_rgb': (127.5,) * 3, 'stddev_rgb': (127.5,) * 3}
  model = resnext.build_model('resnext-29-2x4d', image_size=40, **half)
  weights.save_torch(model, folder / 'model.safetensors')
  published = {
    'mean': [0.5] * 3, 'std': [0.5] * 3, 'input_size': [3, 40, 40], 'crop_pct': 0.95,
    'interpolation': 'bilinear',
  }  # fmt: skip
  config = {'architecture': 'resnext50_32x4d', 'pretrained_cfg': published}
  (folder / 'config.json').write_text(json.dumps(config))

  def check(flags, spec):
    arguments = ['--model_name=resnext-29-2x4d', f'--ckpt_dir={folder}', *flags, COFFEE]
    guesses = eval_ckpt_main.SCRIPT.call(arguments)['examples'][COFFEE]
    row = tf.nn.softmax(model(predictions.read_images([COFFEE], spec))).numpy()[0]
    got = [guess['probability'] for guess in guesses]
    np.testing.assert_allclose(got, np.sort(row)[::-1][:5], atol=1e-5)

  spec = PreprocessSpec(40, interpolation='bilinear', crop='0.95')
  check([], spec)
  printed = capsys.readouterr().out
  assert 'image_size 40' in printed and 'crop 0.95' in printed and 'mean_rgb 127.5' in printed
  check(['--crop_rule=whole'], dataclasses.replace(spec, crop='whole'))

"""The shared evaluation script on a ResNeXt in a torch state dict."""
import pathlib

import numpy as np
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

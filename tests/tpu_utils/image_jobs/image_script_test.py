"""What the flags of an image classifier's script make of the model's preprocessing record."""
import keras
import numpy as np
import pytest
from absl import flags

from tpu_utils.image_jobs import image_classification, image_script
from tpu_utils.images.spec import PreprocessSpec

RECORD = PreprocessSpec(240, interpolation='bilinear')


def build_model(model_name, num_classes, image_size, dtype_policy, mean_rgb=(10.0,) * 3, stddev_rgb=(5.0,) * 3):
  """The mean of the normalised images, as a network that normalises inside."""
  images = keras.Input((image_size, image_size, 3), name='images')
  scale = keras.layers.Rescaling([1 / s for s in stddev_rgb], [-m / s for m, s in zip(mean_rgb, stddev_rgb, strict=True)])
  return keras.Model(images, keras.layers.GlobalAveragePooling2D()(scale(images)), name=model_name)


def describe(model, values):
  return image_script.Network(build_model, RECORD, identity=(), record={})


@pytest.fixture
def run(monkeypatch):
  """function(*arguments) -> what the job gets: (build_model, spec, identity)."""
  script = image_script.Script((image_script.ModelConfig,), describe, digits={}, defaults={'model_name': 'mean'})

  def run(*arguments):
    jobs = []
    monkeypatch.setattr(image_classification, 'run', lambda *job, **_: jobs.append(job))
    values = flags.FlagValues()
    script.define_flags(values)
    values(['main', '--model_dir=there', *arguments])
    script.run(values)
    return jobs[0]

  return run


def test_the_record_is_the_models_unless_flags_say_otherwise(run):
  assert run('--data_dir=fake')[1] == RECORD
  spec = run('--data_dir=fake', '--crop_rule=size_plus_32', '--interpolation=bicubic', '--input_image_size=99')[1]
  assert spec == PreprocessSpec(99, interpolation='bicubic', crop='size_plus_32')


def test_digits_are_not_cropped_unless_asked(run):
  assert run()[1].crop == 'whole'
  assert run('--crop_rule=official')[1].crop == 'official'


def test_advprop_scales_in_the_record_and_in_the_model(run):
  images = np.array([0, 100, 255], np.float32)[:, None, None, None] * np.ones((1, 4, 4, 3), np.float32)
  build, spec, identity = run('--data_dir=fake', '--input_image_size=4', '--advprop')
  assert spec.mean_rgb == spec.stddev_rgb == (127.5,) * 3
  expected = np.float32([0, 100, 255]) * 2 / 255 - 1
  np.testing.assert_allclose(build(None)(images)[:, 0], expected, atol=1e-5)
  plain, spec, other = run('--data_dir=fake', '--input_image_size=4')
  assert spec.stddev_rgb == RECORD.stddev_rgb
  np.testing.assert_allclose(plain(None)(images)[:, 0], [-2, 18, 49], rtol=1e-4)
  assert identity != other  # A checkpoint of one is not taken for the other.


@pytest.mark.parametrize('flag, near', [('crop_rule=size_plus', 'size_plus_32'), ('interpolation=cubic', 'bicubic')])
def test_wrong_names_list_the_nearest(run, flag, near):
  with pytest.raises(ValueError, match=f'--{flag.split("=")[0]}.*{near}'):
    run('--data_dir=fake', f'--{flag}')

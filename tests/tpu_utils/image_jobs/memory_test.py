"""Memory of a training."""
import keras
import pytest

from tests.tpu_utils.image_jobs import small_scripts
from tpu_utils import config, profile
from tpu_utils.image_jobs import memory


def test_needs_are_counted_without_weights():
  def build():
    return small_scripts.build_model('small-net', num_classes=10)

  needs = memory.needs(profile.without_values(build))
  assert needs == memory.needs(build())
  # Images, scaled images, convolution, batch norm, mean, classifier.
  values = 2 * 8 * 8 * 3 + 2 * 6 * 6 * 8 + 8 + 10
  assert needs.per_image == pytest.approx(4 * 1.3 * values)
  assert needs.of_batch(5) - needs.of_batch(3) == pytest.approx(2 * needs.per_image)
  assert needs.largest_batch(1e9) == 1  # Less than the program takes.


@pytest.fixture
def model():
  images = keras.Input((100, 100, 3), name='images')
  x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(250, 1)(images))
  return keras.Model(images, x, name='large')  # 13 MB for each image.


def test_a_step_beyond_the_memory_is_refused_or_reported(model, monkeypatch, capsys):
  monkeypatch.setattr(memory, 'available', lambda: 10**9)
  memory.check(model, config.DataConfig(train_batch_size=64))
  memory.check(model, config.DataConfig(train_batch_size=640), 10)  # In ten parts.
  message = (
    '--train_batch_size=640: a step of large would take about 8.4 GB of memory, and 1.0 GB are '
    'free; --train_batch_size=32 fits'
  )
  with pytest.raises(ValueError, match=message):
    memory.check(model, config.DataConfig(train_batch_size=640))
  data = config.DataConfig(train_batch_size=640)
  object.__setattr__(data, 'given', frozenset({'train_batch_size'}))
  memory.check(model, data)
  assert message in capsys.readouterr().err


def test_the_memory_of_this_machine():
  room = memory.available()
  assert room is None or 10**8 < room < 10**14

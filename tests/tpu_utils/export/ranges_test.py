"""The ends of activations' steps lose less than those that hold every value."""
import keras
import numpy as np
import pytest
from tensorflow.lite.tools import flatbuffer_utils

from tpu_utils import export
from tpu_utils.export import ranges


def error(values, low, high, then=lambda values: values):
  step = (high - low) / 255
  zero = np.rint(-low / step)
  rounded = (np.clip(np.rint(values / step + zero), 0, 255) - zero) * step
  return np.mean((then(rounded) - then(values)) ** 2)


def histogram(values):
  counts, edges = np.histogram(values, 2048)
  return counts, (edges[1:] + edges[:-1]) / 2


def test_values_without_outliers_keep_their_ends():
  values = np.random.default_rng(0).uniform(-1, 3, 10**5)
  low, high = ranges.least_error(*histogram(values))
  assert low == pytest.approx(-1, rel=0.15) and high == pytest.approx(3, rel=0.15)


def test_outliers_are_cut_off():
  values = np.random.default_rng(0).normal(0, 2, 10**5)
  values[:2] = 60, -60
  low, high = ranges.least_error(*histogram(values))
  assert -59 < low < -4 and 4 < high < 59
  assert error(values, low, high) < error(values, -60, 60)


def test_before_swish_large_negative_values_matter_little():
  values = np.random.default_rng(0).uniform(-100, 10, 10**5)
  low, high = ranges.least_error(*histogram(values), ranges.swish)
  assert -20 < low < -2 and high > 9
  plain = ranges.least_error(*histogram(values))
  narrow, wide = (error(values, *ends, ranges.swish) for ends in ((low, high), plain))
  assert narrow < wide / 2


@pytest.mark.parametrize('sign', [1, -1])
def test_values_of_one_sign_and_none_at_all(sign):
  low, high = ranges.least_error(*histogram(sign * np.linspace(0.5, 2, 1000)))
  near, far = (low, high) if sign > 0 else (high, low)
  assert near == 0 and far == pytest.approx(2 * sign, rel=0.05)
  assert ranges.least_error(np.zeros(4), np.arange(4.0)) == (0, 0)


def network():
  """Builds a network with swish, whose first activations are (pixel - 127) / 2."""
  keras.utils.set_random_seed(0)
  inputs = keras.Input([8, 8, 3])
  x = keras.layers.Rescaling(0.5, offset=-63.5)(inputs)
  x = keras.layers.Conv2D(8, 1, activation='swish')(x)
  x = keras.layers.Conv2D(8, 3, activation='swish')(x)
  x = keras.layers.GlobalAveragePooling2D()(x)
  return keras.Model(inputs, keras.layers.Dense(4)(x))


def test_a_file_of_a_network_with_outliers_comes_nearer_to_it(monkeypatch):
  """One pixel of 400 images has activations thirty times as large as the others."""
  random = np.random.default_rng(0)
  images = np.rint(random.normal(127, 4, (400, 8, 8, 3))).astype(np.float32)
  images[7, 2, 2] = 255
  model = network()
  exact = keras.ops.convert_to_numpy(keras.ops.softmax(model(images[8:])))

  def distance():
    classifier = export.tflite.Classifier(export.tflite.convert(model, 'int8', iter(images)))
    return np.abs(classifier.predict(images[8:]) - exact).mean()

  narrowed = distance()
  monkeypatch.setattr(ranges, 'narrow', lambda calibrated, measured: calibrated)
  assert narrowed < distance() * 0.8


def test_swish_is_found_in_a_file():
  """A gate's sigmoid is multiplied with something else than its argument."""
  inputs = keras.Input([4, 4, 3])
  x = keras.layers.Conv2D(5, 1, activation='swish')(inputs)
  gate = keras.layers.Conv2D(5, 1, activation='sigmoid')(x)
  model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x * gate))
  content = bytearray(export.tflite.convert(model))
  found = ranges.swish_inputs(flatbuffer_utils.read_model_from_bytearray(content))
  assert len(found) == 1


def test_few_batches_are_kept_from_anywhere_in_the_set(monkeypatch):
  monkeypatch.setattr(export.tflite, '_REMEMBERED', 5)
  seen = []
  batches = [[np.full((1, 2, 2, 3), n, np.float32)] for n in range(100)]
  assert len(list(export.tflite._remembering(iter(batches), seen))) == 100
  kept = [int(batch[0, 0, 0, 0]) for batch in seen]
  assert len(set(kept)) == 5 and max(kept) > 20  # Not the first ones.
  monkeypatch.setattr(export.tflite, '_REMEMBERED_BYTES', 2 * batches[0][0].nbytes)
  seen.clear()
  list(export.tflite._remembering(iter(batches), seen))
  assert len(seen) == 2

"""Cost of the trainer over a bare step."""
import time

import keras
import pytest

from tpu_utils import batch_norm, config
from tpu_utils.benchmarking import timing
from tpu_utils.image_jobs import trainer_benchmark


@pytest.mark.slow
def test_the_trainer_costs_little_more_than_a_bare_step():
  """In processor time, as tests share the machine; `efficientnet.benchmark` measures real time."""

  def build_model():
    images = keras.Input((32, 32, 3), name='images')
    x = images
    for i in range(4):
      x = keras.layers.Conv2D(32, 3, padding='same', name=f'conv_{i}')(x)
      x = batch_norm.BatchNormalization(name=f'norm_{i}')(x)
      x = keras.layers.Activation('relu', name=f'relu_{i}')(x)
    x = keras.layers.GlobalAveragePooling2D(name='pool')(x)
    return keras.Model(images, keras.layers.Dense(10, name='logits')(x))

  times = trainer_benchmark.trainer_against_bare_step(
    build_model,
    config.DataConfig(train_batch_size=32, num_label_classes=10, transpose_input=False),
    config.OptimizationConfig(),
    steps=5,
    rounds=10,
    clock=time.process_time,
  )
  assert timing.ratio(times, 'trainer', 'bare step') == pytest.approx(1.0, abs=0.2)

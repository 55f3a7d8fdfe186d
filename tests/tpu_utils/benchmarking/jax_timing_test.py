"""Programs on JAX, in a process of their own: TensorFlow and its Keras stay out of it."""
import os
import subprocess
import sys

import pytest

# Only Keras, JAX and optax: the models of the papers take long to compile.
PROGRAM = """
import sys
import numpy as np
from tpu_utils.benchmarking import jax_timing
jax_timing.use_jax()
import keras, optax

model = keras.Sequential([
  keras.Input((8, 8, 3)),
  keras.layers.Conv2D(4, 3, padding='same', use_bias=False),
  keras.layers.BatchNormalization(),
  keras.layers.GlobalAveragePooling2D(),
  keras.layers.Dropout(0.5),
  keras.layers.Dense(5),
])
programs = jax_timing.images_programs(model, optax.sgd(0.1), 2, 8, classes=5)
works = jax_timing.works(programs)
forward, training = works['forward'](1), works['training step'](3)
cost = 2 * (8 * 8 * 3 * 3 * 3 * 4 + 4 * 5)
assert forward['multiply_adds'] == cost, forward
assert training['multiply_adds'] == 3 * cost, training
assert forward['memory'] > 0 and training['memory'] > 0
assert np.isfinite(model.get_weights()[0]).all()  # The donated buffers are copies.

images = np.ones((2, 8, 8, 3), np.float32)
want = np.asarray(model(images, training=False))
reference = jax_timing.Reference(
  'itself', lambda policy: model, images, jax_timing.logits, want + 0.01 * want.std(),
  {'float32, full precision': 0.02, 'float32, as timed': 0.001},
)
rows = jax_timing.compare([reference])
assert [row['agrees'] for row in rows] == [True, False], rows
assert 'tensorflow' not in sys.modules
"""


@pytest.mark.slow
def test_programs_and_values():
  for package in ('jax', 'optax'):
    pytest.importorskip(package)
  done = subprocess.run(
    [sys.executable, '-c', PROGRAM],
    env={**os.environ, 'PYTHONPATH': os.getcwd()},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('package', ['efficientnet', 'resnext', 'oscar'])
def test_the_scripts_import_neither_tensorflow_nor_keras(package):
  code = (
    'import sys\n'
    f'from {package} import benchmark, benchmark_jax\n'
    "assert not {'tensorflow', 'keras', 'jax', 'torch'} & set(sys.modules)\n"
    'from tpu_utils.benchmarking import jax_timing\n'
    "assert 'tensorflow' not in sys.modules"
  )
  subprocess.run([sys.executable, '-c', code], check=True)


def test_golden_weights_are_those_of_the_tests():
  from tests.goldens import weights
  from tpu_utils.benchmarking import jax_timing

  loaded = jax_timing.golden_weights('tests/goldens')
  assert loaded.checksum() == weights.checksum()
  with pytest.raises(ValueError, match='--goldens=nowhere'):
    jax_timing.golden_weights('nowhere')

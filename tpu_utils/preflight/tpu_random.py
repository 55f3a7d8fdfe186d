"""Random numbers as TensorFlow draws them on a TPU, in steps that are lowered for XLA on a CPU.

On CPUs and GPUs TensorFlow's `auto_select` means Philox, which becomes arithmetic. On a TPU it is
the device's generator (`DefaultRngAlgForDeviceType` in tensorflow/compiler/tf2xla/kernels). Dropout
of OSCAR-base as Philox was two fifths of the HBM traffic, which a TPU does not have.
"""
import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.python.ops import stateless_random_ops

_EXPONENT_OF_ONE, _MANTISSA_BITS = 0x3F800000, 23  # Of float32.


@contextlib.contextmanager
def generator() -> Iterator[None]:
  """Within it, `tf.random.stateless_uniform` of floats traces the TPU's generator, with dropout."""
  plain = stateless_random_ops.stateless_random_uniform

  def uniform(
    shape: Any, seed: Any, minval: Any = 0, maxval: Any = None, dtype: Any = tf.float32,
    name: str | None = None, alg: str = 'auto_select',
  ) -> tf.Tensor:  # fmt: skip
    if not tf.as_dtype(dtype).is_floating or alg not in (None, 'auto_select'):
      return plain(shape, seed, minval, maxval, dtype, name, alg)
    low = tf.cast(minval, tf.float32)
    high = tf.cast(1 if maxval is None else maxval, tf.float32)
    return tf.cast(low + (high - low) * _uniform(shape, seed), dtype)

  stateless_random_ops.stateless_random_uniform = tf.random.stateless_uniform = uniform
  try:
    yield
  finally:
    stateless_random_ops.stateless_random_uniform = tf.random.stateless_uniform = plain


def _uniform(shape, seed):
  """Returns float32 values of [0, 1) from random bits, as TensorFlow makes them of these."""
  state = tf.cast(seed, tf.uint64)  # The TPU's compiler takes 128 bits.
  _, bits = xla.rng_bit_generator(tf.random.Algorithm.AUTO_SELECT, state, shape, tf.uint32)
  bits = tf.bitwise.right_shift(bits, tf.constant(32 - _MANTISSA_BITS, tf.uint32))
  bits = tf.bitwise.bitwise_or(bits, tf.constant(_EXPONENT_OF_ONE, tf.uint32))
  return tf.bitcast(bits, tf.float32) - 1.0

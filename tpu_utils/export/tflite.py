"""Image classifiers as TFLite files, and what these answer.

Every file takes `images`, [batch, height, width, 3] in [0, 255], and gives `probabilities`, [batch, classes].
Of the variants, see `VARIANTS`, only int8 takes and gives uint8; there an image's pixels are what goes in, and
255 times a probability, about, is what comes out.

Source: tensorflow/tpu, models/official/efficientnet/export_model.py (its files want normalised images).
"""
import itertools

import numpy as np
import tensorflow as tf

from tpu_utils.export.constants import constant_function
from tpu_utils.export.folding import fold_batch_norm
from tpu_utils.export.quiet import quiet
from tpu_utils.names import check_name

VARIANTS = {
  'float32': 'all numbers in 32 bits',
  'float16': 'weights in 16 bits, arithmetic in 32 (or 16 on a GPU)',
  'dynamic_range': 'weights in 8 bits, activations as each image needs them',
  'int8': 'everything in 8 bits, with ranges measured on representative images',
}


def convert(model, variant='float32', representative=None, batch_size=1):
  """The bytes of a TFLite file.

  Args:
    model: `keras.Model` from images, float32 [batch, height, width, 3] in [0, 255], to logits. Its batch norm
      is folded here.
    variant: a key of `VARIANTS`.
    representative: int8: iterable of images as the model gets them, float32 [height, width, 3], on which the
      ranges of all activations are measured. A few hundred of the training set will do. Read once.
    batch_size: images at a time; the file takes no other number.

  Raises:
    ValueError: an unknown variant, or int8 without representative images.
  """
  check_name('TFLite variant', variant, VARIANTS)
  function = constant_function(fold_batch_norm(model), batch_size, _probabilities)
  with quiet():
    return _converter(function, variant, representative, batch_size).convert()


def _converter(function, variant, representative, batch_size):
  converter = tf.lite.TFLiteConverter.from_concrete_functions([function])
  if variant != 'float32':
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
  if variant == 'float16':
    converter.target_spec.supported_types = [tf.float16]
  if variant == 'int8':
    batches = _calibration_batches(iter(representative or ()), batch_size)
    converter.representative_dataset = lambda: batches
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.uint8
  return converter


def _probabilities(logits):
  return {'probabilities': tf.nn.softmax(tf.cast(logits, tf.float32))}


def _calibration_batches(images, batch_size):
  """Iterator of [batch] for the images in [0, 255], a pixel of the first set to black and one to white.

  The measured range of the input is then that of pixels, so that these go into the file as they are.
  """
  first = next(images, None)
  if first is None:
    raise ValueError(
      'int8 needs representative images, to measure the ranges of the activations, and there are none; give '
      'some of the training set, or take another variant.'
    )
  first = np.array(first, np.float32)
  first[0, 0], first[0, -1] = 0.0, 255.0
  images = itertools.chain([first], images)

  def batches():
    while batch := list(itertools.islice(images, batch_size)):
      batch += batch[-1:] * (batch_size - len(batch))
      yield [np.clip(np.asarray(batch, np.float32), 0.0, 255.0)]

  return batches()


class Classifier:
  """A TFLite file that answers.

  Args:
    content: the bytes of the file.
  """

  def __init__(self, content):
    with quiet():
      self._interpreter = tf.lite.Interpreter(model_content=content)
    self._interpreter.allocate_tensors()
    (self._input,) = self._interpreter.get_input_details()
    (self._output,) = self._interpreter.get_output_details()

  def predict(self, images):
    """Probabilities, float32 [n, classes], of `images`, [n, height, width, 3] in [0, 255]."""
    batch_size = self._input['shape'][0]
    missing = -len(images) % batch_size
    padded = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
    batches = padded.reshape(-1, batch_size, *images.shape[1:])
    return np.concatenate([self._run(batch) for batch in batches])[: len(images)]

  def _run(self, images):
    self._interpreter.set_tensor(self._input['index'], _quantized(images, self._input))
    self._interpreter.invoke()
    return _dequantized(self._interpreter.get_tensor(self._output['index']), self._output)


def _quantized(values, tensor):
  if tensor['dtype'] == np.float32:
    return np.asarray(values, np.float32)
  scale, zero = tensor['quantization']
  limits = np.iinfo(tensor['dtype'])
  return np.clip(np.rint(values / scale + zero), limits.min, limits.max).astype(tensor['dtype'])


def _dequantized(values, tensor):
  if tensor['dtype'] == np.float32:
    return values
  scale, zero = tensor['quantization']
  return (values.astype(np.float32) - zero) * np.float32(scale)

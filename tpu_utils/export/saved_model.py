"""The SavedModel of an export, with folded batch norm and raw variables.

Signatures, each with the outputs `classes` (int64 [batch]), `probabilities` and `logits`
(float32 [batch, classes]), or with the only output `output` of an endpoint, for any batch size, 0
too:

    serving_default, image_bytes     image_bytes: string [batch], contents of image files
    serve, images                    images: float32 [batch, height, width, 3] in [0, 255]

With known names of classes there is another signature, `class_names`, without inputs: its output
`class_names`, string [classes], has the name of each class in the order of the logits:

    tf.saved_model.load(directory).signatures['class_names']()['class_names']

Files are read by the rule of `images/decoding.py`: a batch with one that is not (cut off, another
format, too large) fails with a message that names its place, `image_bytes[2]`; of a GIF animation
the first picture is classified.
"""
import os
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tpu_utils.export import serving, tpu
from tpu_utils.export.exported import Exported
from tpu_utils.export.program import Program

TPU_DIRECTORY = 'tpu'


def write(exported: Exported, folder: str) -> None:
  """Writes the SavedModel to a folder, and that for TPUs to `tpu/` in it if it is wanted."""
  model, preprocess, names = exported.folded, exported.preprocess, exported.class_names
  _write(model, preprocess, folder, names, exported.endpoint)
  if exported.to_tpu:
    tpu.write(model, preprocess, os.path.join(folder, TPU_DIRECTORY), names, exported.endpoint)


def load(folder: str, info: Mapping[str, Any]) -> Program:
  """Reads a SavedModel that `write` has written.

  Args:
    folder: its folder.
    info: the content of export.json.
  """
  loaded = tf.saved_model.load(folder)
  signature = loaded.signatures['images']

  def run(images, loaded=loaded):
    del loaded  # The default keeps its variables alive.
    return signature(images=tf.constant(images))['probabilities'].numpy()

  shape = signature.structured_input_signature[1]['images'].shape[1:]
  classes = signature.structured_outputs['probabilities'].shape[-1]
  return Program(run, tuple(shape), classes, info)


class _Servable(tf.Module):
  """The signatures' functions, with raw variables, so that loading needs no Keras."""

  def __init__(self, model, preprocess, class_names, endpoint):
    super().__init__()
    self._weights = [variable.value for variable in model.variables]
    shape = model.inputs[0].shape[1:]
    decode = serving.decoder(preprocess, shape)

    def infer(images):
      return serving.predictions(model, images, endpoint)

    @tf.function(input_signature=[serving.images_spec(shape)])
    def serve_images(images):
      return serving.for_any_batch(infer, images)

    @tf.function(input_signature=[serving.IMAGE_BYTES_SPEC])
    def serve_image_bytes(image_bytes):
      return serving.for_any_batch(infer, decode(image_bytes))

    self.images = serve_images
    self.image_bytes = serve_image_bytes
    self.class_names = None if class_names is None else _naming_function(class_names)


def _naming_function(class_names):
  @tf.function(input_signature=[])
  def name_classes():
    return {serving.CLASS_NAMES: tf.constant(list(class_names), tf.string)}

  return name_classes


def _write(model, preprocess, directory, class_names, endpoint):
  servable = _Servable(model, preprocess, class_names, endpoint)
  functions = {'images': servable.images, 'image_bytes': servable.image_bytes}
  signatures = serving.signatures(functions)
  if class_names is not None:
    signatures[serving.CLASS_NAMES] = servable.class_names
  tf.saved_model.save(servable, directory, signatures)

"""The predictor of captioning models: sentences about images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from oscar import decoding
from oscar.decoding import scoring
from oscar.decoding.config import GenerationConfig, check_whole
from oscar.input import layouts
from oscar.predicting.predictor import BATCH_SIZE, Example, Predictor
from oscar.predicting.results import Attention, Caption

BEAMS = 5  # Of the published evaluations.


class CaptionPredictor(Predictor):
  """Writes captions of images."""

  text_field, image_fields = '', ('image',)  # No text.

  def caption(
    self,
    image: Any,
    num_return_sequences: int = 1,
    num_beams: int = BEAMS,
    max_gen_length: int | None = None,
    attention: bool = False,
  ) -> Caption:
    """Writes captions of an image.

    Args:
      image: in one of the forms of `oscar/predicting/images.py`.
      num_return_sequences: captions to write: the best ones that the search finds.
      num_beams: beams of the search; at least as many as captions are used. 1 is greedy.
      max_gen_length: word pieces of a caption, with special ones; None for those of the training.
      attention: whether to return the attention of each word to the regions.

    Raises:
      ValueError: an image that the model cannot take, or a number out of range.
      OSError: a file cannot be read.
    """
    options = (num_return_sequences, num_beams, max_gen_length, attention)
    return self.caption_all([image], *options)[0]

  def caption_all(
    self,
    images: Sequence[Any],
    num_return_sequences: int = 1,
    num_beams: int = BEAMS,
    max_gen_length: int | None = None,
    attention: bool = False,
    batch_size: int = BATCH_SIZE,
  ) -> list[Caption]:
    """Writes captions of each image, in batches; arguments and errors as for `caption`."""
    examples = []
    for number, image in enumerate(images):
      try:
        examples.append(self.example('', image))
      except ValueError as e:
        if len(images) == 1:
          raise
        raise ValueError(f'Example {number}: {e}') from e
    return self.predict(
      examples,
      batch_size=batch_size,
      attention=attention,
      num_return_sequences=num_return_sequences,
      num_beams=num_beams,
      max_gen_length=max_gen_length,
    )

  def example(self, text: str, *images: Any) -> Example:
    """Checks and reads an image; `text` must be ''.

    Raises:
      ValueError: a text, or an image that the model cannot take.
      OSError: a file cannot be read.
    """
    if text:
      raise ValueError(f'A captioning model takes an image alone, no text ({text!r:.40}).')
    (image,) = images
    return Example('', (self.read_image(image),))

  def predict(
    self,
    examples: Sequence[Example],
    *,
    batch_size: int = BATCH_SIZE,
    attention: bool = False,
    **options: Any,
  ) -> list[Any]:
    """Returns the `Caption` for each example.

    Args:
      examples: of `example`.
      batch_size: examples at a time.
      attention: whether to return the attention of each caption's words to the regions.
      **options: `num_return_sequences`, `num_beams` and `max_gen_length` of `caption`.

    Raises:
      ValueError: an option or `batch_size` is out of range.
    """
    if batch_size < 1:
      raise ValueError(f'batch_size={batch_size}: expected at least 1.')
    config = self._config(**options)
    results = []
    for start in range(0, len(examples), batch_size):
      part = examples[start : start + batch_size]
      inputs = self._inputs(part, config.max_gen_length)
      ids, logprobs = self._search(config)(inputs)
      layers = [x.numpy() for x in self._attending(config)(inputs, ids)] if attention else []
      for row, example in enumerate(part):
        captions = ids[row].numpy(), logprobs[row].numpy()
        given = self._attentions(inputs, row, captions[0], layers) if attention else ()
        results.append(self._caption(example, *captions, given))
    return results

  def _config(self, num_return_sequences=1, num_beams=BEAMS, max_gen_length=None):
    for name, value in (
      ('num_return_sequences', num_return_sequences), ('num_beams', num_beams),
    ):  # fmt: skip
      check_whole(name, value, least=1)
    read = self.settings
    length = read.max_gen_length if max_gen_length is None else max_gen_length
    check_whole('max_gen_length', length, least=2)
    config = GenerationConfig.for_tokenizer(
      self.tokenizer,
      max_gen_length=length,
      num_beams=max(num_beams, num_return_sequences),
      num_keep_best=num_return_sequences,
      od_labels_start_posid=read.max_seq_a_length,
    )
    last = max(length, read.max_seq_a_length) + read.max_seq_length - read.max_seq_a_length - 1
    embedded = self.model.config.max_position_embeddings
    longest = 'max_seq_length' if max_gen_length is None else 'max_gen_length'
    layouts.check_positions(last, embedded, longest)
    return config

  def _inputs(self, examples, max_gen_length):
    tags = self._tags([example.images[0].tags or '' for example in examples])
    read = self.settings
    length = max_gen_length + read.max_seq_length - read.max_seq_a_length
    layout = layouts.generation_layout(tags, max_gen_length, length, self._special)
    feats, counts = self._pad([example.images[0].features for example in examples])
    return self._hidden(layouts.model_inputs(layout, feats, counts, 'caption'))

  def _search(self, config):
    """Returns function(inputs) -> (ids, log-probabilities), traced once for all batch sizes."""
    if config not in self._functions:

      def search(inputs):
        found = decoding.generate(self.model, inputs, config)
        return found['ids'], found['logprobs']

      signature = [self._signature(config)]
      self._functions[config] = tf.function(search, input_signature=signature, autograph=False)
    return self._functions[config]

  def _attending(self, config):
    """Returns function(inputs, ids) -> attentions of each layer, all steps in one pass."""
    key = (config, 'attention')
    if key not in self._functions:

      def attend(inputs, ids):
        given = scoring.step_inputs(self.model, inputs, ids, config)
        return self.model(given, training=False)['attentions']

      shape = [None, config.num_keep_best, config.max_gen_length]
      signature = [self._signature(config), tf.TensorSpec(shape, tf.int32)]
      self._functions[key] = tf.function(attend, input_signature=signature, autograph=False)
    return self._functions[key]

  def _attentions(self, inputs, row, ids, layers):
    """Returns the `Attention` of each caption of an image.

    Args:
      inputs: of the batch.
      row: the image in it.
      ids: int32 [captions, T].
      layers: for each layer float32 [batch * captions, heads, n, n], see `scoring.step_inputs`.
    """
    length = ids.shape[1]
    # Tags and regions that are not padding attend to themselves.
    shown = np.diagonal(inputs['attention_mask'][row].numpy())[length:] != 0
    context = np.flatnonzero(shown) + 2 * (length - 1)
    tags = inputs['input_ids'].shape[1] - length
    regions = int(shown[tags:].sum())
    found = []
    for number, caption in enumerate(ids):
      if caption[0] != self.tokenizer.cls_id:
        continue
      written = caption[1:][: int(np.argmax(caption == self.tokenizer.sep_id))]
      raw = np.stack([layer[row * len(ids) + number] for layer in layers])
      steps = length - 1 + np.arange(len(written))
      own = raw[:, :, steps, steps][..., None]
      parts = (raw[:, :, steps, : len(written)], own, raw[:, :, steps][..., context])
      raw = np.concatenate(parts, axis=3).astype(np.float32)
      weights = raw[..., raw.shape[3] - regions :].mean(axis=(0, 1))
      pieces = self.tokenizer.convert_ids_to_tokens(written.tolist())
      found.append(Attention(tuple(pieces), weights, raw))
    return tuple(found)

  def _signature(self, config):
    """Returns the shapes of `_inputs` for batches of any size."""
    read = self.settings
    words = config.max_gen_length + read.max_seq_length - read.max_seq_a_length
    regions = read.max_img_seq_length
    shapes = {
      'input_ids': [None, words],
      'token_type_ids': [None, words],
      'attention_mask': [None, words + regions, words + regions],
    }
    signature = {name: tf.TensorSpec(shape, tf.int32) for name, shape in shapes.items()}
    width = self.model.config.img_feature_dim
    signature['img_feats'] = tf.TensorSpec([None, regions, width], tf.float32)
    return signature

  def _caption(self, example, ids, logprobs, attention):
    found = tuple(
      (self.tokenizer.decode(row.tolist(), skip_special_tokens=True), float(np.exp(logprob)))
      for row, logprob in zip(ids, logprobs, strict=True)
      if row[0] == self.tokenizer.cls_id  # Padding where the search found fewer than asked for.
    )
    return Caption(
      caption=found[0][0],
      confidence=found[0][1],
      captions=found,
      regions=tuple(image.origin for image in example.images),
      notes=self._region_notes(example),
      attention=attention,
    )

"""The heads on top of the encoder: word prediction and classification.

Source: microsoft/Oscar, `oscar/modeling/modeling_bert.py` (`BertPreTrainingHeads`, the classifiers
of `ImageBertForSequenceClassification` and `ImageBertForMultipleChoice`), and
`BertLMPredictionHead` of pytorch-transformers 1.0.
"""
from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from oscar.config import OscarConfig
from oscar.encoder import OscarLayerMixin, activation


@keras.saving.register_keras_serializable('oscar')
class PredictionHead(OscarLayerMixin, layers.Layer):
  """Scores of all words: dense, activation, layer norm, decoder [vocabulary, hidden] and bias."""

  def __init__(
    self, config: OscarConfig | Mapping[str, Any], tied: bool = True, **kwargs: Any
  ) -> None:
    """Creates the layers.

    Args:
      config: the model's configuration.
      tied: whether the decoder is the word embedding, passed to `call`, or a variable of its own.
      **kwargs: as for `keras.layers.Layer`.
    """
    super().__init__(config, **kwargs)
    self.tied = tied
    self.transform = self.dense(
      self.config.hidden_size, 'transform_dense', activation(self.config.hidden_act)
    )
    self.norm = self.layer_norm('transform_LayerNorm')

  def build(self, input_shape: Any = None) -> None:
    """Creates the variables; their shapes follow from the configuration."""
    del input_shape
    config = self.config
    self.transform.build((None, config.hidden_size))
    self.norm.build((None, config.hidden_size))
    if not self.tied:
      self.decoder = self.add_weight(
        shape=(config.vocab_size, config.hidden_size),
        initializer=keras.initializers.RandomNormal(stddev=config.initializer_range),
        name='decoder_weight',
      )
    self.bias = self.add_weight(shape=(config.vocab_size,), initializer='zeros', name='bias')

  def call(self, hidden: Any, word_embeddings: Any = None) -> Any:
    """Maps hidden states [B, N, hidden] to float32 scores [B, N, vocabulary]."""
    table = ops.cast(word_embeddings if self.tied else self.decoder, self.compute_dtype)
    scores = ops.matmul(self.norm(self.transform(hidden)), ops.transpose(table))
    return ops.cast(scores, 'float32') + ops.cast(self.bias, 'float32')

  def get_config(self) -> dict[str, Any]:
    """See `keras.layers.Layer`."""
    return {**super().get_config(), 'tied': self.tied}


def classifier(owner: OscarLayerMixin, inputs: int, norm: bool = False) -> list[layers.Layer]:
  """Builds the layers from pooled outputs to logits: one dense layer, or two with a relu between.

  Args:
    owner: the model that gets the layers.
    inputs: width of the pooled outputs.
    norm: whether a layer norm follows the relu; the official NLVR2 pair head has it in models with
      image layer norm.

  Returns:
    The layers, numbered as in the official `Sequential` (the relu is number 1).
  """
  config = owner.config
  if config.classifier == 'linear':
    stack = [owner.dense(config.num_labels, 'classifier')]
  else:
    stack = [owner.dense(config.hidden_size * config.cls_hidden_scale, 'classifier_0', 'relu')]
    if norm:
      stack.append(owner.layer_norm('classifier_2'))
    stack.append(owner.dense(config.num_labels, f'classifier_{3 if norm else 2}'))
  shape = (None, inputs)
  for layer in stack:
    layer.build(shape)
    shape = layer.compute_output_shape(shape)
  return stack

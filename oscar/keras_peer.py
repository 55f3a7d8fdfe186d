"""A BERT of Keras' own layers, to compare compiled pre-training steps with (--compare=keras).

The same sizes, dropout, inputs and losses as `modeling.OscarModel`; attention is
`keras.layers.MultiHeadAttention`. It has no names of the official checkpoints and loads none.
"""
from typing import Any

import keras
from keras import layers, ops

from oscar.config import OscarConfig
from oscar.encoder import activation


class _PositionEmbedding(layers.Embedding):
  """Embeddings of the positions 0, 1, 2, ... of its input [B, S]."""

  def call(self, inputs: Any) -> Any:
    return super().call(ops.arange(ops.shape(inputs)[1], dtype='int32'))[None]


class _Gather(layers.Layer):
  """Takes [B, M, width] from [B, S, width] at positions [B, M]."""

  def call(self, hidden: Any, positions: Any) -> Any:
    return ops.take_along_axis(hidden, ops.cast(positions, 'int32')[..., None], axis=1)


class _Bias(layers.Layer):
  """Adds a bias for each word to float32 scores."""

  def build(self, input_shape: Any) -> None:
    self.bias = self.add_weight(shape=input_shape[-1:], initializer='zeros', name='bias')

  def call(self, scores: Any) -> Any:
    return ops.cast(scores, 'float32') + ops.cast(self.bias, 'float32')


def build_model(config: OscarConfig, dtype_policy: str | None = None) -> keras.Model:
  """Builds the pre-training model.

  Args:
    config: sizes and dropout; all layer norms have its `layer_norm_eps`.
    dtype_policy: Keras dtype policy of all layers; None for float32.

  Returns:
    A functional model of the entries of a pre-training batch, with the outputs
    'prediction_scores' and 'seq_relationship_score' of `OscarModel`.
  """
  make = _Maker(config, dtype_policy or 'float32')
  ids, segments, mask, positions = (
    keras.Input((None,), dtype='int32', name=name)
    for name in ('input_ids', 'token_type_ids', 'attention_mask', 'masked_positions')
  )
  regions = keras.Input((None, config.img_feature_dim), name='img_feats')
  words = layers.ReversibleEmbedding(
    config.vocab_size, config.hidden_size, name='words', dtype=make.policy
  )
  text = make.add(
    words(ids),
    make.embedding(_PositionEmbedding, config.max_position_embeddings, 'positions')(ids),
    make.embedding(layers.Embedding, config.type_vocab_size, 'segments')(segments),
  )
  text = make.dropout(make.norm(text, 'embeddings_norm'))
  places = make.dense(config.hidden_size, 'regions')(regions)
  if config.use_img_layernorm:
    places = make.norm(places, 'regions_norm')
  hidden = layers.Concatenate(axis=1, dtype=make.policy)([text, make.dropout(places)])
  attended = mask[:, None, :] != 0
  for i in range(config.num_hidden_layers):
    hidden = make.block(hidden, attended, f'layer_{i}')
  pooled = make.dense(config.hidden_size, 'pooler', 'tanh')(hidden[:, 0])
  masked = _Gather(dtype=make.policy)(hidden, positions)
  masked = make.dense(config.hidden_size, 'transform', activation(config.hidden_act))(masked)
  scores = words(make.norm(masked, 'transform_norm'), reverse=True)
  contrast = make.dense(config.num_contrast_classes, 'contrast')(pooled)
  inputs = (ids, segments, mask, regions, positions)
  return keras.Model(
    {x.name: x for x in inputs},
    {
      'prediction_scores': _Bias(name='word_bias', dtype=make.policy)(scores),
      'seq_relationship_score': ops.cast(contrast, 'float32'),
    },
    name='keras_bert',
  )


class _Maker:
  """Factory of the layers, with the sizes, dropout and precision of the model."""

  def __init__(self, config, policy):
    self.policy = policy
    self._config = config

  def dense(self, units, name, function=None):
    return layers.Dense(units, function, name=name, dtype=self.policy)

  def embedding(self, kind, rows, name):
    return kind(rows, self._config.hidden_size, name=name, dtype=self.policy)

  def norm(self, x, name):
    epsilon = self._config.layer_norm_eps
    return layers.LayerNormalization(epsilon=epsilon, name=name, dtype=self.policy)(x)

  def dropout(self, x):
    return layers.Dropout(self._config.hidden_dropout_prob, dtype=self.policy)(x)

  def add(self, *terms):
    return layers.Add(dtype=self.policy)(list(terms))

  def block(self, hidden, attended, name):
    """Applies self-attention and feed-forward layers, each with residual sum and layer norm."""
    config = self._config
    heads = config.num_attention_heads
    context = layers.MultiHeadAttention(
      heads,
      config.hidden_size // heads,
      dropout=config.attention_probs_dropout_prob,
      name=f'{name}_attention',
      dtype=self.policy,
    )(hidden, hidden, attention_mask=attended)
    hidden = self.norm(self.add(self.dropout(context), hidden), f'{name}_attention_norm')
    function = activation(config.hidden_act)
    change = self.dense(config.intermediate_size, f'{name}_intermediate', function)(hidden)
    change = self.dropout(self.dense(config.hidden_size, f'{name}_output')(change))
    return self.norm(self.add(change, hidden), f'{name}_norm')

"""The BERT encoder over words, tags and image regions.

Source: microsoft/Oscar, `oscar/modeling/modeling_bert.py` (`BertImgModel`), and the BERT layers of
pytorch-transformers 1.0. Layers are named by the official state-dict scopes with '.' as '_', so
that `oscar/checkpoint_names.py` maps variables to torch names by rule.
"""
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import layers, ops

from oscar.config import OscarConfig
from tpu_utils.fused_gradients import with_fused_gradient

MASKED_SCORE = -10000.0  # Added to the scores of masked positions, as officially, not -inf.
PAD_ID = 0  # [PAD]: its input embedding gets no gradient, as with torch's padding_idx=0.


class OscarLayerMixin:
  """Base of the layers and models of an `OscarConfig`: saves it and creates parts from it.

  Every variable's shape follows from the configuration, so layers build their parts without an
  input's shape. The parts have the precision of their owner.
  """

  dtype_policy: Any  # Of the Keras class that follows among the bases.

  def __init__(self, config: OscarConfig | Mapping[str, Any], **kwargs: Any) -> None:
    """Keeps the configuration; `kwargs` are those of the Keras class."""
    super().__init__(**kwargs)
    self.config = config if isinstance(config, OscarConfig) else OscarConfig(**config)

  def get_config(self) -> dict[str, Any]:
    """See `keras.layers.Layer`."""
    settings = super().get_config()  # type: ignore[misc]  # Of that Keras class, too.
    return {**settings, 'config': self.config.to_dict()}

  def dense(
    self, units: int, name: str, activation: Callable | str | None = None
  ) -> layers.Dense:
    """Returns a dense layer with the configured initializer."""
    return layers.Dense(
      units,
      activation=activation,
      kernel_initializer=keras.initializers.RandomNormal(stddev=self.config.initializer_range),
      dtype=self.dtype_policy,
      name=name,
    )

  def layer_norm(self, name: str, epsilon: float | None = None) -> layers.LayerNormalization:
    """Returns a layer norm; `epsilon` None for the configured one."""
    epsilon = self.config.layer_norm_eps if epsilon is None else epsilon
    return layers.LayerNormalization(epsilon=epsilon, dtype=self.dtype_policy, name=name)

  def add_dropout_seed(self) -> None:
    """Creates the dropout seed; call in `build`, so that its path starts with the owner's name."""
    self.seed_generator = keras.random.SeedGenerator(name='dropout')

  def dropout(self, x: Any, rate: Any, training: bool | None) -> Any:
    """Applies dropout in training; `rate` is a number or a scalar tensor."""
    if not training or (isinstance(rate, float) and not rate):
      return x
    if isinstance(rate, float):
      return keras.random.dropout(x, rate, seed=self.seed_generator)
    # `keras.random.dropout` compares its rate with numbers; a tensor in a graph does not admit it.
    kept = keras.random.uniform(ops.shape(x), seed=self.seed_generator) >= rate
    return ops.where(kept, x / ops.cast(1.0 - rate, x.dtype), ops.zeros_like(x))

  def hidden_dropout(self, rate: Any = None) -> Any:
    """Returns the scalar of `dropout_rate` ([B], equal numbers), or the configured rate."""
    return self.config.hidden_dropout_prob if rate is None else ops.cast(rate, 'float32')[0]

  def embedding(self, rows: int, name: str) -> layers.Embedding:
    """Returns an embedding of the model's width with the configured initializer."""
    return layers.Embedding(
      rows,
      self.config.hidden_size,
      embeddings_initializer=keras.initializers.RandomNormal(stddev=self.config.initializer_range),
      dtype=self.dtype_policy,
      name=name,
    )


def activation(name: str) -> Callable:
  """Returns the activation `name` of a BERT configuration; gelu is the exact one (erf)."""
  return {'gelu': exact_gelu, 'relu': ops.relu, 'swish': ops.silu}[name]


@keras.saving.register_keras_serializable('oscar')
def exact_gelu(x: Any) -> Any:
  """Computes the exact GELU: `x` times the probability that a standard normal is below it."""
  return ops.gelu(x, approximate=False)


@keras.saving.register_keras_serializable('oscar')
class TextEmbeddings(OscarLayerMixin, layers.Layer):
  """Sum of word, position and segment embeddings, layer norm, dropout."""

  def __init__(self, config: OscarConfig | Mapping[str, Any], **kwargs: Any) -> None:
    super().__init__(config, **kwargs)
    config = self.config
    self.word_embeddings = self.embedding(config.vocab_size, 'word_embeddings')
    self.position_embeddings = self.embedding(config.max_position_embeddings, 'position_embeddings')
    self.token_type_embeddings = self.embedding(config.type_vocab_size, 'token_type_embeddings')
    self.norm = self.layer_norm('LayerNorm')

  def build(self, input_shape: Any = None) -> None:
    """Creates the variables; their shapes follow from the configuration."""
    del input_shape
    for layer in (self.word_embeddings, self.position_embeddings, self.token_type_embeddings):
      layer.build((None, None))
    self.norm.build((None, None, self.config.hidden_size))
    self.add_dropout_seed()

  def call(
    self,
    input_ids: Any,
    token_type_ids: Any = None,
    position_ids: Any = None,
    dropout_rate: Any = None,
    training: bool | None = None,
  ) -> Any:
    """Maps [B, S] integers to [B, S, hidden]; defaults as for `OscarEncoder.call`."""
    words = self.word_embeddings(input_ids)
    is_pad = ops.equal(input_ids, PAD_ID)[..., None]
    words = ops.where(is_pad, ops.stop_gradient(words), words)
    if position_ids is None:
      positions = ops.cast(self.position_embeddings.embeddings, words.dtype)
      positions = positions[: ops.shape(words)[1]]
    else:
      positions = self.position_embeddings(position_ids)
    if token_type_ids is None:
      segments = ops.cast(self.token_type_embeddings.embeddings, words.dtype)[0]
    else:
      segments = self.token_type_embeddings(token_type_ids)
    embedded = self.norm(words + positions + segments)
    return self.dropout(embedded, self.hidden_dropout(dropout_rate), training)


@keras.saving.register_keras_serializable('oscar')
class EncoderLayer(OscarLayerMixin, layers.Layer):
  """Self-attention and feed-forward block, each followed by a residual sum and a layer norm."""

  def __init__(self, config: OscarConfig | Mapping[str, Any], **kwargs: Any) -> None:
    super().__init__(config, **kwargs)
    config = self.config
    width = config.hidden_size
    self.query = self.dense(width, 'attention_self_query')
    self.key = self.dense(width, 'attention_self_key')
    self.value = self.dense(width, 'attention_self_value')
    self.attention_output = self.dense(width, 'attention_output_dense')
    self.attention_norm = self.layer_norm('attention_output_LayerNorm')
    self.intermediate = self.dense(config.intermediate_size, 'intermediate_dense')
    self.activate = activation(config.hidden_act)
    self.output_dense = self.dense(width, 'output_dense')
    self.output_norm = self.layer_norm('output_LayerNorm')

  def build(self, input_shape: Any = None) -> None:
    """Creates the variables; their shapes follow from the configuration."""
    del input_shape
    shape = (None, None, self.config.hidden_size)
    for layer in (self.query, self.key, self.value, self.attention_output, self.attention_norm):
      layer.build(shape)
    self.intermediate.build(shape)
    self.output_dense.build((None, None, self.config.intermediate_size))
    self.output_norm.build(shape)
    self.add_dropout_seed()

  def call(
    self,
    hidden: Any,
    score_bias: Any,
    head_mask: Any = None,
    history: Any = None,
    training: bool | None = None,
  ) -> tuple[Any, Any]:
    """Applies the layer.

    Args:
      hidden: [B, Q, hidden].
      score_bias: [B, 1, 1 or Q, K], added to the attention's scores.
      head_mask: factors of the attention that broadcast to [B, heads, Q, K], or None.
      history: [B, K - Q, hidden], earlier positions that are only attended to, or None.
      training: whether dropout is on.

    Returns:
      (hidden states [B, Q, hidden], attention [B, heads, Q, K]).
    """
    attended = hidden if history is None else ops.concatenate([history, hidden], axis=1)
    context, attention = self._attend(
      self.query(hidden), self.key(attended), self.value(attended), score_bias, head_mask, training
    )
    return self._after_attention(hidden, context, training), attention

  def keys_and_values(self, hidden: Any) -> tuple[Any, Any]:
    """Returns what other positions need to attend to `hidden` [B, K, hidden].

    Returns:
      (keys, values), [B, heads, K, size] each.
    """
    return self._by_head(self.key(hidden)), self._by_head(self.value(hidden))

  def attend_to(self, hidden: Any, sources: Sequence, score_bias: Any) -> Any:
    """Applies the layer, without dropout, to positions that attend to known keys and values.

    Args:
      hidden: [B, Q, hidden].
      sources: pairs as `keys_and_values` returns them; K is the sum of their positions.
      score_bias: [B, 1, 1 or Q, K], added to the attention's scores.

    Returns:
      Hidden states [B, Q, hidden].
    """
    size = self.config.hidden_size // self.config.num_attention_heads
    query = self._by_head(self.query(hidden) * size**-0.5)
    scores = [ops.matmul(query, ops.transpose(keys, (0, 1, 3, 2))) for keys, _ in sources]
    scores = ops.cast(ops.concatenate(scores, axis=-1), 'float32')
    attention = ops.cast(ops.softmax(scores + score_bias), self.compute_dtype)
    parts, start = [], 0
    for _, values in sources:  # The sources are not joined: they are larger than their scores.
      length = ops.shape(values)[2]
      parts.append(ops.matmul(attention[..., start : start + length], values))
      start += length
    context = ops.transpose(sum(parts[1:], parts[0]), (0, 2, 1, 3))
    context = ops.reshape(context, (-1, ops.shape(context)[1], self.config.hidden_size))
    return self._after_attention(hidden, context, training=False)

  def _by_head(self, x):
    """Reshapes [B, S, heads * size] to [B, heads, S, size]."""
    heads = self.config.num_attention_heads
    size = self.config.hidden_size // heads
    return ops.transpose(ops.reshape(x, (-1, ops.shape(x)[1], heads, size)), (0, 2, 1, 3))

  def _after_attention(self, hidden, context, training):
    """Applies the rest of the layer to the values attended to by `hidden`, both [B, Q, hidden]."""
    rate = self.config.hidden_dropout_prob
    context = self.dropout(self.attention_output(context), rate, training)
    hidden = self.attention_norm(context + hidden)
    change = self.output_dense(self._activated(self.intermediate(hidden), training))
    change = self.dropout(change, rate, training)
    return self.output_norm(change + hidden)

  def _activated(self, x, training):
    return with_fused_gradient(self.activate, x) if training else self.activate(x)

  def _attend(self, query, key, value, score_bias, head_mask, training):
    heads = self.config.num_attention_heads
    size = self.config.hidden_size // heads

    def split(x, order):  # [B, S, heads * size], axes (B, S, heads, size) put into `order`
      return ops.transpose(ops.reshape(x, (-1, ops.shape(x)[1], heads, size)), order)

    query = split(query * size**-0.5, (0, 2, 1, 3))
    scores = ops.matmul(query, split(key, (0, 2, 3, 1)))
    # The softmax is always in float32.
    attention = ops.softmax(ops.cast(scores, 'float32') + ops.cast(score_bias, 'float32'))
    attention = ops.cast(attention, self.compute_dtype)
    attention = self.dropout(attention, self.config.attention_probs_dropout_prob, training)
    if head_mask is not None:
      attention = attention * head_mask
    context = ops.transpose(ops.matmul(attention, split(value, (0, 2, 1, 3))), (0, 2, 1, 3))
    return ops.reshape(context, (-1, ops.shape(context)[1], heads * size)), attention


@keras.saving.register_keras_serializable('oscar')
class OscarEncoder(OscarLayerMixin, layers.Layer):
  """BERT layers over words and tags, then regions; the official `BertImgModel`.

  Regions have neither position nor segment embedding, and a layer norm only with
  `use_img_layernorm`.
  """

  def __init__(self, config: OscarConfig | Mapping[str, Any], **kwargs: Any) -> None:
    super().__init__(config, **kwargs)
    config = self.config
    self.embeddings = TextEmbeddings(config, dtype=self.dtype_policy, name='embeddings')
    self.img_embedding = self.img_norm = None
    if config.img_feature_dim:
      self.img_embedding = self.dense(config.hidden_size, 'img_embedding')
      if config.use_img_layernorm:
        self.img_norm = self.layer_norm('LayerNorm', config.img_layer_norm_eps)
    self.layers = [
      EncoderLayer(config, dtype=self.dtype_policy, name=f'encoder_layer_{i}')
      for i in range(config.num_hidden_layers)
    ]
    self.pooler = self.dense(config.hidden_size, 'pooler_dense', 'tanh')

  def build(self, input_shape: Any = None) -> None:
    """Creates the variables; their shapes follow from the configuration."""
    del input_shape
    self.embeddings.build()
    for layer in self.layers:
      layer.build()
    self.pooler.build((None, self.config.hidden_size))
    if self.img_embedding is not None:
      self.img_embedding.build((None, None, self.config.img_feature_dim))
    if self.img_norm is not None:
      self.img_norm.build((None, None, self.config.hidden_size))
    self.add_dropout_seed()

  def call(
    self,
    input_ids: Any,
    token_type_ids: Any = None,
    attention_mask: Any = None,
    position_ids: Any = None,
    img_feats: Any = None,
    head_mask: Any = None,
    encoder_history_states: Sequence | None = None,
    dropout_rate: Any = None,
    training: bool | None = None,
  ) -> dict[str, Any]:
    """Runs the encoder.

    Args:
      input_ids: [B, S] integers.
      token_type_ids: [B, S] integers; None for zeros.
      attention_mask: [B, K], or [B, Q, K] with a row for each query; 1 attends, 0 does not. K is
        history, text and regions. None lets all positions attend to each other.
      position_ids: [B, S] integers; None for 0, 1, 2, ...
      img_feats: [B, R, img_feature_dim], or None.
      head_mask: [heads] or [layers, heads]: factors of the attention, or None.
      encoder_history_states: for each layer the hidden states [B, H, hidden] of earlier positions,
        which are attended to as well; or None.
      dropout_rate: [B] equal floats, the dropout of the embeddings; None for the configured rate.
      training: whether dropout is on.

    Returns:
      A dict of `sequence_output` [B, S + R, hidden], `pooled_output` [B, hidden], and the tuples
      `hidden_states` (the embeddings, then each layer's output) and `attentions` [B, heads, Q, K].
    """
    hidden = self.embed(
      input_ids, token_type_ids, position_ids, img_feats, dropout_rate, training=training
    )
    score_bias = self.score_bias(attention_mask)
    head_masks = self._head_masks(head_mask)
    histories = encoder_history_states
    if histories is None:
      histories = [None] * len(self.layers)
    hidden_states, attentions = [hidden], []
    for layer, mask, history in zip(self.layers, head_masks, histories, strict=True):
      hidden, attention = layer(hidden, score_bias, mask, history, training=training)
      hidden_states.append(hidden)
      attentions.append(attention)
    return {
      'sequence_output': hidden,
      'pooled_output': self.pooler(hidden[:, 0]),
      'hidden_states': tuple(hidden_states),
      'attentions': tuple(attentions),
    }

  def embed(
    self,
    input_ids: Any,
    token_type_ids: Any = None,
    position_ids: Any = None,
    img_feats: Any = None,
    dropout_rate: Any = None,
    training: bool | None = None,
  ) -> Any:
    """Returns the input [B, S + R, hidden] of the first layer; arguments as for `call`."""
    hidden = self.embeddings(
      input_ids, token_type_ids, position_ids, dropout_rate, training=training
    )
    if img_feats is None:
      return hidden
    regions = self._embed_regions(img_feats, dropout_rate, training)
    return ops.concatenate([hidden, regions], axis=1)

  def _embed_regions(self, img_feats, dropout_rate, training):
    regions = self.img_embedding(img_feats)
    if self.img_norm is not None:
      regions = self.img_norm(regions)
    return self.dropout(regions, self.hidden_dropout(dropout_rate), training)

  def score_bias(self, attention_mask: Any) -> Any:
    """Returns what `attention_mask` (see `call`) adds to scores: float32 [B, 1, 1 or Q, K]."""
    if attention_mask is None:
      return ops.zeros((1, 1, 1, 1))
    mask = ops.cast(attention_mask, 'float32')
    mask = mask[:, None, None, :] if len(mask.shape) == 2 else mask[:, None, :, :]
    return (1.0 - mask) * MASKED_SCORE

  def _head_masks(self, head_mask):
    if head_mask is None:
      return [None] * len(self.layers)
    mask = ops.cast(head_mask, self.compute_dtype)
    if len(mask.shape) == 1:
      mask = ops.broadcast_to(mask, (len(self.layers), self.config.num_attention_heads))
    return [row[None, :, None, None] for row in ops.unstack(mask, len(self.layers))]

"""OSCAR models: the encoder and a head for each task.

Source: microsoft/Oscar, `oscar/modeling/modeling_bert.py`; paper arXiv 2004.06165, section 3.
"""
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from oscar import checkpoint_tasks, heads
from oscar.config import TASKS, OscarConfig
from oscar.encoder import OscarEncoder, OscarLayerMixin
from oscar.input.checks import check_inputs
from tpu_utils.names import check_name


def build_model(
  config_or_name: OscarConfig | str,
  task: str,
  weights: str | None = None,
  dtype_policy: str | None = None,
  name: str | None = None,
  **overrides: Any,
) -> 'OscarModel':
  """Builds the model of a task.

  Args:
    config_or_name: an `OscarConfig`, 'base', 'large', or the path of a `config.json` or its folder.
    task: 'pretrain', 'retrieval', 'captioning', 'vqa', 'gqa' or 'nlvr2'.
    weights: path of a checkpoint for `tpu_utils.weights.load`; None leaves the initial values.
    dtype_policy: Keras precision policy such as 'mixed_bfloat16'; None for float32.
    name: the model's name; None for `oscar_<task>`.
    **overrides: settings of `OscarConfig` to change, such as `num_labels=3129`.

  Returns:
    An `OscarModel`, built.

  Raises:
    ValueError: an unknown configuration, task or setting, or weights that do not fit or are of
      another task.
    OSError: no such file.
  """
  check_name('task', task, TASKS)
  config = config_or_name
  if not isinstance(config, OscarConfig):
    config = OscarConfig.from_name(config)
  config = config.replace(**overrides)
  name = name or f'oscar_{task}'
  model = OscarModel(config, task, dtype=dtype_policy or 'float32', name=name)
  if weights is not None:
    checkpoint_tasks.check_task(weights, task, starts=False)
    from tpu_utils.weights import load

    load(model, weights)
  return model


@keras.saving.register_keras_serializable('oscar')
class OscarModel(OscarLayerMixin, keras.Model):
  """An OSCAR encoder (`model.bert`) with the head of `task`.

  The input is a dict; B examples, S text tokens (words, then tags), R regions:
    input_ids: [B, S] integers.
    token_type_ids: [B, S] integers; optional, zeros.
    attention_mask: [B, S + R], or [B, S + R, S + R] with a row for each query; 1 attends, 0 does
      not. Optional without regions.
    img_feats: [B, R, img_feature_dim] floats; optional.
    position_ids: [B, S] integers; optional, 0 to S - 1.
    head_mask: [heads] or [layers, heads] floats, factors of the attention; optional.
    encoder_history_states: hidden states [B, H, hidden] for each layer, to which positions attend
      as well (cached decoding); optional. The mask's last axis then counts H + S.
    masked_positions: [B, M] integers; optional, in pre-training and captioning only: words are
      predicted at these positions alone, which saves most of the vocabulary projection.
    dropout_rate: [B] equal floats, the dropout of embeddings and pooled output in training;
      optional, the configured rate. (The layers' own dropout stays as configured.)
  NLVR2 on pairs has an axis of `num_choice` after B in all of these except `head_mask`.

  The output is a dict:
    sequence_output: [B, S + R, hidden].
    pooled_output: [B, hidden].
    prediction_scores: pre-training and captioning; float32 [B, N, vocabulary] at the N = M masked
      positions, or else at all N = S + R (pre-training) or N = S (captioning).
    seq_relationship_score: pre-training; float32 [B, num_contrast_classes].
    logits: the other tasks; float32 [B, num_labels]. In captioning the same as prediction_scores.
    hidden_states, attentions: tuples, if the configuration enables them (`OscarEncoder`).
  """

  def __init__(self, config: OscarConfig | Mapping[str, Any], task: str, **kwargs: Any) -> None:
    """Builds the model; `kwargs` are those of `keras.Model`."""
    super().__init__(config, **kwargs)
    config = self.config
    self.task = task
    self.pairs = task == 'nlvr2' and config.use_pair
    self.takes_dropout_rate = False  # Whether `inputs` includes `dropout_rate`.
    # Built here, not in `build`, so that variable paths start with the part ('bert/...'), not with
    # the model's name, and a checkpoint of one task fits the encoder of another.
    self.bert = OscarEncoder(config, dtype=self.dtype_policy, name='bert')
    self.bert.build()
    if task == 'pretrain':
      self._add_prediction_head(tied=True)
      self.cls_seq_relationship = self.dense(config.num_contrast_classes, 'cls_seq_relationship')
      self.cls_seq_relationship.build((None, config.hidden_size))
    elif task == 'captioning':
      self._add_prediction_head(tied=config.tie_weights)
      self.bert.embeddings.word_embeddings.trainable = not config.freeze_embedding
    else:
      width = config.hidden_size * (config.num_choice if self.pairs else 1)
      self.add_dropout_seed()
      self.classifier = heads.classifier(self, width, self.pairs and config.use_img_layernorm)
    self.built = True

  def _add_prediction_head(self, tied):
    self.cls_predictions = heads.PredictionHead(
      self.config, tied, dtype=self.dtype_policy, name='cls_predictions'
    )
    self.cls_predictions.build()

  @property
  def input(self) -> dict[str, keras.KerasTensor]:
    """Returns {name: symbolic input} as in training; only the last size of `img_feats` is fixed."""
    names = ['input_ids', 'token_type_ids', 'attention_mask']
    if self.task in ('pretrain', 'captioning'):
      names.append('masked_positions')
    pair = (self.config.num_choice,) if self.pairs else ()
    shapes = {name: (None, *pair, None) for name in names}
    tensors = {name: keras.KerasTensor(s, 'int32', name=name) for name, s in shapes.items()}
    if self.config.img_feature_dim:
      shape = (None, *pair, None, self.config.img_feature_dim)
      tensors['img_feats'] = keras.KerasTensor(shape, 'float32', name='img_feats')
    if self.takes_dropout_rate:
      tensors['dropout_rate'] = keras.KerasTensor((None,), 'float32', name='dropout_rate')
    return tensors

  @property
  def inputs(self) -> list[keras.KerasTensor]:
    """Returns the tensors of `input`."""
    return list(self.input.values())

  def __call__(self, inputs, *args, **kwargs):
    # Not in `call`: Keras extends the message of an error there to a page.
    check_inputs(inputs, self.config, self.task)
    return super().__call__(inputs, *args, **kwargs)

  def call(self, inputs: Mapping[str, Any], training: bool | None = None) -> dict[str, Any]:
    """Computes the outputs; see the class."""
    inputs = {name: value for name, value in inputs.items() if value is not None}
    masked_positions = inputs.pop('masked_positions', None)
    if self.pairs:
      whole = ('head_mask', 'dropout_rate')
      inputs = {k: v if k in whole else _merge_axes(v) for k, v in inputs.items()}
    outputs = self.bert(**inputs, training=training)
    if not self.config.output_hidden_states:
      del outputs['hidden_states']
    if not self.config.output_attentions:
      del outputs['attentions']
    if self.pairs:
      outputs = keras.tree.map_structure(self._split_axis, outputs)
    if self.task in ('pretrain', 'captioning'):
      text = ops.shape(inputs['input_ids'])[1] if self.task == 'captioning' else None
      return self._predict_words(outputs, text, masked_positions)
    return self._classify(outputs, inputs.get('dropout_rate'), training)

  def _predict_words(self, outputs, text, masked_positions):
    """Adds the word scores, for the first `text` positions; None for all."""
    hidden = outputs['sequence_output']
    if masked_positions is None:
      hidden = hidden[:, :text]
    else:
      hidden = gather_positions(hidden, masked_positions)
    outputs['prediction_scores'] = self.word_scores(hidden)
    if self.task == 'pretrain':
      scores = self.cls_seq_relationship(outputs['pooled_output'])
      outputs['seq_relationship_score'] = ops.cast(scores, 'float32')
    else:
      outputs['logits'] = outputs['prediction_scores']
    return outputs

  def word_scores(self, hidden: Any) -> Any:
    """Maps hidden states [B, N, hidden] to float32 scores [B, N, vocabulary] of words.

    Only models of pre-training and captioning have this head.
    """
    return self.cls_predictions(hidden, self.bert.embeddings.word_embeddings.embeddings)

  def _classify(self, outputs, dropout_rate, training):
    x = self.dropout(outputs['pooled_output'], self.hidden_dropout(dropout_rate), training)
    if self.pairs:
      x = ops.reshape(x, (-1, self.config.num_choice * self.config.hidden_size))
    for layer in self.classifier:
      x = layer(x)
    outputs['logits'] = ops.cast(x, 'float32')
    return outputs

  def _split_axis(self, x):
    return ops.reshape(x, (-1, self.config.num_choice) + tuple(ops.shape(x)[1:]))

  def get_config(self) -> dict[str, Any]:
    """See `keras.Model`."""
    return {**super().get_config(), 'task': self.task}


def gather_positions(hidden: Any, positions: Any) -> Any:
  """Takes [B, M, width] from `hidden` [B, S, width] at `positions` [B, M]."""
  length, width = ops.shape(hidden)[1], hidden.shape[-1]
  starts = ops.arange(ops.shape(hidden)[0], dtype='int32')[:, None] * length
  flat = ops.reshape(ops.cast(positions, 'int32') + starts, (-1,))
  rows = ops.take(ops.reshape(hidden, (-1, width)), flat, axis=0)
  return ops.reshape(rows, (-1, ops.shape(positions)[1], width))


def _merge_axes(x):
  """Reshapes [B, choices, ...] to [B * choices, ...]."""
  return ops.reshape(x, (-1,) + tuple(ops.shape(x)[2:]))

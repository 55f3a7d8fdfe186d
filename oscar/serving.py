"""Exports OSCAR models as SavedModels, which load without this package.

WordPiece is not in the graph: the inputs are ids, as `oscar.Tokenizer` and `oscar/input/layouts.py`
make them, and regions. Signature `serving_default`, for any batch size and lengths; B examples, S
text tokens, R regions:

    input_ids, token_type_ids   int32 [B, S]
    attention_mask              int32 [B, S + R]; captioning, and retrieval with a mask other than
                                CLR: [B, S + R, S + R]
    img_feats                   float32 [B, R, img_feature_dim]

NLVR2 in pairs has an axis of two images after B in each. Outputs, float32 unless said otherwise:

    vqa, gqa, nlvr2, retrieval  logits, probabilities [B, labels]; top_labels int32 [B, k] and
                                top_probabilities [B, k], the 5 likeliest labels or all
    vqa, gqa                    top_answers string [B, k], if the answers are known
    captioning                  logits, probabilities [B, S, vocabulary]
    pretrain                    prediction_scores [B, S + R, vocabulary], seq_relationship_score and
                                probabilities [B, contrast classes], the softmax of the latter

The probabilities are a softmax; independent sigmoids for VQA trained with bce; for retrieval with
one label its output, cut to 0 to 1. With known answers the signature `answers`, without inputs, has
their texts in the order of the logits.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from oscar.modeling import OscarModel

FOLDER = 'saved_model'
_TOP = 5


def save(model: OscarModel, folder: str, task_info: Mapping[str, Any] | None = None) -> None:
  """Writes the SavedModel of a model.

  Args:
    model: the model.
    folder: path of a new folder.
    task_info: as for `checkpoints.save`: the flags of the training, and the answers.

  Raises:
    ValueError: Keras has another backend than TensorFlow.
  """
  if keras.backend.backend() != 'tensorflow':
    raise ValueError(
      f'A SavedModel needs the TensorFlow backend of Keras, found {keras.backend.backend()!r}; '
      'set KERAS_BACKEND=tensorflow.'
    )
  info = task_info or {}
  servable = _Servable(model, info.get('settings', {}), info.get('answers'))
  signatures = {'serving_default': servable.serve}
  if servable.name_answers is not None:
    signatures['answers'] = servable.name_answers
  tf.saved_model.save(servable, os.path.join(folder, FOLDER), signatures)


def uses_sigmoid(task: str, settings: Mapping[str, Any]) -> bool:
  """Returns whether a model's labels have probabilities of their own: VQA trained with bce.

  Args:
    task: the task.
    settings: {flag of the training: value}.
  """
  return task == 'vqa' and (settings.get('loss_type') == 'bce' or bool(settings.get('adjust_loss')))


class _Servable(tf.Module):
  """The functions of the signatures, with raw variables, so that loading needs no Keras."""

  def __init__(self, model: OscarModel, settings: Mapping[str, Any], answers: Sequence[str] | None):
    super().__init__()
    self._weights = [variable.value for variable in model.variables]
    sigmoid = uses_sigmoid(model.task, settings)
    names = None if not answers else tf.constant(list(answers), tf.string)

    @tf.function(input_signature=[_specs(model, settings)], autograph=False)
    def serve(inputs):
      return _outputs(model, model(inputs, training=False), sigmoid, names)

    self.serve = serve
    self.name_answers = None
    if names is not None:

      @tf.function(input_signature=[])
      def name_answers():
        return {'answers': names}

      self.name_answers = name_answers


def _specs(model, settings):
  pair = (model.config.num_choice,) if model.pairs else ()
  square = model.task == 'captioning' or settings.get('att_mask_type', 'CLR') != 'CLR'
  shapes = {
    'input_ids': (None, *pair, None),
    'token_type_ids': (None, *pair, None),
    'attention_mask': (None, *pair, None, None) if square else (None, *pair, None),
  }
  specs = {name: tf.TensorSpec(shape, tf.int32, name) for name, shape in shapes.items()}
  width = model.config.img_feature_dim
  if width:
    specs['img_feats'] = tf.TensorSpec((None, *pair, None, width), tf.float32, 'img_feats')
  return specs


def _outputs(model, outputs, sigmoid, answers):
  if model.task == 'pretrain':
    contrast = outputs['seq_relationship_score']
    names = ('prediction_scores', 'seq_relationship_score')
    return {**{name: outputs[name] for name in names}, 'probabilities': tf.nn.softmax(contrast)}
  logits = outputs['logits']
  if model.task == 'captioning':
    return {'logits': logits, 'probabilities': tf.nn.softmax(logits)}
  if logits.shape[-1] == 1:  # A regression.
    probabilities = tf.clip_by_value(logits, 0.0, 1.0)
  else:
    probabilities = tf.sigmoid(logits) if sigmoid else tf.nn.softmax(logits)
  # By logits: sigmoids of large ones are equal.
  _, labels = tf.math.top_k(logits, min(_TOP, logits.shape[-1]))
  found = {
    'logits': logits,
    'probabilities': probabilities,
    'top_labels': labels,
    'top_probabilities': tf.gather(probabilities, labels, batch_dims=1),
  }
  return found if answers is None else {**found, 'top_answers': tf.gather(answers, labels)}

"""Exports OSCAR models as SavedModels, which load without this package.

WordPiece is not in the graph: the inputs are ids, as `oscar.Tokenizer` and `oscar/input/layouts.py`
make them, and regions. Signature `serving_default`, for any batch size and lengths; B examples, S
text tokens, R regions:

    input_ids, token_type_ids   int32 [B, S]
    attention_mask              int32 [B, S + R]; retrieval with a mask other than CLR:
                                [B, S + R, S + R]
    img_feats                   float32 [B, R, img_feature_dim]

NLVR2 in pairs has an axis of two images after B in each. Outputs, float32 unless said otherwise:

    vqa, gqa, nlvr2, retrieval  logits, probabilities [B, labels]; top_labels int32 [B, k] and
                                top_probabilities [B, k], the 5 likeliest labels or all
    vqa, gqa                    top_answers string [B, k], if the answers are known
    pretrain                    prediction_scores [B, S + R, vocabulary], seq_relationship_score and
                                probabilities [B, contrast classes], the softmax of the latter

The probabilities are a softmax; independent sigmoids for VQA trained with bce; for retrieval with
one label its output, cut to 0 to 1. With known answers the signature `answers`, without inputs, has
their texts in the order of the logits.

A captioner writes the captions itself. Its `serving_default`, for any batch size, number L of word
pieces and R of regions:

    tag_ids      int32 [B, L], word pieces of the tags without special ones, then zeros; only for
                 models that read tags
    img_feats    float32 [B, R, img_feature_dim]
    num_regions  int32 [B], regions of each image that are not padding

    ids          int32 [B, captions, T], with [CLS] and [SEP], padded with zeros, best first
    logprobs     float32 [B, captions], as from `decoding.generate`
    confidences  float32 [B, captions], exp(logprobs), the official `conf`

The search (num_beams, num_keep_best, max_gen_length, penalties) is that of the training's flags in
`task.json`, or of the flags given with --mode=export. The signature `vocabulary`, without inputs,
has the word pieces in the order of ids, and `logits` takes a whole sequence as the other tasks do,
with attention_mask [B, S + R, S + R], and gives logits and probabilities [B, S, vocabulary].
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from oscar import caption_settings, decoding
from oscar.decoding.config import GenerationConfig
from oscar.input import layouts, texts
from oscar.input.regions import hide_regions
from oscar.modeling import OscarModel
from oscar.tokenization import Tokenizer

FOLDER = 'saved_model'
_TOP = 5


def save(
  model: OscarModel,
  folder: str,
  task_info: Mapping[str, Any] | None = None,
  tokenizer: Tokenizer | None = None,
) -> None:
  """Writes the SavedModel of a model.

  Args:
    model: the model.
    folder: path of a new folder.
    task_info: as for `checkpoints.save`: the flags of the training, and the answers.
    tokenizer: the model's tokenizer; captioning needs it.

  Raises:
    ValueError: Keras has another backend than TensorFlow; the flags of a captioner's training are
      missing, or do not fit its model.
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
  if model.task == 'captioning':
    if tokenizer is None:
      raise ValueError('A SavedModel of a captioner needs its tokenizer; give tokenizer=.')
    servable.captions = _Captions(model, info.get('settings', {}), tokenizer)
    signatures = {
      'serving_default': servable.captions.write,
      'logits': servable.serve,
      'vocabulary': servable.captions.name_pieces,
    }
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


class _Captions(tf.Module):
  """The functions of a captioner's signatures, with the search inside."""

  def __init__(self, model: OscarModel, settings: Mapping[str, Any], tokenizer: Tokenizer):
    super().__init__()
    self._weights = [variable.value for variable in model.variables]
    read = _caption_settings(settings)
    config = GenerationConfig.for_tokenizer(
      tokenizer,
      od_labels_start_posid=read['max_seq_a_length'],
      **{name: read[name] for name in caption_settings.OF_GENERATION},
    )
    # Room for tags, as in training.
    tags = read['max_seq_length'] - read['max_seq_a_length'] if read['add_od_labels'] else 0
    last = max(config.max_gen_length, read['max_seq_a_length']) + tags - 1
    layouts.check_positions(last, model.config.max_position_embeddings)
    words, regions = config.max_gen_length + tags, read['max_img_seq_length']
    special = texts.special_ids(tokenizer)
    pieces = tf.constant(tokenizer.convert_ids_to_tokens(range(tokenizer.vocab_size)))
    specs = {
      'img_feats': tf.TensorSpec((None, None, model.config.img_feature_dim), tf.float32),
      'num_regions': tf.TensorSpec((None,), tf.int32),
    }
    if read['add_od_labels']:
      specs['tag_ids'] = tf.TensorSpec((None, None), tf.int32)
    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in specs.items()}

    @tf.function(input_signature=[specs], autograph=False)
    def write(inputs):
      ids = inputs.get('tag_ids', tf.zeros([tf.shape(inputs['num_regions'])[0], 0], tf.int32))
      layout = layouts.generation_layout(
        _tags(ids, special.pad), config.max_gen_length, words, special
      )
      padded = _padded(inputs['img_feats'], regions)
      counts = tf.minimum(inputs['num_regions'], regions)
      batch = layouts.model_inputs(layout, padded, counts, 'caption')
      for name in ('input_ids', 'token_type_ids'):
        batch[name] = tf.ensure_shape(batch[name], [None, words])
      square = [None, words + regions, words + regions]
      batch['attention_mask'] = tf.ensure_shape(batch['attention_mask'], square)
      batch = hide_regions(batch) if read['mask_regions'] else batch
      found = decoding.generate(model, batch, config)
      ids, scores = found['ids'], found['logprobs']
      return {'ids': ids, 'logprobs': scores, 'confidences': tf.exp(scores)}

    @tf.function(input_signature=[])
    def name_pieces():
      return {'pieces': pieces}

    self.write, self.name_pieces = write, name_pieces


def _caption_settings(settings):
  """Returns the flags of a captioner's training that its search needs.

  Raises:
    ValueError: a length is missing.
  """
  stored = caption_settings.as_trained(settings)
  needed = ('max_seq_length', 'max_seq_a_length', 'max_img_seq_length', 'add_od_labels')
  missing = [name for name in needed if stored.get(name) is None]
  if missing:
    raise ValueError(
      f'A SavedModel of a captioner needs {", ".join(missing)} of its training; give them in '
      'task_info.'
    )
  defaults = dataclasses.asdict(caption_settings.CaptioningData())
  names = (*needed, *caption_settings.OF_GENERATION, 'mask_regions')
  return {name: defaults[name] if stored.get(name) is None else stored[name] for name in names}


def _tags(ids, pad):
  """Returns the `Words` of int32 [B, L], which end at the first padding."""
  inside = tf.cast(ids != pad, tf.int32)
  return texts.Words(ids, tf.reduce_sum(tf.math.cumprod(inside, axis=1), axis=1))


def _padded(img_feats, count):
  """Cuts or pads regions to `count`."""
  kept = img_feats[:, :count]
  padded = tf.pad(kept, [[0, 0], [0, count - tf.shape(kept)[1]], [0, 0]])
  return tf.ensure_shape(padded, [None, count, img_feats.shape[2]])


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

"""Predictors: a model with the texts, images and answers of its task around it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf

from oscar.input import layouts, texts, trimming
from oscar.input.regions import hide_regions, pad_regions
from oscar.modeling import OscarModel
from oscar.predicting.images import ImageReader, ImageRegions
from oscar.predicting.results import Answer, Attention, Comparison, Prediction, Score
from oscar.tokenization import Tokenizer

BATCH_SIZE = 32
TOP_K = 5
# {call of a predictor: (its arguments, tasks of the exports that have it)}.
_CALLS = {
  'answer': ('image, question', ('vqa', 'gqa')),
  'score': ('image, text', ('retrieval',)),
  'compare': ('left, right, statement', ('nlvr2',)),
  'caption': ('image', ('captioning',)),
}


class WrongTaskError(AttributeError, ValueError):
  """A call that predictors of another task have."""


@dataclasses.dataclass(frozen=True)
class InputSettings:
  """How a model was trained to read its input.

  Attributes:
    max_seq_length: word pieces of words and tags, with special ones.
    max_img_seq_length: regions of an image.
    with_tags: whether it reads tags.
    attention: mask of the attention, as for `layouts.model_inputs`.
    sigmoid: whether its answers have independent probabilities.
    mask_regions: whether the regions are hidden from it.
    max_seq_a_length: captioning: word pieces of a caption in training, where tags begin.
    max_gen_length: captioning: word pieces of a written caption.
  """

  max_seq_length: int
  max_img_seq_length: int
  with_tags: bool = True
  attention: str = 'CLR'
  sigmoid: bool = False
  mask_regions: bool = False
  max_seq_a_length: int = 0
  max_gen_length: int = 0


@dataclasses.dataclass(frozen=True)
class Example:
  """A text and its images, checked and read.

  Attributes:
    text: question, caption or statement; '' in captioning.
    images: one, or left and right.
  """

  text: str
  images: tuple[ImageRegions, ...]


class _Encoded(NamedTuple):
  """The input of a batch: `inputs` of the model, and for each sequence `layouts` and `counts`.

  `layouts` have int32 [batch, S]; `counts` int [batch] are the regions that are not padding.
  """

  inputs: dict[str, tf.Tensor]
  layouts: list[layouts.Layout]
  counts: list[np.ndarray]


class Predictor:
  """Base of the predictors; `oscar.load` opens one.

  Attributes:
    task: the task of the model.
    model: the model.
    tokenizer: its tokenizer.
    settings: how it reads its input.
    text_field: name of the text in `answer` and so on, and in JSON lines; '' if there is none.
    image_fields: names of the images, likewise.
  """

  text_field: ClassVar[str]
  image_fields: ClassVar[tuple[str, ...]]

  def __init__(
    self,
    model: OscarModel,
    tokenizer: Tokenizer,
    settings: InputSettings,
    images: ImageReader,
    folder: str,
    answers: Sequence[str] = (),
  ) -> None:
    """Builds a predictor.

    Args:
      model: a model with `output_attentions`.
      tokenizer: its tokenizer.
      settings: how it reads its input.
      images: reads images for it.
      folder: where it came from, for errors.
      answers: texts of its labels, for `AnswerPredictor`.
    """
    self.model, self.tokenizer, self.settings = model, tokenizer, settings
    self.task: str = model.task
    self.answers = tuple(answers)
    self._images, self._folder = images, folder
    self._special = texts.special_ids(tokenizer)
    self._functions: dict[Any, Any] = {}

  def __getattr__(self, name: str) -> Any:
    if name not in _CALLS:
      raise AttributeError(f'{type(self).__name__!r} object has no attribute {name!r}')
    fitting = next(c for c, (_, tasks) in _CALLS.items() if self.__dict__.get('task') in tasks)
    raise WrongTaskError(
      f'.{name}() needs a model of {" or ".join(_CALLS[name][1])}, but {self._folder} was trained '
      f'for the task {self.task!r}; call .{fitting}({_CALLS[fitting][0]}).'
    )

  def example(self, text: str, *images: Any) -> Example:
    """Checks and reads a text and its images, in the order of `image_fields`.

    Raises:
      ValueError: an empty text, or an image that the model cannot take.
      OSError: a file cannot be read.
    """
    if not isinstance(text, str) or not text.strip():
      found = 'empty' if isinstance(text, str) else repr(text)[:40]
      raise ValueError(f'{self.text_field} is {found}; expected a text.')
    read = zip(images, self.image_fields, strict=True)
    return Example(text, tuple(self.read_image(image, name) for image, name in read))

  def read_image(self, image: Any, where: str = 'image') -> ImageRegions:
    """Returns the regions of an image; see `ImageReader.read`."""
    return self._images.read(image, where)

  def predict(
    self,
    examples: Sequence[Example],
    *,
    batch_size: int = BATCH_SIZE,
    attention: bool = False,
    **options: Any,
  ) -> list[Any]:
    """Returns the result for each example.

    Args:
      examples: of `example`.
      batch_size: examples at a time.
      attention: whether to return the attention, too.
      **options: of the task, such as `top_k`.

    Raises:
      ValueError: an option or `batch_size` is out of range.
    """
    if batch_size < 1:
      raise ValueError(f'batch_size={batch_size}: expected at least 1.')
    results = []
    for start in range(0, len(examples), batch_size):
      part = examples[start : start + batch_size]
      rows = self.tokenizer.encode_batch([example.text for example in part])
      encoded = self._encode(_words(rows), part)
      encoded = encoded._replace(inputs=self._hidden(encoded.inputs))
      logits, attentions = self._apply(encoded.inputs, attention)
      for i, (example, row) in enumerate(zip(part, rows, strict=True)):
        shared = {
          'regions': tuple(image.origin for image in example.images),
          'notes': self._notes(example, row, encoded, i),
          'attention': self._attention(encoded, attentions, i) if attention else (),
        }
        results.append(self._result(logits[i], shared, **options))
    return results

  def _examples(self, texts_given, *images):
    """Returns the examples of lists of equal lengths; errors name the place."""
    lengths = [len(column) for column in (texts_given, *images)]
    if len({*lengths}) > 1:
      names = (self.text_field, *self.image_fields)
      found = ', '.join(f'{n} {name}s' for n, name in zip(lengths, names, strict=True))
      raise ValueError(f'Expected lists of equal lengths, found {found}.')
    made = []
    for number, (text, *of_text) in enumerate(zip(texts_given, *images, strict=True)):
      try:
        made.append(self.example(text, *of_text))
      except ValueError as e:
        if len(texts_given) == 1:
          raise
        raise ValueError(f'Example {number}: {e}') from e
    return made

  def _result(self, logits, shared, **options) -> Prediction:
    raise NotImplementedError

  # ---- The model's input

  def _encode(self, words, examples) -> _Encoded:
    """Returns the input of one sequence for each example, with all its images."""
    tags = self._tags([' '.join(image.tags or '' for image in e.images) for e in examples])
    layout = self._layout(words, tags)
    joined = [np.concatenate([image.features for image in e.images]) for e in examples]
    feats, counts = self._pad(joined, len(self.image_fields))
    inputs = layouts.model_inputs(layout, feats, counts, self.settings.attention)
    if self.settings.attention == 'CLR':
      inputs = trimming.trimmed(inputs)
    return _Encoded(inputs, [layout], [counts.numpy()])

  def _hidden(self, inputs):
    """Returns the inputs as the training gave them: without regions if it masked them."""
    return hide_regions(inputs) if self.settings.mask_regions else inputs

  def _layout(self, words, tags):
    return layouts.pair_layout(words, tags, self.settings.max_seq_length, self._special)

  def _tags(self, tag_texts):
    if not self.settings.with_tags:
      tag_texts = [''] * len(tag_texts)
    return _words(self.tokenizer.encode_batch(tag_texts))

  def _pad(self, regions, images=1):
    limit = self.settings.max_img_seq_length * images
    padded = [pad_regions(tf.constant(rows), limit) for rows in regions]
    return tuple(tf.stack(column) for column in zip(*padded, strict=True))

  # ---- The model's output

  def _apply(self, inputs, attention):
    """Returns logits [batch, labels] and, if asked for, the attentions of each layer."""
    outputs = self._compiled(attention)(inputs)
    attentions = [layer.numpy() for layer in outputs.get('attentions', ())]
    return outputs['logits'].numpy(), attentions

  def _compiled(self, attention):
    """Returns the model as a function of inputs of any size, traced once."""
    if attention in self._functions:
      return self._functions[attention]

    def apply(inputs):
      outputs = self.model(inputs, training=False)
      names = ('logits', 'attentions') if attention else ('logits',)
      return {name: outputs[name] for name in names}

    pair = (self.model.config.num_choice,) if self.model.pairs else ()
    ids = tf.TensorSpec([None, *pair, None], tf.int32)
    mask = ids if self.settings.attention == 'CLR' else tf.TensorSpec([None, None, None], tf.int32)
    feats = tf.TensorSpec([None, *pair, None, self.model.config.img_feature_dim], tf.float32)
    signature = {
      'input_ids': ids, 'token_type_ids': ids, 'attention_mask': mask, 'img_feats': feats,
    }  # fmt: skip
    self._functions[attention] = tf.function(apply, input_signature=[signature], autograph=False)
    return self._functions[attention]

  def _attention(self, encoded, attentions, i):
    """Returns the `Attention` of each sequence of example `i`."""
    width = encoded.inputs['input_ids'].shape[-1]  # Trimmed.
    found = []
    for side, (layout, counts) in enumerate(zip(encoded.layouts, encoded.counts, strict=True)):
      rows = [layer[i, side] if self.model.pairs else layer[i] for layer in attentions]
      tokens = np.flatnonzero(layout.kind[i].numpy() != layouts.PADDING)
      places = np.concatenate([tokens, width + np.arange(counts[i])])
      raw = np.stack(rows).astype(np.float32)[:, :, places][..., places]
      pieces = self.tokenizer.convert_ids_to_tokens(layout.input_ids[i].numpy()[tokens].tolist())
      weights = raw[:, :, : len(tokens), len(tokens) :].mean(axis=(0, 1))
      found.append(Attention(tuple(pieces), weights, raw))
    return tuple(found)

  def _notes(self, example, row, encoded, i):
    """Says what of an example the model does not see, as in its training."""
    notes = []
    words = min(
      int(np.sum(layout.is_word[i] & (layout.kind[i] == layouts.CAPTION)))
      for layout in encoded.layouts
    )
    if words < len(row):
      notes.append(
        f'{self.text_field}: the first {words} of {len(row)} word pieces are read, as in training '
        f'(max_seq_length {self.settings.max_seq_length})'
      )
    unknown = row.count(self._special.unk)
    if unknown:
      notes.append(
        f'{self.text_field}: {unknown} of {len(row)} word pieces are unknown to the vocabulary'
      )
    return (*notes, *self._region_notes(example))

  def _region_notes(self, example):
    if self.settings.mask_regions:
      return ('the regions are hidden from the model, as in its training (mask_regions)',)
    notes, read = [], self._regions_read(example)
    for name, image, count in zip(self.image_fields, example.images, read, strict=True):
      if count < len(image.features):
        notes.append(
          f'{name}: the first {count} of {len(image.features)} regions are read, as in training '
          f'(max_img_seq_length {self.settings.max_img_seq_length})'
        )
    return tuple(notes)

  def _regions_read(self, example):
    """Returns how many regions of each image the model reads; images in a row share the room."""
    room, read = self.settings.max_img_seq_length * len(example.images), []
    for image in example.images:
      read.append(min(room, len(image.features)))
      room -= read[-1]
    return read


class AnswerPredictor(Predictor):
  """Answers questions about images out of a fixed list: VQA and GQA."""

  text_field, image_fields = 'question', ('image',)

  def answer(
    self, image: Any, question: str, top_k: int = TOP_K, attention: bool = False
  ) -> Answer:
    """Answers a question about an image.

    Args:
      image: in one of the forms of `oscar/predicting/images.py`.
      question: the question.
      top_k: number of likely answers to return.
      attention: whether to return the attention of words to regions.

    Raises:
      ValueError: an empty question, an image that the model cannot take, or `top_k` below 1.
      OSError: a file cannot be read.
    """
    return self.answer_all([image], [question], top_k, attention)[0]

  def answer_all(
    self,
    images: Sequence[Any],
    questions: Sequence[str],
    top_k: int = TOP_K,
    attention: bool = False,
    batch_size: int = BATCH_SIZE,
  ) -> list[Answer]:
    """Answers a question about each image, in batches; arguments and errors as for `answer`."""
    examples = self._examples(questions, images)
    return self.predict(examples, batch_size=batch_size, attention=attention, top_k=top_k)

  def _result(self, logits, shared, top_k=TOP_K):
    if top_k < 1:
      raise ValueError(f'top_k={top_k}: expected at least 1.')
    probabilities = _sigmoid(logits) if self.settings.sigmoid else _softmax(logits)
    # By logits: sigmoids of large ones are equal.
    order = np.argsort(-logits, kind='stable')[:top_k]
    top = tuple((self.answers[label], float(probabilities[label])) for label in order)
    return Answer(answer=top[0][0], probability=top[0][1], top=top, **shared)


class ScorePredictor(Predictor):
  """Scores how well texts and images belong together: retrieval."""

  text_field, image_fields = 'text', ('image',)

  def score(self, image: Any, text: str, attention: bool = False) -> Score:
    """Scores a text for an image.

    Args:
      image: in one of the forms of `oscar/predicting/images.py`.
      text: a sentence.
      attention: whether to return the attention of words to regions.

    Raises:
      ValueError: an empty text, or an image that the model cannot take.
      OSError: a file cannot be read.
    """
    return self.score_all([image], [text], attention)[0]

  def score_all(
    self,
    images: Sequence[Any],
    texts: Sequence[str],
    attention: bool = False,
    batch_size: int = BATCH_SIZE,
  ) -> list[Score]:
    """Scores a text for each image, in batches; arguments and errors as for `score`."""
    examples = self._examples(texts, images)
    return self.predict(examples, batch_size=batch_size, attention=attention)

  def _layout(self, words, tags):
    return layouts.retrieval_layout(words, tags, self.settings.max_seq_length, self._special)

  def _result(self, logits, shared):
    if len(logits) == 1:
      value = float(logits[0])
      return Score(probability=min(max(value, 0.0), 1.0), score=value, **shared)
    probability = float(_softmax(logits)[1])
    return Score(probability=probability, score=probability, **shared)


class ComparisonPredictor(Predictor):
  """Tells whether statements about two images are true: NLVR2."""

  text_field, image_fields = 'statement', ('left', 'right')

  def compare(
    self, left: Any, right: Any, statement: str, attention: bool = False
  ) -> Comparison:
    """Tells whether a statement about two images is true.

    Args:
      left: an image in one of the forms of `oscar/predicting/images.py`.
      right: the other image.
      statement: the statement.
      attention: whether to return the attention of words to regions.

    Raises:
      ValueError: an empty statement, or an image that the model cannot take.
      OSError: a file cannot be read.
    """
    return self.compare_all([left], [right], [statement], attention)[0]

  def compare_all(
    self,
    lefts: Sequence[Any],
    rights: Sequence[Any],
    statements: Sequence[str],
    attention: bool = False,
    batch_size: int = BATCH_SIZE,
  ) -> list[Comparison]:
    """Judges a statement about each pair, in batches; arguments and errors as for `compare`."""
    examples = self._examples(statements, lefts, rights)
    return self.predict(examples, batch_size=batch_size, attention=attention)

  def _layout(self, words, tags):
    room = self.settings.max_seq_length, self._special, self.settings.with_tags
    return layouts.two_image_layouts(words, [tags], *room)[0]

  def _encode(self, words, examples):
    if not self.model.pairs:
      return super()._encode(words, examples)
    sides = range(len(self.image_fields))
    tags = [self._tags([e.images[side].tags or '' for e in examples]) for side in sides]
    made = layouts.two_image_layouts(
      words, tags, self.settings.max_seq_length, self._special, self.settings.with_tags
    )
    padded = [self._pad([e.images[side].features for e in examples]) for side in sides]
    both = [layouts.model_inputs(made[side], *padded[side]) for side in sides]
    inputs = {name: tf.stack([one[name] for one in both], axis=1) for name in both[0]}
    return _Encoded(trimming.trimmed(inputs), made, [counts.numpy() for _, counts in padded])

  def _regions_read(self, example):
    if not self.model.pairs:
      return super()._regions_read(example)
    return [min(self.settings.max_img_seq_length, len(i.features)) for i in example.images]

  def _result(self, logits, shared):
    probabilities = _softmax(logits)
    label = int(logits.argmax())
    return Comparison(
      prediction=bool(label),
      probability=float(probabilities[label]),
      probability_true=float(probabilities[1]),
      **shared,
    )


# {task: its predictor}.
PREDICTORS: Mapping[str, type[Predictor]] = {
  'vqa': AnswerPredictor,
  'gqa': AnswerPredictor,
  'retrieval': ScorePredictor,
  'nlvr2': ComparisonPredictor,
}


def _words(rows):
  """Returns the `Words` of lists of token ids."""
  length = tf.constant([len(row) for row in rows], tf.int32)
  return texts.Words(tf.ragged.constant(rows, tf.int32, ragged_rank=1).to_tensor(), length)


def _softmax(logits):
  exponentials = np.exp(logits - logits.max())
  return exponentials / exponentials.sum()


def _sigmoid(logits):
  return 0.5 * (1 + np.tanh(0.5 * logits))

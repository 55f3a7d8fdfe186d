"""The configuration of an OSCAR model, under the names of the official `config.json`.

Source: microsoft/Oscar, `oscar/modeling/modeling_bert.py`, and the BERT configuration it extends.
"""
import dataclasses
import json
import math
import numbers
import os
from typing import Any

from tpu_utils import files
from tpu_utils.names import check_name, unknown_name
from tpu_utils.reading import reading

TASKS = ('pretrain', 'retrieval', 'captioning', 'vqa', 'gqa', 'nlvr2')
ACTIVATIONS = ('gelu', 'relu', 'swish')
CLASSIFIERS = ('linear', 'mlp')

_SIZES: dict[str, dict[str, Any]] = {
  'base': {},
  'large': {
    'hidden_size': 1024,
    'num_hidden_layers': 24,
    'num_attention_heads': 16,
    'intermediate_size': 4096,
  },
  # For tests and generated scenes; not published. At width 128, weights of BERT's 0.02 leave the
  # attention uniform for thousands of steps; 0.08 is about one over the root of the width, as 0.02
  # nearly is for BERT's. Scenes have no end, so nothing needs to be dropped against overfitting.
  'tiny': {
    'hidden_size': 128,
    'num_hidden_layers': 4,
    'num_attention_heads': 4,
    'intermediate_size': 512,
    'initializer_range': 0.08,
    'hidden_dropout_prob': 0.0,
    'attention_probs_dropout_prob': 0.0,
  },
}
_SHARES = (
  'hidden_dropout_prob',
  'attention_probs_dropout_prob',
  'label_smoothing',
  'drop_worst_ratio',
)
# Keys of a `config.json` that this network does not vary, with the values that it admits.
_ONLY: dict[str, tuple] = {
  'position_embedding_type': ('absolute',),
  'is_decoder': (False,),
  'add_cross_attention': (False,),
  'pruned_heads': ({},),
}


@dataclasses.dataclass(frozen=True)
class OscarConfig:
  """Sizes and choices of an OSCAR model; the defaults are BERT base with 2054-wide regions.

  Attributes:
    img_feature_dim: width of a region's features (2048 of the detector, 6 of the box); 0 makes a
      text-only BERT without image embedding.
    use_img_layernorm: whether a layer norm follows the image embedding, as in VinVL.
    num_contrast_classes: classes of the contrast head of pre-training, 2 (Oscar) or 3 (Oscar+).
    num_labels: classes of the classification heads; 1 makes retrieval a regression.
    classifier: 'linear', or 'mlp' with a hidden layer `cls_hidden_scale` times the model's width.
    num_choice: (text, image) pairs of one NLVR2 example.
    use_pair: NLVR2 only: whether the pairs pass through the encoder one by one and their pooled
      outputs are joined; otherwise one sequence holds the regions of all images.
    loss_type: of the classification tasks, see `oscar.losses.classification`.
    tie_weights: captioning only: whether the decoder is the word embedding, as always in
      pre-training.
    freeze_embedding: captioning only: whether the word embedding is not trained.
    label_smoothing, drop_worst_ratio, drop_worst_after: of the captioning loss (`oscar/losses.py`).
    output_hidden_states, output_attentions: whether the model also returns these.

  Raises:
    ValueError: a value has a wrong type or is out of range.
  """

  vocab_size: int = 30522
  hidden_size: int = 768
  num_hidden_layers: int = 12
  num_attention_heads: int = 12
  intermediate_size: int = 3072
  hidden_act: str = 'gelu'
  hidden_dropout_prob: float = 0.1
  attention_probs_dropout_prob: float = 0.1
  max_position_embeddings: int = 512
  type_vocab_size: int = 2
  initializer_range: float = 0.02
  layer_norm_eps: float = 1e-12
  img_feature_dim: int = 2054
  img_feature_type: str = 'faster_r-cnn'
  use_img_layernorm: bool = False
  img_layer_norm_eps: float = 1e-12
  num_contrast_classes: int = 2
  num_labels: int = 2
  classifier: str = 'linear'
  cls_hidden_scale: int = 2
  num_choice: int = 2
  use_pair: bool = True
  loss_type: str = 'sfmx'
  tie_weights: bool = False
  freeze_embedding: bool = False
  label_smoothing: float = 0.0
  drop_worst_ratio: float = 0.0
  drop_worst_after: int = 0
  output_hidden_states: bool = False
  output_attentions: bool = False

  def __post_init__(self) -> None:
    for field in dataclasses.fields(self):
      object.__setattr__(self, field.name, _typed(field, getattr(self, field.name)))
    _check_sizes(self)
    check_name('hidden_act', self.hidden_act, ACTIVATIONS)
    check_name('classifier', self.classifier, CLASSIFIERS)
    if str(self.img_feature_type).startswith('dis_code'):
      raise ValueError(
        f'img_feature_type={self.img_feature_type!r} needs codes instead of region features; only '
        "region features ('faster_r-cnn') are supported."
      )

  @classmethod
  def base(cls, **overrides: Any) -> 'OscarConfig':
    """Returns BERT base (12 layers of width 768, 12 heads) with `overrides`, as `replace` does."""
    return cls.from_name('base', **overrides)

  @classmethod
  def large(cls, **overrides: Any) -> 'OscarConfig':
    """Returns BERT large (24 layers of width 1024, 16 heads) with `overrides`."""
    return cls.from_name('large', **overrides)

  @classmethod
  def from_name(cls, name: str | os.PathLike[str], **overrides: Any) -> 'OscarConfig':
    """Returns the configuration 'base', 'large' or 'tiny', or reads a `config.json`.

    Args:
      name: one of these, or the path of a `config.json` or of its folder.
      **overrides: settings to change.

    Raises:
      ValueError: no such configuration or setting, or an unsupported value.
    """
    if not isinstance(name, (str, os.PathLike)):
      raise ValueError(
        f'Configuration {name!r:.80}: expected an OscarConfig, one of {", ".join(_SIZES)}, or the '
        'path of a config.json or of its folder.'
      )
    if name in _SIZES:
      return cls(**_SIZES[name]).replace(**overrides)
    if files.exists(name):
      return cls.from_json(name, **overrides)
    raise unknown_name('configuration, file or folder', name, _SIZES)

  @classmethod
  def from_json(cls, path: str | os.PathLike[str], **overrides: Any) -> 'OscarConfig':
    """Reads an official or Hugging Face `config.json`.

    Keys that do not describe the network (`finetuning_task`, `torchscript`, ...) are ignored.

    Args:
      path: the file or its folder.
      **overrides: settings to change.

    Raises:
      ValueError: not a BERT configuration, or one of a network that is not supported here.
      OSError: no such file.
    """
    if files.is_folder(path):
      path = os.path.join(path, 'config.json')
    with reading(path, 'the JSON of a BERT configuration'), files.open_text(path) as f:
      content = json.load(f)
    if not isinstance(content, dict) or 'hidden_size' not in content:
      raise ValueError(f"{path} is not a BERT configuration: no key 'hidden_size'.")
    for key, allowed in _ONLY.items():
      if content.get(key) and content[key] not in allowed:
        raise ValueError(
          f'{path}: {key}={content[key]!r} is not supported, only {allowed[0]!r} is.'
        )
    known = {field.name for field in dataclasses.fields(cls)}
    settings = {k: v for k, v in content.items() if k in known and v is not None}
    try:
      return cls(**settings).replace(**overrides)
    except ValueError as e:
      raise ValueError(f'{path}: {e}') from e

  def to_dict(self) -> dict[str, Any]:
    """Returns the settings as in `config.json`; `OscarConfig(**settings)` is the inverse."""
    return dataclasses.asdict(self)

  def to_json(self, path: str | os.PathLike[str]) -> None:
    """Writes a `config.json` that the official code can read as well."""
    files.write_text(path, json.dumps(self.to_dict(), indent=2, sort_keys=True) + '\n')

  def replace(self, **overrides: Any) -> 'OscarConfig':
    """Returns a copy with some settings changed.

    Raises:
      ValueError: an unknown setting (the message suggests the nearest name) or a wrong value.
    """
    known = [field.name for field in dataclasses.fields(self)]
    for name in overrides:
      check_name('OscarConfig setting', name, known)
    return dataclasses.replace(self, **overrides)


def _typed(field, value):
  """Converts a value to the field's type: numpy numbers, and the official 0, 1 and null."""
  if field.type is bool:
    if value is None or value in (0, 1):
      return bool(value)
  elif not isinstance(value, bool):  # Python counts bool as a number.
    for kind, admitted in ((int, numbers.Integral), (float, numbers.Real), (str, str)):
      if field.type is kind and isinstance(value, admitted):
        return kind(value)
  expected = {bool: 'true or false', int: 'an integer', float: 'a number', str: 'text'}[field.type]
  raise ValueError(f'{field.name}={value!r}: expected {expected}.')


def _check_sizes(config):
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if field.type is int:
      smallest = 0 if field.name in ('img_feature_dim', 'drop_worst_after') else 1
      if value < smallest:
        raise ValueError(f'{field.name}={value}: expected an integer of at least {smallest}.')
    if field.type is float and not 0 <= value < math.inf:
      raise ValueError(f'{field.name}={value}: expected a number of at least 0.')
  if config.hidden_size % config.num_attention_heads:
    raise ValueError(
      f'hidden_size={config.hidden_size} is not a multiple of '
      f'num_attention_heads={config.num_attention_heads}.'
    )
  for name in _SHARES:
    if getattr(config, name) >= 1:
      raise ValueError(f'{name}={getattr(config, name)}: expected a number in [0, 1).')

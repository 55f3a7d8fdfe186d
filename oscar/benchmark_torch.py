"""The peer process of `oscar.benchmark`: pre-training models in torch.

Arguments: config.json, an .npz file with the batch, a key of `PEERS`, the folder of the official
code or '', 1 for a single thread or 0.
"""
import importlib
import os
import sys
import types
from typing import Any, NamedTuple

import numpy as np

from oscar.config import OscarConfig
from tpu_utils.benchmarking import peer_process
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

import torch
from torch import nn
from torch.nn import functional


def main(
  config_file: str, batch_file: str, peer: str, official_dir: str, one_thread: str
) -> None:
  """Serves 'forward', 'forward, masked' (the same here) and 'training step'.

  Args:
    config_file: an `OscarConfig` as JSON.
    batch_file: an .npz file with the arrays of `benchmark.random_batch`.
    peer: a key of `PEERS`.
    official_dir: a clone of microsoft/Oscar, for 'official'.
    one_thread: '1' or '0'.

  Raises:
    ValueError: `official_dir` lacks the official code, or it cannot be imported.
  """
  if one_thread == '1':
    torch.set_num_threads(1)
  config = OscarConfig.from_json(config_file)
  batch = {name: torch.from_numpy(array) for name, array in np.load(batch_file).items()}
  model, optimizer = PEERS[peer](config, official_dir)
  run = torch.compile(model, dynamic=False) if 'compiled' in peer else model
  names = ('input_ids', 'token_type_ids', 'attention_mask')
  inputs = {name: batch[name].long() for name in names} | {'img_feats': batch['img_feats']}
  labels = torch.full(batch['attention_mask'].shape, -1)
  labels.scatter_(1, batch['masked_positions'].long(), batch['masked_lm_labels'].long())
  targets = {
    'masked_lm_labels': labels, 'next_sentence_label': batch['next_sentence_label'].long()
  }

  def forward():
    model.eval()
    with torch.no_grad():
      run(**inputs)

  def step():
    model.train()
    run(**inputs, **targets)[0].backward()
    optimizer.step()
    optimizer.zero_grad()

  peer_process.serve({'forward': forward, 'forward, masked': forward, 'training step': step})


def _official(config, official_dir):
  official = import_official(official_dir)
  model = official.build('BertImgForPreTraining', config)
  return model, official.optimizer(model)


def _plain(config, official_dir):
  del official_dir
  return _with_adamw(PlainOscar(config))


def _transformers(config, official_dir):
  from oscar.benchmark_transformers import TransformersOscar

  del official_dir
  return _with_adamw(TransformersOscar(config))


def _with_adamw(model):
  return model, torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.01)


# {peer: function(config, official_dir) -> (model, optimizer)}.
PEERS = {
  'official': _official,
  'plain': _plain,
  'transformers': _transformers,
  'transformers, compiled': _transformers,
}


class Official(NamedTuple):
  """The modules of the official code."""

  modeling: types.ModuleType
  transformers: types.ModuleType

  def build(self, name: str, config: OscarConfig, **overrides: Any) -> nn.Module:
    """Returns the official model of the class `name`, with random weights."""
    settings = self.transformers.BertConfig(vocab_size_or_config_json_file=config.vocab_size)
    for key, value in {**config.to_dict(), **overrides}.items():
      setattr(settings, key, value)
    return getattr(self.modeling, name)(settings)

  def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
    """Returns the official AdamW with the official decay groups."""
    no_decay = ('bias', 'LayerNorm.weight')
    parameters = list(model.named_parameters())
    groups = [
      {
        'params': [p for key, p in parameters if any(part in key for part in no_decay) == exempt],
        'weight_decay': 0.0 if exempt else 0.01,
      }
      for exempt in (False, True)
    ]
    return self.transformers.AdamW(groups, lr=5e-5, eps=1e-8)


def import_official(folder: str) -> Official:
  """Imports the official code.

  Args:
    folder: a clone of microsoft/Oscar with its submodule, see `oscar.benchmark`.

  Raises:
    ValueError: it is no such clone, or a package that it needs is missing.
  """
  package = os.path.join(folder, 'oscar', '__init__.py')
  if not os.path.isfile(package):
    raise ValueError(
      f'--official_dir={folder} is not a clone of microsoft/Oscar: {package} is missing.'
    )
  if not os.path.isdir(os.path.join(folder, 'transformers', 'pytorch_transformers')):
    raise ValueError(
      f'--official_dir={folder}: transformers/pytorch_transformers is missing; fetch the '
      'submodule, or unpack pytorch-transformers 1.0.0 there.'
    )
  return Official(*_import_modules(folder))


def _import_modules(folder):
  """Imports modeling_bert and pytorch_transformers of a clone, which has a package `oscar` too."""
  ours = _remove_modules('oscar')
  _remove_modules('transformers')
  # A folder without __init__.py, which a package `transformers` that is installed would precede.
  submodule = types.ModuleType('transformers')
  submodule.__path__ = [os.path.join(folder, 'transformers')]
  sys.modules['transformers'] = submodule
  sys.path.insert(0, folder)
  try:
    return tuple(
      importlib.import_module(name)
      for name in ('oscar.modeling.modeling_bert', 'transformers.pytorch_transformers')
    )
  except ImportError as error:
    raise ValueError(
      f'--official_dir={folder}: the official code cannot be imported: {error}.'
    ) from error
  finally:
    sys.path.remove(folder)
    _remove_modules('oscar')
    sys.modules.update(ours)


def _remove_modules(package):
  """Removes a package from the imported modules; returns {name: module}."""
  names = [name for name in sys.modules if name == package or name.startswith(f'{package}.')]
  return {name: sys.modules.pop(name) for name in names}


class PlainOscar(nn.Module):
  """BERT over words and regions with both pre-training heads, in idiomatic torch.

  Words are predicted at all positions, as in the official code.
  """

  def __init__(self, config: OscarConfig) -> None:
    super().__init__()
    width, norm = config.hidden_size, config.layer_norm_eps
    self.words = nn.Embedding(config.vocab_size, width)
    self.positions = nn.Embedding(config.max_position_embeddings, width)
    self.segments = nn.Embedding(config.type_vocab_size, width)
    self.norm = nn.LayerNorm(width, norm)
    self.regions = nn.Linear(config.img_feature_dim, width)
    self.dropout = nn.Dropout(config.hidden_dropout_prob)
    self.layers = nn.ModuleList(PlainLayer(config) for _ in range(config.num_hidden_layers))
    self.pooler = nn.Linear(width, width)
    self.transform = nn.Linear(width, width)
    self.transform_norm = nn.LayerNorm(width, norm)
    self.bias = nn.Parameter(torch.zeros(config.vocab_size))
    self.contrast = nn.Linear(width, config.num_contrast_classes)
    self.apply(_initialize)

  def forward(
    self,
    input_ids: torch.Tensor,
    token_type_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    img_feats: torch.Tensor,
    masked_lm_labels: torch.Tensor | None = None,
    next_sentence_label: torch.Tensor | None = None,
  ) -> tuple[torch.Tensor, ...]:
    """Returns (word scores, contrast scores), or (loss,) if labels are given."""
    text = self.words(input_ids) + self.segments(token_type_ids)
    text = self.dropout(self.norm(text + self.positions.weight[: input_ids.shape[1]]))
    hidden = torch.cat([text, self.dropout(self.regions(img_feats))], dim=1)
    bias = (1.0 - attention_mask[:, None, None].float()) * -10000.0
    for layer in self.layers:
      hidden = layer(hidden, bias)
    x = self.transform_norm(functional.gelu(self.transform(hidden)))
    words = functional.linear(x, self.words.weight, self.bias)
    contrast = self.contrast(torch.tanh(self.pooler(hidden[:, 0])))
    if masked_lm_labels is None:
      return words, contrast
    words, labels = words.flatten(0, 1), masked_lm_labels.flatten()
    loss = functional.cross_entropy(words, labels, ignore_index=-1)
    return (loss + functional.cross_entropy(contrast, next_sentence_label),)


class PlainLayer(nn.Module):
  """Self-attention and feed-forward block, with torch's fused attention."""

  def __init__(self, config: OscarConfig) -> None:
    super().__init__()
    width = config.hidden_size
    self.heads = config.num_attention_heads
    self.attention_dropout = config.attention_probs_dropout_prob
    self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
    self.up = nn.Linear(width, config.intermediate_size)
    self.down = nn.Linear(config.intermediate_size, width)
    self.norms = nn.ModuleList(nn.LayerNorm(width, config.layer_norm_eps) for _ in range(2))
    self.dropout = nn.Dropout(config.hidden_dropout_prob)

  def forward(self, hidden: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Maps [B, S, hidden] to [B, S, hidden]; `bias` [B, 1, 1, S] is added to the scores."""
    parts = (
      layer(hidden).unflatten(2, (self.heads, -1)).transpose(1, 2)
      for layer in (self.query, self.key, self.value)
    )
    dropout = self.attention_dropout if self.training else 0.0
    context = functional.scaled_dot_product_attention(*parts, attn_mask=bias, dropout_p=dropout)
    context = context.transpose(1, 2).flatten(2)
    hidden = self.norms[0](hidden + self.dropout(self.out(context)))
    change = self.down(functional.gelu(self.up(hidden)))
    return self.norms[1](hidden + self.dropout(change))


def _initialize(module):
  if isinstance(module, nn.Linear | nn.Embedding):
    nn.init.normal_(module.weight, std=0.02)


if __name__ == '__main__':
  main(*sys.argv[1:])

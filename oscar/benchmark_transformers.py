"""OSCAR's pre-training model from the BERT of the package transformers, a peer of benchmarks."""
import torch
import transformers
from torch import nn
from torch.nn import functional

from oscar.config import OscarConfig


class TransformersOscar(nn.Module):
  """BERT of transformers, with torch's fused attention (SDPA), over words and regions.

  Words are predicted at all positions, as in the official code, unless positions are given.
  """

  def __init__(self, config: OscarConfig) -> None:
    super().__init__()
    settings = transformers.BertConfig(
      vocab_size=config.vocab_size,
      hidden_size=config.hidden_size,
      num_hidden_layers=config.num_hidden_layers,
      num_attention_heads=config.num_attention_heads,
      intermediate_size=config.intermediate_size,
      hidden_act=config.hidden_act,
      hidden_dropout_prob=config.hidden_dropout_prob,
      attention_probs_dropout_prob=config.attention_probs_dropout_prob,
      max_position_embeddings=config.max_position_embeddings,
      type_vocab_size=config.type_vocab_size,
      layer_norm_eps=config.layer_norm_eps,
    )
    settings._attn_implementation = 'sdpa'
    self.model = transformers.BertForPreTraining(settings)
    self.regions = nn.Linear(config.img_feature_dim, config.hidden_size)
    self.dropout = nn.Dropout(config.hidden_dropout_prob)

  def forward(
    self,
    input_ids: torch.Tensor,
    token_type_ids: torch.Tensor,
    attention_mask: torch.Tensor,
    img_feats: torch.Tensor,
    masked_lm_labels: torch.Tensor | None = None,
    next_sentence_label: torch.Tensor | None = None,
    masked_positions: torch.Tensor | None = None,
  ) -> tuple[torch.Tensor, ...]:
    """Returns (word scores, contrast scores), or (loss,) if labels are given.

    `attention_mask` is all ones in the benchmark, and transformers passes none on then.
    """
    del attention_mask
    bert = self.model.bert
    text = bert.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
    hidden = torch.cat([text, self.dropout(self.regions(img_feats))], dim=1)
    hidden = bert.encoder(hidden, attention_mask=None).last_hidden_state
    pooled = bert.pooler(hidden)
    if masked_positions is not None:
      rows = torch.arange(hidden.shape[0], device=hidden.device)[:, None]
      hidden = hidden[rows, masked_positions]
    words, contrast = self.model.cls(hidden, pooled)
    if masked_lm_labels is None:
      return words, contrast
    words, labels = words.flatten(0, 1), masked_lm_labels.flatten()
    loss = functional.cross_entropy(words, labels, ignore_index=-1)
    return (loss + functional.cross_entropy(contrast, next_sentence_label),)

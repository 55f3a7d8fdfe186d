"""Our side of `python -m oscar.benchmark --backend=jax`: serves the pre-training model on JAX.

Argument: JSON as described in `tpu_utils.benchmarking.device_benchmark`.
"""
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

from tpu_utils.benchmarking.device_benchmark import Suite
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

WORDS, REGIONS, MASKED = 35, 50, 5
SUITE = Suite(
  batch_sizes={'base': 64, 'large': 32, 'tiny': 64},
  default_models=('base',),
  image_sizes={},
  unit='sequences',
  program='oscar.benchmark_jax',
  peer_program='oscar.benchmark_jax_peer',
  peer="transformers' BERT, SDPA",
  variants={'compiled': {'compiled': {'compiled': True}}, 'eager': {'eager': {}}},
  notes=(
    f'Sequences of {WORDS} words and {REGIONS} regions of 2054 numbers. Both sides predict all '
    f'{WORDS} words in the forward pass and {MASKED} masked ones in training; AdamW, dropout on.',
  ),
)
# The network of the reference numbers.
_REFERENCE = {
  'vocab_size': 400,
  'hidden_size': 48,
  'num_hidden_layers': 3,
  'num_attention_heads': 4,
  'intermediate_size': 96,
  'max_position_embeddings': 64,
  'img_feature_dim': 26,
}


def random_batch(config: Any, batch_size: int, masked: int, seed: int = 0) -> tuple[dict, dict]:
  """Returns random (inputs, targets), {name: array} each.

  Args:
    config: the `OscarConfig`.
    batch_size: number of sequences.
    masked: words to predict in each; with all of them, in order.
    seed: of the random numbers.
  """
  import numpy as np

  rng = np.random.default_rng(seed)
  positions = [np.sort(rng.choice(WORDS, masked, replace=False)) for _ in range(batch_size)]
  inputs = {
    'input_ids': rng.integers(1, config.vocab_size, (batch_size, WORDS), np.int32),
    'token_type_ids': np.repeat(np.arange(WORDS)[None] >= WORDS // 2, batch_size, 0).astype('i4'),
    'attention_mask': np.ones((batch_size, WORDS + REGIONS), np.int32),
    'img_feats': rng.standard_normal((batch_size, REGIONS, config.img_feature_dim), np.float32),
    'masked_positions': np.stack(positions).astype(np.int32),
  }
  targets = {
    'words': rng.integers(config.vocab_size, size=(batch_size, masked), dtype=np.int32),
    'contrast': rng.integers(2, size=batch_size, dtype=np.int32),
  }
  return inputs, targets


def references(goldens: str) -> list:
  """Returns the `jax_timing.Reference`s: the official word scores, and norms of the gradients."""
  import jax
  import numpy as np
  from jax import numpy as jnp

  import oscar
  from oscar import checkpoint_names, losses
  from tpu_utils import files
  from tpu_utils.benchmarking import jax_timing

  weights = jax_timing.golden_weights(goldens)
  folder = pathlib.Path(goldens) / 'oscar'
  arrays = np.load(folder / 'pretraining.npz')
  names = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')
  inputs = {name: arrays[name] for name in names}
  config = oscar.OscarConfig(**_REFERENCE)

  def build(policy):
    model = oscar.build_model(config, 'pretrain', dtype_policy=policy)
    for variable in model.variables:
      if 'seed_generator' in variable.path:
        continue
      transposed = variable.path.endswith('kernel')
      shape = variable.shape[::-1] if transposed else variable.shape
      name = checkpoint_names.torch_name(variable.path)
      name = name.replace('embeddings.LayerNorm', 'emb_norm.LayerNorm')
      value = weights.value(name, shape, layout='torch')
      if 'embedding' in name and name.endswith('.weight'):
        value = value * 10
      variable.assign(value.T if transposed else value)
    return model

  def scores(call, trainable, inputs):
    return call(trainable, inputs)['prediction_scores']

  def norms(call, trainable, inputs):
    def loss(trainable):
      terms = losses.pretraining(
        call(trainable, inputs), arrays['masked_lm_labels'], arrays['c2/next_sentence_label']
      )
      return sum(losses.mean(term) for term in terms.values())

    return jnp.stack([jnp.linalg.norm(g.astype('float32')) for g in jax.grad(loss)(trainable)])

  found = files.read_json(str(folder / 'pretraining_grad_norms.json'))['c2']
  paths = [variable.path for variable in build('float32').trainable_variables]
  want = np.array([found[checkpoint_names.torch_name(path)][0] for path in paths])
  tolerances = {'float32, full precision': 1e-4, 'float32, as timed': 2e-2, 'bfloat16': 2e-1}
  return [
    jax_timing.Reference(
      "tiny network: the official code's word scores", build, inputs, scores,
      arrays['c2/prediction_scores'], tolerances,
    ),
    jax_timing.Reference(
      "tiny network: norms of the official code's gradients", build, inputs, norms, want,
      tolerances,
    ),
  ]  # fmt: skip


def programs(task: Mapping[str, Any]) -> dict:
  """Returns {kind: `jax_timing.Program`} of the task's model."""
  import optax

  import oscar
  from oscar import losses
  from tpu_utils.benchmarking import jax_timing

  config = oscar.OscarConfig.from_name(task['model'])
  policy = jax_timing.POLICIES[task['dtype']]
  model = oscar.build_model(config, 'pretrain', dtype_policy=policy)

  def loss(outputs, targets):
    terms = losses.pretraining(outputs, targets['words'], targets['contrast'])
    return sum(losses.mean(term) for term in terms.values())

  def scores(outputs):
    return outputs['prediction_scores'], outputs['seq_relationship_score']

  inputs, _ = random_batch(config, task['batch_size'], WORDS)
  return {
    'forward': jax_timing.forward(model, inputs, scores),
    'training step': jax_timing.training_step(
      model,
      optax.adamw(5e-5, eps=1e-8, weight_decay=0.05),
      loss,
      *random_batch(config, task['batch_size'], MASKED),
    ),
  }


if __name__ == '__main__':
  from tpu_utils.benchmarking import jax_timing

  jax_timing.serve(json.loads(sys.argv[1]), references, programs)

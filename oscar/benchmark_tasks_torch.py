"""The peer process of `oscar.benchmark_tasks`: models and generation of the official code.

Arguments: the kind of work, config.json, an .npz file with the batch, the folder of the official
code.
"""
import sys
from collections.abc import Callable

import numpy as np

from oscar.benchmarking import task_work
from oscar.config import OscarConfig
from tpu_utils.benchmarking import peer_process
from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)

import torch

from oscar import benchmark_torch


def main(kind: str, config_file: str, batch_file: str, official_dir: str) -> None:
  """Runs the official contestants of a kind on request, see `peer_process.serve`.

  Args:
    kind: one of `benchmark_tasks.KINDS`.
    config_file: an `OscarConfig` as JSON.
    batch_file: an .npz file with the arrays of `benchmark_tasks.random_batch`.
    official_dir: a clone of microsoft/Oscar.

  Raises:
    ValueError: `official_dir` lacks the official code, or it cannot be imported.
  """
  official = benchmark_torch.import_official(official_dir)
  batch = {name: torch.from_numpy(array) for name, array in np.load(batch_file).items()}
  for name in ('input_ids', 'token_type_ids', 'attention_mask'):
    batch[name] = batch[name].long()
  config = OscarConfig.from_json(config_file)
  made = {'vqa': _vqa, 'retrieval': _retrieval, 'captioning': _captioning, 'scst': _scst}
  peer_process.serve(made[kind](official, config, batch))


def _vqa(official, config, batch) -> dict[str, Callable]:
  overrides = {
    'num_labels': task_work.NUM_ANSWERS, 'loss_type': 'bce', 'classifier': 'linear',
  }  # fmt: skip
  model = official.build('ImageBertForSequenceClassification', config, **overrides)
  optimizer = official.optimizer(model)
  inputs = {name: array for name, array in batch.items() if name != 'targets'}

  def step():
    model.train()
    model(**inputs, labels=batch['targets'])[0].backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    model.zero_grad()

  return {'official': step}


def _retrieval(official, config, batch):
  model = official.build(
    'ImageBertForSequenceClassification', config, num_labels=2, loss_type='sfmx',
    classifier='linear',
  ).eval()  # fmt: skip

  def score():
    with torch.no_grad():
      torch.softmax(model(**batch)[0], dim=1)

  return {'official': score}


def _captioning(official, config, batch):
  settings = _generation_settings(batch, num_beams=task_work.NUM_BEAMS)

  def generation(cached):
    model = official.build(
      'BertForImageCaptioning', config, tie_weights=True, output_hidden_states=cached
    ).eval()

    def generate():
      with torch.no_grad():
        model(**batch, **settings)

    return generate

  return {'official': generation(False), 'official, cached': generation(True)}


def _scst(official, config, batch):
  model = official.build('BertForImageCaptioning', config, tie_weights=True)
  optimizer = official.optimizer(model)
  advantage = batch.pop('advantage').flatten()
  greedy = _generation_settings(batch, num_beams=1)
  drawing = {
    **greedy, 'do_sample': True, 'num_return_sequences': task_work.NUM_SAMPLES
  }  # fmt: skip

  def step():
    model.eval()
    with torch.no_grad():
      model(**batch, **greedy)
    model.train()
    _, logprobs = model(**batch, **drawing)
    (-logprobs.flatten() * advantage).mean().backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    model.zero_grad()

  return {'official': step}


def _generation_settings(batch, num_beams):
  words = batch['input_ids'].shape[1]
  return {
    'is_decode': True, 'do_sample': False, 'max_length': words,
    'num_beams': num_beams, 'temperature': 1.0, 'top_k': 0, 'top_p': 1.0,
    'repetition_penalty': 1.0, 'length_penalty': 1.0, 'num_return_sequences': 1,
    'num_keep_best': 1, 'bos_token_id': 101, 'pad_token_id': 0, 'eos_token_ids': [102],
    'mask_token_id': 103, 'add_od_labels': False, 'od_labels_start_posid': words,
    'masked_pos': torch.ones_like(batch['input_ids']),
  }  # fmt: skip


if __name__ == '__main__':
  main(*sys.argv[1:])

"""Tests that training resumes from checkpoints of an earlier version and gets the same numbers.

How they were made: `tests/goldens/checkpoints/README.md`.
"""
import json
import pathlib
import shutil

import numpy as np
import pytest

import oscar
from oscar.datasets import builders
from tests import script_jobs
from tests.oscar import loaders
from tests.oscar.golden_models import GOLDENS

CHECKPOINTS = pathlib.Path(__file__).parent / 'goldens' / 'checkpoints'
COMMON = (
  '--train_steps=4', '--steps_per_eval=4', '--save_checkpoints_steps=2', '--iterations_per_loop=2',
  '--strategy=one_device',
)  # fmt: skip
EFFICIENTNET = (
  '-m', 'efficientnet.main', '--width_coefficient=0.04', '--depth_coefficient=0.1',
  '--train_batch_size=16', *COMMON,
)  # fmt: skip
OSCAR = (
  '-m', 'oscar.run_pretrain', '--train_split=pretrain', '--eval_split=pretrain',
  '--max_seq_length=18', '--max_img_seq_length=3', '--train_batch_size=4', '--eval_batch_size=4',
  '--texta_false_prob=0.25', '--learning_rate=1e-3', '--warmup_steps=2', '--max_grad_norm=1',
  *COMMON,
)  # fmt: skip


def oscar_data(folder):
  """Prepares a sample in the official format; returns the arguments that name it."""
  for part in ('documents', 'regions'):
    builders.prepare('pretrain', str(loaders.DATA / 'pretrain'), str(folder), part)
  shutil.copy(GOLDENS / 'vocab' / 'vocab.txt', folder)
  config = oscar.OscarConfig(
    vocab_size=400, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=16, max_position_embeddings=32,
  )  # fmt: skip
  config.to_json(folder / 'config.json')
  return [f'--data_dir={folder}', f'--config={folder}/config.json']


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize('kind', ['efficientnet', 'oscar'])
def test_an_old_checkpoint_resumes_to_the_recorded_numbers(tmp_path, kind):
  recorded, model_dir = CHECKPOINTS / kind, tmp_path / 'model'
  model_dir.mkdir()
  for path in recorded.glob('model.ckpt-2.*'):
    shutil.copy(path, model_dir)
  command = EFFICIENTNET if kind == 'efficientnet' else [*OSCAR, *oscar_data(tmp_path)]
  code, out, err = script_jobs.finish(script_jobs.start(*command, f'--model_dir={model_dir}'))
  assert code == 0, err
  assert 'step 2 of' in out
  found = script_jobs.values_at(model_dir, 4)
  expected = dict(np.load(recorded / 'step4.npz'))
  norms = expected.pop('norms')
  names = sorted(name for name in found if not name.startswith('seeds/'))
  assert len(names) == len(norms)  # No variable is missing or new.
  # Bit for bit equal on the machine that recorded them; other processors round differently.
  limits = {'rtol': 1e-4, 'atol': 1e-6}
  for name, norm in zip(names, norms, strict=True):
    if 'attention_self_key/bias' not in name:  # Its gradient is zero: Adam amplifies rounding.
      expected.setdefault(f'norm of {name}', norm)
      found[f'norm of {name}'] = np.linalg.norm(found[name].astype('float64').ravel())
  for name, value in expected.items():
    if 'attention_self_key/bias' not in name:
      np.testing.assert_allclose(found[name], value, err_msg=name, **limits)
  (line,) = (model_dir / 'eval' / 'results.jsonl').read_text().splitlines()
  recorded_line = json.loads((recorded / 'results.jsonl').read_text())
  assert json.loads(line) == pytest.approx(recorded_line, rel=1e-4)

"""Cards of OSCAR models: of each task, with a job's record and without."""
import json
import types

import pytest

from oscar import cards
from oscar.config import TASKS, OscarConfig


def model(task):
  return types.SimpleNamespace(task=task, config=OscarConfig.base())


@pytest.mark.parametrize('task', TASKS)
def test_each_task_says_what_it_does(task):
  card = cards.card(model(task))
  assert task in card.title and card.task and not card.training and not card.results
  assert card.details['hidden_size'] == 768


def test_the_record_of_the_job(tmp_path):
  flags = {'data_dir': '/home/me/vqa', 'learning_rate': 5e-5, 'train_batch_size': 32}
  start = {'flags': flags, 'strategy': 'OneDeviceStrategy, 1 replica'}
  (tmp_path / 'run.json').write_text(json.dumps({'starts': [start]}))
  (tmp_path / 'checkpoint').write_text('model_checkpoint_path: "model.ckpt-7"\n')
  for ending in ('index', 'data-00000-of-00001'):
    (tmp_path / f'model.ckpt-7.{ending}').write_bytes(b'')
  (tmp_path / 'eval').mkdir()
  (tmp_path / 'eval' / 'results.jsonl').write_text('{"step": 7, "accuracy": 0.5}\n')
  card = cards.card(model('vqa'), str(tmp_path))
  assert card.training['data'] == 'vqa' and card.training['steps'] == '7'  # Not the whole path.
  assert card.training['learning_rate'] == 5e-5 and card.results == {'accuracy': '0.5000'}

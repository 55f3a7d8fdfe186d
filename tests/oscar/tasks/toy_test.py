"""A new OSCAR task, in one file (`toy.py`), through every mode of a job."""
import dataclasses
import json

import pytest

import oscar
from oscar import script_settings
from tests.oscar.golden_models import GOLDENS
from tests.oscar.tasks import toy
from tpu_utils import config, job

SIZES = {
  'vocab_size': 400, 'hidden_size': 32, 'num_hidden_layers': 1, 'num_attention_heads': 2,
  'intermediate_size': 64, 'max_position_embeddings': 8, 'img_feature_dim': 8,
  'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0,
}  # fmt: skip


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """Function(mode, **JobConfig) that runs the task in one folder, `run.folder`."""
  folder = tmp_path_factory.mktemp('toy')
  oscar.OscarConfig(**SIZES).to_json(folder / 'config.json')

  def run(mode, **settings):
    toy.run(
      script_settings.ModelConfig(config=str(folder / 'config.json')),
      toy.DataConfig(data_dir=str(GOLDENS / 'vocab')),
      script_settings.OptimizationConfig(
        learning_rate=3e-3, warmup_steps=5, scheduler='constant', max_grad_norm=1.0
      ),
      script_settings.JobConfig(
        mode=mode, model_dir=str(folder / 'model'), train_steps=400, steps_per_eval=200,
        iterations_per_loop=100, **settings,
      ),
      config.HardwareConfig(strategy='one_device', use_bfloat16=False),
      run_info={},
    )  # fmt: skip

  run.folder = folder
  run('train_and_eval')
  return run


def results(folder):
  lines = (folder / 'model' / 'eval' / 'results.jsonl').read_text().splitlines()
  return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_it_learns_and_the_best_checkpoint_is_best_in_its_own_metric(run):
  first, last = results(run.folder)
  assert (first['step'], last['step']) == (200, 400)
  assert last['recall_at_1'] == 1 and last['matching'] < 0.1
  best = float((run.folder / 'model' / 'best_objective.txt').read_text())
  assert best == max(first['recall_at_1'], last['recall_at_1'])


@pytest.mark.slow
def test_it_predicts_every_example_in_order(run, capsys):
  run('predict')
  assert 'Predictions of model.ckpt-' in capsys.readouterr().out
  path = run.folder / 'model' / 'predict.jsonl'
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert [row['matches'] for row in rows] == [int(i % 5 == 0) for i in range(16)]
  scores = [row['score'] for row in rows]
  best = max(results(run.folder), key=lambda entry: (entry['recall_at_1'], entry['step']))
  right = [max(range(4), key=lambda p: scores[4 * w + p]) == w for w in range(4)]
  assert sum(right) / 4 == best['recall_at_1']
  other = run.folder / 'elsewhere.jsonl'
  run('predict', predict_file=str(other))
  assert other.read_text() == path.read_text()


def test_it_exports(run):
  run('export', export_dir=str(run.folder / 'export'))
  export = str(run.folder / 'export')
  assert oscar.build_model(export, 'retrieval', weights=export).config.num_labels == 2


def test_a_task_without_predictions_is_refused_before_anything_is_built(run, monkeypatch, capsys):
  monkeypatch.setattr(toy, 'TASK', dataclasses.replace(toy.TASK, predicts=False))
  with pytest.raises(ValueError, match='--mode=predict: the task of this job makes no predictions'):
    run('predict')
  assert not capsys.readouterr().out


def test_an_objective_that_nothing_measures(run, tmp_path, monkeypatch):
  monkeypatch.setattr(toy, 'TASK', dataclasses.replace(toy.TASK, objective='cider'))
  with pytest.raises(ValueError, match="no metric 'cider', .* it has loss, matching, recall_at_1"):
    run('eval', eval_name='again')  # Step 400 is evaluated already.


def test_every_mode_of_the_settings_has_its_function():
  for settings in (config.JobConfig, script_settings.JobConfig):
    (mode,) = (f for f in dataclasses.fields(settings) if f.name == 'mode')
    assert set(mode.metadata['choices']) == set(job.MODES)

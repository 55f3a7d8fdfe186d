"""`python -m oscar.demo`: trainings that are missing, the page."""

import dataclasses
import json
import pathlib
import re

import pytest

from oscar import demo, predict, scenes_training
from oscar.demo_page import writing
from tests import script_jobs


@pytest.fixture
def trainings(monkeypatch, tmp_path):
  """Stands in for the scripts; exports are empty folders."""
  made = []

  def call(script, flags):
    script.resolve(dict(flags))  # Raises ValueError for unknown flags.
    made.append(flags.get('model_dir', 'pretrain'))
    pathlib.Path(flags.get('export_dir', 'runs/oscar-scenes/export')).mkdir(parents=True)

  monkeypatch.setattr(scenes_training, 'call', call)
  monkeypatch.setattr(demo.Demo, 'content', lambda self: {'tasks': self._config.task_list()})
  monkeypatch.chdir(tmp_path)
  return made


def test_what_exists_is_not_trained_again(trainings, capsys):
  script_jobs.in_process(demo.SCRIPT, '--tasks=vqa')
  assert trainings == ['pretrain', 'runs/vqa-scenes']
  trainings.clear()
  script_jobs.in_process(demo.SCRIPT)
  assert trainings == [f'runs/{t}-scenes' for t in ('gqa', 'nlvr2', 'retrieval', 'captioning')]
  out = capsys.readouterr().out
  assert re.search(r'\[2 of 4 models to train; about 0 min left\] nlvr2', out)
  trainings.clear()
  script_jobs.in_process(demo.SCRIPT, '--tasks=captioning')
  assert trainings == []
  assert '"tasks":["captioning"]' in pathlib.Path('runs/demo/demo.html').read_text()


@pytest.mark.parametrize(
  'flag, message',
  [
    ('--tasks=vqa,captionin', "Unknown task of --tasks 'captionin': did you mean captioning"),
    ('--output_dir=gs://a/b', 'output_dir'),
  ],
)
def test_bad_flags_are_one_clear_line(flag, message):
  with pytest.raises(ValueError, match=message) as error:
    script_jobs.in_process(demo.SCRIPT, flag)
  assert '\n' not in str(error.value)


def test_the_table_has_the_metric_that_chooses_checkpoints(trainings, tmp_path):
  rows = {
    'captioning': {'step': 5, 'Bleu_1': 0.5, 'ROUGE_L': 0.4, 'CIDEr': 1.25},
    'vqa': {'step': 5, 'answer_loss': 3.0, 'vqa_score': 0.75, 'vqa_score/exists': 0.5},
    'retrieval': {'step': 5, 'pair_loss': 0.1},
  }
  for task, row in rows.items():
    folder = tmp_path / 'runs' / f'{task}-scenes' / 'eval'
    folder.mkdir(parents=True)
    (folder / 'results.jsonl').write_text(f'{json.dumps({**row, "step": 1})}\n{json.dumps(row)}\n')
  made = demo.Demo(demo.DemoConfig())
  found = {task: made._evaluation(task) for task in (*rows, 'gqa')}
  assert found['captioning'] == {'CIDEr': 1.25} and found['vqa'] == {'vqa_score': 0.75}
  assert found['retrieval'] == found['gqa'] == {}


def test_the_page_names_flags_that_exist():
  page = pathlib.Path(writing.__file__).with_name('page.js').read_text(encoding='utf-8')
  commands = page[page.index('function commands()') : page.index('function start()')]
  groups = (predict.ModelConfig, predict.ImageConfig, predict.PredictConfig)
  known = {field.name for group in groups for field in dataclasses.fields(group)}
  assert set(re.findall(r'--([a-z_]+)', commands)) <= known | {'help'}
  assert re.search(r'--boxes=\w+\.json', commands)  # A file, no list.


@pytest.mark.slow
@pytest.mark.long
def test_a_quick_page_from_beginning_to_end(tmp_path):
  """Pre-trains, trains a task for two steps and writes the page."""
  flags = ('--quick', '--tasks=vqa', f'--output_dir={tmp_path}', f'--quality_dir={tmp_path}')
  script_jobs.in_process(demo.SCRIPT, *flags)
  page = (tmp_path / demo.PAGE).read_text(encoding='utf-8')
  (data,) = re.findall(r'id="data">(.*?)</script>', page, re.S)
  content = json.loads(data)
  assert content['quick'] and content['missing'] == ['gqa', 'nlvr2', 'retrieval', 'captioning']
  assert len(content['scenes']) == 6 and content['scenes'][0]['vqa'][0]['top']
  assert 'vqa_score' in content['evaluations']['vqa']
  assert content['map']['points'] and content['exports'] == {'vqa': f'{tmp_path}/vqa/export'}

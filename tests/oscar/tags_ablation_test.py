"""`python -m oscar.tags_ablation`: trainings, what is done already, the comparison."""

import json
import os
import pathlib

import pytest

import oscar
from oscar import checkpoints, scenes, scenes_training, tags_ablation
from oscar.datasets import tags
from oscar.quality import comparison
from oscar.scenes import detector
from oscar.scenes import world as world_module
from tests import script_jobs
from tests.oscar.scenes.plain_detector import PlainDetector
from tpu_utils import files


def call(folder, *more):
  script_jobs.in_process(tags_ablation.SCRIPT, f'--output_dir={folder}', *more)


@pytest.mark.slow
@pytest.mark.long
def test_a_quick_ablation_from_beginning_to_end(tmp_path, capsys, monkeypatch):
  """Generates scenes, and trains for a few steps from a given model."""
  # The detector and TFRecords take most of the time, and nothing here depends on them.
  monkeypatch.setattr(detector, 'train', lambda *_: PlainDetector())
  monkeypatch.setattr(
    world_module.World, 'prepare', lambda self, *_: os.makedirs(self.data_dir, exist_ok=True)
  )
  folder = tmp_path / 'tags'
  folder.mkdir()
  world = scenes.build(folder / 'scenes', **scenes_training.QUICK_SCENES)
  tokenizer = oscar.Tokenizer(world.vocab_file)
  config = oscar.OscarConfig(
    vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32,
  )  # fmt: skip
  start = oscar.build_model(config, 'pretrain')
  checkpoints.save(start, tokenizer, str(folder / 'pretrain' / 'export'))
  quick = ('--quick', '--tasks=vqa', '--seeds=7', '--conditions=none,true')
  call(folder, *quick)
  out = capsys.readouterr().out
  assert '[1 of 2 models to train] vqa, none, seed 7' in out
  assert 'vqa, vqa_score, against none: true' in out
  content = json.loads((folder / 'ablation.json').read_text())
  none, true = (line['evaluation'] for line in content['results'])
  assert none['step'] == true['step'] == 2 and none['loss'] != true['loss']
  assert (folder / 'ablation.png').read_bytes().startswith(b'\x89PNG')
  assert '| vqa | vqa_score | ' in (folder / 'ablation.md').read_text()
  for scene in world.scenes('val'):
    written = tags.read(folder / 'true_tags.tsv')[scene.key].split()
    assert sorted(written) == sorted(thing.digit for thing in scene.things)
  call(folder, *quick)  # Once more: nothing is trained.
  assert 'models to train' not in capsys.readouterr().out


VALUES = {'given': 0.7, 'none': 0.5, 'wrong': 0.5, 'true': 0.8}


@pytest.fixture
def trainings(monkeypatch, tmp_path):
  """Stands in for the scripts: writes the results that they would write."""
  made = []

  def train(script, flags):
    script.resolve(dict(flags))  # Raises ValueError for unknown flags.
    if 'mode' not in flags:
      made.append('pretrain')
      return
    folder = pathlib.Path(flags['model_dir'])
    if folder.name == made.fails_at:
      raise KeyboardInterrupt
    made.append((folder.name, flags['tags'], flags.get('max_steps')))
    value = VALUES[folder.name.split('-')[1]] + flags['seed'] / 100
    (folder / 'eval').mkdir(parents=True)
    row = {'vqa_score': value, 'accuracy': value, 'consistency': value / 2, 'CIDEr': value,
           'i2t_R@1': value, 't2i_R@1': value}  # fmt: skip
    lines = [json.dumps({'step': step, **row}) for step in (5, 10)]
    (folder / 'eval' / 'results.jsonl').write_text(''.join(f'{line}\n' for line in lines))

  class Made(list):
    fails_at = None

  made = Made()
  monkeypatch.setattr(scenes_training, 'call', train)
  monkeypatch.setattr(tags_ablation, 'true_tags', lambda world: {'1': 'seven two'})
  monkeypatch.setattr(tags_ablation.Ablation, 'world', lambda self: None)
  monkeypatch.chdir(tmp_path)
  return made


def test_all_conditions_are_trained_alike_and_compared(trainings, capsys, monkeypatch):
  monkeypatch.setattr(comparison, 'draw', lambda curves, path: None)  # A second for each training.
  every = '--conditions=given,none,wrong,true'
  call('a', '--tasks=vqa,captioning', '--seeds=1,2', '--max_steps=10', every)
  assert trainings[0] == 'pretrain' and len(trainings) == 1 + 2 * 2 * 4
  assert trainings[1:5] == [
    ('vqa-given-seed1', 'given', 10), ('vqa-none-seed1', 'none', 10),
    ('vqa-wrong-seed1', 'wrong', 10), ('vqa-true-seed1', 'a/true_tags.tsv', 10),
  ]  # fmt: skip
  assert pathlib.Path('a/true_tags.tsv').read_text() == '1\tseven two\n'
  out = capsys.readouterr().out
  lines = [' '.join(line.split()) for line in out.splitlines()]
  assert 'task metric given none wrong true' in lines
  row = '0.715 +- 0.007 0.515 +- 0.007 0.515 +- 0.007 0.815 +- 0.007'
  assert f'vqa vqa_score {row}' in lines and f'captioning CIDEr {row}' in lines
  assert 'vqa, vqa_score, against none: given +0.200 (clearly better); wrong +0.000 (no' in out
  cells = files.read_json('a/ablation.json')['cells']
  assert cells[0]['values'] == pytest.approx([0.71, 0.72])


def test_a_stopped_ablation_trains_what_is_missing(trainings):
  trainings.fails_at = 'nlvr2-wrong-seed3'
  flags = ('--tasks=nlvr2,gqa', '--seeds=3')
  with pytest.raises(KeyboardInterrupt):
    call('a', *flags)
  early = pathlib.Path('a/ablation.md').read_text()  # Of the trainings that are done.
  assert '| nlvr2 | accuracy | 0.730 | 0.530 |' in early and 'gqa' not in early
  assert '2 of 6 trainings; each has 200 steps, where its' in early
  assert pathlib.Path('a/ablation.png').read_bytes().startswith(b'\x89PNG')
  trainings.fails_at = None
  trainings.clear()
  call('a', *flags)
  assert [made[0] for made in trainings[1:]] == [
    'nlvr2-wrong-seed3', 'gqa-given-seed3', 'gqa-none-seed3', 'gqa-wrong-seed3',
  ]  # fmt: skip
  with pytest.raises(ValueError, match='holds results of nlvr2 with --max_steps 200, not 7'):
    call('a', '--tasks=nlvr2', '--max_steps=7')  # The budgets would differ.


def test_the_length_of_trainings(trainings):
  call('a', '--tasks=vqa', '--seeds=3', '--conditions=none', '--max_steps=0')
  assert trainings[-1][2] is None  # The recipe's.
  assert "each has the steps of its task's recipe." in pathlib.Path('a/ablation.md').read_text()
  made = {'max_steps': 200, 'steps_per_eval': 100, 'warmup_steps': 50}
  assert tags_ablation.lengths(200) == made
  assert tags_ablation.lengths(1)['steps_per_eval'] == 1


def test_every_task_is_compared():
  assert set(tags_ablation.METRICS) == set(scenes_training.SCRIPTS)


@pytest.mark.parametrize(
  'flag, message',
  [
    ('--conditions=given,nnoe', "Unknown condition of --conditions 'nnoe': did you mean none"),
    ('--tasks=vqa,gqb', "Unknown task of --tasks 'gqb': did you mean gqa"),
    ('--seeds=x', '--seeds=x must be whole numbers'),
    ('--output_dir=gs://a/b', 'output_dir'),
  ],
)
def test_bad_flags_are_one_clear_line(flag, message):
  with pytest.raises(ValueError, match=message) as error:
    script_jobs.in_process(tags_ablation.SCRIPT, flag)
  assert '\n' not in str(error.value)

"""`python -m oscar.scenes_quality`: trainings, what is done already, the table."""

import json
import pathlib
import re

import pytest

import oscar
from oscar import checkpoints, scenes, scenes_quality, scenes_training
from oscar.scenes import world as world_module
from tests import script_jobs
from tpu_utils import files


def call(folder, *more):
  script_jobs.in_process(scenes_quality.SCRIPT, f'--output_dir={folder}', *more)


@pytest.mark.slow
@pytest.mark.long
def test_a_quick_experiment_from_beginning_to_end(tmp_path, capsys):
  """Generates scenes, trains and evaluates for a few steps from a given model."""
  folder = tmp_path / 'quality'
  folder.mkdir()
  world = scenes.build(folder / 'scenes', **scenes_training.QUICK_SCENES)
  tokenizer = oscar.Tokenizer(world.vocab_file)
  config = oscar.OscarConfig(
    vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32,
  )  # fmt: skip
  start = oscar.build_model(config, 'pretrain')
  checkpoints.save(start, tokenizer, str(folder / 'pretrain' / 'export'))
  quick = ('--quick', '--tasks=vqa', '--seeds=7')
  call(folder, *quick)
  out = capsys.readouterr().out
  assert '[1 of 1 models to train] vqa, seed 7' in out
  header, row = out[out.index('task  metric') :].splitlines()[:2]
  expected = 'task metric chance by kind text text + tags masked with regions goal'
  assert ' '.join(header.split()) == expected
  assert row.split()[:2] == ['vqa', 'vqa_score'] and row.split()[-1] == '0.75'
  content = json.loads((folder / 'quality.json').read_text())
  assert content['rows'][0]['baselines']['chance'] == content['baselines']['vqa']['chance'][
    'vqa_score'
  ]
  (line,) = content['results']
  assert line['shown']['step'] == line['masked']['step'] == 2
  assert line['shown']['loss'] != line['masked']['loss']
  assert (folder / 'quality.png').read_bytes().startswith(b'\x89PNG')
  # Once more: nothing is trained.
  call(folder, *quick)
  assert 'models to train' not in capsys.readouterr().out
  assert (folder / 'results.jsonl').read_text().count('\n') == 1


@pytest.mark.slow
def test_colours_of_written_captions_are_counted_in_the_scenes_of_the_data(tmp_path):
  world = scenes.build(tmp_path / 'scenes', **scenes_training.QUICK_SCENES)
  captioning = scenes_training.SCRIPTS['captioning'][0]
  resolved = captioning.resolve({'data_dir': world.manual_dir('coco_caption'), 'eval_split': 'val',
                                 'val_yaml': 'val.yaml'})  # fmt: skip
  data = resolved.get(scenes_training.SCRIPTS['captioning'][1].data)
  found = scenes_quality._scenes_of(data)
  assert found == {scene.key: scene for scene in world.scenes('val')}
  with pytest.raises(ValueError, match='holds no complete scenes'):
    world_module.read(tmp_path / 'nothing')


class Trainings:
  """Stands in for the scripts: writes the results that they would write."""

  def __init__(self):
    self.calls = []
    self.fails_at = None
    self.starts = {}

  def __call__(self, script, flags):
    script.resolve(dict(flags))  # Raises ValueError for unknown flags.
    if 'mode' not in flags:
      self.calls.append('pretrain')
      return
    if flags['mode'] == self.fails_at:
      raise KeyboardInterrupt
    assert ('init_checkpoint' in flags) <= (flags['mode'] == 'train_and_eval')
    kind = 'eval_masked_regions' if flags.get('mask_regions') else 'eval'
    name = pathlib.Path(flags['model_dir']).name
    if flags['mode'] == 'train_and_eval':
      self.starts[name] = flags.get('init_checkpoint')
    self.calls.append(f'{name} {kind}')
    value = (0.4 if flags.get('mask_regions') else 0.6) + flags['seed'] / 100
    folder = pathlib.Path(flags['model_dir']) / kind
    folder.mkdir(parents=True, exist_ok=True)
    row = {'vqa_score': value, 'accuracy': value, 'consistency': value / 2,
           'i2t_R@1': value, 't2i_R@1': value, 'CIDEr': value}  # fmt: skip
    rows = [{'step': step, **row} for step in (5, 10)]
    (folder / 'results.jsonl').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))


BASELINES = {
  'chance': {'vqa_score': 0.25, 'accuracy': 0.5, 'consistency': 0.23},
  'text': {'vqa_score': 0.39, 'accuracy': 0.5, 'consistency': 0.0},
  'text_and_tags': {'vqa_score': 0.55, 'accuracy': 0.51, 'consistency': 0.01},
}


@pytest.fixture
def trainings(monkeypatch, tmp_path):
  made = Trainings()
  monkeypatch.setattr(scenes_training, 'call', made)
  monkeypatch.setattr(
    scenes_quality.Experiment, 'written', lambda *_, mask_regions=False: {'colour_words': 0.9}
  )
  monkeypatch.setattr(scenes_quality.Experiment, 'baselines', lambda self, task: BASELINES)
  monkeypatch.chdir(tmp_path)
  return made


def test_the_table_has_baselines_means_and_spread(trainings, capsys):
  call('q', '--tasks=vqa,nlvr2', '--seeds=1,2,3')
  assert trainings.calls[:3] == ['pretrain', 'vqa-seed1 eval', 'vqa-seed1 eval_masked_regions']
  assert len(trainings.calls) == 1 + 2 * 2 * 3
  out = capsys.readouterr().out
  lines = [' '.join(line.split()) for line in out.splitlines()]
  assert 'vqa vqa_score 0.250 0.390 0.550 0.420 +- 0.010 0.620 +- 0.010 0.75' in lines
  assert 'nlvr2 accuracy 0.500 0.500 0.510 0.420 +- 0.010 0.620 +- 0.010 0.65' in lines
  assert 'nlvr2 consistency 0.230 0.000 0.010 0.210 +- 0.005 0.310 +- 0.005 0.40' in lines
  rows = files.read_json('q/quality.json')['rows']
  assert [row['shown'] for row in rows][0] == pytest.approx([0.61, 0.62, 0.63])
  assert rows[0]['shown_deviation'] == pytest.approx(0.01)


def test_a_stopped_experiment_trains_what_is_missing(trainings, capsys):
  trainings.fails_at = 'eval'
  with pytest.raises(KeyboardInterrupt):
    call('q', '--tasks=gqa', '--seeds=1,2')
  trainings.fails_at = None
  call('q', '--tasks=gqa', '--seeds=1')
  trainings.calls.clear()
  call('q', '--tasks=gqa', '--seeds=1,2')
  assert trainings.calls == ['pretrain', 'gqa-seed2 eval', 'gqa-seed2 eval_masked_regions']
  trainings.calls.clear()
  call('q', '--tasks=gqa', '--seeds=1')
  assert trainings.calls == []
  assert 'gqa   accuracy   0.500  0.500        0.510   0.410' in capsys.readouterr().out


def test_quick_trainings_start_from_their_own_pre_training(trainings, monkeypatch, tmp_path):
  world = scenes.World(str(tmp_path), {}, {})
  monkeypatch.setattr(scenes, 'build', lambda folder, log, **sizes: world, raising=False)
  call('q', '--quick', '--seeds=1')
  names = [f'{task}-seed1 {kind}' for task in [*scenes_quality.TASKS, 'captioning-scst']
           for kind in ('eval', 'eval_masked_regions')]  # fmt: skip
  assert trainings.calls == ['pretrain', *names]
  with pytest.raises(ValueError, match='holds results of vqa with --'):
    call('q', '--seeds=1')  # The folder is no place for real results.


def test_self_critical_training_continues_captioning_with_its_own_row(trainings, capsys):
  call('q', '--tasks=captioning', '--seeds=1,2')
  names = [f'{name}-seed{seed} {kind}' for seed in (1, 2)
           for name in ('captioning', 'captioning-scst')
           for kind in ('eval', 'eval_masked_regions')]  # fmt: skip
  assert trainings.calls == ['pretrain', *names]
  assert trainings.starts == {
    'captioning-seed1': None, 'captioning-scst-seed1': 'q/captioning-seed1-export',
    'captioning-seed2': None, 'captioning-scst-seed2': 'q/captioning-seed2-export',
  }  # fmt: skip
  lines = [json.loads(line) for line in pathlib.Path('q/results.jsonl').read_text().splitlines()]
  keys = [(line.get('condition'), line['seed']) for line in lines]
  assert keys == [(None, 1), ('scst', 1), (None, 2), ('scst', 2)]
  out = capsys.readouterr().out
  for name in ('captioning', 'captioning, scst'):
    assert re.search(rf'^{name} +CIDEr +0\.415 \+- 0\.007 +0\.615 \+- 0\.007 +1\.50$', out, re.M)


def test_results_of_other_recipes_are_refused(trainings):
  call('q', '--tasks=vqa', '--seeds=1')
  stored = files.read_json('q/settings.json')
  stored['vqa']['learning_rate'] = 7.5
  files.write_json('q/settings.json', stored)
  with pytest.raises(ValueError, match=r'--output_dir=q .* with learning_rate 7.5, not \S+ as now'):
    call('q', '--tasks=vqa', '--seeds=2')
  call('q', '--tasks=nlvr2', '--seeds=1')


@pytest.mark.parametrize(
  'flag, message',
  [
    ('--tasks=vqa,gqb', "Unknown task of --tasks 'gqb': did you mean gqa"),
    ('--seeds=1,x', '--seeds=1,x must be whole numbers'),
    ('--output_dir=gs://a/b', 'output_dir'),
  ],
)
def test_bad_flags_are_one_clear_line(tmp_path, flag, message):
  with pytest.raises(ValueError, match=message) as error:
    script_jobs.in_process(scenes_quality.SCRIPT, f'--output_dir={tmp_path}', flag)
  assert '\n' not in str(error.value)

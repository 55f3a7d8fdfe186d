"""Flags of the fine-tuning scripts against the official ones; lengths, modes, stored settings."""

import dataclasses
import json
import pickle
from unittest import mock

import pytest

from oscar import (
  checkpoint_tasks,
  fine_tuning,
  fine_tuning_job,
  job,
  run_captioning,
  run_gqa,
  run_nlvr,
  run_pretrain,
  run_retrieval,
  run_vqa,
  task_settings,
)
from oscar.recipes import RECIPES
from tests.oscar import golden_models
from tests.oscar.golden_models import GOLDENS
from tpu_utils.command_line.recipes import for_script

OFFICIAL = json.loads((GOLDENS / 'script_defaults.json').read_text())
SCRIPTS = {
  'run_vqa': run_vqa, 'run_gqa': run_gqa, 'run_nlvr': run_nlvr, 'run_retrieval': run_retrieval,
  'run_captioning': run_captioning,
}  # fmt: skip
# Here the default is "as the checkpoint says"; it is the official one for official checkpoints.
AS_THE_CHECKPOINT = (
  'config_name', 'tokenizer_name', 'model_name_or_path', 'do_lower_case', 'img_feature_dim',
  'output_dir', 'eval_model_dir',
)  # fmt: skip
NONE_IS_EMPTY = ('txt_data_dir', 'data_dir', 'img_feat_dir', 'label_file', 'label2ans_file')


def fields_of(script):
  fields = {}
  for field in (f for group in script.SCRIPT.groups for f in dataclasses.fields(group)):
    for name in (field.name, *field.metadata['aliases']):
      fields[name] = field
  return fields


@pytest.mark.parametrize('name', SCRIPTS)
def test_every_official_flag_is_known_with_its_default(name):
  script = SCRIPTS[name]
  fields, defaults = fields_of(script), script.SCRIPT.resolve({'data_dir': 'x'}).as_dict()
  for flag, official in OFFICIAL[name].items():
    if flag in script.SCRIPT.elsewhere:
      assert flag not in fields, flag
      continue
    assert flag in fields, flag
    if flag == 'task_name':
      continue
    if flag == 'data_dir' and name in ('run_retrieval', 'run_captioning'):
      continue  # Officially datasets/coco_ir and datasets/coco_caption; here, the scenes.
    value = defaults[fields[flag].name] if fields[flag].name != 'data_dir' else ''
    if flag in AS_THE_CHECKPOINT:
      assert value is None, flag
    elif flag == 'img_feat_file':
      assert (value, official['default']) == ('', 'datasets/coco_ir/features.tsv')
    elif flag in NONE_IS_EMPTY:
      assert (value, official['default']) == ('', None), flag
    else:
      assert value == official['default'], flag
  assert set(script.SCRIPT.elsewhere) <= set(OFFICIAL[name]), 'an answer to an unknown flag'


@pytest.mark.parametrize('name', SCRIPTS)
def test_every_recipe_of_a_script_resolves(name):
  script = SCRIPTS[name].SCRIPT
  for recipe in for_script(RECIPES, script.module).values():
    given = {'recipe': recipe.name}
    if not recipe.name.endswith('_scenes'):
      given |= {'data_dir': 'x'}
    values = script.resolve(given).as_dict()
    for flag, value in recipe.settings.items():
      assert flag in script.elsewhere or values[flag] == value, (recipe.name, flag)


def test_dead_official_flags_are_answered():
  with pytest.raises(ValueError, match='--fp16 is a flag of the official script only: use --use_b'):
    run_vqa.SCRIPT.call(['--fp16'])
  with pytest.raises(ValueError, match='--save_epoch is .* the best is kept in archive/'):
    run_vqa.SCRIPT.call(['--save_epoch=1'])


def test_fine_tuning_clips_each_part_and_pre_training_once():
  """As the official scripts do with --gradient_accumulation_steps."""
  for script in (*SCRIPTS.values(), run_pretrain):
    expected = script is not run_pretrain
    for given in ({}, {'clip_each_part': not expected}):
      values = script.SCRIPT.resolve({'data_dir': 'x', **given}).as_dict()
      assert values['clip_each_part'] is (expected if not given else not expected)
  model = golden_models.build('vqa', num_labels=7)
  for each in (True, False):
    settings = task_settings.OptimizationConfig(gradient_accumulation_steps=2, clip_each_part=each)
    with mock.patch.object(job, 'Trainer') as trainer:
      job.make_trainer(None, model, None, settings, 10)
    assert trainer.call_args.kwargs['clip_each_part'] is each


# ---- length and modes


@pytest.mark.parametrize(
  'examples, batch, parts, expected',
  [(100, 8, 1, 13), (100, 16, 2, 6), (96, 8, 1, 12), (3, 8, 1, 1), (100, 32, 4, 3)],
)
def test_an_epoch_has_the_official_number_of_updates(examples, batch, parts, expected):
  """len(loader) // accumulation, where the loader's batch is a part."""
  loader = -(-examples // (batch // parts))
  updates = fine_tuning_job.steps_per_epoch(examples, batch, parts)
  assert updates == max(1, loader // parts) == expected


class Counted:
  """An implementation of a task with a hundred examples."""

  @staticmethod
  def count(data, split):
    del data, split
    return 100


def length(**flags):
  optimization = task_settings.OptimizationConfig(**flags)
  data = task_settings.VqaData(train_batch_size=8)
  return fine_tuning_job._length(Counted, data, optimization, True)


def test_the_length_of_training():
  assert length() == (39, 13)
  assert length(num_train_epochs=2.5) == (32, 13)
  assert length(num_train_epochs=2.5, max_steps=7) == (7, 13)
  with pytest.raises(ValueError, match='--num_train_epochs=0.01 of 100 examples is no step'):
    length(num_train_epochs=0.01)


@pytest.mark.parametrize(
  'flags, modes',
  [
    ({}, ['train_and_eval']),
    ({'do_train': True, 'do_eval': True}, ['train_and_eval']),
    ({'do_train_val': True, 'do_test': True}, ['train_and_eval', 'predict']),
    ({'do_eval': True}, ['eval']),
    ({'do_test': True, 'do_test_dev': True}, ['predict', 'predict']),
    ({'mode': 'export', 'do_train': True}, ['export']),
  ],
)
def test_official_flags_choose_the_modes(flags, modes):
  assert fine_tuning.modes_of(flags) == modes


@pytest.mark.parametrize(
  'flags, every',
  [
    ({}, 13),
    ({'evaluate_during_training': True, 'logging_steps': 4}, 4),
    ({'evaluate_during_training': True, 'logging_steps': -1}, 13),
    ({'logging_steps': 4}, 13),
    ({'steps_per_eval': 5}, 5),
  ],
)
def test_evaluations(flags, every):
  assert fine_tuning_job._steps_per_eval(task_settings.JobConfig(**flags), 13) == every


def test_batches_per_device():
  class Hardware:
    strategy, tpu = 'one_device', None

  data = task_settings.VqaData(per_gpu_train_batch_size=4)
  optimization = task_settings.OptimizationConfig(gradient_accumulation_steps=3)
  batches = fine_tuning_job._batches(data, optimization, Hardware)
  assert batches == {'train_batch_size': 12, 'eval_batch_size': 8}
  Hardware.strategy = 'tpu'
  with pytest.raises(ValueError, match='--per_gpu_train_batch_size=4: on TPUs .*--train_batch_s'):
    fine_tuning_job._batches(data, optimization, Hardware)
  whole = dataclasses.replace(data, train_batch_size=64, eval_batch_size=32)
  assert fine_tuning_job._batches(whole, optimization, Hardware)['train_batch_size'] == 64


@pytest.mark.parametrize(
  'flags, message',
  [
    ({'data_dir': '/does/not/exist'}, '--data_dir=/does/not/exist does not exist'),
    ({'txt_data_dir': '/nowhere'}, '--txt_data_dir=/nowhere does not exist'),
    ({'model_dir': None}, '--model_dir is missing'),
    ({'do_train': True, 'do_train_val': True}, '--do_train and --do_train_val: choose'),
    ({'label_source': 'annotations'}, '--label_source=annotations needs --annotations_dir'),
    ({'mode': 'export'}, '--mode=export needs --export_dir'),
    ({'mode': 'eval', 'eval_split': 'test2015'}, '--eval_split=test2015 has no answers'),
  ],
)
def test_flags_that_contradict_each_other(flags, message, tmp_path):
  given = {'data_dir': str(tmp_path), 'model_dir': 'runs', **flags}
  given = {name: value for name, value in given.items() if value is not None}
  with pytest.raises(ValueError, match=message):
    run_vqa.SCRIPT.check(run_vqa.SCRIPT.resolve(given))


def test_splits_that_a_task_does_not_have(tmp_path):
  given = {'data_dir': str(tmp_path), 'model_dir': 'runs'}
  for script, flag in ((run_gqa, 'do_train_val'), (run_nlvr, 'do_train_val'),
                       (run_nlvr, 'do_test_dev')):  # fmt: skip
    with pytest.raises(ValueError, match=f'--{flag}: .* has no'):
      script.SCRIPT.check(script.SCRIPT.resolve({**given, flag: True}))


def test_only_files_of_hidden_answers_are_for_the_test_server():
  for script, hidden, known in (
    (run_vqa, ('test2015', 'test-dev2015'), ('val', 'train')),
    (run_gqa, ('test',), ('val', 'test-dev')), (run_nlvr, (), ('val', 'test1')),
  ):  # fmt: skip
    for split in hidden:
      assert fine_tuning_job._results_are(split, script.SPEC) == 'Results for the test server'
    for split in known:
      text = fine_tuning_job._results_are(split, script.SPEC)
      assert text == f'Results of {split}, in the form of a submission'


def test_the_recipe_is_chosen_by_the_data():
  def chosen(**given):
    resolved = run_vqa.SCRIPT.resolve(given)
    return resolved.recipe, resolved.as_dict()['loss_type'], resolved.as_dict()['model_dir']

  assert chosen() == ('vqa_scenes', 'bce', 'runs/vqa-scenes')
  assert chosen(data_dir='x') == ('vqa', 'kl', None)
  assert chosen(data_dir='x', recipe='vqa_base') == ('vqa_base', 'bce', None)
  with pytest.raises(ValueError, match='--recipe=vqa_base needs --data_dir'):
    chosen(recipe='vqa_base')


# ---- settings that a checkpoint stores


def test_flags_of_a_checkpoint_hold_at_test_time(tmp_path):
  settings = {'max_seq_length': 40, 'max_img_seq_length': 50, 'classifier': 'mlp'}
  checkpoint_tasks.write_settings(str(tmp_path), 'vqa', settings, answers=['yes'])
  given = {'mode': 'predict', 'data_dir': 'x', 'model_dir': 'y', 'init_checkpoint': str(tmp_path)}
  values = run_vqa.SCRIPT.resolve(given).as_dict()
  assert {name: values[name] for name in settings} == settings
  assert run_vqa.SCRIPT.resolve({**given, 'max_seq_length': 9}).as_dict()['max_seq_length'] == 9
  assert run_vqa.SCRIPT.resolve({**given, 'mode': 'train'}).as_dict()['max_seq_length'] == 128
  settings['max_seq_length'] = 'forty'
  checkpoint_tasks.write_settings(str(tmp_path), 'vqa', settings)
  with pytest.raises(ValueError, match="max_seq_length is 'forty' in its flags, expected int"):
    run_vqa.SCRIPT.resolve(given)


def test_flags_of_an_official_checkpoint_are_read_without_running_code(tmp_path):
  assert checkpoint_tasks.settings_of(str(GOLDENS / 'checkpoint_captioning'))['max_seq_length'] > 0
  assert checkpoint_tasks.settings_of(str(tmp_path)) == {}
  path = tmp_path / 'training_args.bin'

  class Unsafe:
    def __reduce__(self):
      return print, ('called',)

  path.write_bytes(pickle.dumps(Unsafe()))
  with pytest.raises(ValueError, match='training_args.bin'):
    checkpoint_tasks.settings_of(str(tmp_path))


@pytest.mark.parametrize(
  'file, content, task',
  [
    ('export.json', {'task': 'gqa'}, 'gqa'),
    ('config.json', {'finetuning_task': 'vqa_text'}, 'vqa'),
    ('config.json', {'finetuning_task': 'nlvr'}, 'nlvr2'),
    ('config.json', {'finetuning_task': None}, None),
  ],
)
def test_the_task_of_a_checkpoint(tmp_path, file, content, task):
  (tmp_path / file).write_text(json.dumps(content))
  assert checkpoint_tasks.task_of(str(tmp_path)) == task
  assert checkpoint_tasks.task_of(str(tmp_path / 'pytorch_model.bin')) == task


def test_a_checkpoint_of_another_task_is_refused_by_name(tmp_path):
  folder = str(tmp_path)
  (tmp_path / 'export.json').write_text('{"task": "gqa"}')
  with pytest.raises(ValueError, match="the task 'gqa', not 'vqa': its answers would mean nothing"):
    checkpoint_tasks.check_task(folder, 'vqa', starts=False)
  message = f"--init_checkpoint={folder} was trained for the task 'gqa', .* add --fresh_head"
  with pytest.raises(ValueError, match=message):
    checkpoint_tasks.check_task(folder, 'vqa', starts=True, flag='init_checkpoint')
  (tmp_path / 'export.json').write_text('{"task": "pretrain"}')
  checkpoint_tasks.check_task(folder, 'vqa', starts=True)
  with pytest.raises(ValueError, match="the task 'pretrain', not 'captioning'"):
    checkpoint_tasks.check_task(folder, 'captioning', starts=False)
  (tmp_path / 'export.json').write_text('[')
  with pytest.raises(ValueError, match='export.json cannot be read as JSON'):
    checkpoint_tasks.task_of(folder)

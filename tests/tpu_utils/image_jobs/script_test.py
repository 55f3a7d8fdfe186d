"""Recipes, jobs and preprocessing as the settings of an image classifier's script resolve them."""
import dataclasses
import json

import keras
import numpy as np
import pytest

from tests import remote
from tests.tpu_utils.images import small_sets
from tpu_utils import checkpoints, config
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.image_jobs import script, specs, train
from tpu_utils.images.spec import PreprocessSpec

SPEC = PreprocessSpec(240, interpolation='bilinear')


def build_model(
  model_name, num_classes, image_size, dtype_policy, mean_rgb=(10.0,) * 3, stddev_rgb=(5.0,) * 3
):
  """Builds a network that returns the mean of the normalised images."""
  images = keras.Input((image_size, image_size, 3), name='images')
  offset = [-m / s for m, s in zip(mean_rgb, stddev_rgb, strict=True)]
  scale = keras.layers.Rescaling([1 / s for s in stddev_rgb], offset)
  return keras.Model(images, keras.layers.GlobalAveragePooling2D()(scale(images)), name=model_name)


def resolve_model(model):
  return script.ModelSpec(build_model, SPEC, identity=(), run_info={'made': 'here'})


def recipe(name, **values):
  return Recipe(
    name=name, script='mean.main', paper='none', settings=values, cost='seconds',
    command=f'python -m mean.main --recipe={name}', expects='nothing',
  )  # fmt: skip


RECIPES = {
  'imagenet': recipe('imagenet', model_name='mean', optimizer='momentum'),
  'long': recipe('long', train_steps=10**6),
  'finetune': recipe('finetune', optimizer='momentum', lr_schedule='cosine'),
  'transfer': recipe('transfer', optimizer='sgd', train_steps=20),
  'digits': recipe('digits', model_dir='runs/mean', train_steps=9, num_label_classes=10),
  'digits_tuned': recipe(
    'digits_tuned', model_dir='runs/tuned', train_steps=3, num_label_classes=10
  ),
}
TRAINING = script.Training((script.ModelConfig,), resolve_model)
SCRIPT = TRAINING.script('Trains.', 'mean.main', RECIPES)


@pytest.fixture
def job(monkeypatch):
  """Returns function(*flags) -> arguments of the job: ((build_model, spec, identity), others)."""

  def run(*arguments):
    jobs = []
    monkeypatch.setattr(train, 'run', lambda *job, **others: jobs.append((job, others)))
    SCRIPT.call(['--model_dir=there', *arguments])
    return jobs[0]

  return run


@pytest.fixture
def run(job):
  return lambda *arguments: job(*arguments)[0]


def test_flags_override_the_models_preprocessing(run):
  assert run('--data_dir=fake')[1] == SPEC
  given = ('--crop_rule=size_plus_32', '--interpolation=bicubic', '--input_image_size=99')
  spec = run('--data_dir=fake', *given)[1]
  assert spec == PreprocessSpec(99, interpolation='bicubic', crop='size_plus_32')


def test_digits_are_not_cropped_unless_asked(run):
  assert run('--train_batch_size=64')[1].crop == 'whole'
  assert run('--train_batch_size=64', '--crop_rule=official')[1].crop == 'official'


def test_published_crops(run):
  assert run('--data_dir=fake', '--crop_rule=0.95')[1].crop == '0.95'
  assert run('--data_dir=fake', '--crop_rule=232/224')[1].crop == '232/224'
  with pytest.raises(ValueError, match="value of --crop_rule: '224/232' keeps"):
    run('--data_dir=fake', '--crop_rule=224/232')


def test_advprop_scales_in_the_spec_and_in_the_model(run):
  images = np.ones((3, 4, 4, 3), np.float32) * np.float32([0, 100, 255])[:, None, None, None]
  build, spec, identity = run('--data_dir=fake', '--input_image_size=4', '--advprop')
  assert spec.mean_rgb == spec.stddev_rgb == (127.5,) * 3
  expected = np.float32([0, 100, 255]) * 2 / 255 - 1
  np.testing.assert_allclose(build(None)(images)[:, 0], expected, atol=1e-5)
  plain, spec, other = run('--data_dir=fake', '--input_image_size=4')
  assert spec.stddev_rgb == SPEC.stddev_rgb
  np.testing.assert_allclose(plain(None)(images)[:, 0], [-2, 18, 49], rtol=1e-4)
  assert identity != other  # So a model_dir of one is refused for the other.


PUBLISHED = {
  'input_size': [3, 288, 288], 'mean': [0.5] * 3, 'std': [0.5] * 3, 'crop_pct': 0.95,
  'interpolation': 'bicubic',
}  # fmt: skip


def published(folder, **changes):
  """Writes a config.json as Hugging Face's folders have it; returns the flag for a training."""
  config = {'pretrained_cfg': PUBLISHED | changes}
  (folder / 'config.json').write_text(json.dumps(config))
  return f'--init_checkpoint={folder}'


def test_a_training_prepares_images_as_for_the_weights_that_it_starts_from(job, tmp_path, capsys):
  (_, spec, identity), others = job('--data_dir=fake', published(tmp_path))
  assert spec == PreprocessSpec(288, (127.5,) * 3, (127.5,) * 3, 'bicubic', '0.95')
  flags = others['run_info']['flags']
  assert [flags[n] for n in ('input_image_size', 'crop_rule', 'advprop')] == [288, '0.95', True]
  assert (others['data'].crop_rule, identity['advprop']) == ('0.95', True)
  assert (
    f'in training, evaluation and export as config.json of {tmp_path} says: --input_image_size=288 '
    '--interpolation=bicubic --crop_rule=0.95 --advprop=True'
  ) in capsys.readouterr().out


def test_flags_override_the_preprocessing_of_the_weights(run, tmp_path, capsys):
  given = ('--input_image_size=64', '--crop_rule=whole', '--interpolation=bilinear', '--noadvprop')
  spec = run('--data_dir=fake', published(tmp_path), *given)[1]
  assert spec == dataclasses.replace(SPEC, image_size=64, crop='whole')
  assert 'config.json' not in capsys.readouterr().out
  assert run('--train_batch_size=64', published(tmp_path))[1].crop == 'whole'  # The digits.


@pytest.mark.parametrize(
  ('changes', 'message', 'flag'),
  [
    ({'interpolation': 'lanczos'}, 'interpolation lanczos', '--interpolation=bicubic'),
    ({'crop_mode': 'squash'}, 'crop_mode squash', '--crop_rule=0.875'),
    ({'crop_mode': 'border'}, 'crop_mode border', '--crop_rule=0.875'),
    ({'input_size': [3, 224, 192]}, r'input_size \[3, 224, 192\]', '--input_image_size=224'),
  ],
)
def test_a_preprocessing_without_counterpart_is_refused(run, tmp_path, changes, message, flag):
  start = published(tmp_path, **changes)
  with pytest.raises(ValueError, match=f'has {message}, which has no counterpart.* such as {flag}'):
    run('--data_dir=fake', start)
  run('--data_dir=fake', start, flag)
  model, data = script.ModelConfig(), config.DataConfig()
  with pytest.raises(ValueError, match=message):
    specs.published_spec(SPEC, str(tmp_path), model, data)


def test_a_job_that_resumes_keeps_its_preprocessing(run, tmp_path, capsys):
  """The folder of the weights may be gone or changed."""
  folder = tmp_path / 'job'
  checkpoints.write(str(folder / 'model.ckpt-3'), {'a': np.zeros(1)}, {'step': 3})
  starts = [{'flags': {'crop_rule': '0.9', 'input_image_size': 64, 'advprop': False}}]
  (folder / 'run.json').write_text(json.dumps({'starts': starts}))
  start = published(tmp_path)
  for checkpoint in (start, '--init_checkpoint=/gone'):
    spec = run('--data_dir=fake', f'--model_dir={folder}', checkpoint)[1]
    assert spec == dataclasses.replace(SPEC, image_size=64, crop='0.9')
  assert 'as the job that resumes says: --input_image_size=64' in capsys.readouterr().out
  (folder / 'run.json').write_text('{')
  assert run('--data_dir=fake', f'--model_dir={folder}', start)[1] == SPEC


@pytest.mark.parametrize(
  'flag, near', [('crop_rule=size_plus', 'size_plus_32'), ('interpolation=cubic', 'bicubic')]
)
def test_wrong_names_list_the_nearest(run, flag, near):
  with pytest.raises(ValueError, match=f'--{flag.split("=")[0]}.*{near}'):
    run('--data_dir=fake', f'--{flag}')


def test_the_recipe_is_chosen_by_the_data():
  def chosen(**given):
    resolved = SCRIPT.resolve(given)
    return resolved.recipe, resolved.get(config.JobConfig).train_steps

  assert chosen() == ('digits', 9)
  assert chosen(init_checkpoint='x') == chosen(transfer=True) == ('digits_tuned', 3)
  assert chosen(init_checkpoint='') == ('digits', 9)  # No checkpoint.
  assert chosen(recipe='transfer') == ('digits_tuned', 3)
  assert chosen(recipe='digits', init_checkpoint='x') == ('digits', 9)
  assert chosen(data_dir='x') == ('imagenet', 218949)
  assert chosen(dataset='x', recipe='long') == ('long', 10**6)
  assert chosen(data_dir='x', transfer=True) == ('transfer', 20)
  assert chosen(data_dir='x', recipe='transfer') == ('transfer', 20)
  assert chosen(data_dir='x', transfer=True, train_steps=7) == ('transfer', 7)
  with pytest.raises(ValueError, match='--recipe=long needs --data_dir or --dataset'):
    chosen(recipe='long')


@pytest.mark.parametrize('given', [{'transfer': True}, {'recipe': 'transfer'}])
def test_transfer_is_a_flag_and_a_recipe(given):
  for data in ({}, {'data_dir': 'x'}):
    assert SCRIPT.resolve({**given, **data}).get(config.FineTuningConfig).transfer
  resolved = SCRIPT.resolve({'data_dir': 'x', **given})
  assert resolved.get(config.OptimizationConfig).optimizer == 'sgd'
  both = SCRIPT.resolve({'data_dir': 'x', 'transfer': True, 'recipe': 'long'})
  assert both.recipe == 'long' and both.get(config.JobConfig).train_steps == 20


def test_digits_export_below_model_dir():
  def export_dir(**given):
    return SCRIPT.resolve(given).get(config.JobConfig).export_dir

  assert export_dir() == 'runs/mean/export'
  assert export_dir(model_dir='there') == 'there/export'
  assert export_dir(model_dir='there', export_dir='mine') == 'mine'
  assert export_dir(mode='eval') is None
  assert export_dir(data_dir='x') is None


def test_the_record_of_a_run_has_all_flags(job):
  run_info = job('--data_dir=fake', '--train_steps=5')[1]['run_info']
  flags = run_info['flags']
  assert run_info['made'] == 'here'
  assert (flags['train_steps'], flags['optimizer'], flags['recipe']) == (5, 'momentum', 'imagenet')
  names = [field.name for group in SCRIPT.groups for field in dataclasses.fields(group)]
  assert set(flags) == {*names, 'recipe'}


def write_job(folder, **flags):
  (folder / 'run.json').write_text(json.dumps({'starts': [{'flags': flags}]}))


@pytest.mark.parametrize('mode', ['eval', 'export'])
def test_readers_of_a_job_take_its_model_and_data(tmp_path, job, mode):
  write_job(
    tmp_path, model_name='other', input_image_size=12, num_label_classes=77, data_dir='fake',
    dataset=None, advprop=True, moving_average_decay=0.0, train_steps=5, steps_per_eval=2,
    old_flag=1,
  )  # fmt: skip
  arguments = (f'--model_dir={tmp_path}', f'--mode={mode}', '--export_dir=there')
  (_, spec, identity), others = job(*arguments)
  assert identity == {'model_name': 'other', 'num_label_classes': 77, 'advprop': True}
  assert (spec.image_size, spec.stddev_rgb) == (12, (127.5,) * 3)
  assert others['data'].data_dir == 'fake' and others['optimization'].moving_average_decay == 0
  # An evaluation ends with the last step of the training.
  assert (others['job'].train_steps, others['job'].steps_per_eval) == (5, 6255)
  # The user's flags override the job's.
  (_, spec, identity), _ = job(*arguments, '--input_image_size=9', '--noadvprop')
  assert spec.image_size == 9 and not identity['advprop']


def test_given_images_replace_the_jobs(tmp_path):
  write_job(
    tmp_path, model_name='other', data_dir='gs://there', eval_split='x', num_label_classes=7
  )
  given = {'model_dir': str(tmp_path), 'mode': 'eval', 'data_dir': 'fake'}
  data = SCRIPT.resolve(given).get(config.DataConfig)
  assert (data.data_dir, data.eval_split, data.num_label_classes) == ('fake', None, 7)


def test_a_job_on_digits_keeps_its_model_without_flags(tmp_path):
  """Without its run.json the recipe for the digits would name another model."""
  write_job(tmp_path, model_name='other', input_image_size=None, data_dir='', dataset=None)
  resolved = SCRIPT.resolve({'model_dir': str(tmp_path), 'mode': 'export'})
  assert resolved[0].model_name == 'other' and resolved.recipe == 'digits'


def test_the_digits_default_model_dir_is_a_job_too(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for name in ('mean', 'tuned'):
    (tmp_path / 'runs' / name).mkdir(parents=True)
    write_job(tmp_path / 'runs' / name, model_name=f'like_{name}', data_dir='')
  assert SCRIPT.resolve({'mode': 'export'})[0].model_name == 'like_mean'
  assert SCRIPT.resolve({'mode': 'eval', 'transfer': True})[0].model_name == 'like_tuned'
  assert SCRIPT.resolve({'mode': 'eval', 'data_dir': 'x'})[0].model_name == 'mean'


@pytest.mark.parametrize(
  'given, message',
  [
    ({'data_dir': '/does/not/exist'}, '--data_dir=/does/not/exist does not exist'),
    ({'data_dir': 'fake'}, '--model_dir is missing'),
    ({'data_dir': 'fake', 'model_dir': ''}, '--model_dir is missing'),
    ({'mode': 'predict', 'model_dir': 'there'}, 'run it with --ckpt_dir=there'),
  ],
)
def test_mistakes_are_found_before_tensorflow_is_imported(given, message):
  with pytest.raises(ValueError, match=message):
    SCRIPT.check(SCRIPT.resolve(given))


def test_training_takes_nothing_from_an_older_job(tmp_path):
  write_job(tmp_path, model_name='other')
  assert SCRIPT.resolve({'model_dir': str(tmp_path)})[0].model_name == 'mean'


def test_a_missing_initial_checkpoint_is_found_before_tensorflow_is_imported(tmp_path):
  given = {'data_dir': 'fake', 'model_dir': 'there', 'init_checkpoint': 'no/such'}
  with pytest.raises(FileNotFoundError, match='--init_checkpoint=no/such: no checkpoint there'):
    SCRIPT.check(SCRIPT.resolve(given))
  SCRIPT.check(SCRIPT.resolve({**given, 'mode': 'eval'}))
  (tmp_path / 'model.ckpt-3.index').write_bytes(b'')  # A job that resumes needs none.
  SCRIPT.check(SCRIPT.resolve({**given, 'model_dir': str(tmp_path)}))


@pytest.mark.parametrize('name', ['a.pth', 'model.ckpt-3.index', 'lr[0.1].data-00000-of-00001'])
def test_existing_checkpoints_are_files_folders_and_prefixes(tmp_path, name):
  (tmp_path / name).write_bytes(b'')
  stem = name.split('.index')[0].split('.data')[0]
  for path in (tmp_path, tmp_path / name, tmp_path / stem):
    script.check_checkpoint('ckpt_dir', str(path))
  script.check_checkpoint('ckpt_dir', remote.upload(tmp_path, remote.new_folder()))
  script.check_checkpoint('ckpt_dir', specs.PRETRAINED)
  for folder in (tmp_path, 'ram://none'):
    with pytest.raises(FileNotFoundError):
      script.check_checkpoint('ckpt_dir', f'{folder}/b')


@pytest.mark.parametrize('kind', ['folder', 'shards', 'tfds'])
def test_the_sizes_of_a_recipe_for_large_data_are_refused_for_every_kind_of_data(tmp_path, kind):
  if kind == 'tfds':
    data = ['--dataset=trees', f'--tfds_data_dir={small_sets.tfds_set(tmp_path / "data")}']
  else:
    make = {'folder': small_sets.image_folder, 'shards': small_sets.shards}[kind]
    data = [f'--data_dir={make(tmp_path / "data")}']
  for more, fit in (
    ([], '--train_batch_size=8 --train_steps=463'),
    (['--recipe=long', '--train_batch_size=4'], '--train_steps=925'),
    (['--recipe=transfer', '--train_batch_size=2048'], '--train_steps=2'),
  ):
    message = f'has 37 training images, and .* not given by you, .* such as {fit}, or'
    with pytest.raises(ValueError, match=message) as error:
      SCRIPT.call([*data, f'--model_dir={tmp_path}/run', *more])
    assert '\n' not in str(error.value)
  assert not (tmp_path / 'run').exists()


def test_the_sizes_of_a_recipe_for_large_data_are_refused_for_the_digits(job):
  fit = '--train_batch_size=256 --train_steps=564'
  with pytest.raises(ValueError, match=f'has 1442 training images, .* such as {fit}, or'):
    job('--recipe=digits')
  job('--recipe=digits', '--train_batch_size=2048')


def test_an_export_that_a_job_has_not_written_yet_is_told_with_both_ways_out(tmp_path):
  (tmp_path / 'run.json').write_text('{"starts": []}')
  job, export = str(tmp_path), str(tmp_path / 'export')
  with pytest.raises(FileNotFoundError) as error:
    script.check_checkpoint('ckpt_dir', export)
  assert f'{job} is a job: give it, --ckpt_dir={job}, or export' in str(error.value)
  assert f'--mode=export --model_dir={job} --export_dir={export}.' in str(error.value)

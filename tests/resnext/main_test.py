"""`python -m resnext.main` as its users run it. EfficientNet's tests cover the shared parts."""
import json
import signal

import keras
import numpy as np
import pytest

from resnext import main
from tests import script_jobs
from tpu_utils.images import digits

pytestmark = pytest.mark.slow

# Takes seconds: the digits recipe with a smaller network.
QUICK = (
  '--model_name=resnext-11-4x8d', '--width=8', '--stem_width=8', '--train_batch_size=16',
  '--train_steps=6', '--steps_per_eval=6', '--iterations_per_loop=3', '--noreport',
)  # fmt: skip


def _in_process(*arguments):
  script_jobs.in_process(main.SCRIPT, *QUICK, *arguments)


def _settings(*arguments):
  """Returns {flag: value} of a job without running it."""
  return main.SCRIPT.resolve(main.SCRIPT.parse(arguments)[0]).as_dict()


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """Returns (model_dir, standard output) of a job that ran in its own process and exported."""
  model_dir = tmp_path_factory.mktemp('finished')
  code, out, err = script_jobs.finish(
    script_jobs.start(
      '-m', 'resnext.main', f'--model_dir={model_dir}', f'--export_dir={model_dir}/export', *QUICK
    )
  )
  assert code == 0, err
  return model_dir, out


def test_the_digits_are_learnt_evaluated_and_exported(finished):
  model_dir, out = finished
  assert 'No --data_dir: the embedded handwritten digits, with' in out
  result = json.loads((model_dir / 'eval' / 'results.jsonl').read_text())
  assert set(result) >= {'step', 'loss', 'top_1_accuracy', 'top_5_accuracy'}
  record = json.loads((model_dir / 'run.json').read_text())['starts'][0]
  assert record['network_params']['stage_blocks'] == [1, 1, 1]
  assert record['flags']['nesterov'] is True
  model = keras.models.load_model(model_dir / 'export' / 'model.keras')
  values = script_jobs.values_at(model_dir, 6)
  for variable in model.variables:
    np.testing.assert_array_equal(variable.numpy(), values[f'model/{variable.path}'], variable.path)


def test_the_checkpoint_holds_velocities_and_no_averages(finished):
  kinds = {name.split('/')[0] for name in script_jobs.values_at(finished[0], 6)}
  assert kinds == {'model', 'optimizer'}


@pytest.mark.long
def test_a_stopped_job_ends_with_the_same_bits(tmp_path):
  """Also if it is killed at an evaluation, for which its checkpoint is written."""
  flags = ('--train_steps=24', '--steps_per_eval=8', '--save_checkpoints_steps=2')

  def start(folder):
    own = ('--iterations_per_loop=2', f'--model_dir={folder}', '--export_dir=')
    return script_jobs.start('-m', 'resnext.main', *QUICK, *flags, *own)

  whole = tmp_path / 'whole'
  code, _, err = script_jobs.finish(start(whole))
  assert code == 0, err
  stopped = tmp_path / 'stopped'
  stops = ((2, signal.SIGKILL), (8, signal.SIGKILL), (12, signal.SIGTERM))
  script_jobs.stop_and_resume(lambda: start(stopped), stopped, stops, 24)
  script_jobs.assert_same_bits(whole, stopped, 24)


def test_the_network_of_a_model_dir_is_kept(finished):
  with pytest.raises(ValueError, match="holds another model: its shortcut_type is None, not 'C'"):
    _in_process(f'--model_dir={finished[0]}', '--shortcut_type=C')


def test_the_defaults_are_the_official_recipe():
  settings = _settings('--data_dir=x')
  expected = {
    'optimizer': 'momentum', 'momentum': 0.9, 'nesterov': True, 'train_batch_size': 256,
    'base_learning_rate': 0.1, 'lr_schedule': 'step', 'lr_step_epochs': '30,60,90',
    'lr_decay_factor': 0.1, 'lr_warmup_epochs': 0.0, 'weight_decay': 1e-4,
    'decay_batch_norm': True, 'label_smoothing': 0.0, 'moving_average_decay': 0.0,
  }  # fmt: skip
  assert {name: settings[name] for name in expected} == expected


def test_the_cifar_recipe_sets_all_flags_that_are_not_given():
  settings = _settings('--recipe=cifar', '--data_dir=x', '--train_steps=7')
  assert settings['train_steps'] == 7
  assert settings['base_learning_rate'] * settings['train_batch_size'] / 256 == 0.1
  assert (settings['weight_decay'], settings['lr_step_epochs']) == (5e-4, '150,225')
  text = main.SCRIPT.resolve({'recipe': 'cifar', 'data_dir': 'x', 'train_steps': 7}).preset_text()
  assert text.startswith('--recipe=cifar, with\n  --') and '--model_name=resnext-29-8x64d' in text
  assert '--train_steps' not in text and '--optimizer' not in text  # Given; unchanged.


def test_the_recipe_decides_the_augmentation():
  def augmentation(**given):
    return main.augmentation(main.SCRIPT.resolve(given))

  assert augmentation() is None  # Digits have their own.
  imagenet = augmentation(data_dir='x')
  assert (imagenet.random_crop, imagenet.color_jitter, imagenet.lighting) == ('torch', 0.4, 0.1)
  assert augmentation(data_dir='x', transfer=True) == imagenet
  cifar = augmentation(dataset='x', recipe='cifar')
  assert (cifar.random_crop, cifar.padding, cifar.color_jitter) == ('padded', 4, 0.0)
  model = main.ModelConfig(model_name='resnext-29-1x8d')
  assert main.resolve_model(model).spec.crop == 'whole'


def test_transfer_on_the_settings_of_kornblith_et_al():
  settings = _settings('--transfer', '--data_dir=x')
  assert settings['lr_schedule'] == 'cosine'
  assert (settings['base_learning_rate'], settings['train_steps']) == (0.01, 20000)
  assert settings == _settings('--recipe=transfer', '--data_dir=x')


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--model_name=resnext-50-32x4'], "'resnext-50-32x4'.*did you mean resnext-50-32x4d"),
    (['--shortcut_type=D'], "value of --shortcut_type 'D'"),
    (['--block_form=e'], "value of --block_form 'e'"),
    (['--cardinality=0'], '--cardinality=0 must be at least 1'),
    (['--lr_step_epochs=60,30'], "--lr_step_epochs='60,30' must be rising positive numbers"),
    (['--lr_step_epochs='], "--lr_step_epochs='' must be"),
  ],
)
def test_bad_input_is_one_clear_line(tmp_path, arguments, message):
  with pytest.raises(ValueError, match=message) as error:
    _in_process(f'--model_dir={tmp_path}', *arguments)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('recipe', ['imagenet', 'cifar'])
def test_each_recipe_trains_on_shards(tmp_path, recipe):
  # As on TPUs: transposed images, bfloat16.
  _in_process(
    f'--data_dir={digits.DATA_DIR}', f'--model_dir={tmp_path}', f'--recipe={recipe}',
    '--mode=train', '--num_label_classes=10', '--input_image_size=16', '--num_train_images=1442',
    '--train_steps=2',
  )  # fmt: skip
  assert script_jobs.values_at(tmp_path, 2)


@pytest.mark.parametrize('block_form', ['a', 'b'])
def test_the_other_block_forms_train_too(tmp_path, block_form):
  _in_process(f'--model_dir={tmp_path}', f'--block_form={block_form}', '--mode=train')
  assert script_jobs.values_at(tmp_path, 6)


def test_help_is_quick_and_shows_the_recipe():
  code, out, used = script_jobs.user_seconds('-m', 'resnext.main', '--help')
  assert code == 0
  assert '--weight_decay=0.0001' in out
  assert used < 2.0

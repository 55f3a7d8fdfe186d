"""Settings that follow from the number of images."""
import json

import pytest

from tests.tpu_utils.image_jobs import small_scripts
from tpu_utils import config
from tpu_utils.command_line import settings
from tpu_utils.image_jobs import fitting, memory, script

GROUPS = (
  config.DataConfig, config.OptimizationConfig, config.FineTuningConfig, config.JobConfig,
  config.LengthConfig, config.HardwareConfig,
)  # fmt: skip
NEEDS = memory.Needs(fixed=1e9, per_image=1e8)


def resolved(num_images=77, **flags):
  facts = {'num_train_images': num_images, 'num_eval_images': 19}
  return settings.Resolved(GROUPS, flags, [], facts, recipe='finetune')


@pytest.fixture(autouse=True)
def _room(monkeypatch):
  monkeypatch.setattr(memory, 'available', lambda: 8 * 10**9)


def fit(num_images=77, **flags):
  return fitting.fit(resolved(num_images, **flags), lambda: NEEDS, 8).as_dict()


@pytest.mark.parametrize(
  ('images', 'batch', 'epochs'),
  [(1, 1, 40), (20, 8, 40), (77, 16, 33), (1442, 64, 12), (10**6, 256, 5)],
)
def test_batch_and_epochs_of_some_numbers_of_images(images, batch, epochs):
  assert (fitting.batch_size(images), fitting.epochs(images)) == (batch, epochs)


@pytest.mark.parametrize('images', [1, 2, 9, 77, 500, 5000, 50_000, 10**6])
def test_every_size_fits_and_no_more_images_make_the_job_shorter(images):
  sizes = fitting.sizes(images, max(1, images // 4), {})
  assert sizes['train_batch_size'] <= images
  seen = sizes['train_steps'] * sizes['train_batch_size']
  assert 5 * images <= seen <= 1000 * images
  assert 1 <= sizes['iterations_per_loop'] <= sizes['steps_per_eval'] <= sizes['train_steps']
  assert sizes['lr_warmup_epochs'] * images < 0.2 * seen + 1
  more = fitting.sizes(2 * images, images, {})
  assert more['train_steps'] * more['train_batch_size'] > 0.9 * seen


def test_the_settings_are_printed_before_training(capsys):
  flags = fit()
  assert capsys.readouterr().out == (
    'Settings for 77 images of 8 classes, 19 to evaluate on (flags override them):\n'
    '  batch         16 images                         --train_batch_size\n'
    '  training      159 steps, 33 epochs              --train_epochs\n'
    '  evaluation    every 16 steps, in batches of 32  --steps_per_eval, --eval_batch_size\n'
    '  learning rate 0.0125 after 16 steps of warm-up  --base_learning_rate=0.2 (for 256 images), '
    '--lr_warmup_epochs\n'
    '  batch norm    trained                           --freeze=none\n'
    '  memory        about 2.6 of 8.0 GB               --train_batch_size, --input_image_size\n'
  )
  assert (flags['train_steps'], flags['eval_batch_size'], flags['use_bfloat16']) == (159, 32, False)


def test_each_is_overridable_and_the_others_follow():
  flags = fit(train_batch_size=4, train_epochs=2.0, base_learning_rate=0.5)
  assert (flags['train_batch_size'], flags['train_steps']) == (4, 39)
  assert (flags['base_learning_rate'], flags['steps_per_eval']) == (0.5, 4)
  assert flags['lr_warmup_epochs'] == pytest.approx(0.2, abs=0.01)
  assert fit(train_steps=10)['steps_per_eval'] == 1
  assert fit(eval_batch_size=3, lr_warmup_epochs=0.0)['eval_batch_size'] == 3


def test_the_batch_fits_into_memory(monkeypatch):
  assert fit(5000)['train_batch_size'] == 32  # 0.8 * 8 - 1 GB hold 54 images.
  monkeypatch.setattr(memory, 'available', lambda: 10**9)
  assert fit(5000)['train_batch_size'] == 1
  monkeypatch.setattr(memory, 'available', lambda: None)
  assert fit(5000)['train_batch_size'] == 128


def test_a_tpu_gets_large_batches_in_its_own_precision():
  flags = fit(500, tpu='local')
  assert (flags['train_batch_size'], flags['use_bfloat16'], flags['transpose_input']) == (
    128, True, True
  )  # fmt: skip
  assert fit(77, tpu='local')['train_batch_size'] == 64


def test_batch_norm_stays_as_loaded_with_small_batches(capsys):
  """And then learns slowly, as nothing absorbs the growth of weights."""
  frozen, trained = fit(init_checkpoint='x'), fit(init_checkpoint='x', freeze='none')
  assert (frozen['freeze'], trained['freeze'], fit()['freeze']) == ('bn', 'none', 'none')
  assert 'as loaded                         --freeze=bn' in capsys.readouterr().out
  assert frozen['base_learning_rate'] == pytest.approx(0.2 * trained['base_learning_rate'])
  assert fit(1100, init_checkpoint='x', train_batch_size=64)['freeze'] == 'none'
  assert fit(init_checkpoint='x', freeze='backbone')['base_learning_rate'] == pytest.approx(
    trained['base_learning_rate']
  )


def test_a_job_that_resumes_keeps_its_sizes(tmp_path):
  record = {'starts': [{'flags': {'recipe': 'finetune', 'num_train_images': 77}}]}
  (tmp_path / 'run.json').write_text(json.dumps(record))
  flags = fit(90, model_dir=str(tmp_path))
  assert (flags['train_steps'], flags['num_train_images']) == (159, 90)
  record['starts'][0]['flags']['freeze'] = 'none'
  (tmp_path / 'run.json').write_text(json.dumps(record))
  assert fit(90, model_dir=str(tmp_path), init_checkpoint='x')['freeze'] == 'none'


def test_epochs_of_any_recipe(capsys):
  length = {'train_batch_size': 10}
  assert fitting.with_epochs(resolved(95, **length)).as_dict()['train_steps'] == 218949
  steps = fitting.with_epochs(resolved(95, train_epochs=2.0, **length)).as_dict()['train_steps']
  assert steps == 19
  assert '--train_epochs=2: 19 steps of 10 of the 95 training images' in capsys.readouterr().out


def test_epochs_and_steps_are_refused():
  given = {'train_epochs': 2.0, 'train_steps': 7, 'model_dir': 'there'}
  message = '--train_epochs=2 and --train_steps=7 both set the length of the training; give one'
  with pytest.raises(ValueError, match=message):
    small_scripts.MAIN.check(small_scripts.MAIN.resolve(given))
  with pytest.raises(ValueError, match='--train_epochs=-1.0 must be above 0'):
    config.LengthConfig(train_epochs=-1.0)


def test_given_numbers_that_look_wrong_are_reported(capsys):
  flags = resolved(train_batch_size=100, train_steps=10_000)
  fitting.report_length('here', flags.get(config.DataConfig), flags.get(config.JobConfig))
  first, second = capsys.readouterr().err.splitlines()
  assert first == (
    'here: --train_batch_size=100 is more than its 77 training images; --train_batch_size=16 '
    'would fit.'
  )
  assert '--train_steps=10000 shows its 77 training images 12,987 times' in second
  assert '--train_steps=26 would be 33 epochs' in second


def test_the_recipe_is_chosen_for_own_data_and_weights(tmp_path):
  recipes = {**small_scripts.RECIPES, 'finetune': small_scripts.recipe('finetune', momentum=0.8)}
  main = small_scripts.TRAINING.script('Trains.', 'small.main', recipes)

  def chosen(**given):
    return main.resolve({'init_checkpoint': 'x', **given}).recipe

  own = main.resolve({'data_dir': 'x', 'init_checkpoint': 'x'})
  assert own.recipe == 'finetune'
  assert own.origin == '--init_checkpoint without --recipe: the recipe finetune'
  assert chosen(dataset='x') == 'finetune' and chosen() == 'digits'
  # Official defaults wherever they can be meant.
  assert chosen(data_dir='x', recipe='imagenet') == chosen(data_dir='fake') == 'imagenet'
  assert main.resolve({'data_dir': 'x'}).recipe == 'imagenet'
  assert chosen(data_dir='x', mode='eval') == 'imagenet'
  # A job that began with another recipe resumes with it.
  flags = {'recipe': 'imagenet'}
  (tmp_path / 'run.json').write_text(json.dumps({'starts': [{'flags': flags}]}))
  assert chosen(data_dir='x', model_dir=str(tmp_path)) == 'imagenet'
  assert chosen(data_dir='x', model_dir=str(tmp_path / 'new')) == 'finetune'
  assert script.FINETUNE == 'finetune'

"""Many networks in one folder: resuming, means over runs, folders with other flags."""
import json

import keras
import pytest

from tpu_utils import runner
from tpu_utils.command_line import cli
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.image_jobs import experiment, script
from tpu_utils.image_jobs.experiment import Experiment, ExperimentConfig, Trial
from tpu_utils.images.spec import PreprocessSpec

DIGITS = {
  'input_image_size': 8, 'num_label_classes': 10, 'num_train_images': 1442, 'num_eval_images': 355,
  'train_batch_size': 16, 'eval_batch_size': 355, 'train_steps': 4, 'steps_per_eval': 4,
  'iterations_per_loop': 4, 'transpose_input': False, 'use_bfloat16': False,
  'lr_schedule': 'constant', 'lr_warmup_epochs': 0.0, 'moving_average_decay': 0.0,
}  # fmt: skip


def build_model(model_name, num_classes, image_size, dtype_policy):
  """Builds a linear classifier of pixels; these tests' networks differ only in name."""
  images = keras.Input((image_size, image_size, 3), name='images')
  x = keras.layers.Flatten(name='flatten')(keras.layers.Rescaling(1 / 255, name='scale')(images))
  return keras.Model(images, keras.layers.Dense(num_classes, name='fc')(x), name=model_name)


def resolve_model(model):
  return script.ModelSpec(build_model, PreprocessSpec(8), identity=(), run_info={})


def recipe(name, settings):
  return Recipe(
    name=name, script='small.main', paper='none', settings=settings, cost='seconds',
    command=f'python -m small.main --recipe={name}', expects='nothing', measured='nothing',
  )  # fmt: skip


RECIPES = {
  'imagenet': recipe('imagenet', {'model_name': 'base'}), 'digits': recipe('digits', DIGITS),
}  # fmt: skip
TRAINING = script.Training(
  (script.ModelConfig, ExperimentConfig), resolve_model, exports_digits=False
)
SCRIPT = TRAINING.script('Trains.', 'small.main', RECIPES, own_check=experiment.check)
TRIALS = [Trial(name, {'model_name': name}, 1930, 1920) for name in ('first', 'second')]


def opened(*arguments):
  given, _ = SCRIPT.parse(arguments)
  return Experiment(SCRIPT.resolve(given), TRAINING)


def lines(folder):
  return [json.loads(line) for line in (folder / 'results.jsonl').read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.long
def test_networks_are_trained_once_and_averaged_over_runs(tmp_path, capsys):
  scores = opened(f'--model_dir={tmp_path}', '--runs=2', '--seed=7').scores(TRIALS[:1])
  results = lines(tmp_path)
  assert [(line['network'], line['seed']) for line in results] == [('first', 7), ('first', 8)]
  assert all(line['step'] == 4 and line['multiply_adds'] == 1920 for line in results)
  errors = [100 - 100 * line['top_1_accuracy'] for line in results]
  assert errors[0] != errors[1]  # Another seed, another network.
  assert scores['first'].error == pytest.approx(sum(errors) / 2)
  assert scores['first'].deviation == pytest.approx(abs(errors[0] - errors[1]) / 2**0.5)
  assert scores['first'].error_text == f'{sum(errors) / 2:.2f} +- {scores["first"].deviation:.2f}'
  assert '[2 of 2 networks to train; about' in capsys.readouterr().out
  assert opened(f'--model_dir={tmp_path}', '--runs=2', '--seed=7').scores(TRIALS[:1]) == scores
  assert len(lines(tmp_path)) == 2
  assert 'networks to train' not in capsys.readouterr().out
  assert opened(f'--model_dir={tmp_path}', '--seed=7').scores(TRIALS[:1])['first'].runs == 1
  message = 'holds results with --train_steps=4, not 5: give the same flags'
  with pytest.raises(ValueError, match=message) as error:
    opened(f'--model_dir={tmp_path}', '--train_steps=5').scores(TRIALS[:1])
  assert '\n' not in str(error.value)


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_experiment_resumes(tmp_path, monkeypatch):
  with monkeypatch.context() as patch:
    # Killed while the second network trains, after its first checkpoint.
    save = runner.Runner.save

    def save_and_stop(self):
      save(self)
      if 'second' in self.config.model_dir:
        raise cli.Interrupted('killed')

    patch.setattr(runner.Runner, 'save', save_and_stop)
    with pytest.raises(cli.Interrupted):
      opened(f'--model_dir={tmp_path}').scores(TRIALS)
  assert [line['network'] for line in lines(tmp_path)] == ['first']
  whole = (tmp_path / 'results.jsonl').read_text()
  # Half a line, as a full disk leaves it.
  (tmp_path / 'results.jsonl').write_text(whole + '{"network": "sec')
  scores = opened(f'--model_dir={tmp_path}').scores(TRIALS)
  assert scores['second'].error == scores['first'].error  # They differ only in name.
  starts = json.loads((tmp_path / 'networks' / 'second-seed0' / 'run.json').read_text())['starts']
  assert len(starts) == 2  # It resumed in its folder.


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--mode=eval', '--model_dir=x'], '--mode=eval: an experiment trains and evaluates'),
    ([], '--model_dir is missing'),
    (['--strategy=multi_worker', '--model_dir=x'], 'which several workers cannot; use one machine'),
    (['--runs=0', '--model_dir=x'], '--runs=0 must be at least 1'),
  ],
)
def test_bad_input_is_one_clear_line(arguments, message):
  with pytest.raises(ValueError, match=message):
    opened(*arguments).scores(TRIALS)


@pytest.mark.parametrize(
  ('given', 'message'),
  [
    ({'mode': 'eval'}, '--mode=eval: an experiment trains and evaluates'),
    ({'data_dir': '/does/not/exist'}, '--data_dir=/does/not/exist does not exist'),
  ],
)
def test_mistakes_are_found_before_tensorflow_is_imported(given, message):
  with pytest.raises(ValueError, match=message):
    SCRIPT.check(SCRIPT.resolve(given))


def test_recipes_of_a_training_script_for_an_experiment():
  changes = {'digits': {'train_steps': 1, 'runs': 3}}
  own = experiment.own_recipes(RECIPES, 'small.experiment', changes)
  assert list(own) == ['digits']
  assert own['digits'].settings == {**DIGITS, 'train_steps': 1, 'runs': 3}
  assert own['digits'].script == 'small.experiment' and own['digits'].measured is None
  assert own['digits'].command == 'python -m small.experiment --recipe=digits'


def test_counts():
  counts = [25_028_904, 4_230_479_872, 999, 1000, 15_460_000]
  assert [experiment.count(n) for n in counts] == ['25.0M', '4.23G', '999', '1.00k', '15.5M']


def test_an_unknown_model_is_reported_before_the_settings_are_printed(capsys):
  def resolve_unknown(model):
    raise ValueError(f'Unknown model {model.model_name!r}')

  training = script.Training((script.ModelConfig, ExperimentConfig), resolve_unknown)
  with pytest.raises(ValueError, match="Unknown model 'base'"):
    Experiment(SCRIPT.resolve({'model_name': 'base'}), training)
  assert not capsys.readouterr().out


# Data of a miniature.

FASHION = {**DIGITS, 'model_dir': 'runs/fashion', 'runs': 3}
MINIATURE = experiment.miniature(
  TRAINING.script(
    'Trains.', 'small.main',
    {**RECIPES, experiment.FASHION: recipe(experiment.FASHION, FASHION)},
    own_check=experiment.check,
  ),
  quick={'dry_run': True},
)  # fmt: skip


def test_fashion_mnist_is_learnt_where_it_is_installed(tmp_path):
  given = {'fashion_mnist_dir': str(tmp_path)}
  resolved = MINIATURE.resolve(given)
  assert resolved.recipe == experiment.FASHION and resolved.as_dict()['data_dir'] == str(tmp_path)
  assert resolved.origin == f'No --data_dir: Fashion-MNIST of {tmp_path}'
  assert resolved.as_dict()['runs'] == 3
  assert experiment.augmentation(resolved).area_range == (0.7, 1.0)
  assert MINIATURE.resolve({**given, 'recipe': experiment.FASHION}).as_dict()['data_dir']


def test_the_digits_are_learnt_elsewhere_and_the_output_says_why(monkeypatch):
  monkeypatch.setattr(experiment, 'FASHION_DIR', '/nowhere')
  resolved = MINIATURE.resolve({})
  assert resolved.recipe == 'digits' and experiment.augmentation(resolved) is None
  assert resolved.origin == (
    "No --data_dir, and no Fashion-MNIST in /nowhere (Debian's package dataset-fashion-mnist (31 "
    'MB) installs it): the embedded digits, which are too few to tell networks apart'
  )
  for given in ({'fashion_mnist_dir': '/none'}, {'recipe': experiment.FASHION}):
    with pytest.raises(ValueError, match=r'--fashion_mnist_dir=/no\w+ is not a folder; .*Debian'):
      MINIATURE.resolve(given)


def test_named_data_come_first(tmp_path):
  given = {'fashion_mnist_dir': str(tmp_path), 'dataset': 'cifar10'}
  assert MINIATURE.resolve(given).recipe == 'imagenet'
  # The miniature's networks on other data.
  resolved = MINIATURE.resolve({**given, 'recipe': experiment.FASHION})
  flags = resolved.as_dict()
  assert (flags['data_dir'], flags['dataset'], flags['runs']) == ('', 'cifar10', 3)
  assert MINIATURE.resolve({**given, 'recipe': 'imagenet'}).recipe == 'imagenet'


def test_a_quick_trial_has_a_folder_of_its_own(tmp_path):
  given = {'fashion_mnist_dir': str(tmp_path), 'quick': True}
  flags = MINIATURE.resolve(given).as_dict()
  wanted = {'runs': 1, 'train_steps': 2, 'dry_run': True, 'model_dir': 'runs/fashion-quick'}
  assert {name: flags[name] for name in wanted} == wanted
  assert MINIATURE.resolve({**given, 'train_steps': 7}).as_dict()['train_steps'] == 7
  assert MINIATURE.resolve({**given, 'data_dir': 'x'}).as_dict()['train_steps'] == 2
  assert 'mean nothing' in experiment.quick_remark(True) and not experiment.quick_remark(False)


def test_what_the_networks_saw_is_a_sentence(tmp_path):
  text = experiment.budget(MINIATURE.resolve({'fashion_mnist_dir': str(tmp_path)}))
  assert text.startswith(f'Each network was trained on 64 images, 0.044 epochs of {tmp_path}, and ')


def test_scores_are_compared_by_their_seeds():
  def score(*errors):
    return experiment.Score(sum(errors) / len(errors), 0.0, 0.0, len(errors), errors)

  assert score(10.0, 10.2).against(score(12.0, 12.2)) == '-2.00 (clearly better)'

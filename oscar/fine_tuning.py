"""The fine-tuning scripts: their official flags, recipes, and flags restored from checkpoints.

`fine_tuning_job` runs what the flags describe.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oscar import checkpoint_tasks, fine_tuning_job, recipes, run_pretrain, task_settings
from tpu_utils import config, files
from tpu_utils.command_line import job_flags, settings
from tpu_utils.command_line.recipes import Recipe, for_script
from tpu_utils.command_line.script import Choice, Script, named_origin

_READING_MODES = ('eval', 'predict', 'export')  # They only read checkpoints.
# Flags that a record of a job or a checkpoint does not restore.
_OF_THE_RUN = (
  'data_dir', 'txt_data_dir', 'img_feat_dir', 'train_split', 'eval_split', 'mode', 'do_train',
  'do_train_val', 'do_eval', 'do_test', 'do_test_dev', 'model_dir', 'export_dir', 'test_split',
)  # fmt: skip
# Flags that belong to the split or the search, and so are restored to evaluate but not to test.
_OF_THE_SPLIT = (
  'eval_img_keys_file', 'eval_caption_index_file', 'cross_image_eval', 'num_captions_per_img_val',
  'num_eval_images', 'eval_folds', 'test_yaml', 'num_beams', 'num_keep_best', 'repetition_penalty',
  'length_penalty', 'use_cbs', 'min_constraints_to_satisfy', 'suppress_general', 'questions_file',
  'choices_file', 'sentences_file',
)  # fmt: skip
_OF_THE_CONFIG = ('use_img_layernorm', 'img_layer_norm_eps')


@dataclasses.dataclass(frozen=True)
class FineTuning:
  """What the script of one task adds to the others.

  Attributes:
    task: name of the task, as for `oscar.build_model`.
    module: the script's name for `python -m`.
    data: class of the task's flags, with names as in `task_settings.TaskData`.
    implementation: module with `TASK`, an `oscar.job.OscarTask`; `count(data, split)`, the number
      of a split's examples; and, unless the task has a `predictor`, `write_results(data, records,
      path)`, which writes them in the form of a submission and returns their metrics, {} in splits
      without answers.
    scenes: name of the recipe without --data_dir.
    scenes_with: {flag: name of the recipe without --data_dir, but with that flag}.
    scenes_data: folder of the scenes with the task's official files, as for `World.manual_dir`.
    splits: {do_test or do_test_dev: split that it predicts}.
    unanswered: splits that can only be predicted.
    train_and_val: whether there is a split train+val.
    elsewhere: official flags without counterpart, see `Script`.
    results: suffix of the result file of a split.
    results_name: function(data) -> the whole name of that file; None for split and suffix.
    results_are: what is in that file, for messages; empty for what the split makes of it.
    model: class of the flags of the network.
    job: class of the flags of the job, with names as in `task_settings.JobConfig`.
    evaluates_tests: whether --do_eval without training predicts the test split, as --do_test does.
    can_evaluate: function({flag: value}) -> whether there is something to evaluate with; without,
      --do_train only trains.
    check: function({flag: value}, modes) that raises ValueError for flags that contradict each
      other.
    as_trained: function({flag: value} of a checkpoint's training) -> the same with meanings as
      here.
    of_the_config: further flags that its config.json decides where the training does not say.
    continued: function({flag: value}) -> flags that a training takes from the training of its
      initial checkpoint, unless the user gives them.
  """

  task: str
  module: str
  data: type
  implementation: str
  scenes: str
  scenes_data: str
  splits: Mapping[str, str]
  unanswered: tuple[str, ...]
  train_and_val: bool
  elsewhere: Mapping[str, str]
  results: str = '_results.json'
  results_name: Callable[[Any], str] | None = None
  results_are: str = ''
  model: type = task_settings.ModelConfig
  job: type = task_settings.JobConfig
  evaluates_tests: bool = False
  can_evaluate: Callable[[Mapping[str, Any]], bool] = lambda values: True
  check: Callable[[Mapping[str, Any], Sequence[str]], None] = lambda values, modes: None
  as_trained: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda stored: stored
  of_the_config: tuple[str, ...] = ()
  scenes_with: Mapping[str, str] = dataclasses.field(default_factory=dict)
  continued: Callable[[Mapping[str, Any]], Sequence[str]] = lambda values: ()


def script(doc: str, spec: FineTuning, default_recipe: str) -> Script:
  """Returns the `Script` of a task.

  Args:
    doc: docstring of the script.
    spec: the task.
    default_recipe: name of the recipe with the official defaults.
  """
  own = {
    name: _with_known_flags(recipe, spec)
    for name, recipe in for_script(recipes.RECIPES, spec.module).items()
  }
  return Script(
    doc,
    groups(spec),
    lambda resolved: run(resolved, spec),
    elsewhere=spec.elsewhere,
    defaults={'use_bfloat16': False},  # The official code is float32.
    module=spec.module,
    # Recipes of other scripts are named in the error of --recipe.
    recipes={**recipes.RECIPES, **own},
    default_recipe=default_recipe,
    choose=lambda given, recipe: choose(given, recipe, spec),
    check=lambda resolved: check(resolved, spec),
  )


def groups(spec: FineTuning) -> tuple[type, ...]:
  """Returns the settings classes of a task's script."""
  return (
    spec.model,
    spec.data,
    task_settings.OptimizationConfig,
    spec.job,
    config.HardwareConfig,
  )


def _with_known_flags(recipe, spec):
  """Returns a recipe without the flags that this project answers in another way."""
  known = {name: v for name, v in recipe.settings.items() if name not in spec.elsewhere}
  return dataclasses.replace(recipe, settings=known)


def choose(given: Mapping[str, Any], recipe: Recipe | None, spec: FineTuning) -> Choice:
  """Chooses the recipe, and restores flags of the job or checkpoint in modes that only read one.

  Args:
    given: {flag: value} of the user.
    recipe: the recipe that the user named, or None.
    spec: the task.

  Raises:
    ValueError: the recipe needs --data_dir, or the record of a job or checkpoint is not valid.
  """
  scenes = _scenes_recipe(given, recipe, spec)
  model_dir = given.get('model_dir')
  if model_dir is None and not given.get('data_dir'):
    model_dir = scenes.settings['model_dir']
  values = {**(recipe.settings if recipe else {}), **given}
  facts = _facts(values, model_dir, spec)
  origin = named_origin(recipe) if recipe else ''
  if not given.get('data_dir', facts.get('data_dir')):
    if recipe is not None and recipe.name != scenes.name:
      raise ValueError(
        f'--recipe={recipe.name} needs --data_dir; to train on the scenes, leave out --recipe.'
      )
    if recipe is None:
      recipe, origin = scenes, 'No --data_dir: scenes of handwritten digits'
    facts = {**dict.fromkeys(_OF_THE_CONFIG), **facts}  # As pre-trained.
  if modes_of(values, spec)[0] in ('eval', 'predict'):
    facts['export_dir'] = None  # A recipe's; they do not replace what the training exported.
  else:
    facts |= _continued({**(recipe.settings if recipe else {}), **given}, spec)
  return Choice(recipe, origin=origin, facts=facts)


def _scenes_recipe(given, recipe, spec):
  """Returns the recipe for the scenes that the flags choose."""
  named = recipe.name if recipe else ''
  if named in spec.scenes_with.values():
    return recipes.RECIPES[named]
  flags = (flag for flag in spec.scenes_with if given.get(flag) and not named)
  return recipes.RECIPES[next((spec.scenes_with[flag] for flag in flags), spec.scenes)]


def _continued(given, spec):
  """Returns the flags that a training takes from that of its initial checkpoint."""
  names, checkpoint = spec.continued(given), given.get('init_checkpoint')
  if not names or not checkpoint or modes_of(given, spec)[0] in _READING_MODES:
    return {}
  stored = spec.as_trained(checkpoint_tasks.settings_of(checkpoint))
  stored = {name: stored[name] for name in names if stored.get(name) is not None}
  return _typed(stored, groups(spec), checkpoint)


def _facts(given, model_dir, spec):
  mode = modes_of(given, spec)[0]
  if mode not in _READING_MODES:
    return {}
  without = ('data_dir', 'txt_data_dir', 'img_feat_dir') if given.get('data_dir') else ()
  kept = [name for name in _OF_THE_RUN if name not in ('data_dir', 'txt_data_dir', 'img_feat_dir')]
  kept += [] if mode == 'eval' else _OF_THE_SPLIT
  job = job_flags.of_checkpoint(model_dir) if model_dir else None
  if job is not None:
    return job_flags.facts(job, groups(spec), (*without, *kept))
  if not given.get('init_checkpoint'):
    return {}
  stored = spec.as_trained(checkpoint_tasks.settings_of(given['init_checkpoint']))
  names = task_settings.OF_THE_MODEL
  stored = {name: stored[name] for name in names if stored.get(name) is not None}
  found = _typed(job_flags.facts(stored, groups(spec)), groups(spec), given['init_checkpoint'])
  # Without flags of its training its config.json decides, not the default of training.
  found = {**dict.fromkeys((*_OF_THE_CONFIG, *spec.of_the_config)), **found}
  if spec.evaluates_tests and model_dir is None:
    if job_flags.of_checkpoint(given['init_checkpoint']) is not None:
      raise ValueError(
        f'{given["init_checkpoint"]} is the folder of a job: give it as --output_dir.'
      )
    found['model_dir'] = checkpoint_tasks.folder_of(given['init_checkpoint'])  # As officially.
  return found


def _typed(values, classes, source):
  """Checks the types of values from a checkpoint, which become settings.

  Raises:
    ValueError: a value has another type than its flag.
  """
  fields = {field.name: field for group in classes for field in dataclasses.fields(group)}
  for name, value in values.items():
    kind = fields[name].metadata['type']
    admitted = {float: (int, float), bool: (bool, int)}.get(kind, (kind,))
    if not isinstance(value, admitted) or (kind is int and isinstance(value, bool)):
      raise ValueError(
        f'{source}: {name} is {value!r:.40} in its flags, expected {kind.__name__}; give '
        f'--{name}.'
      )
    values[name] = kind(value)
  return values


def modes_of(values: Mapping[str, Any], spec: FineTuning | None = None) -> list[str]:
  """Returns the modes to run one after another.

  Args:
    values: {flag: value} with `mode` and the official --do flags, which may be missing.
    spec: the task; None for one whose --do_eval evaluates and that always can.
  """
  if values.get('mode'):
    return [values['mode']]
  trains = values.get('do_train') or values.get('do_train_val')
  modes = ['train_and_eval'] if trains else []
  if spec is not None and spec.evaluates_tests:
    modes += ['predict'] if values.get('do_test') or values.get('do_eval') else []
  else:
    modes += ['eval'] if values.get('do_eval') and not trains else []
    modes += ['predict' for name in ('do_test_dev', 'do_test') if values.get(name)]
  modes = modes or ['train_and_eval']
  if spec and not spec.can_evaluate(values):
    modes = ['train' if mode == 'train_and_eval' else mode for mode in modes]
  return modes


def check(resolved: settings.Resolved, spec: FineTuning) -> None:
  """Checks the folders and the combination of flags, without TensorFlow.

  Raises:
    ValueError: a folder is missing, or flags contradict each other.
  """
  values = resolved.as_dict()
  modes = modes_of(values, spec)
  for name in ('data_dir', 'txt_data_dir', 'img_feat_dir', 'annotations_dir'):
    files.check_folder(name, values.get(name) or '')
  for name in ('questions_file', 'choices_file'):
    files.check_file(name, values.get(name) or '')
  if not values['model_dir']:
    raise ValueError('--model_dir is missing: the folder for checkpoints and predictions.')
  start = values['init_checkpoint']
  if not values['data_dir'] and start == _scenes_start(spec) and not files.is_folder(start):
    raise ValueError(
      f'--init_checkpoint={start} does not exist: run `python -m oscar.run_pretrain`, or give '
      '--init_checkpoint= --config=tiny to start without pre-training.'
    )
  if values['do_train'] and values.get('do_train_val'):
    raise ValueError('--do_train and --do_train_val: choose the one whose split is to be trained.')
  if values['mode'] == 'export' and not values['export_dir']:
    raise ValueError('--mode=export needs --export_dir, the folder to write to.')
  if values.get('label_source') == 'annotations' and not values['annotations_dir']:
    raise ValueError('--label_source=annotations needs --annotations_dir, their folder.')
  if values.get('do_train_val') and not spec.train_and_val:
    raise ValueError(
      f'--do_train_val: {spec.task} has no split train+val; train on train with --do_train.'
    )
  for name in ('do_test', 'do_test_dev'):
    if values.get(name) and name not in spec.splits:
      raise ValueError(f'--{name}: {spec.task} has no such split; leave it out.')
  task_settings.check_tags(values)
  spec.check(values, modes)
  if values['eval_split'] in spec.unanswered and {'eval', 'train_and_eval'} & {*modes}:
    raise ValueError(
      f'--eval_split={values["eval_split"]} has no answers to evaluate; use --mode=predict, which '
      'writes the file for the test server.'
    )


def _scenes_start(spec):
  return recipes.RECIPES[spec.scenes].settings['init_checkpoint']


def run(resolved: settings.Resolved, spec: FineTuning) -> None:
  """Runs the jobs that the settings describe: training, evaluation, prediction or export."""
  if resolved.origin:
    print(resolved.preset_text())
  values = resolved.as_dict()
  model, data, *_ = resolved
  if not data.data_dir:
    model, data = with_scenes(model, data, spec)
  modes = modes_of(values, spec)
  tests = [spec.splits[name] for name in ('do_test_dev', 'do_test') if values.get(name)]
  parts = []
  for mode in modes:
    split = data.eval_split
    if mode == 'predict' and not values['mode']:
      split = values.get('test_split') or (tests.pop(0) if tests else spec.splits['do_test'])
    parts.append((mode, dataclasses.replace(data, eval_split=split or 'val')))
  fine_tuning_job.check_splits([own for _, own in parts[1:]], spec)
  for mode, own in parts:
    fine_tuning_job.run(mode, model, own, resolved, spec)


def with_scenes(
  model: task_settings.ModelConfig, data: Any, spec: FineTuning
) -> tuple[task_settings.ModelConfig, Any]:
  """Returns the settings with the folders and the vocabulary of the scenes, generated once.

  Args:
    model: the flags of the network.
    data: the task's flags, an instance of `spec.data`.
    spec: the task.
  """
  from oscar import scenes

  world = scenes.build(run_pretrain.SCENES_DIR, log=print)
  folder = world.manual_dir(spec.scenes_data)
  data = dataclasses.replace(data, data_dir=folder)
  if 'txt_data_dir' in {field.name for field in dataclasses.fields(data)}:
    data = dataclasses.replace(
      data, txt_data_dir=folder, img_feat_dir=folder, annotations_dir=data.annotations_dir or folder
    )
  return dataclasses.replace(model, vocab_file=model.vocab_file or world.vocab_file), data

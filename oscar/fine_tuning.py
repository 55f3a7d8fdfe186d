"""The fine-tuning scripts: official flags to a job, its length in epochs, and result files.

The official scripts train `num_train_epochs` passes of len(loader) // accumulation updates, where
the loader's last batch may be smaller; the learning rate falls over exactly these updates. Batches
here are all full, so an update sees as many examples, but a pass may end within a batch.

Source: microsoft/Oscar, `train` of oscar/run_vqa.py, run_gqa.py, run_nlvr.py, run_retrieval.py,
run_captioning.py.
"""

import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oscar import checkpoint_tasks, recipes, run_pretrain, script_settings, task_settings
from oscar.datasets import tags
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
  'length_penalty', 'use_cbs', 'min_constraints_to_satisfy', 'suppress_general',
)  # fmt: skip
_OF_THE_CONFIG = ('use_img_layernorm', 'img_layer_norm_eps')
MASKED = 'masked_regions'  # In the names of results with --mask_regions.


@dataclasses.dataclass(frozen=True)
class FineTuning:
  """What the script of one task adds to the others.

  Attributes:
    task: name of the task, as for `oscar.build_model`.
    module: the script's name for `python -m`.
    data: class of the task's flags, with names as in `task_settings.TaskData`.
    implementation: module with `TASK`, an `oscar.job.OscarTask`; `count(data, split)`, the number
      of a split's examples; and, unless the task has a `predictor`, `write_results(data, records,
      path)`, which writes the test server's file and returns the metrics of the predictions, {} in
      splits without answers.
    scenes: name of the recipe without --data_dir.
    scenes_with: {flag: name of the recipe without --data_dir, but with that flag}.
    scenes_data: folder of the scenes with the task's official files, as for `World.manual_dir`.
    splits: {do_test or do_test_dev: split that it predicts}.
    unanswered: splits that can only be predicted.
    train_and_val: whether there is a split train+val.
    elsewhere: official flags without counterpart, see `Script`.
    results: suffix of the result file of a split.
    results_name: function(data) -> the whole name of that file; None for split and suffix.
    results_are: what is in that file, for messages.
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
  results_are: str = 'Results for the test server'
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
  """Chooses the recipe, and restores flags of the job or checkpoint in modes that only read one."""
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
  for mode in modes:
    split = data.eval_split
    if mode == 'predict' and not values['mode']:
      split = values.get('test_split') or (tests.pop(0) if tests else spec.splits['do_test'])
    settings_of_mode = dataclasses.replace(data, eval_split=split or 'val')
    _run(mode, model, settings_of_mode, resolved, spec)


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


def _run(mode, model, data, resolved, spec):
  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from oscar import job as oscar_job
  from oscar.tasks import kept
  from tpu_utils import job as jobs
  from tpu_utils.runner import prepare_model_dir

  kept.forget()  # Files may have changed since another job of this process.
  implementation = importlib.import_module(spec.implementation)
  optimization, job = resolved[2], resolved.get(spec.job)
  hardware = resolved.get(config.HardwareConfig)
  training = mode in ('train', 'train_and_eval', 'preflight')
  split = data.train_split or ('train+val' if getattr(job, 'do_train_val', False) else 'train')
  data = dataclasses.replace(
    task_settings.with_tags_flag(data),
    train_split=split,
    **_trimming(data, hardware, mode),
    **_batches(data, optimization, hardware),
  )
  steps, per_epoch = _length(implementation, data, optimization, training)
  # As `given`: no flags of their own.
  object.__setattr__(data, 'steps_per_epoch', per_epoch)
  object.__setattr__(data, 'forward_passes', optimization.gradient_accumulation_steps)
  name = results_name(data)
  lines = getattr(job, 'predict_file', None) or os.path.join(
    job.model_dir, f'{name}_predictions.jsonl'
  )
  job = _set_apart(job, mode, data, resolved.facts)
  runtime = script_settings.JobConfig(
    mode=mode,
    predict_file=lines,
    train_steps=steps,
    steps_per_eval=_steps_per_eval(job, per_epoch),
    **{
      name: getattr(job, name)
      for name in _shared(script_settings.JobConfig, job)
      if name not in ('mode', 'steps_per_eval', 'predict_file')
    },
  )
  optimizer = script_settings.OptimizationConfig(
    **{
      name: getattr(optimization, name)
      for name in _shared(script_settings.OptimizationConfig, optimization)
    }
  )
  as_it_is = mode in ('eval', 'predict') and 'init_checkpoint' in resolved.flags
  recorded = {**resolved.as_dict(), 'max_steps': steps, 'train_split': split}
  task = dataclasses.replace(
    implementation.TASK, open_input=_opening_splits(implementation.TASK.open_input, mode)
  )
  made = oscar_job.make_job(
    task,
    model,
    data,
    optimizer,
    runtime,
    hardware,
    run_info={'flags': recorded},
    as_it_is=as_it_is,
    num_train_examples=None if training else 1,  # Only for the number of epochs trained.
  )
  if mode == 'predict':
    prepare_model_dir(job.model_dir)
  jobs.run(made)
  if mode == 'predict' and task.predictor is None:
    file = spec.results_name(data) if spec.results_name else f'{name}{spec.results}'
    results = os.path.join(job.model_dir, file)
    files.remove(results)  # Of an earlier run: without identifiers NLVR2 writes none.
    metrics = implementation.write_results(data, files.read_json_lines(lines), results)
    if metrics:
      text = ', '.join(f'{name} {value:.4f}' for name, value in metrics.items())
      print(f'Predictions for {data.eval_split}: {text}')
    if files.exists(results):
      print(f'{spec.results_are}: {results}')


def results_name(data: task_settings.TaskData) -> str:
  """Returns the start of the names of a split's predictions and results."""
  parts = [data.eval_split]
  parts += [MASKED] if data.mask_regions else []
  parts += [] if data.tags == tags.GIVEN else [tags.name(data.tags)]
  return '_'.join(parts)


def _set_apart(job, mode, data, facts):
  """Returns the settings of an evaluation with other regions or tags than those of the training.

  Its results are no results of the job: they go to a folder of their own, and the best checkpoint
  stays.
  """
  parts = []
  if data.mask_regions != bool(facts.get('mask_regions')):
    parts.append(MASKED if data.mask_regions else 'shown_regions')
  if data.tags != facts.get('tags', tags.GIVEN):
    parts.append(tags.name(data.tags))
  if mode != 'eval' or not parts:
    return job
  name = job.eval_name or '_'.join(parts)
  return dataclasses.replace(job, eval_name=name, archive_ckpt=False)


def _opening_splits(open_input, mode):
  """Returns `open_input` that opens the splits of a mode at once: bad data show before training."""

  def opened(*args):
    source = open_input(*args)
    for split, modes in (
      ('train', ('train', 'train_and_eval', 'preflight')),
      ('eval', ('train_and_eval', 'eval', 'predict', 'preflight')),
    ):  # fmt: skip
      if mode in modes:
        getattr(source, f'num_{split}_examples')
    return source

  return opened


def _shared(runtime_class, own):
  """Returns the names of settings that a runtime class has in common with the script's."""
  names = {field.name for field in dataclasses.fields(own)}
  return [field.name for field in dataclasses.fields(runtime_class) if field.name in names]


def _trimming(data, hardware, mode):
  """Returns {'trim_padding': whether to}, off on TPUs; {} for a task without it."""
  if not hasattr(data, 'trim_padding'):
    return {}
  on_tpu = hardware.strategy == 'tpu' or hardware.tpu or mode == 'preflight'
  return {'trim_padding': data.trim_padding and not on_tpu}


def _batches(data, optimization, hardware):
  """Returns the global batch sizes; per-device ones are multiplied by the devices."""
  train, evaluation = data.train_batch_size, data.eval_batch_size
  if train is None or evaluation is None:
    devices = _devices(hardware, data)
    parts = optimization.gradient_accumulation_steps
    train = train or data.per_gpu_train_batch_size * devices * parts
    evaluation = evaluation or data.per_gpu_eval_batch_size * devices
  return {'train_batch_size': train, 'eval_batch_size': evaluation}


def _devices(hardware, data):
  """Returns the number of devices, before there is a strategy."""
  if hardware.strategy == 'one_device':
    return 1
  if hardware.strategy in ('tpu', 'multi_worker') or hardware.tpu or os.environ.get('TF_CONFIG'):
    raise ValueError(
      f'--per_gpu_train_batch_size={data.per_gpu_train_batch_size}: on TPUs and several machines '
      'give the global sizes, --train_batch_size and --eval_batch_size.'
    )
  import tensorflow as tf

  return max(1, len(tf.config.list_physical_devices('GPU')))


def _length(implementation, data, optimization, training):
  """Returns (steps of the whole training, steps of an epoch)."""
  if not training:
    # Of a job's record: `max_steps` counts its steps.
    steps = max(1, optimization.max_steps)
    return steps, steps
  examples = implementation.count(data, data.train_split)
  parts = optimization.gradient_accumulation_steps
  per_epoch = steps_per_epoch(examples, data.train_batch_size, parts)
  if optimization.max_steps > 0:
    return optimization.max_steps, per_epoch
  steps = int(per_epoch * optimization.num_train_epochs)
  if not steps:
    raise ValueError(
      f'--num_train_epochs={optimization.num_train_epochs} of {examples} examples is no step in '
      f'batches of {data.train_batch_size}; train for longer.'
    )
  return steps, per_epoch


def steps_per_epoch(examples: int, batch_size: int, accumulation_steps: int = 1) -> int:
  """Returns the updates of an epoch as the official scripts count them.

  Args:
    examples: training examples.
    batch_size: examples of an update.
    accumulation_steps: parts of a batch, each a batch of the official loader.
  """
  part = max(1, batch_size // accumulation_steps)
  return max(1, -(-examples // part) // accumulation_steps)


def _steps_per_eval(job, per_epoch):
  if job.steps_per_eval is not None:
    return job.steps_per_eval
  if not job.evaluate_during_training:
    return per_epoch
  if hasattr(job, 'save_steps'):  # Retrieval evaluates where the official script saves.
    return job.save_steps if job.save_steps > 0 else per_epoch
  return job.logging_steps if 0 < job.logging_steps < per_epoch else per_epoch

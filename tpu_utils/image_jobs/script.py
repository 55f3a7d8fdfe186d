"""The training script that the papers' image classifiers share: from the command line to a job.

TensorFlow is imported only once the settings have been checked, so that `--help` and mistakes are
answered at once.
"""
from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tpu_utils import config, files
from tpu_utils.command_line import job_flags, settings
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.command_line.script import Choice, Script, named_origin
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import classes, fitting, specs
from tpu_utils.image_jobs.fitting import FINETUNE
from tpu_utils.image_jobs.reporting.settings import ReportConfig
from tpu_utils.image_jobs.specs import PRETRAINED
from tpu_utils.images.spec import Augmentation, PreprocessSpec

if TYPE_CHECKING:
  import keras

# Flags that define any model; a model_dir with other values is refused.
_IDENTITY = ('model_name', 'num_label_classes', 'advprop')

DIGITS, DIGITS_TUNED, TRANSFER = 'digits', 'digits_tuned', 'transfer'  # Names of recipes.

_SHARED_GROUPS = (
  config.DataConfig,
  config.OptimizationConfig,
  config.FineTuningConfig,
  config.JobConfig,
  config.LengthConfig,
  config.ExportConfig,
  config.HardwareConfig,
  ReportConfig,
)
# Settings that a reader of a job's checkpoints takes from the job, besides the model's own groups.
_OF_JOB = (
  *job_flags.DATA_NAMES, 'num_label_classes', 'advprop', 'crop_rule', 'interpolation',
  'train_steps',  # The checkpoint at which --mode=eval ends.
  'use_bfloat16', 'transpose_input', 'eval_batch_size', 'labels_map_file',
)  # fmt: skip
_READING_MODES = ('eval', 'export', 'predict')
_TRAINING_MODES = ('train', 'train_and_eval', 'preflight')
_BIGTABLE = 'TensorFlow 2 has no Bigtable client; write the table to TFRecord shards for --data_dir'
# {flag of the official script that this one lacks: what to do instead}.
ELSEWHERE = {
  'bigtable_instance': _BIGTABLE,
  'bigtable_project': _BIGTABLE,
  'bigtable_table': _BIGTABLE,
  'bigtable_train_prefix': _BIGTABLE,
  'bigtable_eval_prefix': _BIGTABLE,
  'bigtable_column_family': _BIGTABLE,
  'bigtable_column_qualifier': _BIGTABLE,
  'data_format': 'leave it out; XLA chooses the layout on TPU and GPU by itself',
  'num_replicas': 'leave it out; the strategy knows how many replicas there are',
}


@dataclasses.dataclass(frozen=True)
class ModelConfig(settings.Checked):
  """The network: base of the papers' settings; fields of a subclass override the model's own."""

  model_name: str = setting(None, 'The model; a wrong name lists the nearest.', type=str)
  input_image_size: int = setting(
    None, "Pixels a side; by default the model's.", type=int, at_least=1
  )

  def overrides(self) -> dict[str, Any]:
    """Returns the settings that override the model's own."""
    own = [field.name for field in dataclasses.fields(self)][2:]
    pairs = {name: getattr(self, name) for name in own}
    return {name: value for name, value in pairs.items() if value is not None}


@dataclasses.dataclass(frozen=True)
class ModelSpec:
  """Description of one network of a paper.

  Attributes:
    build_model: function(model_name, num_classes=, image_size=, dtype_policy=, **overrides) ->
      keras.Model from `images` to logits.
    spec: preprocessing of its images.
    identity: names of the settings that, besides its name and classes, define the model.
    run_info: JSON-able dict for run.json.
    find_pretrained: function(model_name) -> path of ImageNet weights; raises ValueError if there
      are none. None if no package has weights of this paper.
    feature_extractor: function like `build_model`, with endpoints=[name, ...] -> keras.Model from
      `images` to {name: tensor}. None if it has none.
    build_peer: function like `build_model`, without overrides -> the same network from Keras' own
      layers, for --compare=keras. None if there is none.
  """

  build_model: Callable[..., keras.Model]
  spec: PreprocessSpec
  identity: tuple[str, ...]
  run_info: Mapping[str, Any]
  find_pretrained: Callable[[str], str] | None = None
  feature_extractor: Callable[..., keras.Model] | None = None
  build_peer: Callable[..., keras.Model] | None = None

  def build(
    self,
    config: ModelConfig,
    spec: PreprocessSpec,
    num_classes: int | None,
    advprop: bool,
    **settings: Any,
  ) -> keras.Model:
    """Builds the network.

    Args:
      config: settings of the model.
      spec: preprocessing of its images.
      num_classes: None for the network's own.
      advprop: whether the network scales images by `spec`, as for AdvProp.
      **settings: further arguments of `build_model`.
    """
    scaling = {'mean_rgb': spec.mean_rgb, 'stddev_rgb': spec.stddev_rgb} if advprop else {}
    return self.build_model(
      config.model_name,
      num_classes=num_classes,
      image_size=spec.image_size,
      **settings,
      **{**config.overrides(), **scaling},
    )


def _no_augmentation(resolved):
  """Leaves the augmentation to the data set."""
  del resolved


@dataclasses.dataclass(frozen=True)
class Training:
  """The shared training script for one paper.

  Attributes:
    model_groups: the paper's settings classes, its `ModelConfig` first.
    resolve_model: function(ModelConfig) -> `ModelSpec`; may import TensorFlow.
    augmentation: function(Resolved) -> `Augmentation` of training; None for the data's default.
    exports_digits: whether the recipes of the digits export their model, below --model_dir.
    package: of the paper's scripts, such as 'efficientnet', for the commands in reports.
  """

  model_groups: tuple[type, ...]
  resolve_model: Callable[[Any], ModelSpec]
  augmentation: Callable[[settings.Resolved], Augmentation | None] = _no_augmentation
  exports_digits: bool = True
  package: str = ''

  def script(
    self,
    doc: str,
    module: str,
    recipes: Mapping[str, Recipe],
    run: Callable[[settings.Resolved], Any] | None = None,
    own_check: Callable[[settings.Resolved], None] | None = None,
    defaults: Mapping[str, Any] | None = None,
  ) -> Script:
    """Makes the script.

    Args:
      doc: its docstring.
      module: its name for `python -m`.
      recipes: 'imagenet' (the default), 'digits' and 'transfer' among them.
      run: function(Resolved) to call instead of `train`.
      own_check: function(Resolved) to call instead of `check`, before TensorFlow is imported.
      defaults: {flag: value} that override the settings' own defaults.
    """
    return Script(
      doc=doc,
      groups=(*self.model_groups, *_SHARED_GROUPS),
      run=run or self.train,
      elsewhere=ELSEWHERE,
      defaults=defaults or {},
      module=module,
      recipes=recipes,
      default_recipe='imagenet',
      choose=functools.partial(self._choose, recipes),
      check=own_check or check,
    )

  def train(self, resolved: settings.Resolved) -> None:
    """Prints the origin of the settings, then runs their job; see `run_job`."""
    self.run_job(resolved, announce=True)

  def run_job(self, resolved: settings.Resolved, announce: bool = False) -> None:
    """Runs the job that the settings describe: training, evaluation or export.

    Args:
      resolved: the settings.
      announce: whether to print the origin of the settings, such as the recipe.

    Raises:
      ValueError, OSError: a setting is wrong, or the data or a checkpoint cannot be read.
    """
    check(resolved)
    job = resolved.get(config.JobConfig)
    needs_data = not _knows_classes(resolved)
    model = resolved[0]
    model_spec = self.resolve_model(model)  # A wrong name is reported before anything is opened.
    if announce and resolved.origin:
      print(resolved.preset_text())
    if job.mode in _TRAINING_MODES:
      resolved = specs.like_initial_weights(resolved)
      model = resolved[0]

    from tpu_utils.image_jobs import train
    from tpu_utils.image_jobs.data import check_length, with_data

    dataset = None
    if needs_data:
      dataset, resolved = with_data(resolved, job.mode)
    data = resolved.get(config.DataConfig)
    class_names = _names_to_learn(data, dataset, job)
    spec = specs.fitted_spec(model_spec.spec, model, data, data.is_digits)

    def build_model(dtype_policy):
      return model_spec.build(
        model, spec, data.num_label_classes, data.advprop, dtype_policy=dtype_policy
      )

    def build_peer(dtype_policy):
      return model_spec.build_peer(
        model.model_name,
        num_classes=data.num_label_classes,
        image_size=spec.image_size,
        dtype_policy=dtype_policy,
      )

    if job.mode in _TRAINING_MODES:
      resolved = _with_length(resolved, build_model)
      if dataset is not None:
        check_length(resolved, dataset.name)
      data, job = resolved.get(config.DataConfig), resolved.get(config.JobConfig)

    flags = resolved.as_dict()
    train.run(
      build_model,
      spec,
      {name: flags[name] for name in (*_IDENTITY, *model_spec.identity)},
      hardware=resolved.get(config.HardwareConfig),
      data=data,
      dataset=dataset,
      optimization=resolved.get(config.OptimizationConfig),
      job=job,
      exports=resolved.get(config.ExportConfig),
      class_names=class_names,
      tuning=_resolve_tuning(resolved.get(config.FineTuningConfig), model_spec, model),
      augmentation=self.augmentation(resolved),
      run_info={'flags': flags, **model_spec.run_info},
      report=resolved.get(ReportConfig),
      package=self.package,
      build_peer=None if model_spec.build_peer is None or model.overrides() else build_peer,
    )

  def _choose(self, recipes, given, recipe):
    """Chooses the recipe by the data; without --data_dir and --dataset, that of the digits."""
    name = recipe.name if recipe else None
    transfer = given.get('transfer', False) or name == TRANSFER
    without_data = recipe
    if name in (None, TRANSFER):
      tuned = transfer or given.get('init_checkpoint')
      without_data = recipes[DIGITS_TUNED if tuned and DIGITS_TUNED in recipes else DIGITS]
    named_data = given.get('data_dir') or given.get('dataset')
    default_dir = None if named_data else without_data.settings.get('model_dir')
    facts = self._facts_of_job(given, given.get('model_dir') or default_dir)
    origin = named_origin(recipe) if recipe else '--transfer' if transfer else ''
    preset = {}
    if not any(given.get(name, facts.get(name)) for name in ('data_dir', 'dataset')):
      if name not in (None, DIGITS, DIGITS_TUNED, TRANSFER):
        raise ValueError(
          f'--recipe={name} needs --data_dir or --dataset; without both, leave --recipe out to '
          'learn the embedded digits.'
        )
      if name in (None, TRANSFER):
        recipe = without_data
        origin = 'No --data_dir: the embedded handwritten digits'
    elif transfer:
      recipe = recipe or recipes[TRANSFER]
      preset = recipes[TRANSFER].settings
    elif recipe is None and self._fine_tunes(recipes, given):
      recipe = recipes[FINETUNE]
      origin = f'--init_checkpoint without --recipe: the recipe {FINETUNE}'
    if recipe is None:
      return Choice(facts=facts)
    preset = {**self._with_export(recipe, given), **preset}
    if transfer:
      preset['transfer'] = True
    return Choice(recipe, preset, origin, facts)

  def _fine_tunes(self, recipes, given):
    """Returns whether to take the recipe for own data and weights; other jobs resume with theirs.

    `given` names data and no recipe. The official script has no --init_checkpoint, so its defaults
    hold wherever they can be meant.
    """
    if FINETUNE not in recipes or not given.get('init_checkpoint'):
      return False
    if given.get('data_dir') in ('fake', 'null'):  # To measure speed: not data to learn.
      return False
    mode = given.get('mode', 'train_and_eval')
    before = fitting.flags_before(given.get('model_dir'))
    return mode in _TRAINING_MODES and before.get('recipe', FINETUNE) == FINETUNE

  def _with_export(self, recipe, given):
    """Adds an export below --model_dir, so that no run overwrites the export of another."""
    if not self.exports_digits or recipe.name not in (DIGITS, DIGITS_TUNED):
      return recipe.settings
    if given.get('mode') == 'eval':
      # The training that this evaluation follows exports; the two would overwrite each other.
      return recipe.settings
    model_dir = given.get('model_dir') or recipe.settings['model_dir']
    return {**recipe.settings, 'export_dir': os.path.join(model_dir, 'export')}

  def _facts_of_job(self, given, model_dir):
    """Returns settings from a job's run.json, for modes that only read its checkpoints."""
    if given.get('mode') not in _READING_MODES or not model_dir:
      return {}
    job = job_flags.of_checkpoint(model_dir) or {}
    without = job_flags.DATA_NAMES if given.get('data_dir') or given.get('dataset') else ()
    groups = (*self.model_groups, config.OptimizationConfig)
    of_job = {name: job[name] for name in _OF_JOB if name in job and name not in without}
    return {**job_flags.facts(job, groups), **of_job}


def check(resolved: settings.Resolved) -> None:
  """Checks the mode and the folders that the settings name, without TensorFlow.

  Raises:
    ValueError: a folder is not given or does not exist, or the mode is not for classifiers.
  """
  job = resolved.get(config.JobConfig)
  fitting.check_length_flags(resolved)
  resolved.get(ReportConfig).check(job.mode)
  if job.mode == 'predict':
    raise ValueError(
      '--mode=predict: eval_ckpt_main makes the predictions of image classifiers; run it with '
      f'--ckpt_dir={job.model_dir or "DIR"}.'
    )
  if not _knows_classes(resolved):
    check_data_folder(resolved.get(config.DataConfig))
  start = resolved.get(config.FineTuningConfig).init_checkpoint
  if start and job.mode in _TRAINING_MODES and not _may_resume(job.model_dir):
    check_checkpoint('init_checkpoint', start)
  if not job.model_dir:
    raise ValueError('--model_dir is missing: the folder for checkpoints and summaries.')


def _with_length(resolved, build_model):
  """Returns the settings of a training with those that follow from the number of its images."""
  if resolved.recipe != FINETUNE:
    return fitting.with_epochs(resolved)
  from tpu_utils import profile
  from tpu_utils.image_jobs import memory

  classes = resolved.get(config.DataConfig).num_label_classes
  return fitting.fit(
    resolved, lambda: memory.needs(profile.without_values(lambda: build_model(None))), classes
  )


def _knows_classes(resolved):
  """Returns whether the job is an export with a known number of classes, so needs no data."""
  known = {*resolved.flags, *resolved.facts}
  return resolved.get(config.JobConfig).mode == 'export' and 'num_label_classes' in known


def _may_resume(model_dir):
  """Returns whether a job may resume from `model_dir`, so that it needs no initial weights."""
  return bool(model_dir and files.paths_in(model_dir, 'model.ckpt-'))


def _names_to_learn(data, dataset, job):
  """Returns the names of the model's outputs, from --labels_map_file or the data, or None.

  Raises:
    ValueError: a job to resume learnt other classes; see also `classes.of_labels_map`.
  """
  num_outputs = data.num_label_classes
  if data.labels_map_file:
    names = classes.of_labels_map(data.labels_map_file, num_outputs)
  else:
    names = classes.of_data(dataset.class_names if dataset else None, num_outputs)
  if names and job.mode in _TRAINING_MODES:
    classes.check_same(job.model_dir, names)
  return names


def check_checkpoint(flag: str, path: str | None) -> None:
  """Checks that there is something at the path of a checkpoint; reads nothing.

  Raises:
    FileNotFoundError: there is neither a file, a folder nor a prefix of files.
  """
  if not path or path == PRETRAINED or files.exists(path):
    return
  folder, name = os.path.split(path)
  if name and files.paths_in(folder or '.', f'{name}.'):
    return
  problem = f'--{flag}={path}: no checkpoint there, neither a file, a folder nor a TF1 prefix.'
  if files.exists(os.path.join(folder, job_flags.RECORD)):
    problem += (
      f' {folder} is a job: give it, --{flag}={folder}, or export its best checkpoint first, '
      f'--mode=export --model_dir={folder} --export_dir={path}.'
    )
  raise FileNotFoundError(problem)


def check_photographs(paths: Iterable[str]) -> None:
  """Checks that images exist; reads nothing.

  Raises:
    FileNotFoundError: one does not exist.
  """
  for path in paths:
    if not files.exists(path):
      raise FileNotFoundError(f'{path}: no such image.')


def check_data_folder(data: Any) -> None:
  """Checks that the local folder of images that the settings name exists.

  Args:
    data: settings with `data_dir` and `dataset`.

  Raises:
    ValueError: the folder does not exist.
  """
  if not getattr(data, 'is_fake', False):
    files.check_folder('data_dir', data.data_dir)


def _resolve_tuning(tuning, model_spec, model):
  """Replaces 'pretrained' by the path of the weights; drops `transfer` if it would be overridden.

  After the recipe is chosen, `transfer` only sets the momentum of batch norm, which
  --batch_norm_momentum overrides.
  """
  if model.overrides().get('batch_norm_momentum') is not None:
    tuning = dataclasses.replace(tuning, transfer=False)
  if tuning.init_checkpoint != PRETRAINED:
    return tuning
  if model_spec.find_pretrained is None:
    raise ValueError(
      f'--init_checkpoint={PRETRAINED}: no package has weights of {model.model_name}; give the '
      'path of a checkpoint.'
    )
  return dataclasses.replace(tuning, init_checkpoint=model_spec.find_pretrained(model.model_name))

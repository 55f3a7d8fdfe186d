"""Experiments that train many networks with the same settings and compare their results.

Each network is a job of a `script.Training`, in a folder of its own below --model_dir. Its result
is a line of `results.jsonl`. An experiment that was stopped resumes: networks with a result are not
trained again, and an unfinished one resumes from its checkpoint.

Without --data_dir and --dataset, an experiment learns Fashion-MNIST (`miniature`) where it is
installed, and otherwise the embedded digits.
"""
from __future__ import annotations

import dataclasses
import gc
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tpu_utils import config, figures, files, spread
from tpu_utils.command_line import settings
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.command_line.script import Choice, Script, named_origin
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import script
from tpu_utils.images.spec import Augmentation

if TYPE_CHECKING:
  from matplotlib.figure import Figure

FASHION = 'fashion_mnist'  # Name of a recipe.
FASHION_DIR = '/usr/share/datasets/fashion-mnist'
_PACKAGE = "Debian's package dataset-fashion-mnist (31 MB) installs it"
_FASHION_SOURCE = "this project's: Fashion-MNIST (arXiv 1708.07747), for a laptop"
# Clothes face either side; of 28 pixels, large crops.
_FASHION_AUGMENTATION = Augmentation(area_range=(0.7, 1.0))
_QUICK: Mapping[str, Any] = {
  'runs': 1, 'train_steps': 2, 'steps_per_eval': 2, 'iterations_per_loop': 2,
}  # fmt: skip
# Flags of a job that may change when an experiment resumes.
_FREE = ('model_dir', 'seed', 'log_step_count_steps', 'skip_host_call', 'recipe')


@dataclasses.dataclass(frozen=True)
class ExperimentConfig(settings.Checked):
  """Base of the experiments' own settings."""

  runs: int = setting(
    1, 'Runs of each network, with the seeds --seed, --seed + 1, ...; tables show the means.',
    at_least=1,
  )  # fmt: skip
  dry_run: bool = setting(False, 'Print the networks with their sizes and costs, and train none.')
  quick: bool = setting(
    False, 'Train a few networks for two steps: tries the command, measures nothing.'
  )
  fashion_mnist_dir: str = setting(
    FASHION_DIR,
    f'Folder of Fashion-MNIST, as {_PACKAGE}. It is learnt where neither --data_dir nor --dataset '
    'is given, and the embedded digits where it is not there.',
  )


@dataclasses.dataclass(frozen=True)
class Trial:
  """One network of an experiment.

  Attributes:
    name: of its folder and its lines in the results.
    flags: {flag of the script: value} that define the network.
    parameters: number of learnable parameters.
    multiply_adds: for one image.
  """

  name: str
  flags: Mapping
  parameters: int
  multiply_adds: int


@dataclasses.dataclass(frozen=True)
class Score:
  """Results of a network after its last step: means over its runs."""

  error: float  # Top-1, percent.
  deviation: float  # Standard deviation of the error between runs; 0 for one run.
  cross_entropy: float
  runs: int
  errors: tuple[float, ...] = ()  # Of each run.

  def against(self, reference: Score) -> str:
    """Says by how many percentage points the error differs from another network's."""
    return spread.difference(self.errors, reference.errors, larger_is_better=False, form='+.2f')

  @property
  def error_text(self) -> str:
    """The error in percent, with its deviation if there are several runs."""
    return f'{self.error:.2f}{self._spread}'

  @property
  def accuracy_text(self) -> str:
    """The top-1 accuracy, formatted as `error_text`."""
    return f'{100 - self.error:.2f}{self._spread}'

  @property
  def _spread(self):
    return f' +- {self.deviation:.2f}' if self.runs > 1 else ''


def own_recipes(
  recipes: Mapping[str, Recipe], module: str, changes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Recipe]:
  """Derives the recipes of an experiment from those of a training script.

  Args:
    recipes: of the training script.
    module: the experiment's script.
    changes: {recipe: {flag: value} that override its settings}; other recipes are left out.
      `FASHION` overrides those of the digits.
  """
  own = {}
  for name, settings_changed in changes.items():
    recipe = recipes[script.DIGITS if name == FASHION else name]
    own[name] = dataclasses.replace(
      recipe,
      name=name,
      script=module,
      paper=_FASHION_SOURCE if name == FASHION else recipe.paper,
      settings={**recipe.settings, **settings_changed},
      command=f'python -m {module} --recipe={name}' + (
        '' if name in (script.DIGITS, FASHION) else ' --data_dir=DATA --model_dir=DIR'
      ),
      expects='the tables of the experiment',
      measured=None,
      cost=(
        'estimated: ten to fifteen minutes on two CPU cores'
        if name == FASHION
        else 'as many trainings as the experiment has networks; --dry_run lists them'
      ),
    )
  return own


def miniature(script_made: Script, quick: Mapping[str, Any]) -> Script:
  """Lets an experiment learn Fashion-MNIST where no data are named and it is installed.

  Args:
    script_made: the experiment's script, with a recipe `FASHION`.
    quick: {flag: value} of the experiment that --quick sets besides few steps and one run.

  Returns:
    The script. It raises ValueError for a named folder or recipe without the data.
  """

  def choose(given, recipe):
    choice = _choose(script_made, given, recipe)
    if not given.get('quick'):
      return choice
    preset = choice.settings
    if preset is None:
      preset = choice.recipe.settings if choice.recipe else {}
    preset = {**preset, **_QUICK, **quick}
    if 'model_dir' in preset:
      preset['model_dir'] += '-quick'
    return dataclasses.replace(choice, settings=preset)

  return dataclasses.replace(script_made, choose=choose)


def _choose(script_made, given, recipe):
  """Chooses Fashion-MNIST, or what the training script would choose."""
  others = ('data_dir', 'dataset', 'transfer', 'init_checkpoint')
  elsewhere = any(given.get(name) for name in others)
  if elsewhere or (recipe is not None and recipe.name != FASHION):
    return script_made.choose(given, recipe)
  folder = given.get('fashion_mnist_dir', FASHION_DIR)
  if files.is_folder(folder):
    own = script_made.recipes[FASHION]
    origin = named_origin(own) if recipe else f'No --data_dir: Fashion-MNIST of {folder}'
    return Choice(own, {**own.settings, 'data_dir': folder}, origin)
  if recipe or 'fashion_mnist_dir' in given:
    raise ValueError(
      f'--fashion_mnist_dir={folder} is not a folder; give one with Fashion-MNIST. {_PACKAGE}.'
    )
  choice = script_made.choose(given, None)
  origin = (
    f'No --data_dir, and no Fashion-MNIST in {folder} ({_PACKAGE}): the embedded digits, which are '
    'too few to tell networks apart'
  )
  return dataclasses.replace(choice, origin=origin)


def augmentation(resolved: settings.Resolved) -> Augmentation | None:
  """Returns the augmentation of Fashion-MNIST's recipe; None for other recipes."""
  return _FASHION_AUGMENTATION if resolved.recipe == FASHION else None


def quick_remark(quick: bool) -> str:
  """Returns the line after the tables of a quick trial; '' otherwise."""
  return '\nTrained for two steps only: the numbers mean nothing.' if quick else ''


def budget(resolved: settings.Resolved) -> str:
  """Says in a sentence how long each network of an experiment was trained."""
  data, job = resolved.get(config.DataConfig), resolved.get(config.JobConfig)
  images = job.train_steps * data.train_batch_size
  name = data.data_dir or data.dataset or 'the embedded digits'
  return (
    f'Each network was trained on {images:,} images, {images / data.num_train_images:.2g} epochs '
    f'of {name}, and evaluated on {data.num_eval_images:,} others. "+-": standard deviation over '
    'seeds.'
  )


def check(resolved: settings.Resolved) -> None:
  """Checks the settings of an experiment, without TensorFlow.

  A dry run needs no --model_dir.

  Raises:
    ValueError: the mode is not train_and_eval, an export or several workers are asked for, or the
      folder of the data does not exist.
  """
  job, hardware = resolved.get(config.JobConfig), resolved.get(config.HardwareConfig)
  if job.mode != 'train_and_eval':
    raise ValueError(f'--mode={job.mode}: an experiment trains and evaluates; leave --mode out.')
  if job.export_dir:
    raise ValueError('--export_dir: an experiment exports none of its networks; leave it out.')
  workers = hardware.strategy == 'auto' and os.environ.get('TF_CONFIG')
  if hardware.strategy == 'multi_worker' or workers:
    # TensorFlow connects workers once a process, and every network would connect them again.
    raise ValueError(
      'An experiment trains many networks in one process, which several workers cannot; use one '
      'machine: unset TF_CONFIG, or give --strategy=mirrored or --strategy=one_device.'
    )
  script.check_data_folder(resolved.get(config.DataConfig))


class Experiment:
  """Trainings of several networks in one folder, one after the other.

  Opens the data set and takes its sizes, as `data.with_data` does.

  Args:
    resolved: the settings of the script, an `ExperimentConfig` among them.
    training: resolves the model and runs each job.

  Attributes:
    config: that `ExperimentConfig`.
    resolved: the settings with the sizes of the data.

  Raises:
    ValueError: the mode is not train_and_eval, an export or several workers are asked for, the
      model is unknown, or the data are missing.
  """

  def __init__(self, resolved: settings.Resolved, training: script.Training):
    check(resolved)
    training.resolve_model(resolved.get(script.ModelConfig))  # Reports unknown names first.
    if resolved.origin:
      print(resolved.preset_text())

    from tpu_utils.image_jobs.data import with_data

    self.config = resolved.get(ExperimentConfig)
    self._job = resolved.get(config.JobConfig)
    dataset, self.resolved = with_data(resolved, self._job.mode)
    self._split_record = dataset.split_record if dataset else None
    self._train_job = training.run_job

  def scores(self, trials: Sequence[Trial]) -> dict[str, Score]:
    """Trains the networks that have no result yet.

    Returns:
      {name: `Score`} of all networks.

    Raises:
      ValueError: --model_dir is missing or holds results of other flags, or training diverged.
      cli.Interrupted: SIGTERM or Ctrl-C arrived; the state is saved.
    """
    self._claim_folder()
    results = self._results()
    missing = [job for job in self._jobs(trials) if job not in results]
    by_name = {trial.name: trial for trial in trials}
    start = time.monotonic()
    for i, (name, seed) in enumerate(missing):
      left = ''
      if i:
        seconds = (time.monotonic() - start) / i * (len(missing) - i)
        left = f'; about {_minutes(seconds)} left'
      print(
        f'\n[{i + 1} of {len(missing)} networks to train{left}] {name}, seed {seed}', flush=True
      )
      self._train(by_name[name], seed)
    results = self._results()
    return {trial.name: _score([results[job] for job in self._jobs([trial])]) for trial in trials}

  def path(self, name: str) -> str:
    """Returns the path of a file in the folder of the experiment."""
    return os.path.join(self._job.model_dir, name)

  def save(self, text: str, figure: Figure, name: str) -> None:
    """Prints the tables, and writes them and a figure as NAME.txt and NAME.png.

    Raises:
      OSError: the files cannot be written.
    """
    print(f'\n{text}')
    files.write_text(self.path(f'{name}.txt'), f'{text}\n')
    figures.save(figure, self.path(f'{name}.png'), dpi=150, bbox_inches='tight')
    names = ('results.jsonl', f'{name}.txt', f'{name}.png')
    print(f'\nWritten to {self._job.model_dir}: {", ".join(names)}')

  def _jobs(self, trials):
    first = self._job.seed
    names = dict.fromkeys(trial.name for trial in trials)
    return [(name, first + i) for name in names for i in range(self.config.runs)]

  def _results(self):
    """Returns {(network, seed): its line of the results}."""
    lines = files.read_json_lines(self.path('results.jsonl'))
    # A damaged line is no result: its network is trained again.
    return {(line['network'], line['seed']): line for line in lines if 'network' in line}

  def _train(self, trial, seed):
    import keras

    from tpu_utils import eval_history

    model_dir = self.path(os.path.join('networks', f'{trial.name}-seed{seed}'))
    start = time.monotonic()
    flags = {**trial.flags, 'model_dir': model_dir, 'seed': seed, 'report': False}
    self._train_job(self.resolved.with_flags(flags))
    *_, last = files.read_json_lines(eval_history.history_path(model_dir))
    line = {
      'network': trial.name,
      'seed': seed,
      'parameters': trial.parameters,
      'multiply_adds': trial.multiply_adds,
      'seconds': round(time.monotonic() - start, 1),
      **last,
    }
    files.append_json_line(self.path('results.jsonl'), line)
    keras.utils.clear_session()  # Else the networks stay in memory.
    gc.collect()

  def _claim_folder(self):
    """Writes the flags that all networks share; refuses a folder with other flags."""
    import tensorflow as tf

    from tpu_utils import runner
    from tpu_utils.images.sources import splitting

    if self._job.model_dir is None:
      raise ValueError('--model_dir is missing: the folder for the networks and their results.')
    own = {field.name for field in dataclasses.fields(self.config)}
    flags = self.resolved.as_dict()
    shared = {name: value for name, value in flags.items() if name not in {*_FREE, *own}}
    path = self.path('flags.json')
    if tf.io.gfile.exists(path):
      before = files.read_json(path)
      for name, value in shared.items():
        if before.get(name, value) != value:
          raise ValueError(
            f'--model_dir={self._job.model_dir} holds results with --{name}={before[name]}, not '
            f'{value}: give the same flags, or another --model_dir.'
          )
    runner.prepare_model_dir(self._job.model_dir)
    files.write_json(path, shared)
    if self._split_record:  # All networks divide the images alike.
      files.write_json(self.path(splitting.FILE), self._split_record)


def _score(results):
  errors = [100 * (1 - result['top_1_accuracy']) for result in results]
  return Score(
    error=statistics.mean(errors),
    deviation=statistics.stdev(errors) if len(errors) > 1 else 0.0,
    cross_entropy=statistics.mean(result['cross_entropy'] for result in results),
    runs=len(errors),
    errors=tuple(errors),
  )


def _minutes(seconds):
  return f'{seconds / 60:.0f} min' if seconds > 90 else f'{seconds:.0f} s'


def count(number: int) -> str:
  """Formats a number of parameters or multiply-adds with about three digits: 25.0M, 4.23G."""
  for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
    if number >= size:
      return f'{number / size:.{1 if number >= 10 * size else 2}f}{unit}'
  return str(number)

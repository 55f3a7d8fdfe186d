"""Experiments that train many networks: the same job for each, results that outlive a stop, a table and a plot.

Each network is a job of an `script.Training`, in a folder of its own below --model_dir. Its result is
a line of `results.jsonl`; networks that have theirs are not trained again, and one that was stopped goes on
from its checkpoint.
"""
import dataclasses
import gc
import io
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from tpu_utils import config, files
from tpu_utils.command_line import settings
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import script

# Flags of a job that may change from one start of an experiment to the next.
_FREE = ('model_dir', 'seed', 'log_step_count_steps', 'skip_host_call', 'recipe')


@dataclasses.dataclass(frozen=True)
class ExperimentConfig(settings.Checked):
  """Base of the experiments' own settings."""

  runs: int = setting(
    1, 'Times that each network is trained, from --seed on each time with the next; tables have the means.', at_least=1
  )
  dry_run: bool = setting(False, 'Print the networks with their sizes and costs, and train none.')


@dataclasses.dataclass(frozen=True)
class Trial:
  """One network of an experiment.

  Attributes:
    name: of its folder and its lines in the results.
    flags: {flag of the script: value} that make the network.
    parameters: learnable numbers.
    multiply_adds: of one image.
  """

  name: str
  flags: Mapping
  parameters: int
  multiply_adds: int


@dataclasses.dataclass(frozen=True)
class Score:
  """What a network reached after its last step: means over its runs."""

  error: float  # Top-1, percent.
  deviation: float  # Standard deviation of the error between runs; 0 for one run.
  cross_entropy: float
  runs: int

  @property
  def error_text(self):
    return f'{self.error:.2f}{self._spread}'

  @property
  def accuracy_text(self):
    return f'{100 - self.error:.2f}{self._spread}'

  @property
  def _spread(self):
    return f' +- {self.deviation:.2f}' if self.runs > 1 else ''


def own_recipes(
  recipes: Mapping[str, Recipe], module: str, changes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Recipe]:
  """Makes the recipes of an experiment from those of the training script that it repeats.

  Args:
    recipes: of the training script.
    module: the experiment's script.
    changes: {name of a recipe: {flag: value} in place of its own}; others are left out.
  """
  own = {}
  for name, settings_changed in changes.items():
    recipe = recipes[name]
    own[name] = dataclasses.replace(
      recipe,
      script=module,
      settings={**recipe.settings, **settings_changed},
      command=f'python -m {module} --recipe={name}' + (
        '' if name == script.DIGITS else ' --data_dir=DATA --model_dir=DIR'
      ),
      expects='the tables of the experiment',
      measured=None,
      cost='as many trainings as the experiment has networks; --dry_run lists them',
    )
  return own


class Experiment:
  """Trains networks in a folder, one after the other.

  Opens the data set, which gives the settings that the user did not.

  Args:
    resolved: the settings of the script, an `ExperimentConfig` among them.
    train: function(Resolved) that runs one job.

  Attributes:
    config: that `ExperimentConfig`.
    resolved: the settings with the facts of the data.

  Raises:
    ValueError: another mode than training, an export, or several workers; no such data.
  """

  def __init__(self, resolved: settings.Resolved, train: Callable):
    job, hardware = resolved.get(config.JobConfig), resolved.get(config.HardwareConfig)
    if job.mode != 'train_and_eval':
      raise ValueError(f'--mode={job.mode}: an experiment trains and evaluates; leave --mode out.')
    if job.export_dir:
      raise ValueError('--export_dir: an experiment exports none of its networks; leave it out.')
    workers = hardware.strategy == 'auto' and os.environ.get('TF_CONFIG')
    if hardware.strategy == 'multi_worker' or workers:
      # TensorFlow connects workers once in a process, and every network would connect them anew.
      raise ValueError(
        'An experiment trains many networks in one process, which several workers cannot; use one machine: '
        'unset TF_CONFIG, or give --strategy=mirrored or --strategy=one_device.'
      )
    script.check_data_folder(resolved.get(config.DataConfig))
    if resolved.origin:
      print(resolved.preset_text())

    from tpu_utils.image_jobs.data import with_data

    self.config = resolved.get(ExperimentConfig)
    _, self.resolved = with_data(resolved, job.mode)
    self._job = self.resolved.get(config.JobConfig)
    self._train_job = train

  def scores(self, trials):
    """Trains the networks that have no results yet.

    Returns:
      {name: `Score`} of all of them.

    Raises:
      ValueError: no folder, or one whose networks had other flags; training diverged.
      cli.Interrupted: SIGTERM came; the state is saved.
    """
    self._claim_folder()
    found = self._found()
    missing = [job for job in self._jobs(trials) if job not in found]
    by_name = {trial.name: trial for trial in trials}
    start = time.monotonic()
    for i, (name, seed) in enumerate(missing):
      trial = by_name[name]
      left = f'; about {_minutes((time.monotonic() - start) / i * (len(missing) - i))} left' if i else ''
      print(f'\n[{i + 1} of {len(missing)} networks to train{left}] {name}, seed {seed}', flush=True)
      self._train(trial, seed)
    found = self._found()
    return {trial.name: _score([found[job] for job in self._jobs([trial])]) for trial in trials}

  def path(self, name):
    """Path of a file beside the results."""
    return os.path.join(self._job.model_dir, name)

  def _jobs(self, trials):
    first = self._job.seed
    names = dict.fromkeys(trial.name for trial in trials)
    return [(name, first + i) for name in names for i in range(self.config.runs)]

  def _found(self):
    """{(network, seed): its line of the results}."""
    lines = files.read_json_lines(self.path('results.jsonl'))
    return {(line['network'], line['seed']): line for line in lines}

  def _train(self, trial, seed):
    import keras

    from tpu_utils import runner

    model_dir = self.path(os.path.join('networks', f'{trial.name}-seed{seed}'))
    start = time.monotonic()
    flags = {**trial.flags, 'model_dir': model_dir, 'seed': seed}
    self._train_job(self.resolved.with_flags(flags))
    *_, last = files.read_json_lines(runner.history_path(model_dir))
    line = {
      'network': trial.name,
      'seed': seed,
      'parameters': trial.parameters,
      'multiply_adds': trial.multiply_adds,
      'seconds': round(time.monotonic() - start, 1),
      **last,
    }
    files.append_json_line(self.path('results.jsonl'), line)
    keras.utils.clear_session()  # Or the networks would pile up in memory.
    gc.collect()

  def _claim_folder(self):
    """Notes the flags that all networks share; a folder of others is refused."""
    import tensorflow as tf

    from tpu_utils import runner

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


def _score(results):
  errors = [100 * (1 - result['top_1_accuracy']) for result in results]
  return Score(
    error=statistics.mean(errors),
    deviation=statistics.stdev(errors) if len(errors) > 1 else 0.0,
    cross_entropy=statistics.mean(result['cross_entropy'] for result in results),
    runs=len(errors),
  )


def _minutes(seconds):
  return f'{seconds / 60:.0f} min' if seconds > 90 else f'{seconds:.0f} s'


def count(number):
  """A number of parameters or multiply-adds in three digits or so: 25.0M, 4.23G."""
  for unit, size in (('G', 1e9), ('M', 1e6), ('k', 1e3)):
    if number >= size:
      return f'{number / size:.{1 if number >= 10 * size else 2}f}{unit}'
  return str(number)


def save_figure(figure, path):
  """Writes a matplotlib figure as PNG, whole or not at all."""
  png = io.BytesIO()
  figure.savefig(png, format='png', dpi=150, bbox_inches='tight')
  files.write_bytes(path, png.getvalue())

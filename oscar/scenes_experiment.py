"""Experiments on the scenes: trainings of tasks with several seeds and conditions, measured once.

Each training is a job of the task's script in a folder of its own; its result is a line of
`results.jsonl`. A stopped experiment resumes: a training with a result is not repeated, and an
unfinished one resumes from its checkpoint.
"""

import dataclasses
import importlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oscar import fine_tuning, run_pretrain, scenes_training
from oscar.recipes import RECIPES
from tpu_utils import claims, files
from tpu_utils.command_line import settings
from tpu_utils.command_line.settings import setting
from tpu_utils.names import listed_seeds

_RESULTS, _SETTINGS = 'results.jsonl', 'settings.json'


@dataclasses.dataclass(frozen=True)
class SeedsConfig(scenes_training.TasksConfig):
  """The models to train."""

  seeds: str = setting('42,43,44', 'Seeds of the fine-tunings, separated by commas.')

  def seed_list(self) -> list[int]:
    """Returns the numbers in `seeds`.

    Raises:
      ValueError: one is not a whole number from 0.
    """
    return listed_seeds(self.seeds)


@dataclasses.dataclass(frozen=True)
class Trial:
  """A training of an experiment.

  Attributes:
    task: name of the task.
    seed: seed of the training.
    condition: name of what it differs in from other trainings; '' if they differ in nothing else.
    flags: {flag of the task's script: value} of the condition.
  """

  task: str
  seed: int
  condition: str = ''
  flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)

  @property
  def key(self) -> dict[str, Any]:
    """The entries that its line of the results is known by."""
    condition = {'condition': self.condition} if self.condition else {}
    return {'task': self.task, **condition, 'seed': self.seed}

  @property
  def name(self) -> str:
    """The name of its folder."""
    return '-'.join(filter(None, (self.task, self.condition, f'seed{self.seed}')))

  def __str__(self) -> str:
    """Returns the name for people."""
    return ', '.join(filter(None, (self.task, self.condition, f'seed {self.seed}')))


class Experiment:
  """Trains and evaluates the models of a folder.

  Attributes:
    trials: all trainings.

  Args:
    config: tasks, folder and whether it is a quick trial.
    trials: the trainings; those of a task, a condition and a seed are equal.
    shared: {flag of the tasks' scripts: value} of all trainings, unlike the recipes'.

  Raises:
    ValueError: the folder holds results of other recipes or flags.
  """

  def __init__(
    self,
    config: scenes_training.TasksConfig,
    trials: Sequence[Trial],
    shared: Mapping[str, Any] | None = None,
  ) -> None:
    self.trials = list(trials)
    self._config, self._shared = config, dict(shared or {})
    self._trainings = scenes_training.Trainings(config.output_dir, config.quick)
    self._check_settings()

  def path(self, *names: str) -> str:
    """Returns the path of a file in the folder."""
    return os.path.join(self._config.output_dir, *names)

  def run(
    self,
    measure: Callable[[Trial], Mapping[str, Any]],
    after_each: Callable[[], Any] = lambda: None,
  ) -> None:
    """Trains the models without a result, and measures them.

    Args:
      measure: function(trial) -> JSON-able entries of its line of the results; it trains.
      after_each: called after each new result.

    Raises:
      ValueError, OSError: as the scripts.
      cli.Interrupted: SIGTERM or Ctrl-C arrived; the state is saved.
    """
    done = [trial.key for trial, _ in self._lines()]
    missing = [trial for trial in self.trials if trial.key not in done]
    if missing:
      self._trainings.pretrain([trial.task for trial in missing])
    for trial in scenes_training.announced(missing, str):
      start = time.monotonic()
      line = {**trial.key, **measure(trial), 'seconds': round(time.monotonic() - start, 1)}
      files.append_json_line(self.path(_RESULTS), line)
      after_each()

  def call(self, trial: Trial, mode: str, **flags: Any) -> None:
    """Runs the script of a trial.

    Args:
      trial: the training.
      mode: mode of the script.
      **flags: further flags.
    """
    own = {**self.flags(trial.task), **trial.flags, 'model_dir': self.model_dir(trial),
           'seed': trial.seed}  # fmt: skip
    if mode != 'train_and_eval':
      own.pop('init_checkpoint', None)  # For an evaluation, it names the weights to evaluate.
    scenes_training.call(scenes_training.SCRIPTS[trial.task][0], {**own, 'mode': mode, **flags})

  def results(self) -> list[dict[str, Any]]:
    """Returns the lines of the results of the trials."""
    return [line for _, line in self._lines()]

  def _lines(self):
    """Returns [(trial, its line of the results)] in the order of the file."""
    by_key = {tuple(trial.key.items()): trial for trial in self.trials}
    names = ('task', 'condition', 'seed')
    found = []
    for line in files.read_json_lines(self.path(_RESULTS)):
      # A damaged line is no result: its model is measured again.
      key = tuple((name, line[name]) for name in names if name in line)
      if key in by_key:
        found.append((by_key[key], line))
    return found

  def flags(self, task: str) -> dict[str, Any]:
    """Returns the flags of a task's trainings that its recipe does not have."""
    return {**self._trainings.flags(task), **self._shared}

  def data(self, task: str) -> tuple[Any, Any]:
    """Returns (implementation, data settings) of a task's trainings."""
    script, spec = scenes_training.SCRIPTS[task]
    resolved = script.resolve(self.flags(task))
    model, data = resolved[0], resolved.get(spec.data)
    if not data.data_dir:
      model, data = fine_tuning.with_scenes(model, data, spec)
    return importlib.import_module(spec.implementation), data

  def world(self) -> Any:
    """Returns the scenes, a `scenes.World`; they are generated unless they exist."""
    if self._trainings.world is not None:
      return self._trainings.world
    from oscar import scenes

    return scenes.build(run_pretrain.SCENES_DIR, log=print)

  def history(self, trial: Trial, kind: str = '') -> list[dict[str, float]]:
    """Returns the evaluations of a training, each with its step.

    Args:
      trial: the training.
      kind: name of evaluations of another kind, such as `fine_tuning_job.MASKED`.
    """
    from tpu_utils import eval_history

    folder = [f'eval_{kind}'] if kind else []
    return files.read_json_lines(eval_history.history_path(self.model_dir(trial), *folder))

  def model_dir(self, trial: Trial) -> str:
    """Returns the folder of a training."""
    return self.path(trial.name)

  def _check_settings(self):
    """Writes the recipes of the tasks; refuses a folder with results of other ones."""
    path = self.path(_SETTINGS)
    before = files.read_json(path) if files.exists(path) else {}
    for task in self._config.task_list():
      used = {
        'pre-training ': RECIPES[run_pretrain.SCENES].settings,
        '': RECIPES[scenes_training.SCRIPTS[task][1].scenes].settings,
        '--': self.flags(task),
      }
      made = {f'{kind}{key}': value for kind, own in used.items() for key, value in own.items()}
      made = json.loads(json.dumps(made))  # As in the file.
      old = before.setdefault(task, made)
      for name in sorted({*old, *made}):
        if old.get(name) != made.get(name):
          raise ValueError(
            f'--output_dir={self._config.output_dir} holds results of {task} with {name} '
            f'{old.get(name)}, not {made.get(name)} as now: give another folder.'
          )
    files.write_json(path, before)


def run(config: SeedsConfig, experiment: type, report: Callable[[Any, Any], None]) -> None:
  """Trains what is missing in the folder of an experiment, and reports.

  Args:
    config: the settings.
    experiment: subclass of `Experiment`, made from the settings, with `train`.
    report: function(experiment, config) that writes and prints the results.

  Raises:
    ValueError: another process writes to the folder, or it holds results of other settings.
    OSError: a file cannot be read or written.
  """
  os.makedirs(config.output_dir, exist_ok=True)
  with claims.claimed('output_dir', config.output_dir):
    made = experiment(config)
    made.train()
    report(made, config)


def check(resolved: settings.Resolved) -> None:
  """Checks tasks, seeds and the folder.

  Raises:
    ValueError: an unknown task, a seed that is no number, or a remote folder.
  """
  config = resolved.get(SeedsConfig)
  config.task_list()
  config.seed_list()
  files.check_local('output_dir', config.output_dir, 'measure in a local folder and copy it')

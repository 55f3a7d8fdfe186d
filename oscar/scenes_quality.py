"""Measures OSCAR on held-out scenes: every task, several seeds, and baselines without a picture.

  python -m oscar.scenes_quality
      Pre-trains (unless runs/oscar-scenes is there), fine-tunes each task with three seeds by its
      recipe for the scenes, evaluates each model with and without regions, and prints a table with
      chance, words alone, words and tags without a network, and the goals. Writes quality.json and
      quality.png to runs/scenes-quality.

  python -m oscar.scenes_quality --tasks=vqa --seeds=42
      Measures one task once. The table has all results that the folder holds of these tasks.

Evaluations are of the last step, on the split val: scenes and digits that no training has seen.
Colour words are counted in the captions that the best checkpoint writes. The same command resumes a
stopped job, and trains nothing again.
"""

import dataclasses
import importlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oscar import fine_tuning, run_pretrain, scenes_training
from oscar.recipes import RECIPES
from tpu_utils import claims, files
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.names import listed_names

if TYPE_CHECKING:
  from oscar.quality import report

_RESULTS, _SETTINGS = 'results.jsonl', 'settings.json'


@dataclasses.dataclass(frozen=True)
class Measured:
  """A task of the table.

  Attributes:
    goals: {metric: value to reach}, the metric that selects the best checkpoint first.
    baselines: function(implementation, data settings) -> {baseline: {metric: value}}.
    written: function(path of predictions, data settings) -> {metric: value} of what the best
      checkpoint writes; None if the evaluation has all metrics.
  """

  goals: Mapping[str, float]
  baselines: Callable
  written: Callable | None = None


def _of_questions(implementation, data):
  from oscar.quality import baselines

  opened = implementation.files_of(data)
  splits = (opened.open(split) for split in ('train', 'val'))
  return baselines.questions(*splits, implementation.OBJECTIVE)


def _of_statements(implementation, data):
  from oscar.quality import baselines

  opened = implementation.files_of(data)
  splits = (opened.open(split) for split in ('train', 'val'))
  return baselines.statements(*splits, implementation.OBJECTIVE)


def _of_pairs(implementation, data):
  from oscar.quality import ranking

  reader = implementation.files_of(data).open('val', evaluated=True)
  count = data.num_captions_per_img_val
  captions = [reader.captions[key][:count] for key in reader.image_ids]
  return ranking.rankings(captions, [reader.tags(key) for key in reader.image_ids])


def _of_captions(implementation, data):
  del implementation
  from oscar.quality import captions

  reader, references = _caption_files(data)
  tags = {key: reader.tags(key) for key in references}
  return captions.baselines(tags, references, _scenes_of(data))


def _written_captions(path, data):
  from oscar.datasets import tsv
  from oscar.quality import captions

  rows = tsv.TsvFile(path)
  written = {rows[i][0].decode(): rows.json(i)[0]['caption'] for i in range(len(rows))}
  # A model whose captions name no colour has none right.
  return {captions.COLOUR_WORDS: 0.0, **captions.colour_words(written, _scenes_of(data))}


def _caption_files(data):
  from oscar.datasets import coco_caption

  reader = coco_caption.CocoCaption(os.path.join(data.data_dir, data.val_yaml))
  references: dict[str, list[str]] = {}
  for caption in reader.captions:
    references.setdefault(caption.image_id, []).append(caption.caption)
  return reader, references


def _scenes_of(data):
  """Returns {image: scene} of the world that holds the official files of captioning."""
  from oscar.scenes.world import World

  directory = os.path.dirname(os.path.dirname(data.data_dir))
  return {scene.key: scene for scene in World(directory, {}, {}).scenes('val')}


TASKS = {
  'vqa': Measured({'vqa_score': 0.75}, _of_questions),
  'gqa': Measured({'accuracy': 0.70}, _of_questions),
  'nlvr2': Measured({'accuracy': 0.65, 'consistency': 0.40}, _of_statements),
  'retrieval': Measured({'i2t_R@1': 0.85, 't2i_R@1': 0.80}, _of_pairs),
  'captioning': Measured({'CIDEr': 1.5, 'colour_words': 0.90}, _of_captions, _written_captions),
}


@dataclasses.dataclass(frozen=True)
class QualityConfig(settings.Checked):
  """The models to measure."""

  tasks: str = setting(','.join(TASKS), 'Tasks, separated by commas.')
  seeds: str = setting('42,43,44', 'Seeds of the fine-tunings, separated by commas.')
  output_dir: str = setting(
    'runs/scenes-quality', 'Folder of the fine-tuned models, the results and the table.'
  )
  quick: bool = setting(
    False, 'Train for a few steps on a few scenes: tries the command, measures nothing.'
  )

  def task_list(self) -> list[str]:
    """Returns the names in `tasks`.

    Raises:
      ValueError: one is unknown.
    """
    return listed_names('task of --tasks', self.tasks, TASKS)

  def seed_list(self) -> list[int]:
    """Returns the numbers in `seeds`.

    Raises:
      ValueError: one is not a whole number from 0.
    """
    texts = [text.strip() for text in self.seeds.split(',')]
    if not all(text.isdecimal() for text in texts):
      raise ValueError(f'--seeds={self.seeds} must be whole numbers, separated by commas.')
    return list(dict.fromkeys(map(int, texts)))


class Experiment:
  """Trains and evaluates the models of a folder.

  Args:
    config: the settings.

  Raises:
    ValueError: the folder holds results of other recipes.
  """

  def __init__(self, config: QualityConfig) -> None:
    self._config = config
    self._trainings = scenes_training.Trainings(config.output_dir, config.quick)
    self._check_settings()

  def path(self, *names: str) -> str:
    """Returns the path of a file in the folder."""
    return os.path.join(self._config.output_dir, *names)

  def train(self) -> None:
    """Trains and evaluates the models without a result.

    Raises:
      ValueError, OSError: as the scripts.
      cli.Interrupted: SIGTERM or Ctrl-C arrived; the state is saved.
    """
    done = {(line['task'], line['seed']) for line in self.results()}
    tasks, seeds = self._config.task_list(), self._config.seed_list()
    missing = [(task, seed) for seed in seeds for task in tasks if (task, seed) not in done]
    if missing:
      self._trainings.pretrain([task for task, _ in missing])
    start = time.monotonic()
    for number, (task, seed) in enumerate(missing):
      left = ''
      if number:
        seconds = (time.monotonic() - start) / number * (len(missing) - number)
        left = f'; about {seconds / 60:.0f} min left'
      print(f'\n[{number + 1} of {len(missing)} models to train{left}] {task}, seed {seed}')
      self._measure(task, seed)

  def results(self) -> list[dict[str, Any]]:
    """Returns the lines of the results of the tasks and seeds."""
    wanted = self._config.task_list(), self._config.seed_list()
    lines = files.read_json_lines(self.path(_RESULTS))
    # A damaged line is no result: its model is measured again.
    return [line for line in lines if line.get('task') in wanted[0] and line['seed'] in wanted[1]]

  def baselines(self, task: str) -> dict[str, dict[str, float]]:
    """Computes the baselines of a task on the scenes of the models."""
    implementation, data = self._data(task)
    return TASKS[task].baselines(implementation, data)

  def _data(self, task):
    """Returns (implementation, data settings) of a task's training."""
    script, spec = scenes_training.SCRIPTS[task]
    resolved = script.resolve(self._trainings.flags(task))
    model, data = resolved[0], resolved.get(spec.data)
    if not data.data_dir:
      model, data = fine_tuning.with_scenes(model, data, spec)
    return importlib.import_module(spec.implementation), data

  def history(self, task: str, seed: int) -> list[dict[str, float]]:
    """Returns the evaluations of a training, each with its step."""
    from tpu_utils import eval_history

    return files.read_json_lines(eval_history.history_path(self._model_dir(task, seed)))

  def _measure(self, task, seed):
    from tpu_utils import eval_history

    script, model_dir = scenes_training.SCRIPTS[task][0], self._model_dir(task, seed)
    flags = {**self._trainings.flags(task), 'model_dir': model_dir, 'seed': seed}
    start = time.monotonic()
    scenes_training.call(script, {**flags, 'mode': 'train_and_eval'})
    flags.pop('init_checkpoint', None)  # For an evaluation, it names the weights to evaluate.
    scenes_training.call(script, {**flags, 'mode': 'eval', 'mask_regions': True})
    *_, shown = self.history(task, seed)
    folder = f'eval_{fine_tuning.MASKED}'
    *_, masked = files.read_json_lines(eval_history.history_path(model_dir, folder))
    if masked['step'] != shown['step']:
      raise ValueError(
        f'{model_dir}: evaluated at step {shown["step"]} with regions and at {masked["step"]} '
        'without; remove the folder, to train again.'
      )
    if TASKS[task].written is not None:
      shown |= self.written(task, flags, mask_regions=False)
      masked |= self.written(task, flags, mask_regions=True)
    line = {
      'task': task, 'seed': seed, 'shown': shown, 'masked': masked,
      'seconds': round(time.monotonic() - start, 1),
    }  # fmt: skip
    files.append_json_line(self.path(_RESULTS), line)

  def _model_dir(self, task, seed):
    return self.path(f'{task}-seed{seed}')

  def written(self, task: str, flags: Mapping[str, Any], mask_regions: bool) -> dict[str, float]:
    """Lets the best checkpoint of a training predict; returns the metrics of what it writes.

    Args:
      task: name of the task.
      flags: those of the training, without its start.
      mask_regions: whether the model sees no regions.
    """
    script, spec = scenes_training.SCRIPTS[task]
    scenes_training.call(script, {**flags, 'mode': 'predict', 'mask_regions': mask_regions})
    _, data = self._data(task)
    data = dataclasses.replace(data, eval_split='val', mask_regions=mask_regions)
    measure = TASKS[task].written
    if measure is None or spec.results_name is None:
      raise TypeError(f'{task} writes nothing that is measured.')
    return measure(os.path.join(flags['model_dir'], spec.results_name(data)), data)

  def _check_settings(self):
    """Writes the recipes of the tasks; refuses a folder with results of other ones."""
    path = self.path(_SETTINGS)
    before = files.read_json(path) if files.exists(path) else {}
    for task in self._config.task_list():
      used = {
        'pre-training ': RECIPES[run_pretrain.SCENES].settings,
        '': RECIPES[scenes_training.SCRIPTS[task][1].scenes].settings,
        '--': self._trainings.flags(task),
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


def report_rows(
  task: str, lines: Sequence[Mapping[str, Any]], found: Mapping[str, Mapping[str, float]]
) -> 'list[report.Row]':
  """Returns the `report.Row` of each metric of a task.

  Args:
    task: name of the task.
    lines: its results, one for each seed.
    found: {baseline: {metric: value}}.
  """
  from oscar.quality import report

  return [
    report.Row(
      task,
      metric,
      goal,
      {name: values[metric] for name, values in found.items() if metric in values},
      [line['masked'][metric] for line in lines],
      [line['shown'][metric] for line in lines],
    )
    for metric, goal in TASKS[task].goals.items()
  ]


def run(resolved: settings.Resolved) -> None:
  """Trains what is missing, and writes and prints the comparison."""
  (config,) = resolved
  os.makedirs(config.output_dir, exist_ok=True)
  with claims.claimed('output_dir', config.output_dir):
    experiment = Experiment(config)
    experiment.train()
    _report(experiment, config)


def _report(experiment, config):
  from oscar.quality import report

  rows, curves, baselines = [], [], {}
  results = experiment.results()
  for task in config.task_list():
    print(f'Baselines of {task}', flush=True)
    baselines[task] = experiment.baselines(task)
    lines = [line for line in results if line['task'] == task]
    own = report_rows(task, lines, baselines[task])
    rows += own
    of_seed = {
      line['seed']: {e['step']: e[own[0].metric] for e in experiment.history(task, line['seed'])}
      for line in lines
    }
    curves.append(report.Curves(own[0], of_seed))
  content = {
    'rows': [row.as_dict() for row in rows], 'baselines': baselines, 'results': results,
  }  # fmt: skip
  path, picture = experiment.path('quality.json'), experiment.path('quality.png')
  files.write_json(path, content)
  report.draw(curves, picture)
  print(f'\n{report.table(rows)}\n\n{path}, {picture}')


def check(resolved: settings.Resolved) -> None:
  """Checks tasks, seeds and the folder.

  Raises:
    ValueError: an unknown task, a seed that is no number, or a remote folder.
  """
  (config,) = resolved
  config.task_list()
  config.seed_list()
  files.check_local('output_dir', config.output_dir, 'measure in a local folder and copy it')


SCRIPT = Script(__doc__, (QualityConfig,), run, check=check)


if __name__ == '__main__':
  SCRIPT.main()

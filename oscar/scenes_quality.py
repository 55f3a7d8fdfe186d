"""Measures OSCAR on held-out scenes: every task, several seeds, and baselines without a picture.

  python -m oscar.scenes_quality
      Pre-trains (unless runs/oscar-scenes is there), fine-tunes each task with three seeds by its
      recipe for the scenes, evaluates each model with and without regions, and prints a table with
      chance, words alone, words and tags without a network, and the goals. Writes quality.json and
      quality.png to runs/scenes-quality.

  python -m oscar.scenes_quality --tasks=vqa --seeds=42
      Measures one task once. The table has all results that the folder holds of these tasks.

Captioning is measured twice: after training with cross-entropy, and after self-critical training
from there.

Evaluations are of the last step, on the split val: scenes and digits that no training has seen.
Colour words are counted in the captions that the best checkpoint writes. The same command resumes a
stopped job, and trains nothing again.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from oscar import fine_tuning_job, scenes_experiment, scenes_training
from tpu_utils import files
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting

if TYPE_CHECKING:
  from oscar.quality import report


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
  from oscar.scenes import world

  directory = os.path.dirname(os.path.dirname(data.data_dir))
  return {scene.key: scene for scene in world.read(directory).scenes('val')}


TASKS = {
  'vqa': Measured({'vqa_score': 0.75}, _of_questions),
  'gqa': Measured({'accuracy': 0.70}, _of_questions),
  'nlvr2': Measured({'accuracy': 0.65, 'consistency': 0.40}, _of_statements),
  'retrieval': Measured({'i2t_R@1': 0.85, 't2i_R@1': 0.80}, _of_pairs),
  'captioning': Measured({'CIDEr': 1.5, 'colour_words': 0.90}, _of_captions, _written_captions),
}


# Condition, and flag, of the self-critical trainings, which continue captioning's.
SCST = 'scst'


@dataclasses.dataclass(frozen=True)
class QualityConfig(scenes_experiment.SeedsConfig):
  """The models to measure."""

  output_dir: str = setting(
    'runs/scenes-quality', 'Folder of the fine-tuned models, the results and the table.'
  )


class Experiment(scenes_experiment.Experiment):
  """Trains and evaluates the models of a folder, with and without regions.

  Args:
    config: the settings.

  Raises:
    ValueError: the folder holds results of other recipes.
  """

  def __init__(self, config: QualityConfig) -> None:
    super().__init__(config, [
      trial
      for seed in config.seed_list()
      for task in config.task_list()
      for trial in _trials(task, seed, config.output_dir)
    ])  # fmt: skip

  def train(self) -> None:
    """Trains and evaluates the models without a result; see `run`."""
    self.run(self._measure)

  def baselines(self, task: str) -> dict[str, dict[str, float]]:
    """Computes the baselines of a task on the scenes of the models."""
    return TASKS[task].baselines(*self.data(task))

  def _measure(self, trial):
    self.call(trial, 'train_and_eval')
    self.call(trial, 'eval', mask_regions=True)
    *_, shown = self.history(trial)
    *_, masked = self.history(trial, fine_tuning_job.MASKED)
    if masked['step'] != shown['step']:
      raise ValueError(
        f'{self.model_dir(trial)}: evaluated at step {shown["step"]} with regions and at '
        f'{masked["step"]} without; remove the folder, to train again.'
      )
    shown |= self.written(trial)
    masked |= self.written(trial, mask_regions=True)
    return {'shown': shown, 'masked': masked}

  def written(self, trial: scenes_experiment.Trial, **flags: Any) -> dict[str, float]:
    """Lets the best checkpoint of a training predict; returns the metrics of what it writes.

    Args:
      trial: the training.
      **flags: flags of the prediction that are unlike those of the training.

    Returns:
      {metric: value}; {} for a task whose evaluation has all metrics.

    Raises:
      TypeError: the task's script writes no result file.
    """
    measure = TASKS[trial.task].written
    if measure is None:
      return {}
    spec = scenes_training.SCRIPTS[trial.task][1]
    if spec.results_name is None:
      raise TypeError(f'{trial.task} writes nothing that is measured.')
    self.call(trial, 'predict', **flags)
    data = dataclasses.replace(self.data(trial.task)[1], eval_split='val', **flags)
    return measure(os.path.join(self.model_dir(trial), spec.results_name(data)), data)


def _trials(task, seed, output_dir):
  """Returns the trainings of a task with a seed, in order."""
  if task != 'captioning':
    return [scenes_experiment.Trial(task, seed)]
  first, second = (
    os.path.join(output_dir, f'{name}-seed{seed}-export') for name in (task, f'{task}-{SCST}')
  )
  return [
    scenes_experiment.Trial(task, seed, flags={'export_dir': first}),
    scenes_experiment.Trial(
      task, seed, SCST, {SCST: True, 'init_checkpoint': first, 'export_dir': second}
    ),
  ]


def report_rows(
  task: str,
  lines: Sequence[Mapping[str, Any]],
  found: Mapping[str, Mapping[str, float]],
  condition: str = '',
) -> 'list[report.Row]':
  """Returns the `report.Row` of each metric of a task.

  Args:
    task: name of the task.
    lines: its results, one for each seed.
    found: {baseline: {metric: value}}.
    condition: condition of its trainings.
  """
  from oscar.quality import report

  return [
    report.Row(
      f'{task}, {condition}' if condition else task,
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
  scenes_experiment.run(config, Experiment, _report)


def _report(experiment, config):
  from oscar.quality import report

  rows, curves, baselines = [], [], {}
  results = experiment.results()
  for task in config.task_list():
    print(f'Baselines of {task}', flush=True)
    baselines[task] = experiment.baselines(task)
    trials = [trial for trial in experiment.trials if trial.task == task]
    for condition in dict.fromkeys(trial.condition for trial in trials):
      lines = [line for line in results
               if (line['task'], line.get('condition', '')) == (task, condition)]  # fmt: skip
      own = report_rows(task, lines, baselines[task], condition)
      rows += own
      of_seed = {
        trial.seed: {e['step']: e[own[0].metric] for e in experiment.history(trial)}
        for trial in trials
        if trial.condition == condition
      }
      curves.append(report.Curves(own[0], of_seed))
  content = {
    'rows': [row.as_dict() for row in rows], 'baselines': baselines, 'results': results,
  }  # fmt: skip
  path, picture = experiment.path('quality.json'), experiment.path('quality.png')
  files.write_json(path, content)
  report.draw(curves, picture)
  print(f'\n{report.table(rows)}\n\n{path}, {picture}')


SCRIPT = Script(__doc__, (QualityConfig,), run, check=scenes_experiment.check)


if __name__ == '__main__':
  SCRIPT.main()

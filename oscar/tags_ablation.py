r"""Compares OSCAR on the scenes with tags of the detector, without tags, with wrong and true tags.

  python -m oscar.tags_ablation
      Fine-tunes each task for 200 steps with three seeds under three conditions: given (the tags
      that the detector predicts), none and wrong (the tags of another image). These are 45
      trainings, two hours on one CPU core after the pre-training. Prints the comparison and writes
      ablation.md, ablation.json and learning curves, ablation.png, to runs/tags-ablation, again
      after each training: what is there early is already to be seen.

  python -m oscar.tags_ablation --max_steps=0 --conditions=given,none,wrong,true \
      --output_dir=runs/tags-ablation-full
      Each task with its recipe for the scenes, 2,000 to 6,000 steps, and also under the condition
      true (the classes that are in the picture): sixty trainings, most of a day.

  python -m oscar.tags_ablation --tasks=vqa,retrieval,captioning --conditions=given,none,true \
      --max_steps=1000 --output_dir=runs/tags-figure-6
      The comparison of Figure 6 of the paper (predicted tags, no tags, ground-truth tags): about
      two hours.

  python -m oscar.tags_ablation --quick --tasks=vqa --seeds=1 --output_dir=/tmp/tags
      Trains for a few steps on a few scenes: tries the command, measures nothing.

All trainings start from the same pre-training, which saw the tags of the detector. (The paper
starts from BERT, which saw none.) NLVR2 reads tags in the recipe for the scenes; the published runs
read none there (--use_label_seq=0). With fewer steps than the recipe's, the warm-up is a quarter of
them, and evaluations come at half of them and at the end; after 200 steps VQA has hardly begun to
learn, so that its figures tell little. The comparison is of the last step, on scenes and digits
that no training has seen, under the condition of the training. The same command resumes a stopped
job, and trains nothing again.

Source: arXiv 2004.06165, Section 5.2.
"""

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from oscar import scenes_experiment
from oscar.datasets import tags
from tpu_utils import files
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting
from tpu_utils.names import listed_names

if TYPE_CHECKING:
  from oscar.scenes import world as scenes_world

TRUE = 'true'
CONDITIONS = (tags.GIVEN, tags.NONE, tags.WRONG, TRUE)
# {task: metrics of its evaluation to compare, that of the learning curves first}.
METRICS: Mapping[str, tuple[str, ...]] = {
  'vqa': ('vqa_score',),
  'gqa': ('accuracy',),
  'nlvr2': ('accuracy', 'consistency'),
  'retrieval': ('i2t_R@1', 't2i_R@1'),
  'captioning': ('CIDEr',),
}
_TRUE_TAGS = 'true_tags.tsv'


@dataclasses.dataclass(frozen=True)
class AblationConfig(scenes_experiment.SeedsConfig):
  """The models to compare."""

  conditions: str = setting(
    ','.join((tags.GIVEN, tags.NONE, tags.WRONG)),
    'Tags to compare, separated by commas: given (of the detector), none, wrong (of another image) '
    'and true.',
  )
  max_steps: int = setting(
    200, "Steps of each training; 0: those of the task's recipe, 2,000 to 6,000.", at_least=0
  )
  output_dir: str = setting(
    'runs/tags-ablation', 'Folder of the fine-tuned models, the results and the comparison.'
  )

  def condition_list(self) -> list[str]:
    """Returns the names in `conditions`.

    Raises:
      ValueError: one is unknown.
    """
    return listed_names('condition of --conditions', self.conditions, CONDITIONS)


class Ablation(scenes_experiment.Experiment):
  """Trains and evaluates the models of a folder.

  Args:
    config: the settings.

  Raises:
    ValueError: the folder holds results of other recipes or steps.
  """

  def __init__(self, config: AblationConfig) -> None:
    self._ablation = config
    self._true_tags = os.path.join(config.output_dir, _TRUE_TAGS)
    trials = [
      scenes_experiment.Trial(
        task, seed, condition, {'tags': self._true_tags if condition == TRUE else condition}
      )
      for seed in config.seed_list()
      for task in config.task_list()
      for condition in config.condition_list()
    ]
    super().__init__(config, trials, {} if config.quick else lengths(config.max_steps))

  def train(self) -> None:
    """Trains and evaluates the models without a result; see `run`."""
    if any(trial.condition == TRUE for trial in self.trials):
      tags.write(self._true_tags, true_tags(self.world()))
    self.run(self._measure, self.write)

  def write(self) -> list[str]:
    """Writes the comparison of the trainings that are done; returns its lines for the terminal.

    Raises:
      OSError: a file cannot be written.
    """
    from oscar.quality import comparison

    config, results = self._ablation, self.results()
    done = {(line['task'], line['condition'], line['seed']) for line in results}
    trials = [t for t in self.trials if (t.task, t.condition, t.seed) in done]
    cells, curves = [], []
    for task in config.task_list():
      conditions = list(dict.fromkeys(t.condition for t in trials if t.task == task))
      for metric in METRICS[task]:
        cells += [
          comparison.Cell(
            task, metric, condition,
            [line['evaluation'][metric] for line in results
             if (line['task'], line['condition']) == (task, condition)],
          )
          for condition in conditions
        ]  # fmt: skip
      of_seeds = {
        condition: [
          {int(line['step']): line[METRICS[task][0]] for line in self.history(trial)}
          for trial in trials
          if (trial.task, trial.condition) == (task, condition)
        ]
        for condition in conditions
      }
      if of_seeds:
        curves.append(comparison.Curves(task, METRICS[task][0], of_seeds))
    verdicts = comparison.verdicts(cells, base=tags.NONE)
    remark = f'{len(trials)} of {len(self.trials)} trainings; each has {self._length()}.'
    content = {
      'cells': [cell.as_dict() for cell in cells], 'verdicts': verdicts, 'results': results,
      'max_steps': config.max_steps, 'quick': config.quick, 'trainings': len(self.trials),
    }  # fmt: skip
    names = ('ablation.json', 'ablation.md', 'ablation.png')
    data, page, picture = (self.path(name) for name in names)
    files.write_json(data, content)
    comparison.draw(curves, picture)
    files.write_text(page, comparison.markdown(cells, verdicts, names[2], config.quick, remark))
    return [comparison.table(cells), '', *verdicts, remark, '', f'{page}, {data}, {picture}']

  def _length(self):
    if self._ablation.quick:
      return '2 steps'
    steps = self._ablation.max_steps
    if not steps:
      return "the steps of its task's recipe"
    return f"{steps:,} steps, where its task's recipe has 2,000 to 6,000"

  def _measure(self, trial):
    self.call(trial, 'train_and_eval')
    *_, last = self.history(trial)
    return {'evaluation': last}


def lengths(max_steps: int) -> dict[str, int]:
  """Returns the flags of trainings with so many steps; none for 0."""
  if not max_steps:
    return {}
  return {
    'max_steps': max_steps, 'steps_per_eval': max(1, max_steps // 2),
    'warmup_steps': min(150, max_steps // 4),
  }  # fmt: skip


def true_tags(world: 'scenes_world.World') -> dict[str, str]:
  """Returns {image: the classes of its things}, in the order of its regions.

  Args:
    world: the scenes.
  """
  import numpy as np

  from oscar.datasets import features
  from oscar.predicting.images import FeatureFolder

  regions = FeatureFolder(world.manual_dir('features'))
  found = {}
  for split in ('train', 'val'):
    for scene in world.scenes(split):
      width, height = scene.theme.canvas
      read = regions[scene.key].features[:, features.APPEARANCE_DIM :][:, :4]
      boxes = np.array([thing.box for thing in scene.things])
      away = np.abs((read * np.array([width, height] * 2))[:, None] - boxes).sum(axis=-1)
      names = [scene.things[number].digit for number in away.argmin(axis=1)]
      found[scene.key] = ' '.join(names)
  return found


def run(resolved: settings.Resolved) -> None:
  """Trains what is missing, and writes and prints the comparison."""
  (config,) = resolved
  scenes_experiment.run(config, Ablation, _report)


def _report(ablation, config):
  del config  # The ablation has it.
  print('\n' + '\n'.join(ablation.write()))


def check(resolved: settings.Resolved) -> None:
  """Checks tasks, conditions, seeds and the folder.

  Raises:
    ValueError: an unknown task or condition, a seed that is no number, or a remote folder.
  """
  scenes_experiment.check(resolved)
  resolved.get(AblationConfig).condition_list()


SCRIPT = Script(__doc__, (AblationConfig,), run, check=check)


if __name__ == '__main__':
  SCRIPT.main()

"""Trainings on the scenes that several commands share: pre-training, and flags of the tasks."""

import dataclasses
import gc
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from oscar import (
  fine_tuning,
  run_captioning,
  run_gqa,
  run_nlvr,
  run_pretrain,
  run_retrieval,
  run_vqa,
)  # fmt: skip
from oscar.recipes import RECIPES
from tpu_utils import files
from tpu_utils.command_line import settings
from tpu_utils.command_line.settings import setting
from tpu_utils.names import listed_names

# {task: (its fine-tuning script, the script's task)}.
SCRIPTS: Mapping[str, tuple[Any, fine_tuning.FineTuning]] = {
  'vqa': (run_vqa.SCRIPT, run_vqa.SPEC),
  'gqa': (run_gqa.SCRIPT, run_gqa.SPEC),
  'nlvr2': (run_nlvr.SCRIPT, run_nlvr.SPEC),
  'retrieval': (run_retrieval.SCRIPT, run_retrieval.SPEC),
  'captioning': (run_captioning.SCRIPT, run_captioning.SPEC),
}
# Arguments of `scenes.build`, and flags of each script, with --quick.
QUICK_SCENES = {'num_train': 12, 'num_val': 6, 'detector_steps': 1, 'num_questions': 2}
QUICK: Mapping[str, Any] = {
  'train_batch_size': 4, 'eval_batch_size': 4, 'steps_per_eval': 2, 'warmup_steps': 0,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class TasksConfig(settings.Checked):
  """The tasks to train."""

  tasks: str = setting(','.join(SCRIPTS), 'Tasks, separated by commas.')
  output_dir: str = setting(
    'runs/scenes', 'Folder of the results; with --quick also of the scenes and the models.'
  )
  quick: bool = setting(
    False, 'Train for a few steps on a few scenes: tries the command, measures nothing.'
  )

  def task_list(self) -> list[str]:
    """Returns the names in `tasks`.

    Raises:
      ValueError: one is unknown.
    """
    return listed_names('task of --tasks', self.tasks, SCRIPTS)


class Trainings:
  """Pre-trains, and gives the flags of fine-tunings.

  Attributes:
    world: with `quick`, a few scenes in the folder; otherwise None until they are needed.
  """

  def __init__(self, folder: str, quick: bool) -> None:
    """Builds the scenes of a quick trial.

    Args:
      folder: where a quick trial has its scenes and its pre-training.
      quick: whether to train for a few steps on a few scenes.
    """
    self._folder = folder
    self.world: Any = None
    if quick:
      from oscar import scenes

      self.world = scenes.build(os.path.join(folder, 'scenes'), log=print, **QUICK_SCENES)

  def pretrain(self, tasks: Iterable[str]) -> None:
    """Runs the pre-training unless the model that the tasks start from exists."""
    if self.world is None:
      starts = [str(RECIPES[SCRIPTS[t][1].scenes].settings['init_checkpoint']) for t in tasks]
      if not all(map(files.is_folder, starts)):
        print('Pre-training')
        call(run_pretrain.SCRIPT, {})
    elif not files.is_folder(self.pretrained()):
      call(run_pretrain.SCRIPT, {
        **QUICK, 'recipe': run_pretrain.SCENES, 'train_steps': 2, 'config': 'tiny',
        'data_dir': self.world.data_dir, 'vocab_file': self.world.vocab_file,
        'model_dir': os.path.join(self._folder, 'pretrain'),
      })  # fmt: skip

  def pretrained(self) -> str:
    """Returns the folder of the pre-trained model."""
    folder = os.path.join(self._folder, 'pretrain')
    if self.world is None:
      folder = str(RECIPES[run_pretrain.SCENES].settings['model_dir'])
    return os.path.join(folder, 'export')

  def flags(self, task: str) -> dict[str, Any]:
    """Returns the flags of a task's training that its recipe does not have."""
    spec = SCRIPTS[task][1]
    if self.world is None:
      return {}
    return {
      **QUICK, 'recipe': spec.scenes, 'max_steps': 2,
      'data_dir': self.world.manual_dir(spec.scenes_data),
      'init_checkpoint': self.pretrained(),
    }  # fmt: skip


def announced(items: Sequence[Any], name_of: Callable[[Any], str]) -> Iterator[Any]:
  """Yields models to train, each after a line with its number and an estimate of the time left.

  Args:
    items: the models.
    name_of: function(item) -> text for people.
  """
  start = time.monotonic()
  for number, item in enumerate(items):
    left = ''
    if number:
      seconds = (time.monotonic() - start) / number * (len(items) - number)
      left = f'; about {seconds / 60:.0f} min left'
    print(f'\n[{number + 1} of {len(items)} models to train{left}] {name_of(item)}', flush=True)
    yield item


def call(script: Any, flags: Mapping[str, Any]) -> None:
  """Runs a script in this process and frees its model."""
  import keras

  script.call([f'--{name}={value}' for name, value in flags.items()])
  keras.utils.clear_session()  # Else the models stay in memory.
  gc.collect()

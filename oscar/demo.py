"""Trains OSCAR on scenes for every task and writes a web page that shows what it does.

  python -m oscar.demo
      Pre-trains, fine-tunes VQA, GQA, NLVR2, retrieval and captioning by their recipes for the
      scenes (three hours on one CPU core; what exists is not trained again, and the same
      command resumes a stopped job), and writes runs/demo/demo.html: one file without network.

  python -m oscar.demo --tasks=vqa,captioning
      Trains and shows these tasks only.

  python -m oscar.demo --quick --output_dir=/tmp/demo
      Trains for a few steps on a few scenes: tries the command, and the models know nothing.

The models are those of the scripts: runs/vqa-scenes/export and so on. `python -m oscar.predict`
takes them, too; the page says how.
"""

import dataclasses
import importlib
import os
from typing import Any

from oscar import run_pretrain, scenes_training
from oscar.recipes import RECIPES
from tpu_utils import claims, files
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting

PAGE = 'demo.html'


@dataclasses.dataclass(frozen=True)
class DemoConfig(scenes_training.TasksConfig):
  """The page."""

  output_dir: str = setting(
    'runs/demo', f'Folder of {PAGE}; with --quick also of the scenes and the models.'
  )
  quality_dir: str = setting(
    'runs/scenes-quality', 'Folder of `python -m oscar.scenes_quality`, for the table of baselines.'
  )


class Demo:
  """Trains the models and collects what the page shows.

  Args:
    config: the settings.
  """

  def __init__(self, config: DemoConfig) -> None:
    self._config = config
    self._trainings = scenes_training.Trainings(config.output_dir, config.quick)

  def model_dir(self, task: str) -> str:
    """Returns the folder of a task's job; its export is in `export`."""
    if self._config.quick:
      return os.path.join(self._config.output_dir, task)
    return str(RECIPES[scenes_training.SCRIPTS[task][1].scenes].settings['model_dir'])

  def export_dir(self, task: str) -> str:
    """Returns the folder of a task's trained model."""
    return os.path.join(self.model_dir(task), 'export')

  def train(self) -> None:
    """Trains the models that are missing.

    Raises:
      ValueError, OSError: as the scripts.
      cli.Interrupted: SIGTERM or Ctrl-C arrived; the state is saved.
    """
    tasks = self._config.task_list()
    missing = [task for task in tasks if not files.is_folder(self.export_dir(task))]
    self._trainings.pretrain(missing or tasks)
    for task in scenes_training.announced(missing, str):
      scenes_training.call(scenes_training.SCRIPTS[task][0], {
        **self._trainings.flags(task), 'model_dir': self.model_dir(task),
        'export_dir': self.export_dir(task), 'mode': 'train_and_eval',
      })  # fmt: skip

  def content(self) -> dict[str, Any]:
    """Returns what the page shows, as JSON-able values."""
    import oscar
    from oscar import scenes
    from oscar.demo_page import content, maps

    tasks = self._config.task_list()
    world = self._trainings.world or scenes.build(run_pretrain.SCENES_DIR, log=print)
    predictors = {task: oscar.load(self.export_dir(task)) for task in tasks}
    maker = content.Maker(world)
    print('Answers and captions', flush=True)
    found: dict[str, Any] = {'scenes': maker.scenes(predictors)}
    if 'retrieval' in predictors:
      print('Retrieval', flush=True)
      found['retrieval'] = maker.retrieval(predictors['retrieval'])
    if 'nlvr2' in predictors:
      print('Pairs of images', flush=True)
      found['pairs'] = maker.pairs(predictors['nlvr2'])
    print('Map of tags and regions', flush=True)
    found['map'] = maps.draw(self._trainings.pretrained(), maker.examples(maps.SCENES))
    return {
      **found,
      'pictures': maker.pictures,
      'shapes': maker.shapes,
      'tasks': tasks,
      'missing': [task for task in scenes_training.SCRIPTS if task not in tasks],
      'quick': self._config.quick,
      'evaluations': {task: self._evaluation(task) for task in tasks},
      'world': {'directory': _path_of(world.directory), **world.statistics['val']},
      'training_scenes': world.statistics['train']['scenes'],
      'exports': {task: self.export_dir(task) for task in tasks},
      'quality': self._quality(),
    }

  def _evaluation(self, task):
    """Returns {metric that chooses its checkpoint: last value}; {} if it was not evaluated."""
    from tpu_utils import eval_history

    rows = files.read_json_lines(eval_history.history_path(self.model_dir(task)))
    metric = importlib.import_module(scenes_training.SCRIPTS[task][1].implementation).OBJECTIVE
    return {metric: rows[-1][metric]} if rows and metric in rows[-1] else {}

  def _quality(self):
    path = os.path.join(self._config.quality_dir, 'quality.json')
    return files.read_json(path).get('rows', []) if files.is_file(path) else []


def _path_of(folder):
  """Returns a path for commands: relative for folders within the working directory."""
  short = os.path.relpath(folder)
  return os.path.abspath(folder) if short.startswith(os.pardir) else short


def run(resolved: settings.Resolved) -> None:
  """Trains what is missing and writes the page."""
  from oscar.demo_page import writing

  (config,) = resolved
  os.makedirs(config.output_dir, exist_ok=True)
  with claims.claimed('output_dir', config.output_dir):
    demo = Demo(config)
    demo.train()
    path = os.path.join(config.output_dir, PAGE)
    writing.write(demo.content(), path)
    print(f'\nOpen {os.path.abspath(path)} in a browser.')


def check(resolved: settings.Resolved) -> None:
  """Checks tasks and the folder.

  Raises:
    ValueError: an unknown task, or a remote folder.
  """
  (config,) = resolved
  config.task_list()
  files.check_local('output_dir', config.output_dir, 'write to a local folder and copy the page')


SCRIPT = Script(__doc__, (DemoConfig,), run, check=check)


if __name__ == '__main__':
  SCRIPT.main()

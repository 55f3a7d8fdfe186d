"""Builds the embedded data set of scenes, and draws some of them.

  python -m oscar.scenes
      Writes the data set to runs/scenes, and runs/scenes.png: some scenes with their boxes, tags,
      captions and questions.

A complete data set is kept. oscar/scenes/README.md describes the folder.
"""

import dataclasses
import logging

from tpu_utils import files
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting


@dataclasses.dataclass(frozen=True)
class SceneConfig(settings.Checked):
  """The data set to build."""

  output_dir: str = setting('runs/scenes', 'Folder of the data set.')
  seed: int = setting(0, 'Seed of scenes and texts.')
  num_train: int = setting(1500, 'Scenes of training digits.', at_least=2)
  num_val: int = setting(300, 'Scenes of held-out digits.', at_least=2)
  detector_steps: int = setting(200, 'Training steps of the detector.', at_least=1)


@dataclasses.dataclass(frozen=True)
class PictureConfig(settings.Checked):
  """The picture to draw."""

  picture: str = setting('runs/scenes.png', 'File of the picture; empty for none.')
  split: str = setting('val', 'Split to draw scenes from.', choices=('train', 'val'))
  num_shown: int = setting(8, 'Scenes to draw.', at_least=1)


def run(resolved: settings.Resolved) -> None:
  """Builds the data set and draws some scenes."""
  config, shown = resolved

  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from oscar.scenes import gallery, world

  logging.getLogger('absl').setLevel(logging.ERROR)  # TFDS warns of folders that it will fill.
  made = world.build(
    config.output_dir, config.seed, config.num_train, config.num_val, config.detector_steps, print
  )
  for split, numbers in made.statistics.items():
    statistics = (f'{name.replace("_", " ")} {value}' for name, value in numbers.items())
    print(f'{split}: ' + ', '.join(statistics))
  if shown.picture:
    gallery.draw(made, shown.split, shown.picture, shown.num_shown)
    print(f'{shown.picture}: {shown.num_shown} scenes of {shown.split}')


def check(resolved: settings.Resolved) -> None:
  """Checks that the data set and the picture are local.

  Raises:
    ValueError: one is remote.
  """
  config, shown = resolved
  for flag, path in (('output_dir', config.output_dir), ('picture', shown.picture)):
    files.check_local(flag, path, 'build the scenes in a local folder and copy them')


SCRIPT = Script(__doc__, (SceneConfig, PictureConfig), run, check=check)


if __name__ == '__main__':
  SCRIPT.main()

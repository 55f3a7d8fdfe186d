"""Makes the embedded world of scenes, and shows it.

  python -m oscar.scenes
      A world in runs/scenes, and a picture of some scenes in runs/scenes.png: boxes, tags, captions,
      questions.

What is already made stays as it is. See oscar/scenes/README.md for what is in the folder.
"""

import dataclasses
import logging

from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting


@dataclasses.dataclass(frozen=True)
class SceneConfig(settings.Checked):
  """What to make."""

  output_dir: str = setting('runs/scenes', 'Folder of the world.')
  seed: int = setting(0, 'Decides scenes and texts.')
  num_train: int = setting(1500, 'Scenes of training digits.', at_least=2)
  num_val: int = setting(300, 'Scenes of held-out digits.', at_least=2)
  detector_steps: int = setting(200, 'How long the detector is trained.', at_least=1)


@dataclasses.dataclass(frozen=True)
class PictureConfig(settings.Checked):
  """What to show."""

  picture: str = setting('runs/scenes.png', 'File of the picture; empty for none.')
  split: str = setting('val', 'Whose scenes.', choices=('train', 'val'))
  num_shown: int = setting(8, 'How many scenes.', at_least=1)


def run(resolved: settings.Resolved):
  """Makes the world and draws some of it."""
  config, shown = resolved

  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from oscar.scenes import gallery, world

  logging.getLogger('absl').setLevel(logging.ERROR)  # TFDS warns of folders that it will fill.
  made = world.build(
    config.output_dir, config.seed, config.num_train, config.num_val, config.detector_steps, print
  )
  for split, numbers in made.statistics.items():
    print(f'{split}: ' + ', '.join(f'{n.replace("_", " ")} {value}' for n, value in numbers.items()))
  if shown.picture:
    gallery.draw(made, shown.split, shown.picture, shown.num_shown)
    print(f'{shown.picture}: {shown.num_shown} scenes of {shown.split}')


SCRIPT = Script(__doc__, (SceneConfig, PictureConfig), run)


if __name__ == '__main__':
  SCRIPT.main()

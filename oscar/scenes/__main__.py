"""Makes the embedded world of scenes, and shows it.

  python -m oscar.scenes
      A world in runs/scenes, and a picture of some scenes in runs/scenes.png: boxes, tags, captions,
      questions.

What is already made stays as it is. See oscar/scenes/README.md for what is in the folder.
"""

import dataclasses
import sys

from absl import flags, logging

from tpu_utils.command_line import cli, settings
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


def main(argv):
  del argv
  config = settings.from_flags(SceneConfig, flags.FLAGS)
  shown = settings.from_flags(PictureConfig, flags.FLAGS)

  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from oscar.scenes import gallery, world

  logging.set_verbosity(logging.ERROR)  # TFDS warns of folders that it is about to fill.
  made = world.build(
    config.output_dir, config.seed, config.num_train, config.num_val, config.detector_steps, print
  )
  for split, numbers in made.statistics.items():
    print(f'{split}: ' + ', '.join(f'{n.replace("_", " ")} {value}' for n, value in numbers.items()))
  if shown.picture:
    gallery.draw(made, shown.split, shown.picture, shown.num_shown)
    print(f'{shown.picture}: {shown.num_shown} scenes of {shown.split}')


if __name__ == '__main__':
  settings.define_flags(SceneConfig)
  settings.define_flags(PictureConfig)
  sys.exit(cli.run(main, settings.parse_flags(__doc__, [SceneConfig, PictureConfig])))

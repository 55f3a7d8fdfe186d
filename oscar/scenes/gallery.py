"""Draws scenes with their detections, captions and questions, for people to look at."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import figure, patches
from PIL import Image

from oscar.datasets import coco_caption, gqa, region_files, tsv, vqa
from tpu_utils import figures

if TYPE_CHECKING:
  from oscar.scenes.world import World

_COLUMNS = 4
_WIDTH = 76  # Characters per line.
_LINES = 3  # Captions per scene, and questions of each data set.


def draw(world: World, split: str, path: str, count: int = 8) -> None:
  """Draws the first scenes of a split into an image file.

  Each box has its tag and the detector's score, in red if the tag is wrong.

  Args:
    world: the scenes.
    split: 'train' or 'val'.
    path: the image file; its ending decides the format.
    count: number of scenes.
  """
  scenes = world.scenes(split)[:count]
  texts = _texts(world, split)
  labels = tsv.TsvFile(os.path.join(world.manual_dir('coco_caption'), f'{split}.label.tsv'))
  rows = region_files.row_of_key(labels)
  columns = min(_COLUMNS, len(scenes))
  lines = -(-len(scenes) // columns)
  page = figure.Figure(figsize=(4.6 * columns, 5.6 * lines))
  page.subplots_adjust(
    left=0.01, right=0.99, bottom=2.3 / 5.6 / lines, top=1 - 0.3 / 5.6 / lines,
    hspace=0.75, wspace=0.06,
  )  # fmt: skip
  grid = page.subplots(lines, columns, squeeze=False).ravel()
  for axes in grid:
    axes.axis('off')
  for axes, scene in zip(grid, scenes, strict=False):
    axes.imshow(np.asarray(Image.open(world.image_file(scene.key))))
    digit_at = {tuple(map(float, thing.box)): thing.digit for thing in scene.things}
    usual = 'white' if max(scene.theme.background) < 128 else 'black'
    for detected in labels.json(rows[scene.key]):
      _draw_box(axes, detected, digit_at[tuple(map(float, np.round(detected['rect'])))], usual)
    axes.set_title(f'image {scene.key}', fontsize=9)
    lines_of_text = [
      textwrap.fill(text, _WIDTH, subsequent_indent='    ') for text in texts[scene.key]
    ]
    axes.text(0, -0.03, '\n'.join(lines_of_text), transform=axes.transAxes, fontsize=7.5, va='top')
  folder = os.path.dirname(path)
  if folder:
    os.makedirs(folder, exist_ok=True)
  figures.save(page, path, dpi=110)


def _draw_box(axes, detected, digit, usual):
  x1, y1, x2, y2 = detected['rect']
  colour = usual if detected['class'] == digit else 'red'
  axes.add_patch(
    patches.Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, edgecolor=colour)
  )
  axes.text(x1, y1 - 2, f'{detected["class"]} {detected["conf"]:.2f}', color=colour, fontsize=7)


def _texts(world, split):
  """Returns {image key: lines of text}, read with the readers of the official files."""
  lines = {}

  def add(key, line, kind):
    of_image = lines.setdefault(key, {}).setdefault(kind, [])
    if len(of_image) < _LINES:
      of_image.append(line)

  captions = coco_caption.CocoCaption(
    os.path.join(world.manual_dir('coco_caption'), f'{split}.yaml')
  )
  for caption in captions.captions:
    add(caption.image_id, caption.caption, 'caption')
  for name, reader in (('vqa', vqa.Vqa), ('gqa', gqa.Gqa)):
    questions = reader(world.manual_dir(name), split)
    for q in questions.questions:
      answers = ', '.join(questions.answers[label] for label in q.answers)
      add(q.image_id, f'{q.question} {answers}', name)
  return {
    key: [f'{kind}: {line}' for kind, texts in kinds.items() for line in texts]
    for key, kinds in lines.items()
  }

"""A picture of scenes for people: what the detector says, and what is said and asked of each."""

import os
import textwrap

import numpy as np
from matplotlib import figure, patches
from PIL import Image

from oscar.datasets import coco_caption, gqa, region_files, tsv, vqa

_COLUMNS = 4
_WIDTH = 76  # Letters a line.
_LINES = 3  # Captions a scene, and questions of each kind.


def draw(world, split, path, count=8):
  """Draws the first scenes of a split into an image file.

  A tag stands at its box, in red if it is wrong, with the detector's score.

  Args:
    world: `world.World`.
    split: 'train' or 'val'.
    path: of the image file; its ending decides the format.
    count: how many scenes.
  """
  scenes = world.scenes(split)[:count]
  texts = _texts(world, split)
  labels = tsv.TsvFile(os.path.join(world.manual_dir('coco_caption'), f'{split}.label.tsv'))
  rows = region_files.row_of_key(labels)
  columns = min(_COLUMNS, len(scenes))
  lines = -(-len(scenes) // columns)
  page = figure.Figure(figsize=(4.6 * columns, 5.6 * lines))
  page.subplots_adjust(
    left=0.01, right=0.99, bottom=2.3 / 5.6 / lines, top=1 - 0.3 / 5.6 / lines, hspace=0.75, wspace=0.06
  )
  grid = page.subplots(lines, columns, squeeze=False).ravel()
  for axes in grid:
    axes.axis('off')
  for axes, scene in zip(grid, scenes, strict=False):
    axes.imshow(np.asarray(Image.open(world.image_file(scene.key))))
    digit_at = {tuple(map(float, thing.box)): thing.digit for thing in scene.things}
    for found in labels.json(rows[scene.key]):
      _draw_box(axes, found, digit_at[tuple(map(float, np.round(found['rect'])))])
    axes.set_title(f'image {scene.key}', fontsize=9)
    said = '\n'.join(textwrap.fill(text, _WIDTH, subsequent_indent='    ') for text in texts[scene.key])
    axes.text(0, -0.03, said, transform=axes.transAxes, fontsize=7.5, va='top')
  folder = os.path.dirname(path)
  if folder:
    os.makedirs(folder, exist_ok=True)
  page.savefig(path, dpi=110)


def _draw_box(axes, found, digit):
  x1, y1, x2, y2 = found['rect']
  colour = 'white' if found['class'] == digit else 'red'
  axes.add_patch(
    patches.Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, edgecolor=colour)
  )
  axes.text(x1, y1 - 2, f'{found["class"]} {found["conf"]:.2f}', color=colour, fontsize=7)


def _texts(world, split):
  """{image key: lines} from the official files, as the readers of the tasks give them."""
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
    key: [f'{kind}: {line}' for kind, found in kinds.items() for line in found]
    for key, kinds in lines.items()
  }

"""The kinds of TSV files with regions that people have, told apart by a row's contents.

    region features           image, number of boxes, ..., base64 of float32 [regions, 2054]
    captioning's features     image, JSON {num_boxes, features}
    VinVL's predictions.tsv   image, JSON {objects: [{rect, class, conf, feature}], ...}, perhaps
                              with image_h and image_w; a feature is base64 of float32 [2048]
    bottom-up attention       image_id, image_w, image_h, num_boxes, boxes, features
    LXMERT                    img_id, img_h, img_w, objects_id, objects_conf, attrs_id, attrs_conf,
                              num_boxes, boxes, features

`rect` and boxes are corners x1, y1, x2, y2 in pixels; boxes and features are base64 of float32
[num_boxes, 4] and [num_boxes, 2048]. `region_conversion` converts detections to region features.

Source: the READMEs and generating programs of microsoft/scene_graph_benchmark,
peteanderson80/bottom-up-attention and airsplay/lxmert.
"""

from collections.abc import Sequence

from oscar.datasets import features
from tpu_utils import files

REGIONS, CAPTION, TAGS = 'regions', 'caption', 'tags'
VINVL, BOTTOM_UP, LXMERT = 'vinvl', 'bottom_up', 'lxmert'
NAMES = {
  REGIONS: 'region features in columns (image, number of boxes, features)',
  CAPTION: "captioning's region features (image, JSON with num_boxes and features)",
  TAGS: 'tags (image, JSON of objects) without features',
  VINVL: 'detections of VinVL (image, JSON of objects that each have a feature)',
  BOTTOM_UP: 'detections of bottom-up attention (six columns, with boxes in pixels)',
  LXMERT: 'detections as for LXMERT (ten columns, with boxes in pixels)',
}
DETECTORS = (VINVL, BOTTOM_UP, LXMERT)
# Columns of the number of boxes, the image's width and height; boxes and features are the last two.
COLUMNS = {BOTTOM_UP: (3, 1, 2), LXMERT: (7, 2, 1)}
_COLUMN_KINDS = {6: BOTTOM_UP, 10: LXMERT}  # By the number of columns.


def kind_of(columns: Sequence[bytes]) -> str | None:
  """Returns the kind of file that a row belongs to, a key of `NAMES`; None if it is unknown."""
  if len(columns) == 2 and columns[1][:1] in (b'{', b'['):
    return _kind_of_json(columns[1])
  kind = _COLUMN_KINDS.get(len(columns))
  if kind is not None and all(columns[i].isdigit() for i in COLUMNS[kind]):
    return kind
  return REGIONS if len(columns) >= 3 and columns[1].isdigit() else None


def _kind_of_json(text):
  try:
    content = files.parse_json(text)
  except ValueError:
    return None
  if isinstance(content, dict) and 'features' in content:
    return CAPTION
  objects = content.get('objects') if isinstance(content, dict) else content
  if not isinstance(objects, list) or not objects or not all(isinstance(o, dict) for o in objects):
    return None
  return VINVL if any('feature' in item for item in objects) else TAGS


def check_kind(columns: Sequence[bytes], expected: str, where: str) -> str | None:
  """Refuses a row that belongs to another kind of file; a row of no known kind passes.

  Args:
    columns: of the row.
    expected: a key of `NAMES`.
    where: file and row, for the error.

  Returns:
    The kind of the row, `expected` or None.

  Raises:
    ValueError: it belongs to another kind; the message says how to convert it.
  """
  kind = kind_of(columns)
  if kind not in (None, expected):
    advice = f'; convert them: {features.CONVERT}' if kind in DETECTORS else ''
    raise ValueError(f'{where}: {NAMES[kind]}; expected {NAMES[expected]}{advice}')
  return kind

"""NoCaps: captions that mention detected objects, scores by domain, and the server's file.

Detections become constraints (`constrained.filter`), constraints become machines over reachable
states (`constrained.machine`), and the search writes the best caption of those that meet as many as
asked for, else as many as possible.

Source: nocaps, arXiv 1812.08658; microsoft/Oscar, `CaptionTSVDatasetWithConstraints` of
oscar/run_captioning.py, oscar/utils/cbs.py, and `evaluate_on_nocaps` of
oscar/utils/caption_evaluate.py.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from oscar.datasets import coco_caption, nocaps
from oscar.decoding.config import GenerationConfig
from oscar.decoding.constrained import by_image, filter, machine
from oscar.tasks import kept
from oscar.tokenization import Tokenizer
from tpu_utils import files

MET = 'constraints_met'
OVERALL = 'overall'


def open_split(
  yaml_file: str, region_dim: int, with_constraints: bool
) -> coco_caption.CocoCaption:
  """Opens a split of captions, which may be one of NoCaps.

  Its captions are those of the YAML file; where that names none, those of NoCaps' annotations
  beside it.

  Args:
    yaml_file: the split's description.
    region_dim: numbers in a region.
    with_constraints: whether the split must have detections for constraints.

  Raises:
    FileNotFoundError, ValueError: as `CocoCaption` and `NoCaps`; the annotations are damaged or
      lack an image.
  """
  reader = nocaps.NoCaps if with_constraints else coco_caption.CocoCaption
  split = reader(yaml_file, region_dim)
  annotations = annotations_of(yaml_file)
  if annotations is not None:
    unknown = [key for key in split.image_ids if key not in annotations.ids]
    if unknown:
      raise ValueError(
        f'{annotations.path} lacks {len(unknown)} of the {len(split.image_ids)} images in '
        f'{split.files["feature"]} (first: {unknown[0]!r}); are both of the same split?'
      )
    if not split.captions:
      wanted = set(split.image_ids)
      split.captions = [each for each in annotations.captions if each.image_id in wanted]
  return split


@kept.once_a_job(maxsize=2)
def annotations_of(yaml_file: str) -> nocaps.Annotations | None:
  """Returns NoCaps' annotations beside a split's YAML file; None if there are none."""
  path = nocaps.annotations_path(yaml_file)
  return None if path is None else nocaps.read_annotations(path)


# ---- Constraints


@dataclasses.dataclass(frozen=True)
class Constraints:
  """The constraints of a split.

  Attributes:
    names: for each image, the classes that its caption should mention, the highest score first.
    machines: for each image, the machine that follows which of them a caption mentions.
    notes: a line for each peculiarity of the files.
  """

  names: tuple[tuple[str, ...], ...]
  machines: tuple[machine.Machine, ...]
  notes: tuple[str, ...]


@kept.once_a_job(maxsize=1)  # The search and the records need them.
def open_constraints(
  split: nocaps.NoCaps, tokenizer: Tokenizer, max_gen_length: int, suppress_general: bool = False
) -> Constraints:
  """Chooses the constraints of each image of a split and builds their machines.

  Args:
    split: the split.
    tokenizer: the model's tokenizer.
    max_gen_length: tokens of a caption, for the notes.
    suppress_general: see `filter.constraints`.

  Raises:
    OSError: a constraint file cannot be read.
    ValueError: one is damaged.
  """
  tree = filter.Hierarchy(split.files['cbs_hierarchy'])
  words = machine.ConstraintWords(
    split.files['cbs_constraint'], split.files['cbs_tokenforms'], tokenizer
  )
  found = [split.constraint_boxes(image_id) for image_id in split.image_ids]
  chosen = [filter.candidates(boxes, tree, suppress_general=suppress_general) for boxes in found]
  names = tuple(tuple(dict.fromkeys(classes)) for classes in chosen)
  built: dict[tuple[str, ...], machine.Machine] = {}
  for classes in names:
    if classes not in built:
      built[classes] = machine.build([words.pieces(name) for name in classes])
  repeated = [
    image_id
    for image_id, classes in zip(split.image_ids, chosen, strict=True)
    if len(set(classes)) < len(classes)
  ]
  detected = {boxes.class_names[i]: None for boxes in found for i in filter.admitted(boxes)}
  notes = [
    *_hierarchy_notes(split, tree, list(detected)),
    *_word_notes(split, words, list(dict.fromkeys(n for each in names for n in each))),
    *_length_notes(words, names, max_gen_length),
    *_note(repeated, split.files['cbs_box'], 'images have a class twice among their best '
           'detections; it is one constraint'),
  ]  # fmt: skip
  return Constraints(names, tuple(built[classes] for classes in names), tuple(notes))


def _note(found, where, text):
  """Returns [a note on what was found], [] if nothing was."""
  return [f'{where}: {len(found)} {text} (first: {found[0]!r}).'] if found else []


def _hierarchy_notes(split, tree, names):
  lacking = [name for name in names if name not in tree]
  where = split.files['cbs_hierarchy']
  return _note(lacking, where, 'detected classes are not in the tree; they count as specific')


def _word_notes(split, words, names):
  unlisted = [name for name in names if words.unlisted(name)]
  long = [name for name in names if len(words.texts(name)) > machine.MAX_PIECES]
  unknown = [name for name in names if not all(words.pieces(name)) or not words.pieces(name)]
  where = split.files['cbs_constraint']
  return [
    *_note(unlisted, where, "constraints have a word that the file lacks; they are cut into the "
           "tokenizer's pieces"),
    *_note(long, where, f'constraints have more than {machine.MAX_PIECES} word pieces; the first '
           f'{machine.MAX_PIECES} count, as officially'),
    *_note(unknown, split.files['cbs_tokenforms'], "constraints have a piece without a form in the "
           "model's vocabulary, and can't be met"),
  ]  # fmt: skip


def _length_notes(words, names, max_gen_length):
  room = max_gen_length - 1  # [CLS] takes a place; the constrained search needs none for [SEP].
  long = [
    name
    for name in dict.fromkeys(name for classes in names for name in classes)
    if len(words.pieces(name)) > room
  ]
  text = f'constraints do not fit into captions of {room} word piece{"s" if room > 1 else ""}'
  return _note(long, f'--max_gen_length={max_gen_length}', f"{text}, and can't be met")


def searcher(constraints: Constraints, config: GenerationConfig) -> Callable:
  """Returns function(model, batch) that writes captions which meet the constraints.

  Args:
    constraints: of the split whose images the batches hold; `batch['row']` says which.
    config: the settings of the search.
  """
  machines = by_image.ImageMachines(constraints.machines)
  return lambda model, batch: machines.generate(model, batch, batch['row'], config)


def add_constraints(
  made: Sequence[dict[str, Any]],
  rows: Mapping[str, np.ndarray],
  constraints: Constraints,
  min_constraints_to_satisfy: int,
) -> None:
  """Adds to each record its image's constraints and how many its caption meets.

  The fields are 'constraints', 'constraints_asked', 'constraints_met', and a 'note' where fewer are
  met than asked for.

  Args:
    made: `captioning.records` of `rows`.
    rows: 'row' and 'constraints_met' of the images.
    constraints: of the split.
    min_constraints_to_satisfy: constraints asked for, if an image has as many.
  """
  places = np.argsort(rows['row'], kind='stable')  # The order of the records.
  for record, place in zip(made, places, strict=True):
    names = constraints.names[int(rows['row'][place])]
    met, asked = int(rows[MET][place]), min(len(names), min_constraints_to_satisfy)
    record |= {'constraints': list(names), 'constraints_asked': asked, MET: met}
    if met < asked:
      record['note'] = (
        f'{met} of the {asked} constraints asked for are met, the most that any caption found meets'
      )


def summary(made: Iterable[Mapping[str, Any]]) -> str:
  """Returns a line that counts the images whose captions meet their constraints.

  Args:
    made: records after `add_constraints`.
  """
  images = list(made)
  given = [record for record in images if record['constraints']]
  unmet = [record['image_id'] for record in given if record[MET] < record['constraints_asked']]
  first = f' (first: {unmet[0]!r})' if unmet else ''
  return (
    f'Constraints: {len(given)} of {len(images)} images have some; as many as asked for are met in '
    f'{len(given) - len(unmet)}, fewer in {len(unmet)}{first}.'
  )


# ---- Scores and the server's file


def domain_scores(
  yaml_file: str,
  split: coco_caption.CocoCaption,
  made: Sequence[Mapping[str, Any]],
  evaluate: Callable,
) -> dict[str, float]:
  """Scores the images of each domain, as a data set of its own.

  So CIDEr counts document frequencies within a domain, and the overall score is no mean of the
  domains'.

  Args:
    yaml_file: the split's description.
    split: the split.
    made: `captioning.records` of all its images.
    evaluate: `captioning.evaluate` with arguments (split, records, name).

  Returns:
    {'CIDEr/in-domain': ...}; {} if the split is not one of NoCaps, or says no domains.
  """
  annotations = annotations_of(yaml_file)
  if annotations is None or not annotations.domains:
    return {}
  found: dict[str, float] = {}
  for domain in nocaps.DOMAINS:
    inside = {key for key, of_image in annotations.domains.items() if of_image == domain}
    part = _Part(
      [key for key in split.image_ids if key in inside],
      [caption for caption in split.captions if caption.image_id in inside],
    )
    scores = evaluate(part, [r for r in made if r['image_id'] in inside], domain)
    if scores is not None:
      found |= {f'{name}/{domain}': value for name, value in scores.means.items()}
  return found


@dataclasses.dataclass(frozen=True)
class _Part:
  """Some images of a split, for `captioning.evaluate`."""

  image_ids: list[str]
  captions: list[coco_caption.Caption]


def domain_table(scores: Mapping[str, float]) -> str:
  """Returns scores as a table with a row for each domain; '' without domains.

  Args:
    scores: of the whole split, and those of `domain_scores`.
  """
  from tpu_utils.text_table import text_table

  if not any('/' in name for name in scores):
    return ''
  names = [name for name in scores if '/' not in name]
  rows = [
    [domain, *(f'{100 * scores[f"{name}/{domain}"]:.1f}' for name in names)]
    for domain in nocaps.DOMAINS
    if f'{names[0]}/{domain}' in scores
  ]
  rows.append([OVERALL, *(f'{100 * scores[name]:.1f}' for name in names)])
  return text_table(['x 100', *names], rows)


def result_lines(
  yaml_file: str, made: Sequence[Mapping[str, Any]], server_file: str
) -> list[str]:
  """Writes the file for NoCaps' server and returns lines about it and the constraints.

  Arguments and errors as for `write_server_file`.
  """
  lines = [summary(made)] if made and MET in made[0] else []
  lines.append(write_server_file(yaml_file, made, server_file))
  return [line for line in lines if line]


def write_server_file(
  yaml_file: str, made: Sequence[Mapping[str, Any]], path: str
) -> str:
  """Writes the file for NoCaps' server, which takes val and test: [{'image_id', 'caption'}].

  Args:
    yaml_file: the split's description.
    made: `captioning.records` of its images.
    path: the file to write.

  Returns:
    A line on what was written, or why nothing was; '' if the split is not one of NoCaps.

  Raises:
    ValueError: two records of an image, or an image that the annotations lack.
    OSError: the file cannot be written.
  """
  annotations = annotations_of(yaml_file)
  if annotations is None:
    return ''
  files.remove(path)  # Of an earlier run.
  rows = server_rows(annotations, made)
  lacking = len(annotations.ids) - len(rows)
  if lacking:
    return (
      f"No file for NoCaps' server: {lacking} of the {len(annotations.ids)} images of "
      f'{os.path.basename(annotations.path)} have no caption, and the server expects all.'
    )
  files.write_json(path, rows, indent=None)
  return f"For NoCaps' server: {path}"


def server_rows(
  annotations: nocaps.Annotations, made: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
  """Returns the rows for NoCaps' server, in the order of its images.

  Args:
    annotations: of the split.
    made: `captioning.records`; the first caption counts.

  Raises:
    ValueError: two records of an image, or an image that the annotations lack.
  """
  captions: dict[str, str] = {}
  for record in made:
    key = record['image_id']
    if key in captions:
      raise ValueError(f'{annotations.path}: two captions of image {key!r}; the server takes one.')
    if key not in annotations.ids:
      raise ValueError(f'{annotations.path}: no image {key!r}, so that the server knows none.')
    captions[key] = record['captions'][0]['caption']
  return [
    {'image_id': number, 'caption': captions[key]}
    for key, number in annotations.ids.items()
    if key in captions
  ]

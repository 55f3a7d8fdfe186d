"""Model cards: the README.md beside an exported model, as Hugging Face's hub shows it.

The card says what the model is, on what and how it was trained, how it was measured, what limits
its use, and the checksums of its files. Its front matter has the field `license`, which whoever
publishes the model fills in: https://huggingface.co/docs/hub/model-cards.
"""
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tpu_utils import checkpoints, files

FILE = 'README.md'
_CHUNK = 1 << 20
_UNKNOWN = 'Not known: these weights come from no job of this project that kept a record.'
_NOT_MEASURED = 'Not measured here.'


@dataclasses.dataclass(frozen=True)
class ModelCard:
  """What a card says, besides the files' checksums.

  Attributes:
    title: name of the model.
    task: Hugging Face's `pipeline_tag`, such as 'image-classification'.
    description: a paragraph on what the model is, Markdown.
    tags: further tags for search.
    library: Hugging Face's `library_name`.
    details: {name: value} that describe the model, such as its inputs.
    training: {name: value}: data, recipe, length; empty if they are unknown.
    results: {metric: value as text}; empty if it was not measured.
    measured: sentence on how the results were measured, Markdown.
    usage: Markdown that shows how to use the files.
    limits: sentences.
  """

  title: str
  task: str
  description: str
  tags: Sequence[str] = ()
  library: str = 'keras'
  details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  training: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  results: Mapping[str, str] = dataclasses.field(default_factory=dict)
  measured: str = ''
  usage: str = ''
  limits: Sequence[str] = ()


def write(folder: str, card: ModelCard) -> None:
  """Writes the card into a folder, with the checksums of all its files; call it last.

  Raises:
    OSError: a file cannot be read or written.
  """
  paths = {os.path.relpath(path, folder): path for path in _files_in(folder)}
  paths.pop(FILE, None)
  files.write_text(os.path.join(folder, FILE), text(card, paths))


def write_beside(path: str, card: ModelCard, written: Sequence[str]) -> str:
  """Writes the card of single files to `NAME.model_card.md`; returns its path.

  Args:
    path: of the file that names the card.
    card: the card.
    written: the files, with checksums in the card.

  Raises:
    OSError: a file cannot be read or written.
  """
  card_path = f'{os.path.splitext(path)[0]}.model_card.md'
  files.write_text(card_path, text(card, {os.path.basename(each): each for each in written}))
  return card_path


def text(card: ModelCard, paths: Mapping[str, str]) -> str:
  """Returns the text of a card.

  Args:
    card: the card.
    paths: {name: path} of the files to list.
  """
  front = [
    '---',
    'license: unknown  # Fill in before publishing: the licence of the weights and of their data.',
    f'library_name: {card.library}',
    f'pipeline_tag: {card.task}',
    *(['tags:', *(f'- {json.dumps(tag)}' for tag in card.tags)] if card.tags else []),
    '---',
  ]
  parts = ['\n'.join(front), f'# {_plain(card.title)}', card.description]
  if card.details:
    parts.append(_table(('', ''), card.details.items()))
  parts += ['## Training', _table(('', ''), card.training.items()) if card.training else _UNKNOWN]
  parts.append('## Results')
  if card.results:
    parts += [card.measured, _table(('metric', 'value'), card.results.items())]
  else:
    parts.append(_NOT_MEASURED)
  if card.usage:
    parts += ['## Use', card.usage]
  if card.limits:
    parts += ['## Limits', '\n'.join(f'- {sentence}' for sentence in card.limits)]
  parts += [
    '## Licence',
    'To be filled in, here and in the field `license` above, by whoever publishes the model.',
    '## Files',
    _table(('file', 'bytes', 'sha256'), _checksums(paths)),
  ]
  return '\n\n'.join(part for part in parts if part) + '\n'


@dataclasses.dataclass(frozen=True)
class JobRecord:
  """What a job's model_dir says about its best checkpoint, or else the newest.

  Attributes:
    flags: {flag: value} of the job.
    strategy: the devices that it ran on, as text.
    step: of the checkpoint; None if it is unknown.
    results: {metric: number} of its evaluation; empty if there was none.
  """

  flags: Mapping[str, Any]
  strategy: str
  step: int | None
  results: Mapping[str, float]


def job_record(model_dir: str | None) -> JobRecord | None:
  """Reads the record of a job; None if the folder is none of a job, or its record is damaged.

  Args:
    model_dir: the folder, or the one in it with the best checkpoint; None for no job.
  """
  if not model_dir:
    return None
  if os.path.basename(model_dir.rstrip('/')) == 'archive':  # Of the best checkpoint.
    model_dir = os.path.dirname(model_dir.rstrip('/'))
  if not files.is_file(os.path.join(model_dir, 'run.json')):
    return None
  try:
    start = files.read_json(os.path.join(model_dir, 'run.json'))['starts'][-1]
    flags = dict(start.get('flags') or {})
    step = _best_step(model_dir)
    history = files.read_json_lines(os.path.join(model_dir, 'eval', 'results.jsonl'))
  except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError):
    return None
  found = [row for row in history if row.get('step') == step]
  numbers = (int, float)
  results = {
    name: float(value)
    for name, value in (found[-1] if found else {}).items()
    if name != 'step' and isinstance(value, numbers)
  }
  return JobRecord(flags, str(start.get('strategy', '')), step, results)


def _best_step(model_dir):
  manager = checkpoints.CheckpointManager(model_dir, writes=False)
  best = manager.best()
  if best is not None:
    return int(best.rpartition('-')[2])
  steps = manager.steps()
  return steps[-1] if steps else None


def _checksums(paths):
  rows = []
  for name in sorted(paths):
    digest, size = hashlib.sha256(), 0
    with tf.io.gfile.GFile(paths[name], 'rb') as file:
      while chunk := file.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    rows.append((name, f'{size:,}', f'`{digest.hexdigest()}`'))
  return rows


def _files_in(folder) -> Iterator[str]:
  for path in files.paths_in(folder):
    if files.is_folder(path):
      yield from _files_in(path)
    else:
      yield path


def _table(header, rows):
  lines = [header, ['---'] * len(header), *rows]
  return '\n'.join('| ' + ' | '.join(_plain(cell) for cell in line) + ' |' for line in lines)


def _plain(value):
  """Returns a value as text on one line that keeps its cell."""
  return ' '.join(str(value).split()).replace('|', '\\|').replace('<', '&lt;')

"""Predictions for a file of JSON lines, in batches; a stopped job resumes.

The output has a line for each line of the input that is not blank, in its order:
{"line": 3, "id": ..., "answer": ...}, or {"line": 4, "error": "..."} for a bad one. Beside it,
OUTPUT.job.json records the model, the input and the options; the same job resumes after the last
complete batch, so the file is the same as without a stop.
"""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from oscar.predicting import images
from oscar.predicting.predictor import Example, Predictor
from tpu_utils import claims, files, local_copies
from tpu_utils.command_line.progress import Progress
from tpu_utils.errors import one_line
from tpu_utils.names import check_name
from tpu_utils.reading import reading

_SHOWN = 20  # Bad lines that are reported; the output has all.
_REMEMBERED = 64  # Pictures whose regions are kept for the next lines.
# Fields of an image that a line of a single image has at its top.
_OF_IMAGE = images.FIELDS
RECORD = '.job.json'


@dataclasses.dataclass(frozen=True)
class Counts:
  """The lines of an output: all, the bad ones, and those that were there before."""

  lines: int
  bad: int
  resumed: int


def run(
  predictor: Predictor,
  input_path: str,
  output_path: str,
  batch_size: int,
  options: Mapping[str, Any],
  origin: Mapping[str, Any],
) -> Counts:
  """Predicts the lines of a file.

  Args:
    predictor: the predictor.
    input_path: the file, UTF-8.
    output_path: local file to write, or to resume.
    batch_size: lines at a time.
    options: of `Predictor.predict`.
    origin: further JSON-able values by which predictions differ, such as the detector's name.

  Raises:
    ValueError: no line could be predicted; the output belongs to another job; or another process
      writes it.
    OSError: a file cannot be read or written.
  """
  with (
    local_copies.local_copy(input_path) as copy,
    claims.claimed('output', output_path, beside=True),
  ):
    total, digest = _measure(copy)
    if not total:
      raise ValueError(f'{input_path} has no lines; expected a JSON object on each.')
    identity = {
      'model': _fingerprint(predictor),
      'input': digest,
      'batch_size': batch_size,
      **origin,
      **options,
    }
    done = _resume(output_path, identity, total, batch_size)
    bad = done.bad
    reader = _Reader(predictor)
    lines = itertools.islice(_lines(copy), done.lines, None)
    with Progress(total, 'predict', initial=done.lines, unit='line') as progress:
      count = done.lines
      with open(output_path, 'ab') as output:
        while part := list(itertools.islice(lines, batch_size)):
          rows = _predict(reader, part, dict(options))
          output.write(''.join(f'{json.dumps(row)}\n' for row in rows).encode())
          output.flush()
          for row in rows:
            if 'error' in row:
              bad += 1
              if bad <= _SHOWN:
                progress.say(f'{input_path}, line {row["line"]}: {row["error"]}')
          count += len(part)
          progress.update(count, bad=bad)
    files.sync(output_path)
  if bad == total:
    first = next(_rows(output_path))
    raise ValueError(
      f'{input_path}: none of its {total} lines can be predicted; line {first["line"]}: '
      f'{first["error"]}'
    )
  return Counts(total, bad, done.lines)


def _measure(path):
  """Returns (lines that are not blank, SHA-256 of the file)."""
  digest = hashlib.sha256()
  with open(path, 'rb') as file:
    while block := file.read(2**20):
      digest.update(block)
  return sum(1 for _ in _lines(path)), digest.hexdigest()


def _lines(path) -> Iterator[tuple[int, bytes]]:
  """Yields (number from 1, contents) of the lines that are not blank."""
  with open(path, 'rb') as file:
    for number, line in enumerate(file, 1):
      content = line.removeprefix(b'\xef\xbb\xbf') if number == 1 else line
      if content.strip():
        yield number, content


def _fingerprint(predictor):
  """Returns a hash of all that the export makes of an input."""
  digest = hashlib.sha256()
  for variable in predictor.model.weights:  # Without the seeds of dropout.
    digest.update(variable.path.encode())
    digest.update(variable.numpy().tobytes())
  settings = dataclasses.asdict(predictor.settings)
  settings |= {'task': predictor.task, 'config': predictor.model.config.to_dict()}
  settings |= {'answers': predictor.answers, 'lower': predictor.tokenizer.do_lower_case}
  settings['vocab'] = predictor.tokenizer.vocab
  digest.update(json.dumps(settings, sort_keys=True).encode())
  return digest.hexdigest()


# ---- Resuming


def _resume(output, identity, total, batch_size):
  """Returns the `Counts` of the lines to keep, after cutting off others; starts a new file."""
  record = f'{output}{RECORD}'
  if not os.path.exists(output):
    files.write_json(record, identity)
    files.write_bytes(output, b'')
    return Counts(0, 0, 0)
  if not files.is_file(record):
    raise ValueError(
      f'{output} exists, but not {record}, the record of a job to resume; give another --output, '
      'or remove it.'
    )
  stored = files.read_json(record)
  names = [name for name in {**identity, **stored} if identity.get(name) != stored.get(name)]
  if names:
    raise ValueError(
      f'{output} holds predictions of another job, with another {", ".join(names)}; give another '
      '--output, or remove it.'
    )
  with open(output, 'rb') as file:
    whole = sum(line.endswith(b'\n') for line in file)
  # Predictions are rounded alike only in the same batches.
  kept = whole if whole == total else whole // batch_size * batch_size
  with reading(output, 'lines of JSON'), open(output, 'rb+') as file:
    bad = sum('error' in files.parse_json(line) for line in itertools.islice(file, kept))
    file.seek(0)
    file.truncate(sum(len(line) for line in itertools.islice(file, kept)))
  return Counts(kept, bad, kept)


def _rows(path):
  with open(path, 'rb') as file:
    yield from map(files.parse_json, file)


# ---- Lines to examples


def _predict(
  reader: '_Reader', part: list[tuple[int, bytes]], options: dict[str, Any]
) -> list[dict[str, Any]]:
  """Returns a row for each of the lines; bad ones have an error."""
  rows: list[dict[str, Any]] = []
  examples, places = [], []
  for number, content in part:
    row: dict[str, Any] = {'line': number}
    rows.append(row)
    try:
      example = reader.read(content, row)
    except (ValueError, OSError) as error:
      row['error'] = one_line(error)
      continue
    examples.append(example)
    places.append(row)
  if examples:
    results = reader.predictor.predict(examples, batch_size=len(examples), **options)
    for row, result in zip(places, results, strict=True):
      row.update(result.as_json())
  return rows


class _Reader:
  """Reads lines as examples of a predictor; the regions of the last pictures are kept."""

  def __init__(self, predictor: Predictor):
    self.predictor = predictor
    self._regions: dict[str, images.ImageRegions] = {}

  def read(self, content: bytes, row: dict[str, Any]) -> Example:
    """Returns the example of a line; copies its 'id' to `row`.

    Raises:
      ValueError, OSError: the line is bad.
    """
    try:
      line = files.parse_json(content.decode('utf-8'))
    except UnicodeDecodeError:
      raise ValueError('it is not UTF-8; expected JSON as UTF-8') from None
    except ValueError as error:
      raise ValueError(f'it is no JSON ({one_line(error)}); expected an object') from None
    if not isinstance(line, dict):
      raise ValueError(f'it holds {str(line)[:40]!r}, expected a JSON object')
    if 'id' in line:
      row['id'] = line['id']
    predictor = self.predictor
    sides = predictor.image_fields
    single = len(sides) == 1
    texts = [predictor.text_field] if predictor.text_field else []
    known = ('id', *texts, *(_OF_IMAGE if single else sides))
    for name in line:
      check_name('field', name, known)
    if texts and predictor.text_field not in line:
      raise ValueError(f'no {predictor.text_field!r}; it has {", ".join(line) or "no field"}')
    if single:
      given = [{name: value for name, value in line.items() if name in _OF_IMAGE}]
    else:
      given = [_side(line, side) for side in sides]
    read = [self._image(image, side) for image, side in zip(given, sides, strict=True)]
    return predictor.example(line[predictor.text_field] if texts else '', *read)

  def _image(self, image, side):
    if 'image' not in image:
      return self.predictor.read_image(image, side)
    key = json.dumps(image, sort_keys=True)
    if key not in self._regions:
      if len(self._regions) >= _REMEMBERED:
        self._regions.pop(next(iter(self._regions)))
      self._regions[key] = self.predictor.read_image(image, side)
    return self._regions[key]


def _side(line, side):
  """Returns the image of a side as a record: the path of a picture, or an object."""
  value = line.get(side)
  if isinstance(value, str):
    return {'image': value}
  if not isinstance(value, dict):
    raise ValueError(f'{side!r} is {value!r:.40}, expected the path of a picture, or an object')
  return value

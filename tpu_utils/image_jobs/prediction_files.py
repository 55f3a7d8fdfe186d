"""Files of predictions: CSV or JSON lines, written whole, and resumed after an interruption.

While a job runs, `OUTPUT.partial` (local outputs only) holds its predictions as JSON lines after a
line that describes the job. The same job continues after them; another one starts again.
"""
import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tpu_utils import files
from tpu_utils.image_jobs.predictor import Prediction

COLUMNS = ('image', 'rank', 'class', 'label', 'probability', 'error')
JSON_ENDINGS = ('.jsonl', '.ndjson')


class PredictionFile:
  """A file of predictions to write.

  Args:
    path: the file; its ending sets the format: one of `JSON_ENDINGS`, or CSV.
    job: JSON-able description of all that the predictions depend on.
  """

  def __init__(self, path: str, job: Mapping[str, Any]):
    self._path = path
    self._partial = None if files.is_remote(path) else f'{path}.partial'
    self._job = {'job': json.loads(json.dumps(job))}
    self._rows: dict[str, dict[str, Any]] = {}
    self._begin()

  def _begin(self):
    """Reads the predictions of an interrupted job, and writes a partial file with them."""
    if self._partial is None:
      return
    lines = files.read_json_lines(self._partial)
    if lines and lines[0] == self._job:
      self._rows = {row['image']: row for row in lines[1:] if 'predictions' in row}
    kept = [self._job, *self._rows.values()]
    text = ''.join(f'{json.dumps(line)}\n' for line in kept)
    files.write_bytes(self._partial, text.encode(), parents=True)

  @property
  def done(self) -> set[str]:
    """Paths of the images whose predictions are there already."""
    return set(self._rows)

  def add(self, predictions: Sequence[Prediction]) -> None:
    """Adds predictions, and stores them at once."""
    rows = [prediction.as_json() for prediction in predictions]
    self._rows.update((row['image'], row) for row in rows)
    if self._partial:
      with open(self._partial, 'a', encoding='ascii') as file:
        file.writelines(f'{json.dumps(row)}\n' for row in rows)

  def finish(self, images: Sequence[str]) -> None:
    """Writes the file with a row for each image, in this order, and removes the partial one.

    Raises:
      OSError: the file cannot be written.
    """
    rows = [self._rows[image] for image in images]
    text = _json_lines(rows) if self._path.lower().endswith(JSON_ENDINGS) else _csv(rows)
    # `surrogateescape`: names of files need not be UTF-8.
    content = text.encode('utf-8', 'surrogateescape')
    files.write_bytes(self._path, content, parents=bool(os.path.dirname(self._path)))
    if self._partial:
      files.remove(self._partial)


def _json_lines(rows):
  return ''.join(f'{json.dumps(row)}\n' for row in rows)


def _csv(rows):
  """Returns a row for each guess; names with commas and line breaks are quoted."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(COLUMNS)
  for row in rows:
    if 'error' in row:
      writer.writerow([row['image'], '', '', '', '', row['error']])
    for rank, guess in enumerate(row.get('predictions', ()), 1):
      writer.writerow(
        [row['image'], rank, guess['class'], guess['label'], guess['probability'], '']
      )
  return text.getvalue()

"""The official NLVR2 files under the official flags that select them.

    nlvr2_train.json
    nlvr2_balanced_dev.json, nlvr2_unbalanced_dev.json, nlvr2_dev.json      --eval_data_type
    nlvr2_balanced_test1.json, nlvr2_unbalanced_test1.json, nlvr2_test1.json
    nlvr2_img_frcnn_feats.pt (or .tsv)     {image key: regions}
    dev.json, test1.json                   NLVR2's own: a line of JSON with identifier and sentence

Source: microsoft/Oscar, `_load_dataset` of oscar/run_nlvr.py.
"""

import dataclasses
import os
from collections.abc import Sequence

from oscar.datasets import features, nlvr2, records, region_files
from tpu_utils import files
from tpu_utils.names import check_name
from tpu_utils.reading import reading

SPLITS = ('train', 'val', 'test1', 'val+test1')


@dataclasses.dataclass(frozen=True)
class Nlvr2Split:
  """The statements of a split.

  Attributes:
    path: their file.
    statements: the statements, in file order.
    right_first: for each whether its row names the right image first.
    identifiers: NLVR2's identifier of each; empty if they are not known.
    kinds: the kind of each; empty if the file names none.
  """

  path: str
  statements: list[nlvr2.Statement]
  right_first: list[bool]
  identifiers: list[str]
  kinds: list[str]


@dataclasses.dataclass(frozen=True)
class Nlvr2Files:
  """The places of the official files, under the names of the official flags.

  Attributes:
    data_dir: the folder.
    data_label_type: 'bal' or 'all', statements of test1.
    eval_data_type: 'bal', 'unbal' or 'all', statements of val; 'unbal' also selects those of test1
      if `data_label_type` is 'all'.
    sentences_file: NLVR2's own file of a split, for identifiers, or several with commas between, of
      which each split takes its own; empty for none.
    region_dim: numbers per region, 2048 for features without boxes.
  """

  data_dir: str
  data_label_type: str = 'bal'
  eval_data_type: str = 'bal'
  sentences_file: str = ''
  region_dim: int = features.REGION_DIM

  def statement_file(self, split: str) -> str:
    """Returns the path of the statements of a split.

    Raises:
      ValueError: there is no such split.
    """
    check_name('NLVR2 split', split, SPLITS)
    kind = self.eval_data_type
    if split == 'test1':
      # As officially, the other flag decides between the unbalanced part and the whole only.
      kind = 'bal' if self.data_label_type == 'bal' else 'unbal' if kind == 'unbal' else 'all'
    part = {'bal': 'balanced', 'unbal': 'unbalanced'}.get(kind)
    name = split
    if split != 'train' and part is not None:
      # As officially, the balanced and unbalanced parts of val+test1 are those of val.
      name = f'{"val" if split == "val+test1" else split}-{part}'
    return os.path.join(self.data_dir, nlvr2.SPLITS[name])

  def open_regions(self, split: str) -> region_files.RegionFile:
    """Opens the features, one file for all splits.

    Raises:
      FileNotFoundError: the file is missing.
      ValueError: the file is damaged.
    """
    del split
    stem = os.path.join(self.data_dir, nlvr2.REGIONS)
    if self.region_dim == features.APPEARANCE_DIM:
      return region_files.RegionTensors(f'{stem}.pt', dim=self.region_dim, check_boxes=False)
    return region_files.open_regions(stem, self.region_dim)

  def open(self, split: str) -> Nlvr2Split:
    """Reads the statements of a split.

    Raises:
      FileNotFoundError: a file is missing.
      ValueError: no such split, or a damaged file.
    """
    path = self.statement_file(split)
    statements = list(nlvr2.read_statements(path))
    if not statements:
      raise ValueError(f'{path} has no statement; is it the right file?')
    rows = records.read_json_list(path)
    identifiers = [str(row['identifier']) for row in rows if 'identifier' in row]
    if self.sentences_file and split != 'train':
      own, sentences = self.sentences_file.split(','), [s.statement for s in statements]
      identifiers = read_identifiers(own, sentences, path)
    if len(identifiers) not in (0, len(rows)):
      lacking = len(rows) - len(identifiers)
      raise ValueError(f"{path}: 'identifier' is missing in {lacking} of {len(rows)} rows.")
    kinds = [str(row['kind']) for row in rows if 'kind' in row]
    return Nlvr2Split(
      path,
      statements,
      [next(iter(row['img_id'])) == 'right' for row in rows],
      identifiers,
      kinds if len(kinds) == len(rows) else [],
    )


def read_identifiers(paths: Sequence[str], sentences: Sequence[str], where: str) -> list[str]:
  """Returns the identifiers of a split's statements from the file that has these statements.

  Args:
    paths: NLVR2's own files, a line of JSON for each statement; together, in this order, they may
      also be those of a split that joins them.
    sentences: the statements of the split.
    where: the split's file, for the error.

  Raises:
    FileNotFoundError: a file does not exist.
    ValueError: a file is not of that kind, or none has these statements in their order.
  """
  found = [_read_lines(path) for path in paths]
  if len(found) > 1:
    found.append([line for lines in found for line in lines])
  sentences = [sentence.strip() for sentence in sentences]
  # Where none fits, the one that fits longest explains best why not.
  best = max(found, key=lambda lines: (_same(lines, sentences), len(lines) == len(sentences)))
  same = _same(best, sentences)
  if same == len(best) == len(sentences):
    return [line.identifier for line in best]
  remedy = f'add the file that belongs to {where}, with a comma between, or give it alone.'
  if same < min(len(best), len(sentences)):
    raise ValueError(
      f'{best[same].where}: the sentence is {best[same].sentence!r:.60}, but statement {same} of '
      f'{where} is {sentences[same]!r:.60}; {remedy}'
    )
  raise ValueError(
    f'{best[0].path if best else paths[0]} has {len(best)} statements, but {where} has '
    f'{len(sentences)}; {remedy}'
  )


@dataclasses.dataclass(frozen=True)
class _Line:
  """A line of NLVR2's own file."""

  path: str
  number: int
  sentence: str
  identifier: str

  @property
  def where(self):
    return f'{self.path} line {self.number}'


def _read_lines(path):
  records.require_file(path)
  with reading(path, 'lines of JSON'), files.open_text(path) as file:
    rows = [files.parse_json(line) for line in file if line.strip()]
  lines = []
  for number, row in enumerate(rows, 1):
    where = f'{path} line {number}'
    if not isinstance(row, dict):
      raise ValueError(f'{where}: expected an object, found {row!r:.60}.')
    sentence = records.field(row, 'sentence', str, where)
    identifier = records.field(row, 'identifier', str, where)
    lines.append(_Line(path, number, sentence.strip(), identifier))
  return lines


def _same(lines, sentences):
  """Returns how many lines have the first sentences, up to the first other one."""
  pairs = enumerate(zip(lines, sentences, strict=False))
  others = (number for number, (line, sentence) in pairs if line.sentence != sentence)
  return next(others, min(len(lines), len(sentences)))

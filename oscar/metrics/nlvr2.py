"""NLVR2's consistency, and its submission file.

Source: the official evaluation of NLVR2: a sentence counts as consistent if it is right for all the
pairs of images that it is said about.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import Any

from oscar.metrics.vqa import check_each_once

_PARTS = 4  # Of an identifier: split, set of images, pair of images, sentence.


def groups(identifiers: Sequence[str], texts: Sequence[str]) -> list[str]:
  """Returns the name of each statement's group: the same sentence about several pairs of images.

  Args:
    identifiers: NLVR2's identifiers; empty if they are not known.
    texts: the statements, by which they are grouped without identifiers.
  """
  parts = [identifier.split('-') for identifier in identifiers]
  if not parts or any(len(part) != _PARTS for part in parts):
    return list(texts)
  return ['-'.join((split, images, sentence)) for split, images, _, sentence in parts]


def consistency(right: Sequence[bool], group_of: Sequence[str]) -> float:
  """Returns the share of groups of statements that are all right.

  Args:
    right: whether each statement is right.
    group_of: the group of each.
  """
  of_group: dict[str, bool] = collections.defaultdict(lambda: True)
  for group, is_right in zip(group_of, right, strict=True):
    of_group[group] &= bool(is_right)
  return sum(of_group.values()) / len(of_group)


def submission(
  rows: Sequence[Mapping[str, Any]], identifiers: Sequence[str], where: str
) -> str:
  """Returns the text of a submission file, after checking it.

  Args:
    rows: predictions with 'identifier' and 'prediction' (bool).
    identifiers: those of all statements of the split.
    where: file of the statements, for the error.

  Returns:
    A line `identifier,True` or `identifier,False` for each statement.

  Raises:
    ValueError: a statement is missing, occurs twice or is unknown.
  """
  check_each_once([row['identifier'] for row in rows], identifiers, where)
  return ''.join(f'{row["identifier"]},{bool(row["prediction"])}\n' for row in rows)

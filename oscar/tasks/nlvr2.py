"""NLVR2: whether a statement about two images is true.

Source: paper arXiv 2004.06165, section 4 and appendix A; microsoft/Oscar, oscar/run_nlvr.py.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from oscar import job as oscar_job
from oscar import task_settings
from oscar.datasets import nlvr2_files, tags
from oscar.input.statements import StatementInput, prediction_records
from oscar.metrics import kinds
from oscar.metrics import nlvr2 as metrics
from oscar.task_settings import Nlvr2Data
from oscar.tasks import classification, kept
from tpu_utils import files
from tpu_utils.trainer import Task

OBJECTIVE = 'accuracy'


def files_of(data: Nlvr2Data, region_dim: int = 2054) -> nlvr2_files.Nlvr2Files:
  """Returns the official files that the flags select."""
  return nlvr2_files.Nlvr2Files(
    data.data_dir, data.data_label_type, data.eval_data_type, data.sentences_file, region_dim
  )


@kept.once_a_job(maxsize=4)  # The number of steps, the input and the results need the texts.
def _open(opened: nlvr2_files.Nlvr2Files, split: str) -> nlvr2_files.Nlvr2Split:
  return opened.open(split)


def count(data: Nlvr2Data, split: str) -> int:
  """Returns the number of a split's statements."""
  return len(_open(files_of(data), split).statements)


def nlvr2_task(data: Nlvr2Data, source: StatementInput | None = None) -> Task:
  """Returns the `Task`: cross-entropy, accuracy, predictions, and consistency over all of them.

  Batches are those of `StatementInput`.

  Args:
    data: the flags.
    source: the input, for metrics over a whole split; None for none.
  """

  def summarize(label_of_row):
    return _metrics(source.statements(source.eval_split), label_of_row)

  return classification.make_task(
    'statement_loss',
    classification.loss_of_labels(data.loss_type),
    OBJECTIVE,
    classification.accuracy,
    None if source is None else summarize,
  )


def _metrics(loaded, label_of_row):
  """Returns consistency and, where the file names kinds, the accuracy of each kind.

  Args:
    loaded: the `Nlvr2Split`.
    label_of_row: {place of the statement in the split: predicted label}, for all of them.
  """
  statements = loaded.statements
  right = [label_of_row[row] == statement.label for row, statement in enumerate(statements)]
  groups = metrics.groups(loaded.identifiers, [statement.statement for statement in statements])
  found = {'consistency': metrics.consistency(right, groups)}
  return found | kinds.means(OBJECTIVE, zip(loaded.kinds, map(float, right), strict=False))


def write_results(
  data: Nlvr2Data, made: Sequence[Mapping[str, Any]], path: str
) -> dict[str, float]:
  """Writes the submission file, checked, and returns the metrics of the split.

  Without identifiers, in the rows or from `sentences_file`, there is no file.

  Args:
    data: the flags, with the predicted split.
    made: predictions of all its statements.
    path: the file.

  Raises:
    ValueError: the predictions and the statements of the split do not fit.
    OSError: the file cannot be written.
  """
  loaded = _open(files_of(data), data.eval_split)
  if loaded.identifiers:
    files.write_text(path, metrics.submission(made, loaded.identifiers, loaded.path))
  else:
    print(
      f"No submission file: the rows of {loaded.path} have no 'identifier'; give --sentences_file."
    )
  label_of_row = {row['row']: int(row['prediction']) for row in made}
  if len(label_of_row) != len(loaded.statements):
    raise ValueError(
      f'{loaded.path}: {len(loaded.statements)} statements, but {len(label_of_row)} predictions.'
    )
  right = [label_of_row[row] == s.label for row, s in enumerate(loaded.statements)]
  return {OBJECTIVE: sum(right) / len(right), **_metrics(loaded, label_of_row)}


def records(
  data: Nlvr2Data, source: StatementInput, rows: Mapping[str, np.ndarray]
) -> list[dict[str, Any]]:
  """Returns the predictions in the order of the file; see `prediction_records`."""
  return prediction_records(source.statements(data.eval_split), dict(rows))


def _open_input(data, tokenizer, config, seed):
  return StatementInput(
    functools.partial(_open, files_of(data)),
    files_of(data, config.img_feature_dim).open_regions,
    tokenizer,
    max_seq_length=data.max_seq_length,
    use_pair=data.use_pair,
    with_tags=data.use_label_seq,
    choose_tags=tags.chooser(data.tags),
    trim=data.trim_padding,
    region_dim=config.img_feature_dim,
    train_batch_size=data.train_batch_size,
    eval_batch_size=data.eval_batch_size,
    train_split=data.train_split,
    eval_split=data.eval_split,
    max_img_seq_length=data.max_img_seq_length,
    mask_regions=data.mask_regions,
    seed=seed,
  )


def _config(data):
  return {
    'num_labels': 2,
    'loss_type': data.loss_type,
    'classifier': data.classifier,
    'cls_hidden_scale': data.cls_hidden_scale,
    'use_pair': data.use_pair,
    'num_choice': data.num_choice,
  }


TASK = oscar_job.OscarTask(
  name='nlvr2',
  objective=OBJECTIVE,
  open_input=_open_input,
  learn=lambda data, source, model: nlvr2_task(data, source),
  config=_config,
  identity=('use_pair', 'classifier', 'cls_hidden_scale'),
  curves=(('statement_loss',), (OBJECTIVE,)),
  info=task_settings.info,
  records=records,
)

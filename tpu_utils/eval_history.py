"""The results of a job's evaluations: JSON lines in eval/ or eval_NAME/ of its model_dir."""
import json
import os
from collections.abc import Mapping

from tpu_utils import files

_FOLDER, _FILE = 'eval', 'results.jsonl'  # The folder's name, or its prefix.


class EvalHistory:
  """The results of one evaluation.

  Args:
    model_dir: folder of the job.
    name: --eval_name; None for the plain evaluation.

  Attributes:
    folder: name of its folder in model_dir, which its summaries share.
    path: path of the JSON lines.
  """

  def __init__(self, model_dir: str, name: str | None = None):
    self.folder = f'{_FOLDER}_{name}' if name else _FOLDER
    self.path = history_path(model_dir, self.folder)

  def steps(self) -> set[int]:
    """Returns the steps with results."""
    return {line['step'] for line in files.read_json_lines(self.path) if 'step' in line}

  def add(self, step: int, results: Mapping[str, float]) -> None:
    """Adds the results of a step."""
    files.append_json_line(self.path, {'step': step, **results})


def history_path(model_dir: str, folder: str = _FOLDER) -> str:
  """Returns the path of the JSON lines with step, losses and metrics of each evaluation."""
  return os.path.join(model_dir, folder, _FILE)


def forget_after(model_dir: str, step: int) -> None:
  """Deletes the results of later steps from all evaluations of a job, also those of mode=eval."""
  for folder in files.paths_in(model_dir, _FOLDER):
    path = os.path.join(folder, _FILE)
    rows = files.read_json_lines(path)
    kept = [row for row in rows if row.get('step', 0) <= step]
    if len(kept) < len(rows):
      files.write_text(path, ''.join(f'{json.dumps(row)}\n' for row in kept))

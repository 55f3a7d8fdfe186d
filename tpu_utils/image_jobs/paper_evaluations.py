"""Evaluations of checkpoints for the tables of the papers on image classifiers."""
import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from tpu_utils.command_line.paper_script import command_text
from tpu_utils.paper_table import Evaluation


@dataclasses.dataclass(frozen=True)
class Evaluations:
  """The evaluations of one paper.

  Attributes:
    module: its script, such as 'efficientnet.eval_ckpt_main'.
    flags: function(name of an evaluation) -> {flag: value} of the script, without paths.
    as_printed: function(accuracy from 0 to 1) -> the value in the paper's tables.
    metrics: names there of the top-1 and the top-5 value.
  """

  module: str
  flags: Callable[[str], Mapping[str, Any]]
  as_printed: Callable[[float], float]
  metrics: tuple[str, str]

  def planned(self, name: str, metric: str = '') -> Evaluation:
    """Describes an evaluation of the tables; `metric` is by default the top-1 value."""
    flags = {**self.flags(name), 'ckpt_dir': 'CHECKPOINT', 'data_dir': 'DATA'}
    return Evaluation(name, metric or self.metrics[0], command_text(self.module, flags))

  def evaluate(
    self, name: str, checkpoint: str, data_dir: str, work_dir: str
  ) -> tuple[dict[str, float], str]:
    """Evaluates a checkpoint; see `paper_script.Tables.evaluate`.

    Returns:
      ({metric: value}, the command).

    Raises:
      ValueError, OSError: as the script.
    """
    del work_dir  # Nothing is written.
    script = importlib.import_module(self.module).SCRIPT
    flags = {**self.flags(name), 'ckpt_dir': checkpoint, 'data_dir': data_dir}
    results = script.call([f'--{flag}={value}' for flag, value in flags.items()])
    accuracies = (results['top_1_accuracy'], results['top_5_accuracy'])
    values = dict(zip(self.metrics, map(self.as_printed, accuracies), strict=True))
    return values, command_text(self.module, flags)

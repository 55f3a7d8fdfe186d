"""Settings of the report that ends a job."""
import dataclasses

from tpu_utils.command_line import settings
from tpu_utils.command_line.settings import setting


@dataclasses.dataclass(frozen=True)
class ReportConfig(settings.Checked):
  """Report on the trained model, and pictures for TensorBoard."""

  report: bool = setting(
    None,
    'Write report.html and report.md to --model_dir: curves, confusion matrix, accuracy by class, '
    'the worst mistakes, augmented images, calibration, exports. By default train_and_eval does; '
    '--report: eval, too; --noreport: never, nor pictures for TensorBoard.',
    type=bool,
  )  # fmt: skip
  report_images: int = setting(
    5000,
    'Evaluation images to look at, evenly spread over the set, where the report needs predictions '
    'that no evaluation of this run has made.',
    at_least=1,
  )
  summary_graph: bool = setting(False, "Write the network's graph for TensorBoard.")

  def is_written(self, mode: str) -> bool:
    """Returns whether a job of this mode ends with a report."""
    return self.report is not False and mode == 'train_and_eval' or bool(
      self.report and mode == 'eval'
    )

  def check(self, mode: str) -> None:
    """Checks that the mode can have a report.

    Raises:
      ValueError: the user asks for one, and the mode evaluates nothing.
    """
    if self.report and mode not in ('train_and_eval', 'eval'):
      raise ValueError(
        f'--report: --mode={mode} evaluates nothing to report on; use train_and_eval, or eval '
        'for a model_dir that is trained already.'
      )

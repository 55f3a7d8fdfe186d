"""Settings that the papers' benchmarks share."""
import dataclasses
import os
from collections.abc import Iterable

from tpu_utils import files
from tpu_utils.benchmarking import machine
from tpu_utils.command_line import settings
from tpu_utils.command_line.settings import setting

_REPORT = 'benchmark.md'
_PACKAGES = (
  'tensorflow', 'keras', 'ai-edge-litert', 'openvino', 'onnxruntime', 'torch', 'timm',
  'torchvision', 'transformers',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ContestConfig(settings.Checked):
  """Peers, and what to do with the results."""

  rounds: int = setting(10, 'Turns of each contestant.', at_least=1)
  growth: bool = setting(
    False, 'Measure how time and memory grow with the work, instead of comparing with peers.'
  )
  output_dir: str = setting(
    '', f'Folder for the report: {_REPORT}, or growth.md and growth.png; printed alone without it.'
  )


def heading() -> str:
  """Returns the line of a report that describes this machine."""
  return f'Machine: {machine.describe(_PACKAGES)}.'


def write_report(head: str, tables: Iterable[str], output_dir: str) -> None:
  """Prints tables as they come, and writes all of them to `benchmark.md`, if a folder is given.

  Raises:
    OSError: the file cannot be written.
  """
  print(head, flush=True)
  parts = [head]
  for table in tables:
    print(f'\n{table}', flush=True)
    parts.append(table)
    if output_dir:  # Each time: a stopped run leaves what it has measured.
      content = '\n\n'.join(parts) + '\n'
      files.write_bytes(os.path.join(output_dir, _REPORT), content.encode(), parents=True)

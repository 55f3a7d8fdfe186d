"""The growth of a classifier's work with the batch and with replicas."""
import json
from collections.abc import Mapping
from typing import Any

from tpu_utils.benchmarking import growth
from tpu_utils.benchmarking import settings as shared
from tpu_utils.image_jobs.benchmarking import batch_growth, replica_growth


def report(title: str, module: str, settings: Mapping[str, Any], output_dir: str) -> str:
  """Measures, and writes the report if a folder is given; returns it.

  Args:
    title: of the report.
    module: program that serves the model, with a JSON dict as argument.
    settings: the dict; `batch_sizes` and `replicas` are set here.
    output_dir: local or remote folder, or ''.

  Raises:
    ValueError: the program failed.
    OSError: the report cannot be written.
  """
  head = f'## {title}\n\n{shared.heading()}'
  sizes = batch_growth.BATCH_SIZES
  arguments = [json.dumps({**settings, 'batch_sizes': sizes})]
  curves = list(batch_growth.measure(module, arguments, sizes))

  def replicated(count):
    return [json.dumps({**settings, 'batch_sizes': [replica_growth.BATCH_SIZE], 'replicas': count})]

  curves.append(replica_growth.measure(module, replicated, replica_growth.REPLICAS))
  return growth.report(head, curves, output_dir)

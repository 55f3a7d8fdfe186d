"""Measures all that grows, and reports it."""
from oscar.benchmarking import caption_length, corpus_size
from tpu_utils.benchmarking import growth
from tpu_utils.benchmarking import settings as shared


def report(config: str, output_dir: str) -> str:
  """Measures, and writes the report if a folder is given; returns it.

  Args:
    config: name or path of an `OscarConfig`.
    output_dir: local or remote folder, or ''.

  Raises:
    ValueError: a program failed.
    OSError: the report cannot be written.
  """
  head = f'## Growth, OSCAR {config}\n\n{shared.heading()}'
  return growth.report(head, [caption_length.measure(config), corpus_size.measure()], output_dir)

"""Plots of a job's training and evaluation curves, from the summaries in its model_dir."""
import os
from collections.abc import Sequence

from tpu_utils import figures


def read(folder: str) -> dict[str, dict[int, float]]:
  """Reads the scalars in a folder's event files, up to where a killed job left them incomplete.

  A killed job that resumed has written some steps twice; the later value counts.

  Returns:
    {tag: {step: value}}; empty if there are no event files.
  """
  from tensorboard.backend.event_processing import directory_watcher, event_accumulator
  from tensorboard.util import tensor_util

  everything = {event_accumulator.TENSORS: 0}
  # Purging would drop all later steps when a step is evaluated again.
  events = event_accumulator.EventAccumulator(folder, everything, purge_orphaned_data=False)
  try:
    events.Reload()
  except directory_watcher.DirectoryDeletedError:  # Also raised if it never existed.
    return {}
  return {
    tag: {e.step: float(tensor_util.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)}
    for tag in events.Tags()[event_accumulator.TENSORS]
    if events.SummaryMetadata(tag).plugin_data.plugin_name == 'scalars'  # Not images and texts.
  }


def draw(model_dir: str, panels: Sequence[Sequence[str]], path: str) -> None:
  """Plots training (lines) and evaluation (dashed lines with dots), panels side by side.

  Args:
    model_dir: the job's folder.
    panels: the tags to plot in each panel.
    path: the PNG file to write, whole or not at all.

  Raises:
    OSError: the file cannot be written.
  """
  from matplotlib.figure import Figure  # Takes a second to import, and few callers need it.

  curves = {'training': read(model_dir), 'evaluation': read(os.path.join(model_dir, 'eval'))}
  figure = Figure(figsize=(5 * len(panels), 4), layout='constrained')
  for axes, tags in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
    for number, tag in enumerate(tags):
      for (kind, scalars), style in zip(curves.items(), ('-', 'o--'), strict=True):
        points = sorted(scalars.get(tag, {}).items())
        if points:
          steps, values = zip(*points, strict=True)
          axes.plot(steps, values, style, color=f'C{number}', label=f'{tag}, {kind}', ms=4)
    axes.set_xlabel('step')
    if axes.lines:
      axes.legend(fontsize='small')
    axes.grid(alpha=0.3)
  figures.save(figure, path, dpi=120)

"""Pictures of a job's curves, from the summaries in its model_dir."""
import io
import os
from collections.abc import Sequence

from tpu_utils import files


def read(folder: str) -> dict[str, dict[int, float]]:
  """Reads the scalars in a folder's event files, up to where a kill cut them off.

  A job that was killed has written some steps twice, the second time after it resumed.

  Returns:
    {tag: {step: value}}, with the last value of each step; empty if there are no event files.
  """
  from tensorboard.backend.event_processing import directory_watcher, event_accumulator
  from tensorboard.util import tensor_util

  everything = {event_accumulator.TENSORS: 0}
  # Purging would drop the later steps where one is evaluated once more.
  events = event_accumulator.EventAccumulator(folder, everything, purge_orphaned_data=False)
  try:
    events.Reload()
  except directory_watcher.DirectoryDeletedError:  # Or never there.
    return {}
  return {
    tag: {e.step: float(tensor_util.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)}
    for tag in events.Tags()[event_accumulator.TENSORS]
  }


def draw(model_dir: str, panels: Sequence[Sequence[str]], path: str) -> None:
  """Draws curves of training (lines) and evaluation (dots) side by side.

  Args:
    model_dir: the job's folder.
    panels: tags to draw, a sequence for each panel.
    path: the PNG file to write, whole or not at all.

  Raises:
    OSError: the file cannot be written.
  """
  from matplotlib.figure import Figure  # Takes a second to import, and few calls need it.

  curves = {'training': read(model_dir), 'evaluation': read(os.path.join(model_dir, 'eval'))}
  figure = Figure(figsize=(5 * len(panels), 4), layout='constrained')
  for axes, tags in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
    for number, tag in enumerate(tags):
      for (kind, found), style in zip(curves.items(), ('-', 'o--'), strict=True):
        points = sorted(found.get(tag, {}).items())
        if points:
          axes.plot(*zip(*points, strict=True), style, color=f'C{number}', label=f'{tag}, {kind}', ms=4)
    axes.set_xlabel('step')
    if axes.lines:
      axes.legend(fontsize='small')
    axes.grid(alpha=0.3)
  png = io.BytesIO()
  figure.savefig(png, format='png', dpi=120)
  files.write_bytes(path, png.getvalue())

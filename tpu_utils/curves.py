"""Pictures of a job's curves, from the summaries in its model_dir."""
import os

import tensorflow as tf


def read(folder):
  """{tag: {step: value}} of the scalars in a folder's event files; of one step the last value.

  A job that was killed has written some steps twice, the second time after it went on.
  """
  found = {}
  for path in sorted(tf.io.gfile.glob(os.path.join(folder, 'events.out.tfevents.*'))):
    for event in _events(path):
      for value in event.summary.value:
        if value.HasField('tensor'):
          points = found.setdefault(value.tag, {})
          points[event.step] = float(tf.make_ndarray(value.tensor))
  return found


def _events(path):
  """The events of a file, up to where a kill cut it off."""
  try:
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
      yield tf.compat.v1.Event.FromString(record)
  except tf.errors.DataLossError:
    return


def draw(model_dir, panels, path):
  """Draws curves of training (lines) and evaluation (dots) side by side.

  Args:
    model_dir: the job's folder.
    panels: tags to draw, a sequence for each panel.
    path: the PNG file to write; whole or not at all.
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
  unfinished = f'{path}.writing'
  with tf.io.gfile.GFile(unfinished, 'wb') as f:
    figure.savefig(f, format='png', dpi=120)
  tf.io.gfile.rename(unfinished, path, overwrite=True)

"""The report as Markdown, with its pictures in a folder."""
import html
from collections.abc import Iterable, Sequence

from tpu_utils.image_jobs.reporting import content as contents
from tpu_utils.image_jobs.reporting.content import FOLDER, Content, percent

_SPECIAL = str.maketrans({c: f'\\{c}' for c in '\\`*_[]|#'})


def render(report: Content) -> tuple[str, dict[str, bytes]]:
  """Returns the text of the report, and {path: content} of the pictures it links to."""
  pictures = {
    f'{FOLDER}/confusion.png': report.confusion,
    f'{FOLDER}/calibration.png': report.calibration,
  }
  parts = [
    f'# {plain(report.title)}',
    f'{plain(report.checkpoint)}, measured on {report.basis}.',
    _table(['result', 'value'], report.numbers()),
  ]
  if report.curves:
    pictures[f'{FOLDER}/curves.png'] = report.curves
    parts += ['## Training', f'![Curves]({FOLDER}/curves.png)']
  parts += ['## What it confuses', f'![Confusion matrix]({FOLDER}/confusion.png)']
  if report.pairs():
    parts.append(_table(['true', 'predicted as', 'images', 'of its class'], report.pairs()))
  parts += _classes(report)
  parts += _mistakes(report, pictures)
  parts += [
    '## Calibration',
    f'Expected calibration error: {percent(report.predictions.calibration_error)} (15 bins).',
    f'![Reliability diagram]({FOLDER}/calibration.png)',
  ]
  if report.augmented:
    ending = 'png' if report.augmented.startswith(b'\x89PNG') else 'jpg'
    pictures[f'{FOLDER}/augmented.{ending}'] = report.augmented
    parts += [
      '## Augmentation', plain(report.augmentation),
      f'![Augmented training images]({FOLDER}/augmented.{ending})',
    ]  # fmt: skip
  parts += _exports(report)
  parts.append('## Commands')
  for command in report.commands:
    parts += [f'{command.purpose}:', f'```{command.language}\n{command.text}\n```']
  parts += ['## How it was made', _table(['', ''], report.facts.items())]
  return '\n\n'.join(parts) + '\n', pictures


def plain(text: object) -> str:
  """Escapes a text, so that Markdown shows it as it is, on one line."""
  return html.escape(' '.join(str(text).split()), quote=False).translate(_SPECIAL)


def _classes(report):
  shown = report.shown_classes()
  rows = [
    (report.name(c.number), percent(c.accuracy), c.images, percent(c.precision)) for c in shown
  ]
  parts = ['## Accuracy by class', _table(['class', 'accuracy', 'images', 'precision'], rows)]
  if len(shown) < report.num_classes_met:
    parts.append(
      f'The worst {len(shown)} of {report.num_classes_met} classes; '
      f'[all of them]({FOLDER}/classes.csv).'
    )
  return parts


def _mistakes(report, pictures):
  parts = ['## The worst mistakes']
  if not report.mistakes:
    return [*parts, 'There are none.']
  rows = []
  for number, mistake in enumerate(report.mistakes, 1):
    picture = ''
    if mistake.picture:
      ending = 'png' if mistake.picture.startswith(b'\x89PNG') else 'jpg'
      path = f'{FOLDER}/mistake-{number:02d}.{ending}'
      pictures[path] = mistake.picture
      picture = f'![]({path})'
    rows.append((
      picture,
      f'{plain(mistake.predicted)}, {percent(mistake.probability)}',
      f'{plain(mistake.true)}, {percent(mistake.true_probability)}',
      plain(mistake.source),
    ))  # fmt: skip
  text = f'{report.num_mistakes:,} of {len(report.predictions):,}; the most confident ones. '
  text += f'[All of them]({FOLDER}/mistakes.csv).'
  return [*parts, text, _table(['', 'predicted', 'true', 'image'], rows, escaped=True)]


def _exports(report):
  if not report.exports:
    return ['## Exports', 'None: no --export_dir was given.']
  rows = [
    (e.name, contents.size_text(e.size), contents.milliseconds_text(e.milliseconds),
     contents.speed_text(e.images_per_second), contents.accuracy_text(e), e.path, e.note)
    for e in report.exports
  ]  # fmt: skip
  header = ['format', 'size', 'one image', 'images/s by 16', 'top-1', 'path', '']
  return ['## Exports', plain(contents.exports_text(report)), _table(header, rows)]


def _table(header: Sequence[str], rows: Iterable[Sequence[object]], escaped: bool = False) -> str:
  """Returns a Markdown table; cells are escaped here unless they are `escaped` already."""
  lines = [header, ['---'] * len(header)]
  lines += [[str(cell) if escaped else plain(cell) for cell in row] for row in rows]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)

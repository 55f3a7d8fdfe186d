"""The report as one HTML file without network: styles and pictures inside, no program."""
import html
import os
from collections.abc import Iterable, Sequence

from tpu_utils.image_jobs.reporting import content as contents
from tpu_utils.image_jobs.reporting.content import FOLDER, Content, percent
from tpu_utils.web_page import page

_TEMPLATE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>/*TITLE*/</title>
<style>
/*BASE*/
/*STYLE*/
</style>
</head>
<body>
/*BODY*/
</body>
</html>
"""


def render(report: Content) -> str:
  """Returns the page."""
  sections = [
    ('training', 'Training', _training(report)),
    ('confusion', 'What it confuses', _confusion(report)),
    ('classes', 'Accuracy by class', _classes(report)),
    ('mistakes', 'The worst mistakes', _mistakes(report)),
    ('calibration', 'Can one believe its probabilities?', _calibration(report)),
    ('augmentation', 'What training sees', _augmentation(report)),
    ('exports', 'Exports', _exports(report)),
    ('commands', 'Commands', _commands(report)),
    ('details', 'How it was made', _details(report)),
  ]
  sections = [section for section in sections if section[2]]
  links = ''.join(f'<a href="#{key}">{_text(title)}</a>' for key, title, _ in sections)
  body = ''.join(
    f'<section id="{key}"><h2>{_text(title)}</h2>{inside}</section>'
    for key, title, inside in sections
  )
  numbers = ''.join(
    f'<div><b>{_text(value)}</b><span>{_text(name)}</span></div>'
    for name, value in report.numbers()
  )
  header = (
    '<header class="top"><p class="kicker">Report of a training</p>'
    f'<h1>{_text(report.title)}</h1>'
    f'<p class="lead">{_text(report.checkpoint)}, measured on {_text(report.basis)}.</p>'
    f'<div class="numbers">{numbers}</div><nav aria-label="Sections">{links}</nav></header>'
  )
  parts = {
    'STYLE': page.part(os.path.dirname(os.path.abspath(__file__)), 'report.css'),
    'TITLE': _text(report.title),
    'BODY': f'{header}<main>{body}</main><footer></footer>',
  }
  return page.fill(_TEMPLATE, parts)


def _training(report):
  if not report.curves:
    return ''
  return _chart(report.curves, 'Loss and accuracy in training and evaluation, by step', 'wide')


def _confusion(report):
  if len(report.names) <= 30:
    intro = 'Rows are the true classes, columns the predictions.'
  else:
    intro = (
      'Each dot stands for mistakes: its row is the true class, its column the prediction, both '
      'by number. Below are the pairs most often confused.'
    )
  parts = [f'<p class="intro">{intro}</p>', _chart(report.confusion, 'Confusion matrix')]
  if report.pairs():
    table = _table(['true', 'predicted as', 'images', 'of its class'], report.pairs())
    parts.append(f'<h3 class="below">Most often confused</h3>{table}')
  return f'<div>{"".join(parts)}</div>'


def _classes(report):
  shown = report.shown_classes()
  rows = []
  for c in shown:
    share = 0 if c.accuracy is None else 100 * c.accuracy
    bar = f'<div class="meter"><i style="width:{share:.1f}%"></i></div>'
    cells = [_text(report.name(c.number)), bar, percent(c.accuracy), f'{c.images:,}',
             percent(c.precision)]  # fmt: skip
    rows.append(f'<tr><td>{"</td><td>".join(cells)}</td></tr>')
  intro = 'The worst first. Precision: the share of right ones among the predictions of the class.'
  if len(shown) < report.num_classes_met:
    intro += (
      f' These are {len(shown)} of {report.num_classes_met}; all are in {FOLDER}/classes.csv '
      'beside this page.'
    )
  header = ['class', '', 'accuracy', 'images', 'precision']
  return f'<p class="intro">{_text(intro)}</p>{_rows(header, rows, "classes")}'


def _mistakes(report):
  if not report.mistakes:
    return '<p class="intro">There are none.</p>'
  tiles = []
  for mistake in report.mistakes:
    picture = '<div class="missing">not readable</div>'
    if mistake.picture:
      picture = f'<img alt="" loading="lazy" src="{page.picture_uri(mistake.picture)}">'
    tiles.append(
      f'<figure title="{_text(mistake.source)}"><div class="frame">{picture}</div><figcaption>'
      f'<b class="no">{_text(mistake.predicted)}</b> {percent(mistake.probability)}<br>'
      f'<span>is {_text(mistake.true)}, {percent(mistake.true_probability)}</span>'
      '</figcaption></figure>'
    )
  intro = (
    f'{report.num_mistakes:,} of {len(report.predictions):,} images are taken for something else. '
    'Here are the most confident of these predictions, above the true class; a picture shows its '
    f'file when pointed at. All are in {FOLDER}/mistakes.csv beside this page.'
  )
  return f'<p class="intro">{_text(intro)}</p><div class="tiles">{"".join(tiles)}</div>'


def _calibration(report):
  error = percent(report.predictions.calibration_error)
  mean = float(report.predictions.probability.mean())
  way = 'too confident' if mean > report.predictions.top_1 else 'too careful'
  intro = (
    f'It gives its predictions {percent(mean)} on average, and {percent(report.predictions.top_1)} '
    f'are right: on the whole it is {way}. The expected calibration error, the mean distance '
    f'between confidence and accuracy, is {error} (15 bins).'
  )
  chart = _chart(report.calibration, 'Reliability diagram', 'small')
  return f'<p class="intro">{_text(intro)}</p>{chart}'


def _augmentation(report):
  if not report.augmented:
    return ''
  intro = f'<p class="intro">{_text(report.augmentation)}</p>'
  return intro + _chart(report.augmented, 'Training images and their augmentations')


def _exports(report):
  if not report.exports:
    return '<p class="intro">None: no --export_dir was given.</p>'
  rows = [
    [e.name, contents.size_text(e.size), contents.milliseconds_text(e.milliseconds),
     contents.speed_text(e.images_per_second), contents.accuracy_text(e), e.path, e.note]
    for e in report.exports
  ]  # fmt: skip
  header = ['format', 'size', 'one image', 'images/s by 16', 'top-1', 'path', '']
  intro = f'<p class="intro">{_text(contents.exports_text(report))}</p>'
  return intro + _table(header, rows, 'exports')


def _commands(report):
  parts = [
    f'<h3>{_text(command.purpose)}</h3><pre>{_text(command.text)}</pre>'
    for command in report.commands
  ]
  return f'<div class="commands">{"".join(parts)}</div>'


def _details(report):
  rows = [f'<tr><td>{_text(k)}</td><td>{_text(v)}</td></tr>' for k, v in report.facts.items()]
  return f'<div class="scroll"><table class="facts"><tbody>{"".join(rows)}</tbody></table></div>'


def _chart(picture, description, kind=''):
  image = f'<img alt="{_text(description)}" src="{page.picture_uri(picture)}">'
  return f'<div class="chart {kind}">{image}</div>'


def _table(header: Sequence[str], rows: Iterable[Sequence[object]], kind: str = '') -> str:
  lines = ['<tr><td>' + '</td><td>'.join(map(_text, row)) + '</td></tr>' for row in rows]
  return _rows(header, lines, kind)


def _rows(header, lines, kind):
  head = '</th><th>'.join(map(_text, header))
  return (
    f'<div class="scroll"><table class="{kind}"><thead><tr><th>{head}</th></tr></thead>'
    f'<tbody>{"".join(lines)}</tbody></table></div>'
  )


def _text(value):
  return html.escape(str(value))

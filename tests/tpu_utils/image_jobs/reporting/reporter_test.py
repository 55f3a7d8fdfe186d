"""Reports of whole jobs: what they contain, when they are written, and on which devices."""
import html
import json
import re

import numpy as np
import pytest
import tensorflow as tf

from tests.tpu_utils.image_jobs.small_scripts import MAIN
from tpu_utils import curves, distribute
from tpu_utils.image_jobs.reporting import reporter
from tpu_utils.image_jobs.reporting.settings import ReportConfig

NAMES = ['<b>cat</b>', 'a|b *c*', 'naïve 猫']  # Sorted, as folders are.
PER_CLASS = 4


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
  folder = tmp_path_factory.mktemp('photographs')
  rng = np.random.default_rng(0)
  for split in ('train', 'validation'):
    for name in NAMES:
      for number in range(PER_CLASS):
        # Folders cannot have a slash in their names: the one of </b> is written otherwise.
        place = folder / split / name.replace('/', '∕')
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (80, 100, 3), np.uint8)
        (place / f'{number}.jpg').write_bytes(tf.io.encode_jpeg(pixels).numpy())
  return folder


def run(photographs, model_dir, *arguments):
  MAIN.call([
    f'--data_dir={photographs}', f'--model_dir={model_dir}', '--nouse_bfloat16',
    '--train_steps=4', *arguments,
  ])  # fmt: skip


@pytest.fixture(scope='module')
def job(photographs, tmp_path_factory):
  model_dir = tmp_path_factory.mktemp('job') / 'run'
  run(photographs, model_dir, f'--export_dir={model_dir}/export', '--summary_graph')
  return model_dir


def text_of(page):
  body = page[page.index('<body>') :]
  return html.unescape(re.sub(r'<[^>]+>', ' ', body))


@pytest.mark.slow
def test_the_page_needs_no_network_and_no_other_file(job):
  page = (job / reporter.HTML).read_text(encoding='utf-8')
  assert not re.findall(r'(?:src|href)=(?!["\'](?:data:|#))', page)
  assert not re.findall(r'@import|url\(|<script', page) and not re.findall(r'/\*[A-Z]+\*/', page)
  assert page.count('src="data:image/') >= 5  # Curves, matrix, calibration, augmentation, mistakes.


@pytest.mark.slow
def test_page_and_markdown_say_the_same(job):
  last = [json.loads(line) for line in (job / 'eval' / 'results.jsonl').open()]
  best = max(row['top_1_accuracy'] for row in last)
  accuracy = f'{100 * best:.1f} %'
  page = text_of((job / reporter.HTML).read_text(encoding='utf-8'))
  text = (job / reporter.MARKDOWN).read_text(encoding='utf-8')
  for found in (page, text):
    assert accuracy in found and 'all 12 evaluation images' in found
    assert f'--ckpt_dir={job}' in found and f'{job}/export' in found
    assert 'SavedModel' in found and ' ms' in found and 'naïve 猫' in found
    for name in ('SavedModel', 'Keras'):  # One row for each file, with its own accuracy.
      assert re.search(rf'{name}\W+[\d.]+ [kM]B\W+[\d.]+ ms\W+[\d.,]+\W+{accuracy} of 12\W', found)
  assert '<b>cat' in page and '&lt;b&gt;cat' in text and 'a\\|b \\*c\\*' in text


@pytest.mark.slow
def test_the_links_of_the_markdown_lead_to_files(job):
  text = (job / reporter.MARKDOWN).read_text(encoding='utf-8')
  links = re.findall(r'\]\((report/.*?)\)', text)
  assert links and all((job / link).is_file() for link in links)
  rows = (job / 'report' / 'mistakes.csv').read_text(encoding='utf-8').splitlines()
  assert rows[0] == 'image,true,true_probability,predicted,probability'
  for line in rows[1:]:
    image, true = line.split(',')[:2]
    assert f'/validation/{true}/' in image  # The picture is that of the prediction.


@pytest.mark.slow
def test_tensorboard_has_pictures_texts_and_hyper_parameters(job):
  from tensorboard.backend.event_processing import event_accumulator

  kinds = {}
  for folder in (job, job / 'eval'):
    events = event_accumulator.EventAccumulator(str(folder), {event_accumulator.TENSORS: 0})
    events.Reload()
    for tag in events.Tags()['tensors']:
      kinds[tag] = events.SummaryMetadata(tag).plugin_data.plugin_name
    if folder == job:
      assert events.Tags()['graph']
  assert kinds['images/augmented'] == kinds['confusion_matrix'] == 'images'
  assert kinds['images/prepared_as_in_evaluation'] == 'images'
  assert kinds['run'] == 'text'
  assert 'hparams' in kinds.values()
  assert {'loss', 'top_1_accuracy'} <= curves.read(str(job)).keys()
  assert 'images/augmented' not in curves.read(str(job))


@pytest.mark.slow
def test_a_finished_job_reports_on_a_sample_and_one_can_ask_for_it(photographs, job, capsys):
  before = (job / reporter.HTML).read_text(encoding='utf-8')
  for arguments in (('--noreport',), ('--mode=eval',)):
    run(photographs, job, *arguments)
    assert (job / reporter.HTML).read_text(encoding='utf-8') == before
  run(photographs, job, '--mode=eval', '--report', '--report_images=5')
  page = text_of((job / reporter.HTML).read_text(encoding='utf-8'))
  assert 'a sample of 5 of the 12 evaluation images' in page and f'{job}/export' in page
  assert 'for 5 evaluation images' in capsys.readouterr().out
  run(photographs, job)  # As a user would to get the whole report again.
  assert 'all 12 evaluation' in (job / reporter.HTML).read_text(encoding='utf-8')


@pytest.mark.long
@pytest.mark.slow
def test_two_replicas_report_each_image_once(photographs, tmp_path, monkeypatch):
  monkeypatch.setattr(distribute, '_local_devices', lambda: ['CPU:0', 'CPU:1'])
  run(photographs, tmp_path / 'two', '--strategy=mirrored', '--eval_batch_size=10')
  text = (tmp_path / 'two' / reporter.MARKDOWN).read_text(encoding='utf-8')
  assert 'all 12 evaluation images' in text
  rows = (tmp_path / 'two' / 'report' / 'classes.csv').read_text(encoding='utf-8').splitlines()[1:]
  assert [row.split(',')[-5] for row in rows if row.split(',')[-5] != '0'] == [str(PER_CLASS)] * 3


def test_a_mode_without_evaluation_has_no_report(photographs, tmp_path):
  with pytest.raises(ValueError, match='^--report: --mode=train evaluates nothing'):
    run(photographs, tmp_path / 'x', '--mode=train', '--report')


@pytest.mark.parametrize(
  ('report', 'mode', 'written'),
  [
    (None, 'train_and_eval', True), (None, 'eval', False), (None, 'train', False),
    (False, 'train_and_eval', False), (True, 'eval', True),
  ],
)  # fmt: skip
def test_when_a_report_is_written(report, mode, written):
  assert ReportConfig(report=report).is_written(mode) is written

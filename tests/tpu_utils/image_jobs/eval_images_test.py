"""Images to evaluate on: those of a folder of classes that the job held out, or all."""
import json
import types

import pytest

from tests.tpu_utils.image_jobs import small_scripts
from tests.tpu_utils.images import small_sets
from tpu_utils.image_jobs import eval_images
from tpu_utils.images.sources import splitting

HELD_OUT = ['ash/000.png', 'birch/004.png', 'cedar/008.png']


@pytest.fixture
def pictures(tmp_path):
  """Returns a folder of twelve images of three classes."""
  small_sets.image_folder(tmp_path / 'set', {'train': 12})
  return tmp_path / 'set' / 'train'


@pytest.fixture
def job(tmp_path):
  """Returns function({flag: value}) that writes the record of a job and returns its folder."""
  folder = tmp_path / 'run'
  (folder / 'export').mkdir(parents=True)

  def write(**flags):
    (folder / 'run.json').write_text(json.dumps({'starts': [{'flags': flags}]}))
    return folder

  return write


def opened(pictures, checkpoint):
  data = types.SimpleNamespace(
    data_dir=str(pictures), dataset=None, tfds_data_dir=None, eval_split=None
  )
  source = eval_images.open_images(data, checkpoint and str(checkpoint)).open('validation')
  return [splitting.name_of(source.where(n)) for n in range(len(source))]


@pytest.mark.parametrize('place', ['', 'export'])
def test_images_that_the_job_held_out(pictures, job, place, capsys):
  folder = job(split_file='elsewhere/split.json')
  (folder / 'split.json').write_text(json.dumps({'validation': HELD_OUT}))
  assert opened(pictures, folder / place) == HELD_OUT
  assert 'the 3 of 12 images that' in capsys.readouterr().out


def test_all_images_of_a_folder_that_the_job_did_not_see(pictures, job, capsys):
  folder = job(split_file='elsewhere/split.json')
  (folder / 'split.json').write_text(json.dumps({'validation': ['ash/x.png', HELD_OUT[0]]}))
  assert len(opened(pictures, folder)) == 12
  assert 'all 12 images; no job' in capsys.readouterr().out


@pytest.mark.parametrize('checkpoint', [None, 'model.tflite'])
def test_all_images_without_a_job(pictures, checkpoint):
  assert len(opened(pictures, checkpoint)) == 12


def test_share_that_the_job_held_out(pictures, job):
  folder = job(holdout_fraction=0.5, data_dir=f'{pictures}/', split_file=None)
  assert len(opened(pictures, folder)) == 6


def test_divided_folder_keeps_its_division(pictures, tmp_path):
  small_sets.image_folder(tmp_path / 'set', {'validation': 5})
  assert len(opened(tmp_path / 'set', None)) == 5


@pytest.mark.slow
def test_evaluation_of_a_job_repeats_its_last(pictures, tmp_path, capsys):
  run = tmp_path / 'job'
  small_scripts.MAIN.call([
    f'--data_dir={pictures}', f'--model_dir={run}', '--noreport', '--export_dir='
  ])  # fmt: skip
  count = len(json.loads((run / 'split.json').read_text())['validation'])
  results = small_scripts.EVALUATE.call([f'--ckpt_dir={run}', f'--data_dir={pictures}'])
  last = json.loads((run / 'eval' / 'results.jsonl').read_text().splitlines()[-1])
  assert results['images'] == count < 12
  assert results['top_1_accuracy'] == pytest.approx(last['top_1_accuracy'])

"""The recipe for own pictures from the first command to the evaluation by other scripts."""
import json
import shutil

import pytest

from tests.tpu_utils.image_jobs import small_scripts
from tests.tpu_utils.images import small_sets
from tpu_utils.command_line import job_flags
from tpu_utils.image_jobs import script

RECIPES = {
  **small_scripts.RECIPES,
  'finetune': small_scripts.recipe('finetune', adapt_batch_norm=True, moving_average_decay=0.0),
}
MAIN = small_scripts.TRAINING.script('Trains.', 'small.main', RECIPES)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
  """Returns the model_dir of a job on other data."""
  folder = tmp_path_factory.mktemp('weights')
  small_scripts.MAIN.call([
    f'--model_dir={folder}', '--mode=train', '--export_dir=', '--nouse_bfloat16'
  ])  # fmt: skip
  return folder


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
  """Returns a folder of 37 images without any to evaluate on."""
  folder = tmp_path_factory.mktemp('pictures')
  small_sets.image_folder(folder, {'train': 37})
  return folder / 'train'


@pytest.mark.long
@pytest.mark.slow
def test_own_pictures_in_one_command(weights, pictures, tmp_path, capsys):
  run = tmp_path / 'run'
  command = [f'--init_checkpoint={weights}', f'--data_dir={pictures}', f'--model_dir={run}']
  MAIN.call([*command, '--train_epochs=2', '--steps_per_eval=8'])
  out = capsys.readouterr().out
  assert '--init_checkpoint without --recipe: the recipe finetune' in out
  assert 'Settings for 30 images of 3 classes, 7 to evaluate on' in out
  assert '8 steps, 2.13 epochs' in out
  record = json.loads((run / 'split.json').read_text())
  assert len(record['validation']) == 7 and record['num_train_images'] == 30
  flags = json.loads((run / 'run.json').read_text())['starts'][0]['flags']
  assert (flags['recipe'], flags['train_steps'], flags['train_batch_size']) == ('finetune', 8, 8)
  results = (run / 'eval' / 'results.jsonl').read_text().splitlines()
  assert json.loads(results[-1])['step'] == 8

  # A new image joins training; the evaluation stays the same, and no flag is needed again.
  (pictures / 'ash' / 'new.png').write_bytes(small_sets.png(99))
  MAIN.call([*command, '--train_epochs=3', '--steps_per_eval=12'])
  assert f'images are held out as {run}/split.json says' in capsys.readouterr().out
  flags = json.loads((run / 'run.json').read_text())['starts'][1]['flags']
  assert (flags['num_train_images'], flags['num_eval_images']) == (31, 7)
  moved = tmp_path / 'moved'
  shutil.move(run, moved)
  assert job_flags.of_checkpoint(str(moved))['split_file'] == f'{moved}/split.json'
  MAIN.call([f'--model_dir={moved}', '--mode=eval', '--eval_name=again'])
  again = json.loads((moved / 'eval_again' / 'results.jsonl').read_text().splitlines()[-1])
  last = json.loads((moved / 'eval' / 'results.jsonl').read_text().splitlines()[-1])
  assert again['cross_entropy'] == pytest.approx(last['cross_entropy'], rel=1e-5)


def test_readers_of_a_job_take_its_precision_and_batch(tmp_path):
  flags = {
    'data_dir': 'fake', 'use_bfloat16': False, 'transpose_input': False, 'eval_batch_size': 8,
    'labels_map_file': 'labels.json', 'recipe': 'finetune', 'split_file': 'x/split.json',
  }  # fmt: skip
  (tmp_path / 'run.json').write_text(json.dumps({'starts': [{'flags': flags}]}))
  for mode in ('eval', 'export'):
    taken = MAIN.resolve({'mode': mode, 'model_dir': str(tmp_path), 'export_dir': 'x'}).as_dict()
    assert {name: taken[name] for name in flags if name != 'recipe'} == {
      name: value for name, value in flags.items() if name != 'recipe'
    }
  assert script.FINETUNE in MAIN.recipes

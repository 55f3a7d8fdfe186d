"""Runs `python -m efficientnet.main` in real processes, with real files and signals."""
import json
import os
import signal

import keras
import numpy as np
import pytest
import tensorflow as tf

from efficientnet import main
from tests import script_jobs
from tpu_utils import config
from tpu_utils.images import digits

pytestmark = pytest.mark.slow

# A job of a few seconds: the digits recipe with a smaller network, a checkpoint every other step.
QUICK = (
  '--width_coefficient=0.25', '--depth_coefficient=0.25', '--train_batch_size=16',
  '--train_steps=24', '--save_checkpoints_steps=2', '--steps_per_eval=24',
  '--iterations_per_loop=2', '--noreport',
)  # fmt: skip


def _start(*arguments):
  return script_jobs.start('-m', 'efficientnet.main', *arguments)


def _in_process(*arguments):
  script_jobs.in_process(main.SCRIPT, *arguments)


def _values(model_dir, step=24):
  return script_jobs.values_at(model_dir, step)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """Returns the model_dir of a finished job, with its export, and the job's output."""
  model_dir = tmp_path_factory.mktemp('finished')
  folders = (f'--model_dir={model_dir}', f'--export_dir={model_dir}/export')
  code, out, err = script_jobs.finish(_start(*folders, *QUICK))
  assert code == 0, err
  return model_dir, out


def test_default_export_is_in_the_model_dir(tmp_path):
  """Not in the working directory, where it would replace another run's export."""
  cases = (({'model_dir': str(tmp_path)}, str(tmp_path)), ({}, 'runs/efficientnet-digits'))
  for given, folder in cases:
    assert main.SCRIPT.resolve(given).get(config.JobConfig).export_dir == f'{folder}/export'


def test_recipe_prints_its_settings_and_keeps_those_given(finished):
  model_dir, out = finished
  line = next(line for line in out.splitlines() if '--input_image_size=' in line)
  assert '--moving_average_decay=' in line
  assert '--train_steps=' not in line
  record = json.loads((model_dir / 'run.json').read_text())['starts'][0]
  assert record['flags']['train_steps'] == 24
  assert record['flags']['num_label_classes'] == 10
  assert record['global_params']['width_coefficient'] == 0.25
  assert record['versions']['keras'] == keras.__version__


def test_job_writes_the_files_that_the_readme_lists(finished):
  model_dir, _ = finished
  for name in ('checkpoint', 'best_objective.txt', 'archive/best_eval.txt', 'eval/results.jsonl'):
    assert (model_dir / name).exists(), name
  assert (model_dir / 'model.ckpt-24.index').exists()
  assert list(model_dir.glob('events*'))
  result = json.loads((model_dir / 'eval' / 'results.jsonl').read_text())
  assert set(result) >= {'step', 'loss', 'top_1_accuracy', 'top_5_accuracy'}


def test_the_export_is_the_best_checkpoint_with_averaged_weights(finished):
  model_dir, _ = finished
  model = keras.models.load_model(model_dir / 'export' / 'model.keras')
  values = _values(model_dir)
  for variable in model.variables:
    if 'seed' not in variable.path:
      np.testing.assert_array_equal(variable.numpy(), values[f'ema/{variable.path}'], variable.path)
  served = tf.saved_model.load(str(model_dir / 'export')).signatures['image_bytes']
  records = tf.data.TFRecordDataset(tf.io.gfile.glob(os.path.join(digits.DATA_DIR, 'validation-*')))
  examples = [tf.train.Example.FromString(r.numpy()).features.feature for r in records.take(5)]
  encoded = tf.constant([e['image/encoded'].bytes_list.value[0] for e in examples])
  outputs = served(image_bytes=encoded)
  assert outputs['logits'].shape == (5, 10)
  np.testing.assert_allclose(tf.reduce_sum(outputs['probabilities'], 1), np.ones(5), rtol=1e-5)


@pytest.mark.long
def test_a_job_that_is_stopped_repeatedly_ends_with_the_same_bits(finished, tmp_path):
  """By SIGKILL at two checkpoints, and by SIGTERM, on which the job saves and reports it."""
  arguments = (f'--model_dir={tmp_path}', '--export_dir=', *QUICK)
  stops = ((2, signal.SIGKILL), (6, signal.SIGKILL), (10, signal.SIGTERM))
  script_jobs.stop_and_resume(lambda: _start(*arguments), tmp_path, stops, 24)
  script_jobs.assert_same_bits(finished[0], tmp_path, 24)


@pytest.mark.long
def test_eval_follows_a_model_dir_during_training(tmp_path):
  # The evaluator, which writes the archive, is started first and waits.
  folders = (f'--model_dir={tmp_path}', '--export_dir=')
  evaluator = _start(*folders, '--mode=eval', '--eval_timeout=900', *QUICK)
  trainer = _start(*folders, '--mode=train', *QUICK)
  assert script_jobs.finish(trainer)[0] == 0
  code, out, err = script_jobs.finish(evaluator)
  assert code == 0, err
  lines = (tmp_path / 'eval' / 'results.jsonl').read_text().splitlines()
  steps = [json.loads(line)['step'] for line in lines]
  assert steps[-1] == 24
  assert steps == sorted(set(steps))
  assert (tmp_path / 'archive' / 'checkpoint').exists()


def test_export_alone_writes_the_same_model(finished, tmp_path):
  model_dir, _ = finished
  folders = (f'--model_dir={model_dir}', f'--export_dir={tmp_path}/export')
  _in_process('--mode=export', *folders, '--export_to_tpu', *QUICK)
  first, second = (
    keras.models.load_model(folder / 'export' / 'model.keras') for folder in (model_dir, tmp_path)
  )
  for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)
  assert (tmp_path / 'export' / 'tpu' / 'saved_model.pb').exists()


def test_export_and_eval_take_the_model_from_the_jobs_record(finished, tmp_path):
  """Without `QUICK`, so that the flags would build the recipe's larger network."""
  model_dir, _ = finished
  _in_process(f'--model_dir={model_dir}', '--mode=export', f'--export_dir={tmp_path}/export')
  first, second = (
    keras.models.load_model(folder / 'export' / 'model.keras') for folder in (model_dir, tmp_path)
  )
  for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)
  _in_process(f'--model_dir={model_dir}', '--mode=eval', '--eval_name=again', '--noarchive_ckpt')
  again, before = (
    json.loads((model_dir / name / 'results.jsonl').read_text().splitlines()[-1])
    for name in ('eval_again', 'eval')
  )
  assert again == before


def test_the_script_runs_by_its_path_and_help_is_quick():
  for module in (('-m', 'efficientnet.main'), ('efficientnet/main.py',)):
    code, out, used = script_jobs.user_seconds(*module, '--help')
    assert code == 0
    assert '--base_learning_rate=0.016' in out
    assert used < 2.0


def test_a_wrong_flag_is_one_line_and_exit_code_1():
  code, out, err = script_jobs.finish(_start('--model_name=efficientnet-b9'))
  assert code == 1
  message = "Error: Unknown model_name 'efficientnet-b9': did you mean"
  assert err.splitlines()[-1].startswith(message)
  assert 'Traceback' not in err


@pytest.mark.parametrize(
  'arguments, message',
  [
    (['--data_dir=/does/not/exist'], '/does/not/exist'),
    (['--data_dir={empty}'], 'train-'),
    (['--train_batch_size=16', '--mode=export', '--export_dir='], '--export_dir'),
    (['--mode=export'], 'no checkpoint'),
    (['--tpu=local', '--strategy=tpu'], 'has no TPU kernels'),
    (['--optimizer=adam'], "value of --optimizer 'adam'"),
    (['--mode=trian'], 'did you mean train'),
    (['--survival_prob=2'], 'survival_prob'),
    (['--gradient_accumulation_steps=7'], '--gradient_accumulation_steps=7'),
  ],
)
def test_wrong_input_gives_a_one_line_error(tmp_path, arguments, message):
  (tmp_path / 'empty').mkdir()
  arguments = [a.format(empty=tmp_path / 'empty') for a in arguments]
  if any(a.startswith('--data_dir') for a in arguments):
    arguments += ['--num_label_classes=10', '--nouse_bfloat16', '--input_image_size=32']
  with pytest.raises((ValueError, OSError)) as error:
    _in_process(*QUICK, f'--model_dir={tmp_path / "model"}', *arguments)
  assert message in str(error.value)
  assert '\n' not in str(error.value)
  assert not list(tmp_path.glob('model/model.ckpt*'))


def _corrupted_digits(folder, change):
  """Copies the digits, with the second training shard changed by `change(list of records)`."""
  folder.mkdir()
  for path in tf.io.gfile.glob(os.path.join(digits.DATA_DIR, '*-of-*')):
    records = [r.numpy() for r in tf.data.TFRecordDataset(path)]
    name = os.path.basename(path)
    with tf.io.TFRecordWriter(str(folder / name)) as writer:
      for record in change(records) if name.startswith('train-00001') else records:
        writer.write(record)
  return folder


def _with(record, **features):
  example = tf.train.Example.FromString(record)
  for name, value in features.items():
    example.features.feature[f'image/{name}'].bytes_list.value[:] = [value]
  return example.SerializeToString()


@pytest.mark.long
def test_error_names_a_bad_record(tmp_path):
  """`imagenet_input_test.py` and `bad_records_test.py` test all kinds of them."""

  def change(records):
    return [_with(r, encoded=b'no image') if i == 100 else r for i, r in enumerate(records)]

  data_dir = _corrupted_digits(tmp_path / 'data', change)
  with pytest.raises(ValueError) as error:
    _train_on(data_dir, tmp_path)
  assert 'train-00001-of-00004' in str(error.value)
  assert 'no image that can be decoded' in str(error.value)
  assert '\n' not in str(error.value)


def test_error_names_a_truncated_shard(tmp_path):
  data_dir = _corrupted_digits(tmp_path / 'data', lambda records: records)
  shard = data_dir / 'train-00001-of-00004'
  shard.write_bytes(shard.read_bytes()[:-100])
  with pytest.raises(ValueError, match='train-00001-of-00004'):
    _train_on(data_dir, tmp_path)


def _train_on(data_dir, tmp_path):
  """Trains for two epochs, so that every record is read."""
  _in_process(
    f'--data_dir={data_dir}', f'--model_dir={tmp_path}/model', '--num_label_classes=10',
    '--nouse_bfloat16', '--notranspose_input', '--input_image_size=32', '--num_train_images=1442',
    '--width_coefficient=0.25', '--depth_coefficient=0.25', '--train_batch_size=128',
    '--train_steps=24', '--mode=train',
  )  # fmt: skip


def test_a_model_dir_of_another_model_is_refused(finished):
  model_dir, _ = finished
  message = 'holds another model: its width_coefficient is 0.25, not 0.5'
  with pytest.raises(ValueError, match=message):
    _in_process(f'--model_dir={model_dir}', *QUICK, '--width_coefficient=0.5')


def test_a_loss_that_is_not_finite_stops_the_job(tmp_path):
  diverging = ('--base_learning_rate=1e30', '--lr_warmup_epochs=0')
  with pytest.raises(ValueError, match='not finite in step .*--base_learning_rate'):
    _in_process(f'--model_dir={tmp_path}', *QUICK, *diverging)

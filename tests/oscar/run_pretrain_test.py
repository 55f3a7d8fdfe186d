"""`python -m oscar.run_pretrain` in real processes, with real files and signals."""
import json
import shutil
import signal

import numpy as np
import pytest

import oscar
from oscar import checkpoints, run_pretrain
from oscar.datasets import builders
from tests import script_jobs
from tests.oscar import loaders
from tests.oscar.golden_models import GOLDENS

pytestmark = pytest.mark.slow

SIZES = {
  'vocab_size': 400, 'hidden_size': 16, 'num_hidden_layers': 1, 'num_attention_heads': 2,
  'intermediate_size': 32, 'max_position_embeddings': 32,
}  # fmt: skip
STEPS = 24


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """The prepared official-format sample, with a vocabulary and a configuration in its folder."""
  folder = tmp_path_factory.mktemp('prepared')
  for part in ('documents', 'regions'):
    builders.prepare('pretrain', str(loaders.DATA / 'pretrain'), str(folder), part)
  shutil.copy(GOLDENS / 'vocab' / 'vocab.txt', folder)
  oscar.OscarConfig(**SIZES).to_json(folder / 'config.json')
  return folder


def arguments(folder, model_dir, *more):
  return (
    f'--data_dir={folder}', f'--config={folder}/config.json', f'--model_dir={model_dir}',
    '--train_split=pretrain', '--eval_split=pretrain', '--max_seq_length=18',
    '--max_img_seq_length=3', '--train_batch_size=4', '--eval_batch_size=4',
    '--texta_false_prob=0.25', f'--train_steps={STEPS}', '--steps_per_eval=12',
    '--save_checkpoints_steps=2', '--iterations_per_loop=2', '--learning_rate=1e-3',
    '--warmup_steps=4', '--max_grad_norm=1', *more,
  )  # fmt: skip


def start(*args):
  return script_jobs.start('-m', 'oscar.run_pretrain', *arguments(*args))


def in_process(*args):
  script_jobs.in_process(run_pretrain.SCRIPT, *arguments(*args))


@pytest.fixture(scope='module')
def finished(folder, tmp_path_factory):
  """The model_dir of a finished job with its export, and its output."""
  model_dir = tmp_path_factory.mktemp('finished')
  code, out, err = script_jobs.finish(start(folder, model_dir, f'--export_dir={model_dir}/export'))
  assert code == 0, err
  return model_dir, out


def test_the_job_writes_the_files_named_in_the_readme(finished):
  model_dir, out = finished
  for name in ('checkpoint', 'best_objective.txt', 'eval/results.jsonl', 'run.json', 'curves.png'):
    assert (model_dir / name).exists(), name
  results = (model_dir / 'eval' / 'results.jsonl').read_text()
  lines = [json.loads(line) for line in results.splitlines()]
  assert [line['step'] for line in lines] == [12, 24]
  assert set(lines[0]) >= {
    'masked_lm_loss', 'next_sentence_loss', 'masked_accuracy', 'contrast_accuracy'
  }  # fmt: skip
  assert lines[1]['masked_lm_loss'] < lines[0]['masked_lm_loss']
  best = max(line['masked_accuracy'] for line in lines)
  assert float((model_dir / 'best_objective.txt').read_text()) == pytest.approx(best, abs=1e-6)
  record = json.loads((model_dir / 'run.json').read_text())['starts'][0]
  assert record['flags']['warmup_steps'] == 4 and record['config']['num_contrast_classes'] == 3
  assert 'Exported model.ckpt-' in out


def test_the_export_initialises_another_stage(finished, folder, tmp_path):
  model_dir, out = finished
  step = int(out.split('Exported model.ckpt-')[1].split()[0])
  values = script_jobs.values_at(model_dir, step)
  export = str(model_dir / 'export')
  model = oscar.build_model(export, 'pretrain', weights=export)
  for variable in model.trainable_variables:
    np.testing.assert_array_equal(variable.numpy(), values[f'model/{variable.path}'], variable.path)
  assert len(oscar.Tokenizer.from_folder(export)) == 400
  report = checkpoints.initialize(oscar.build_model(export, 'vqa', num_labels=3), export)
  assert report.kept == ('classifier/kernel', 'classifier/bias')
  in_process(folder, tmp_path, '--mode=train', '--train_steps=2', f'--init_checkpoint={export}')
  words = 'model/bert/embeddings/word_embeddings/embeddings'
  first = script_jobs.values_at(tmp_path, 2)[words]
  assert np.abs(first - values[words]).max() < 2e-3  # Two small steps away from it.


@pytest.mark.long
def test_a_stopped_job_ends_with_the_same_bits(finished, folder, tmp_path):
  stops = ((4, signal.SIGKILL), (8, signal.SIGTERM), (12, signal.SIGKILL))
  script_jobs.stop_and_resume(lambda: start(folder, tmp_path), tmp_path, stops, STEPS)
  script_jobs.assert_same_bits(finished[0], tmp_path, STEPS)


def test_eval_and_export_alone(finished, folder, tmp_path, capsys):
  model_dir, _ = finished
  in_process(folder, model_dir, '--mode=eval', '--eval_name=again', '--noarchive_ckpt')
  again, first = (
    json.loads((model_dir / name / 'results.jsonl').read_text().splitlines()[-1])
    for name in ('eval_again', 'eval')
  )
  assert again == first
  in_process(folder, model_dir, '--mode=export', f'--export_dir={tmp_path}/export')
  for name in ('model.safetensors', 'config.json', 'vocab.txt'):
    assert (tmp_path / 'export' / name).read_bytes() == (model_dir / 'export' / name).read_bytes()


def test_a_finished_job_is_exported_without_its_flags(finished, tmp_path):
  """Model, corpus and contrast (three classes here) come from the record of the job."""
  model_dir, _ = finished
  script_jobs.in_process(
    run_pretrain.SCRIPT,
    f'--model_dir={model_dir}',
    '--mode=export',
    f'--export_dir={tmp_path}/export',
  )
  given = {'mode': 'eval', 'model_dir': str(model_dir)}
  assert run_pretrain.SCRIPT.resolve(given).as_dict()['train_steps'] == STEPS
  name = 'model.safetensors'
  assert (tmp_path / 'export' / name).read_bytes() == (model_dir / 'export' / name).read_bytes()


def test_the_recipe_is_chosen_by_the_data(tmp_path):
  def chosen(**given):
    resolved = run_pretrain.SCRIPT.resolve(given)
    flags = resolved.as_dict()
    return resolved.recipe, flags['config'], flags['export_dir']

  assert chosen() == ('scenes', 'tiny', 'runs/oscar-scenes/export')
  assert chosen(model_dir='x', config='base') == ('scenes', 'base', 'x/export')
  assert chosen(mode='eval', model_dir=str(tmp_path)) == ('scenes', 'tiny', None)
  assert chosen(data_dir='x') == ('pretrain', None, None)
  with pytest.raises(ValueError, match='--recipe=pretrain needs --data_dir'):
    chosen(recipe='pretrain')


def test_the_scenes_default_model_dir_is_a_job_too(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'runs' / 'oscar-scenes').mkdir(parents=True)
  record = {'starts': [{'flags': {'config': 'base', 'data_dir': ''}}]}
  (tmp_path / 'runs' / 'oscar-scenes' / 'run.json').write_text(json.dumps(record))
  assert run_pretrain.SCRIPT.resolve({'mode': 'export'})[0].config == 'base'
  assert run_pretrain.SCRIPT.resolve({'mode': 'eval', 'data_dir': 'x'})[0].config is None
  assert run_pretrain.SCRIPT.resolve({})[0].config == 'tiny'


def test_missing_data_are_reported_before_a_missing_model_dir():
  resolved = run_pretrain.SCRIPT.resolve({'data_dir': '/does/not/exist'})
  with pytest.raises(ValueError, match='--data_dir=/does/not/exist does not exist'):
    run_pretrain.SCRIPT.check(resolved)


def test_another_model_is_refused(finished, folder):
  with pytest.raises(ValueError, match='its num_contrast_classes is 3, not 2'):
    in_process(folder, finished[0], '--texta_false_prob=0')


@pytest.mark.parametrize(
  'more, message',
  [
    (['--data_dir=/does/not/exist'], '/does/not/exist'),
    (['--train_split=trian'], "no split 'trian'; it has pretrain"),
    (['--max_seq_length=40'], '--max_seq_length=40 is longer than the 32 positions'),
    (['--texta_false_prob=0.7'], '--texta_false_prob is 0.7; expected 0 to 0.5'),
    (['--vocab_file=/does/not/exist'], 'No vocabulary: /does/not/exist'),
    (['--config=huge'], "'huge'"),
    (['--img_feature_dim=26'], '26'),
    (['--init_checkpoint=/does/not/exist/model.ckpt'], '/does/not/exist/model.ckpt'),
    (['--gradient_accumulation_steps=3'], 'the 4 examples that each replica gets'),
    (['--scheduler=linaer'], 'did you mean linear'),
    (['--mode=export'], '--export_dir'),
  ],
)
def test_bad_input_is_one_clear_line(folder, tmp_path, more, message):
  with pytest.raises((ValueError, OSError)) as error:
    in_process(folder, tmp_path / 'model', *more)
  assert message in str(error.value)
  assert '\n' not in str(error.value)
  assert not list(tmp_path.glob('model/model.ckpt*'))


def test_damaged_regions_are_named(folder, tmp_path):
  """One byte of a record in the middle is changed."""
  damaged = tmp_path / 'data'
  shutil.copytree(folder, damaged)
  path = next(damaged.glob('oscar_pretrain/regions_2054/*/*.tfrecord*'))
  data = bytearray(path.read_bytes())
  data[len(data) // 2] ^= 0xFF
  path.write_bytes(data)
  with pytest.raises(ValueError) as error:
    in_process(damaged, tmp_path / 'model')
  assert path.name in str(error.value) and '\n' not in str(error.value)


def test_divergence_names_the_flags_of_this_script(folder, tmp_path):
  with pytest.raises(ValueError, match='not finite in step .* Lower --learning_rate'):
    flags = ('--learning_rate=1e30', '--warmup_steps=0', '--max_grad_norm=0')
    in_process(folder, tmp_path / 'model', *flags)


def test_the_sizes_of_a_recipe_for_large_data_are_refused(folder, tmp_path):
  shared = [
    f'--data_dir={folder}', f'--config={folder}/config.json', f'--model_dir={tmp_path}/run',
    '--train_split=pretrain', '--eval_split=pretrain', '--max_seq_length=18',
    '--max_img_seq_length=3',
  ]  # fmt: skip
  fit = '--train_batch_size=2 --train_steps=650'
  message = f'has 13 training examples, and --train_batch_size=1024 .* such as {fit}, or'
  with pytest.raises(ValueError, match=message) as error:
    script_jobs.in_process(run_pretrain.SCRIPT, *shared)
  assert '\n' not in str(error.value) and not (tmp_path / 'run').exists()
  with pytest.raises(ValueError, match='not given by you, .* such as --train_steps=325, or'):
    script_jobs.in_process(run_pretrain.SCRIPT, *shared, '--train_batch_size=4')

"""A whole job of OSCAR on remote folders, and the commands whose files must be local."""
import shutil

import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import benchmark, region_features, run_pretrain
from oscar.datasets import builders, prepare
from oscar.scenes import __main__ as scenes
from tests import remote
from tests.oscar import loaders, run_pretrain_test
from tests.oscar.golden_models import GOLDENS


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  """The prepared official-format sample, with a vocabulary and a configuration, on ram://."""
  folder = tmp_path_factory.mktemp('prepared')
  for part in ('documents', 'regions'):
    builders.prepare('pretrain', str(loaders.DATA / 'pretrain'), str(folder), part)
  shutil.copy(GOLDENS / 'vocab' / 'vocab.txt', folder)
  oscar.OscarConfig(**run_pretrain_test.SIZES).to_json(folder / 'config.json')
  return remote.upload(folder, remote.new_folder())


@pytest.fixture(autouse=True)
def _ram_in_tfds(monkeypatch):
  remote.let_tfds_read_ram(monkeypatch)


def run(data_dir, model_dir, *more):
  short = ('--train_steps=4', '--steps_per_eval=4', '--save_checkpoints_steps=4')
  run_pretrain.SCRIPT.call([*run_pretrain_test.arguments(data_dir, model_dir, *short, *more)])


@pytest.mark.slow
@pytest.mark.long
def test_training_evaluation_export_and_a_second_stage(data_dir, capsys):
  model_dir, second = (f'{remote.new_folder()}/run' for _ in range(2))
  run(data_dir, model_dir, f'--export_dir={model_dir}/export')
  names = set(remote.names_in(model_dir))
  assert {'run.json', 'eval/results.jsonl', 'curves.png'} <= names
  assert {f'export/{name}' for name in ('model.safetensors', 'config.json', 'vocab.txt')} <= names
  assert not [name for name in names if name.endswith('.writing')]
  export = f'{model_dir}/export'
  # Weights, vocabulary and configuration of the remote export.
  run_pretrain.SCRIPT.call([
    f'--data_dir={data_dir}', f'--model_dir={second}', f'--init_checkpoint={export}',
    '--train_split=pretrain', '--eval_split=pretrain', '--max_seq_length=18', '--mode=train',
    '--max_img_seq_length=3', '--train_batch_size=4', '--eval_batch_size=4', '--train_steps=1',
    '--texta_false_prob=0.25',
  ])  # fmt: skip
  assert f'{export}: ' in capsys.readouterr().out
  one, other = (oscar.build_model(export, 'pretrain', weights=path) for path in (export, model_dir))
  for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)


def test_a_missing_shard_is_named(data_dir):
  folder = f'{data_dir}/oscar_pretrain/documents/1.0.0'
  name = next(name for name in tf.io.gfile.listdir(folder) if '.tfrecord' in name)
  tf.io.gfile.rename(f'{folder}/{name}', f'{data_dir}/aside')
  try:
    with pytest.raises(FileNotFoundError, match=f'^{folder}/{name} is missing .1 of 1 shards are'):
      run(data_dir, f'{remote.new_folder()}/run')
  finally:
    tf.io.gfile.rename(f'{data_dir}/aside', f'{folder}/{name}')


def test_an_official_checkpoint():
  folder = remote.upload(GOLDENS / 'checkpoint_captioning', remote.new_folder())
  model = oscar.build_model(folder, 'captioning', weights=folder)
  assert model.config.tie_weights


@pytest.mark.parametrize('more, message', [
  (['--vocab_file=ram://none/vocab.txt'], 'No vocabulary: ram://none/vocab.txt'),
  (['--config=ram://none'], "Unknown configuration, file or folder 'ram://none'"),
  (['--init_checkpoint=ram://none'], '--init_checkpoint=ram://none: no file, no folder'),
  (['--data_dir=ram://none'], '--data_dir=ram://none does not exist'),
  (['--init_checkpoint=gss://b/x'], 'Unknown file system in --init_checkpoint=gss://b/x'),
  (['--export_dir=s3://b/x'], '--export_dir=s3://b/x: s3:// needs the package tensorflow-io'),
])
def test_missing_paths_and_wrong_schemes(data_dir, more, message):
  model_dir = f'{remote.new_folder()}/run'
  with pytest.raises((ValueError, OSError), match=message) as error:
    run(data_dir, model_dir, *more)
  assert '\n' not in str(error.value) and not remote.names_in(model_dir)


def test_an_incomplete_export_is_refused(data_dir):
  folder = remote.upload(GOLDENS / 'checkpoint_captioning', remote.new_folder())
  remote.write(f'{folder}/unfinished.writing', b'')
  with pytest.raises(ValueError, match=f'{folder} is incomplete'):
    run(data_dir, f'{remote.new_folder()}/run', f'--init_checkpoint={folder}')


@pytest.mark.parametrize('script, arguments, flag', [
  (prepare, ['--manual_dir=ram://x', '--data_dir=y'], 'manual_dir'),
  (region_features, ['--check=ram://x/a.tsv'], 'check'),
  (region_features, ['--output=ram://x', 'a.png'], 'output'),
  (scenes, ['--output_dir=ram://x'], 'output_dir'),
  (scenes, ['--picture=ram://x/a.png'], 'picture'),
  (benchmark, ['--official_dir=ram://x'], 'official_dir'),
])
def test_files_that_must_be_local(script, arguments, flag):
  message = f'^--{flag}=ram://x.* is remote, and must be local; '
  with pytest.raises(ValueError, match=message) as error:
    script.SCRIPT.call(arguments)
  assert '\n' not in str(error.value)

"""The main scripts on two worker processes: results, restart after a kill, and who writes.

All scripts run one after another in one pair of processes; one worker is killed in the middle of
the last script, and a second pair of processes resumes it. `multi_worker_test` stops and resumes
more.
`tests/efficientnet/main_strategies_test.py` runs `efficientnet.main`, which exports, too.
"""
import json
import shutil
import signal

import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import run_captioning, run_gqa, run_nlvr, run_pretrain, run_retrieval, run_vqa
from oscar.datasets import builders
from resnext import main as resnext_main
from tests import local_cluster, script_jobs, worker_scripts
from tests.oscar import loaders
from tpu_utils import distribute, python_input
from tpu_utils.runner import Runner

pytestmark = [pytest.mark.slow, pytest.mark.long]

HALF, STEPS = 2, 4
SCRIPTS = {
  'pretrain': run_pretrain.SCRIPT, 'vqa': run_vqa.SCRIPT, 'captioning': run_captioning.SCRIPT,
  'gqa': run_gqa.SCRIPT, 'nlvr2': run_nlvr.SCRIPT, 'retrieval': run_retrieval.SCRIPT,
  'resnext': resnext_main.SCRIPT,
}  # fmt: skip
MODULES = {
  'pretrain': 'oscar.run_pretrain', 'vqa': 'oscar.run_vqa', 'captioning': 'oscar.run_captioning',
  'gqa': 'oscar.run_gqa', 'nlvr2': 'oscar.run_nlvr', 'retrieval': 'oscar.run_retrieval',
  'resnext': 'resnext.main',
}  # fmt: skip
FOLDERS = {'captioning': 'coco_caption', 'retrieval': 'coco_ir'}  # Of official files.
KILLED = 'pretrain'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Prepared pre-training data, a vocabulary and the configuration of a tiny model."""
  folder = tmp_path_factory.mktemp('workers')
  for part in ('documents', 'regions'):
    builders.prepare('pretrain', str(loaders.DATA / 'pretrain'), str(folder), part)
  shutil.copy(loaders.GOLDENS / 'vocab' / 'vocab.txt', folder)
  oscar.OscarConfig(
    vocab_size=400, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=32, max_position_embeddings=32,
  ).to_json(folder / 'config.json')  # fmt: skip
  return folder


def arguments(name, folder, model_dir):
  """Returns the command line of a script's job."""
  shared = [f'--model_dir={model_dir}', f'--steps_per_eval={HALF}', '--train_batch_size=4',
            '--eval_batch_size=4', f'--save_checkpoints_steps={HALF}',
            f'--iterations_per_loop={HALF}']  # fmt: skip
  bert = [f'--config={folder}/config.json', f'--vocab_file={folder}/vocab.txt']
  data = loaders.DATA / FOLDERS.get(name, name)
  own = {
    'pretrain': [
      *bert, f'--data_dir={folder}', '--train_split=pretrain', '--eval_split=pretrain',
      '--max_seq_length=18', '--max_img_seq_length=3', f'--train_steps={STEPS}', '--warmup_steps=2',
      '--texta_false_prob=0.25', '--learning_rate=1e-3',
    ],
    'vqa': [
      *bert, f'--data_dir={data}', f'--txt_data_dir={data}', '--data_label_type=mask',
      '--max_seq_length=20', '--max_img_seq_length=3', f'--max_steps={STEPS}', '--do_train',
      '--learning_rate=1e-3',
    ],
    'captioning': [
      *bert, f'--data_dir={data}', '--val_yaml=test.yaml', '--add_od_labels', '--max_seq_length=24',
      '--max_seq_a_length=14', '--max_gen_length=10', '--max_img_seq_length=3', '--do_train',
      f'--max_steps={STEPS}', '--learning_rate=1e-2',
    ],
    'gqa': [
      *bert, f'--data_dir={data}', '--loss_type=xe', '--max_seq_length=20',
      '--max_img_seq_length=3', f'--max_steps={STEPS}', '--do_train', '--learning_rate=1e-3',
    ],
    'nlvr2': [
      *bert, f'--data_dir={data}', '--data_label_type=all', '--eval_data_type=all', '--use_pair',
      '--classifier=mlp', '--max_seq_length=20', '--max_img_seq_length=3',
      f'--max_steps={STEPS}', '--do_train', '--learning_rate=1e-3',
    ],
    'retrieval': [
      *bert, f'--data_dir={data}', '--add_od_labels', '--num_captions_per_img_train=2',
      '--eval_caption_index_file=minival_caption_indexs_top20.pt', '--num_captions_per_img_val=4',
      '--max_seq_length=20', '--max_img_seq_length=3', f'--max_steps={STEPS}', '--do_train',
      '--learning_rate=1e-3',
    ],
    'resnext': [
      '--model_name=resnext-11-4x8d', '--width=8', '--stem_width=8', f'--train_steps={STEPS}',
      '--export_dir=',
    ],
  }[name]  # fmt: skip
  return [*own, *shared]


@pytest.fixture(scope='module')
def workers(folder):
  """Runs all scripts on two workers; returns {name: folder}."""
  folders = {name: folder / f'{name}_workers' for name in SCRIPTS}
  jobs = []
  for name, model_dir in folders.items():
    if name != KILLED:
      jobs.append([MODULES[name], arguments(name, folder, model_dir)])
  last = [MODULES[KILLED], arguments(KILLED, folder, folders[KILLED])]
  chief, other = _run([*jobs, [*last, {'kill': [1, HALF]}]])
  assert other.returncode == -signal.SIGKILL, other.stderr
  assert chief.returncode == 1, chief.stderr
  assert 'ConnectionError: a machine of the job does not answer' in chief.stderr
  for worker in _run([last]):
    assert worker.returncode == 0, worker.stderr
    assert f'Resuming from step {HALF}' in worker.stdout
  return folders


def _run(jobs):
  return local_cluster.run([['-m', 'tests.worker_scripts', json.dumps(jobs)]] * 2)


def _history(folder):
  return [json.loads(line) for line in (folder / 'eval' / 'results.jsonl').read_text().splitlines()]


@pytest.mark.parametrize('name', SCRIPTS)
def test_two_workers_end_like_one_process(name, folder, workers, monkeypatch):
  """The process has two replicas, for the same drop masks and batch norm."""
  monkeypatch.setattr(distribute, '_local_devices', lambda: ['CPU:0', 'CPU:1'])
  monkeypatch.setattr(Runner, '_open_training', worker_scripts.like_two_hosts)
  alone = folder / f'{name}_alone'
  script_jobs.in_process(
    SCRIPTS[name], *arguments(name, folder, alone), '--strategy=mirrored'
  )
  expected, found = (script_jobs.values_at(f, STEPS) for f in (alone, workers[name]))
  assert expected.keys() == found.keys()
  for key, value in expected.items():
    limit = 1e-4 * np.sqrt(np.mean(np.square(value, dtype=float))) + 1e-6
    np.testing.assert_allclose(found[key], value, rtol=0, atol=limit, err_msg=key)
  if name == 'pretrain':  # Evaluation draws its masks by host.
    return
  for one, other in zip(_history(alone), _history(workers[name]), strict=True):
    assert other == pytest.approx(one, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize('name', SCRIPTS)
def test_only_the_chief_writes(name, workers):
  assert [entry['step'] for entry in _history(workers[name])] == [HALF, STEPS]
  starts = json.loads((workers[name] / 'run.json').read_text())['starts']
  assert [start['start']['step'] for start in starts] == ([0, HALF] if name == KILLED else [0])
  assert len(list((workers[name] / 'eval').glob('events*'))) == len(starts)


def test_prepared_data_need_no_python_on_the_hosts(folder, monkeypatch):
  """Hosts of a TPU pod run data sets without any program of ours."""
  found = {}

  def train(self, train_input, eval_input=None):
    context = tf.distribute.InputContext()
    datasets = [train_input.train_dataset(context, 0), eval_input.eval_dataset(context)]
    found[self.config.model_dir] = [python_input.python_ops(dataset) for dataset in datasets]

  monkeypatch.setattr(Runner, 'train', train)
  for name, script in SCRIPTS.items():
    args = arguments(name, folder, folder / f'{name}_input')
    script_jobs.in_process(script, *args, '--strategy=one_device')
  found = {path.rpartition('/')[2].removesuffix('_input'): ops for path, ops in found.items()}
  assert found['pretrain'] == found['resnext'] == [[], []]
  # The official files are read in Python.
  official = ('vqa', 'captioning', 'gqa', 'nlvr2', 'retrieval')
  assert all(all(found[name]) for name in official)

"""`python -m oscar.run_retrieval` on official files: train, rank, resume scoring, export, test."""

import json

import numpy as np
import pytest

from oscar import checkpoint_tasks, fine_tuning_job, run_retrieval
from oscar.tasks import retrieval, stored_scores
from tests import script_jobs
from tests.oscar import loaders

DATA = loaders.DATA / 'coco_ir'
RANKED = (
  '--eval_caption_index_file=minival_caption_indexs_top20.pt', '--num_captions_per_img_val=4',
)  # fmt: skip
CROSSED = ('--cross_image_eval', '--num_captions_per_img_val=2')


def call(tiny, model_dir, *more, data=DATA):
  script_jobs.in_process(
    run_retrieval.SCRIPT,
    f'--data_dir={data}', f'--config_name={tiny}/config.json', f'--tokenizer_name={tiny}',
    f'--output_dir={model_dir}', '--max_seq_length=20', '--max_img_seq_length=3',
    '--num_captions_per_img_train=2', '--per_gpu_train_batch_size=2',
    '--per_gpu_eval_batch_size=8', '--strategy=one_device', *more,
  )  # fmt: skip


@pytest.fixture(scope='module')
def finished(tiny, tmp_path_factory):
  """The model_dir of two epochs of training with evaluation on candidates, with an export."""
  model_dir = tmp_path_factory.mktemp('retrieval')
  more = ('--do_train', '--num_train_epochs=2', '--add_od_labels', '--learning_rate=1e-3', *RANKED,
          f'--export_dir={model_dir}/export')  # fmt: skip
  call(tiny, model_dir, *more)
  return model_dir


@pytest.mark.slow
def test_training_takes_the_official_number_of_steps_and_ranks_the_candidates(finished):
  results = [json.loads(r) for r in (finished / 'eval' / 'results.jsonl').read_text().splitlines()]
  assert [r['step'] for r in results] == [4, 8]  # Eight captions in batches of two.
  assert set(results[0]) >= {'pair_loss', 'pair_accuracy', 'i2t_R@1', 'i2t_R@5', 'i2t_R@10'}
  assert 't2i_R@1' not in results[0]
  flags = json.loads((finished / 'run.json').read_text())['starts'][0]['flags']
  assert flags['max_steps'] == 8 and flags['recipe'] == 'retrieval'
  assert list((finished / 'archive').glob('*')), 'no best checkpoint'


@pytest.fixture(scope='module')
def ranked(finished):
  """The files of a test on all pairs; the job's record gives lengths and flags."""
  script_jobs.in_process(
    run_retrieval.SCRIPT, '--do_test', '--do_eval', f'--output_dir={finished}',
    '--eval_img_keys_file=test_img_keys.tsv', '--strategy=one_device', *CROSSED,
  )  # fmt: skip
  return finished / 'test.wlabelsvg.test_img_keys.results'


@pytest.mark.slow
def test_the_test_split_is_scored_and_ranked(ranked):
  found = json.loads(ranked.with_suffix('.results.eval.json').read_text())
  assert set(found) == {'i2t_retrieval', 't2i_retrieval'}
  assert set(found['i2t_retrieval']) == {'R@1', 'R@5', 'R@10'}
  ranks = json.loads(ranked.with_suffix('.results.ranks.json').read_text())
  assert [len(ranks[name]) for name in ('image_ids', 'i2t', 't2i')] == [4, 4, 8]
  (chunk,) = ranked.glob('*.npz')
  scores = np.load(chunk)['scores']
  assert scores.shape == (4, 8) and (scores > 0).all() and (scores < 1).all()
  share = np.mean([scores[i].argmax() // 2 == i for i in range(4)])
  assert found['i2t_retrieval']['R@1'] == share


@pytest.mark.slow
def test_an_export_scores_like_its_job_and_resumes_within(finished, ranked, tmp_path, monkeypatch):
  """Lengths and flags come from task.json; a killed process loses at most one chunk."""
  export, rows = finished / 'export', retrieval.Ranking.rows
  stored = checkpoint_tasks.settings_of(str(export))
  assert stored['max_seq_length'] == 20 and stored['add_od_labels'] is True
  monkeypatch.setattr(stored_scores, '_CHUNK_PAIRS', 10)
  monkeypatch.setattr(
    stored_scores.StoredScores.__init__, '__defaults__', (10,)
  )
  scored = []

  def stopping(self, trainer, first, last, progress=None):
    if len(scored) == 2:
      raise KeyboardInterrupt
    scored.append(first)
    return rows(self, trainer, first, last, progress)

  monkeypatch.setattr(retrieval.Ranking, 'rows', stopping)
  arguments = (
    '--do_test', f'--eval_model_dir={export}', f'--output_dir={tmp_path}', f'--data_dir={DATA}',
    '--eval_img_keys_file=test_img_keys.tsv', '--per_gpu_eval_batch_size=4',
    '--strategy=one_device', *CROSSED,
  )  # fmt: skip
  with pytest.raises(KeyboardInterrupt):
    script_jobs.in_process(run_retrieval.SCRIPT, *arguments)
  again = []
  monkeypatch.setattr(
    retrieval.Ranking, 'rows', lambda self, *args: again.append(args[1]) or rows(self, *args)
  )
  script_jobs.in_process(run_retrieval.SCRIPT, *arguments)
  assert (scored, again) == ([0, 1], [2, 3])
  first, second = (
    np.concatenate([np.load(path)['scores'] for path in sorted(folder.glob('*.npz'))])
    for folder in (ranked, tmp_path / ranked.name)
  )
  np.testing.assert_allclose(second, first, atol=1e-5)


@pytest.mark.slow
def test_evaluation_alone_follows_the_record_of_the_job(finished):
  script_jobs.in_process(
    run_retrieval.SCRIPT, '--mode=eval', f'--output_dir={finished}', '--eval_name=again',
    '--noarchive_ckpt', '--strategy=one_device',
  )  # fmt: skip
  again, first = (
    json.loads((finished / name / 'results.jsonl').read_text().splitlines()[-1])
    for name in ('eval_again', 'eval')
  )
  assert again == first


@pytest.mark.parametrize(
  'more, message',
  [
    (['--do_test'], 'mode predict needs the pairs to rank: --cross_image_eval'),
    (['--mode=train_and_eval'], 'mode train_and_eval needs the pairs to rank'),
    ([*CROSSED, *RANKED], '--cross_image_eval and --eval_caption_index_file: choose one'),
    (['--eval_folds=5', '--do_train'], '--eval_folds=5 needs --cross_image_eval'),
    (['--do_train_val'], 'do_train'),
    ([*CROSSED, '--num_captions_per_img_val=3'], 'has 2 captions, expected 3'),
    ([*CROSSED, '--eval_split=minvial'], 'minvial_captions.pt does not exist'),
    ([*CROSSED, '--img_feat_file=/does/not/exist.tsv'], '/does/not/exist.tsv does not exist'),
    ([*RANKED, '--num_captions_per_img_val=9'], 'candidates, expected at least 9'),
    (['--output_mode=regression'], 'no official code reads it; use --num_labels'),
    (['--att_mask_type=CRL'], 'did you mean CR or CL or CLR'),
    (['--num_labels=3'], '--num_labels'),
    (['--recipe=vqa_base'], 'another script'),
  ],
)
def test_bad_input_is_one_clear_line(tiny, tmp_path, more, message):
  with pytest.raises((ValueError, OSError)) as error:
    call(tiny, tmp_path / 'model', *more)
  assert message in str(error.value) and '\n' not in str(error.value)
  assert not list(tmp_path.glob('model/model.ckpt*'))


def test_a_damaged_row_of_tags_is_named(tiny, tmp_path, data):
  path = data / 'coco_ir' / 'predictions.tsv'
  path.write_bytes(path.read_bytes().replace(b'"class"', b'"klass"', 1))
  with pytest.raises(ValueError, match="predictions.tsv row 0, key '.*: 'class' is missing"):
    call(tiny, tmp_path / 'model', *CROSSED, '--add_od_labels', data=data / 'coco_ir')


# ---- modes and restored flags


def resolved(**given):
  return run_retrieval.SCRIPT.resolve(given)


def test_modes_of_the_official_flags():
  modes = lambda **given: run_retrieval.fine_tuning.modes_of(given, run_retrieval.SPEC)  # noqa: E731
  assert modes(do_train=True) == ['train']
  assert modes(do_train=True, cross_image_eval=True) == ['train_and_eval']
  assert modes(do_eval=True, cross_image_eval=True) == ['predict']
  both = {'do_test': True, 'do_eval': True}
  assert modes(**both, eval_caption_index_file='x') == ['predict']
  assert modes(do_train=True, **both, cross_image_eval=True) == ['train_and_eval', 'predict']


@pytest.mark.parametrize('recipe, evaluated', [('retrieval_base', 5000), ('retrieval', 7)])
def test_evaluations_come_where_the_official_script_saves(recipe, evaluated):
  job = resolved(data_dir='x', model_dir='y', recipe=recipe).get(run_retrieval.SPEC.job)
  assert fine_tuning_job._steps_per_eval(job, 7) == evaluated


def test_the_flags_of_an_official_checkpoint_hold_at_test_time(tmp_path):
  settings = {'max_seq_length': 40, 'max_img_seq_length': 70, 'add_od_labels': True}
  checkpoint_tasks.write_settings(str(tmp_path), 'retrieval', settings)
  given = {'recipe': 'retrieval_test_5k', 'data_dir': 'x', 'init_checkpoint': str(tmp_path)}
  values = resolved(**given).as_dict()
  assert {name: values[name] for name in settings} == settings
  assert values['eval_img_keys_file'] == 'test_img_keys.tsv'
  assert values['model_dir'] == str(tmp_path)  # Official results lie beside the checkpoint.
  assert values['use_img_layernorm'] is None  # As its config.json says.
  assert resolved(**given, mode='train').as_dict()['use_img_layernorm'] == 1
  (tmp_path / 'run.json').write_text('{"starts": [{"flags": {}}]}')
  with pytest.raises(ValueError, match='is the folder of a job: give it as --output_dir'):
    resolved(**given)


def test_scenes_rank_a_hundred_images():
  values = resolved().as_dict()
  assert (values['num_eval_images'], values['cross_image_eval']) == (100, True)
  assert (values['eval_split'], values['model_dir']) == ('val', 'runs/retrieval-scenes')
  assert values['use_img_layernorm'] is None  # As pre-trained.

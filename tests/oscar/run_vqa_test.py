"""`python -m oscar.run_vqa` on official files: train, evaluate, answer the test, export."""

import json

import pytest

import oscar
from oscar import checkpoint_tasks, checkpoints, run_vqa
from oscar.datasets import vqa
from tests import script_jobs
from tests.oscar import loaders

DATA = loaders.DATA / 'vqa'


def call(tiny, model_dir, *more, data=DATA):
  script_jobs.in_process(
    run_vqa.SCRIPT,
    f'--data_dir={data}', f'--txt_data_dir={data}', '--data_label_type=mask',
    f'--config_name={tiny}/config.json', f'--tokenizer_name={tiny}',
    f'--output_dir={model_dir}',
    '--max_seq_length=20', '--max_img_seq_length=3', '--per_gpu_train_batch_size=2',
    '--per_gpu_eval_batch_size=2', '--strategy=one_device', *more,
  )  # fmt: skip


@pytest.fixture(scope='module')
def finished(tiny, tmp_path_factory):
  """The model_dir of two epochs of training, with an export."""
  model_dir = tmp_path_factory.mktemp('vqa')
  more = ('--do_train', '--loss_type=bce', '--num_train_epochs=2', '--adjust_dp',
          '--learning_rate=1e-3', f'--export_dir={model_dir}/export')  # fmt: skip
  call(tiny, model_dir, *more)
  return model_dir


@pytest.mark.slow
def test_training_takes_the_official_number_of_steps_and_evaluates_each_epoch(finished):
  results = [json.loads(r) for r in (finished / 'eval' / 'results.jsonl').read_text().splitlines()]
  assert [r['step'] for r in results] == [4, 8]  # Seven questions in batches of two.
  assert set(results[0]) >= {'loss', 'answer_loss', 'vqa_score'}
  flags = json.loads((finished / 'run.json').read_text())['starts'][0]['flags']
  assert flags['max_steps'] == 8 and flags['recipe'] == 'vqa'


@pytest.mark.slow
def test_the_test_questions_are_answered(finished, tiny, capsys):
  call(tiny, finished, '--do_test', '--do_test_dev')
  out = capsys.readouterr().out
  assert out.index('test-dev2015_results.json') < out.index('test2015_results.json')
  for split in ('test2015', 'test-dev2015'):
    rows = json.loads((finished / f'{split}_results.json').read_text())
    expected = json.loads((DATA / f'{split}_qla_mrcnn.json').read_text())
    assert [row['question_id'] for row in rows] == [row['q_id'] for row in expected]
    assert {row['answer'] for row in rows} <= set(oscar_answers())
  (line, *_) = (finished / 'test2015_predictions.jsonl').read_text().splitlines()
  assert set(json.loads(line)) == {
    'question_id', 'image_id', 'question', 'answer', 'probability'
  }  # fmt: skip


def oscar_answers():
  return json.loads((DATA / 'cache' / 'trainval_label2ans.json').read_text())


@pytest.mark.slow
def test_an_export_answers_like_its_job(finished, tiny, tmp_path):
  export = finished / 'export'
  stored = json.loads((export / 'task.json').read_text())
  assert stored['task'] == 'vqa' and stored['answers'] == oscar_answers()
  assert checkpoint_tasks.settings_of(str(export))['max_seq_length'] == 20
  call(tiny, finished, '--mode=predict', '--eval_split=val', f'--predict_file={tmp_path}/a.jsonl')
  script_jobs.in_process(
    run_vqa.SCRIPT, '--mode=predict', '--eval_split=val', f'--model_name_or_path={export}',
    f'--data_dir={DATA}', '--data_label_type=mask', f'--output_dir={tmp_path}/again',
    f'--predict_file={tmp_path}/b.jsonl', '--strategy=one_device',
  )  # fmt: skip
  first, second = ((tmp_path / f'{name}.jsonl').read_text().splitlines() for name in 'ab')
  assert len(first) == 3
  for one, other in zip(map(json.loads, first), map(json.loads, second), strict=True):
    assert one.pop('probability') == pytest.approx(other.pop('probability'), abs=1e-5)
    assert one == other


@pytest.mark.slow
def test_an_export_with_a_saved_model_answers_in_one_line(finished, tiny, tmp_path):
  assert not (finished / 'export' / 'saved_model').exists()
  call(tiny, finished, '--mode=export', f'--export_dir={tmp_path}/export')
  assert (tmp_path / 'export' / 'saved_model' / 'saved_model.pb').exists()
  call(tiny, finished, '--mode=predict', '--eval_split=val', f'--predict_file={tmp_path}/a.jsonl')
  predictor, source = oscar.load(tmp_path / 'export'), vqa.Vqa(DATA, 'val')
  lines = (tmp_path / 'a.jsonl').read_text().splitlines()
  for line, question in zip(lines, source.questions, strict=True):
    expected = json.loads(line)
    given = source.regions[question.image_id], question.tags
    found = predictor.answer(given, question.question)
    assert found.answer == expected['answer']
    assert found.probability == pytest.approx(expected['probability'], abs=1e-5)


@pytest.mark.slow
def test_a_job_reads_files_that_changed_since_another_of_its_process(finished, tiny, data):
  path = data / 'vqa' / 'test2015_qla_mrcnn.json'
  for q_id in (70, 71):
    loaders.edit(path, lambda rows: rows[0].update(q_id=q_id))  # noqa: B023 - called at once.
    call(tiny, finished, '--do_test', data=data / 'vqa')
    found = json.loads((finished / 'test2015_results.json').read_text())
    assert found[0]['question_id'] == q_id


@pytest.mark.slow
def test_evaluation_alone_follows_the_record_of_the_job(finished, capsys):
  script_jobs.in_process(
    run_vqa.SCRIPT, '--do_eval', f'--output_dir={finished}', '--eval_name=again',
    '--noarchive_ckpt', '--strategy=one_device',
  )  # fmt: skip
  again, first = (
    json.loads((finished / name / 'results.jsonl').read_text().splitlines()[-1])
    for name in ('eval_again', 'eval')
  )
  assert again == first


@pytest.mark.slow
def test_an_evaluation_without_regions_leaves_the_results_of_the_job(finished, tmp_path, capsys):
  def kept():
    names = ('eval/results.jsonl', 'archive/best_eval.txt', 'archive/checkpoint', 'run.json')
    return [(finished / name).read_text() for name in names]

  before = kept()
  # A better best would be archived: it must not be this one.
  (finished / 'best_objective.txt').write_text('-1.000000')
  own = ('--mask_regions', f'--output_dir={finished}', '--strategy=one_device')
  script_jobs.in_process(run_vqa.SCRIPT, '--do_eval', *own)
  assert (finished / 'best_objective.txt').read_text() == '-1.000000' and kept() == before
  masked, shown = (
    json.loads((finished / name / 'results.jsonl').read_text().splitlines()[-1])
    for name in ('eval_masked_regions', 'eval')
  )
  assert masked['step'] == shown['step'] and masked['loss'] != shown['loss']
  script_jobs.in_process(run_vqa.SCRIPT, '--mode=predict', '--eval_split=val', *own)
  assert (finished / 'val_masked_regions_predictions.jsonl').exists()
  assert 'val_masked_regions_results.json' in capsys.readouterr().out


@pytest.mark.slow
def test_an_evaluation_with_other_tags_leaves_the_results_of_the_job(finished, capsys):
  own = (f'--output_dir={finished}', '--strategy=one_device')
  before = (finished / 'eval' / 'results.jsonl').read_text()
  script_jobs.in_process(run_vqa.SCRIPT, '--do_eval', '--tags=wrong', *own)
  assert (finished / 'eval' / 'results.jsonl').read_text() == before
  wrong, given = (
    json.loads((finished / name / 'results.jsonl').read_text().splitlines()[-1])
    for name in ('eval_wrong_tags', 'eval')
  )
  assert wrong['step'] == given['step'] and wrong['loss'] != given['loss']


def test_exports_of_other_tasks_are_refused_by_name(finished, tiny, tmp_path):
  export = str(finished / 'export')
  with pytest.raises(ValueError, match="trained for the task 'vqa', not 'gqa'"):
    oscar.build_model(export, 'gqa', weights=export)
  model = oscar.build_model(export, 'pretrain', num_labels=2)
  other = str(tmp_path / 'other')
  checkpoints.save(model, oscar.Tokenizer.from_folder(str(tiny)), other)
  more = ('--mode=predict', f'--model_name_or_path={other}')
  with pytest.raises(ValueError, match="other was trained for the task 'pretrain', not 'vqa'"):
    call(tiny, tmp_path / 'model', *more)
  with pytest.raises(ValueError, match="the task 'pretrain', not 'captioning'"):
    oscar.build_model(other, 'captioning', weights=other)


@pytest.mark.parametrize(
  'more, message',
  [
    (['--data_label_type=faster'], 'train2014_qla.json does not exist'),
    (['--train_split=trian'], "Unknown VQA split 'trian': did you mean train"),
    (['--label_file=/does/not/exist.pkl'], '/does/not/exist.pkl does not exist'),
    (['--img_feature_type=mask_r-cnn'], 'train_img_mask_rcnn_feats.pt does not exist'),
    (['--tags=wrnog'], '--tags=wrnog: expected given, none, wrong or a file'),
    (['--loss_type=bec'], 'did you mean bce'),
    (['--max_seq_length=40'], '--max_seq_length=40 is longer than the 32 positions'),
    (['--model_name_or_path=/does/not/exist'], '/does/not/exist'),
    (['--do_test', '--do_train_val'], 'train+val2014_qla_mrcnn.json does not exist'),
    (['--recipe=gqa_base'], 'another script'),
  ],
)
def test_bad_input_is_one_clear_line(tiny, tmp_path, more, message):
  with pytest.raises((ValueError, OSError)) as error:
    call(tiny, tmp_path / 'model', *more)
  assert message in str(error.value) and '\n' not in str(error.value)
  assert not list(tmp_path.glob('model/model.ckpt*'))


def test_an_answer_list_of_another_size_than_the_head_is_named(finished, tiny, tmp_path, data):
  path = data / 'vqa' / 'cache' / 'trainval_ans2label.json'
  (data / 'vqa' / 'cache' / 'trainval_ans2label.pkl').unlink()
  loaders.edit(path, lambda labels: labels.update(cat=7))
  message = 'its num_labels is 7, not 8'
  with pytest.raises(ValueError, match=message):
    call(tiny, finished, '--loss_type=bce', data=data / 'vqa')
  more = ('--mode=predict', f'--model_name_or_path={finished}/export', '--eval_split=val')
  with pytest.raises(ValueError, match='num_labels is 7, but the label file has 8 answers'):
    call(tiny, tmp_path / 'model', *more, data=data / 'vqa')


@pytest.mark.parametrize('split', ['train', 'val'])
def test_damaged_questions_are_named(tiny, tmp_path, data, split):
  path = data / 'vqa' / f'{split}2014_qla_mrcnn.json'
  loaders.edit(path, lambda rows: rows[1].pop('q'))
  with pytest.raises(ValueError, match=f"{split}2014_qla_mrcnn.json row 1: 'q' is missing"):
    call(tiny, tmp_path / 'model', data=data / 'vqa')

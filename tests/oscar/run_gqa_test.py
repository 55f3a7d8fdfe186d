"""`python -m oscar.run_gqa` on official files: train, test-dev with all metrics, submission."""

import json
from unittest import mock

import numpy as np
import pytest

from oscar import losses, run_gqa, task_settings
from oscar.tasks import classification, gqa
from tests import script_jobs
from tests.oscar import golden_models, loaders

DATA = loaders.DATA / 'gqa'


def test_loss_and_logits_are_the_official_ones():
  z = golden_models.load('task_heads.npz')
  names = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')
  batch = golden_models.inputs(z, *names, prefix='vqa/')
  outputs = golden_models.build('gqa', num_labels=9)(batch)
  np.testing.assert_allclose(outputs['logits'], z['gqa/logits'], atol=1e-4)
  batch['labels'] = z['gqa/labels'].ravel()
  for loss_type in ('xe', 'kl'):
    task = gqa.gqa_task(task_settings.GqaData(loss_type=loss_type))
    loss = losses.mean(task.losses['answer_loss'](outputs, batch, 0))
    np.testing.assert_allclose(loss, z['gqa/xe_loss'], rtol=1e-5)
  right, count = classification.accuracy(outputs, batch, 0)
  assert (right, count) == ((z['gqa/logits'].argmax(1) == batch['labels']).sum(), 6)


def call(tiny, model_dir, *more, data=DATA):
  script_jobs.in_process(
    run_gqa.SCRIPT,
    f'--data_dir={data}', f'--config={tiny}/config.json', f'--vocab_file={tiny}',
    f'--output_dir={model_dir}', '--max_seq_length=20', '--max_img_seq_length=3',
    '--per_gpu_train_batch_size=2', '--strategy=one_device', *more,
  )  # fmt: skip


def test_the_submission_of_the_test_split(tmp_path):
  flags = task_settings.GqaData(data_dir=str(DATA), eval_split='test')
  made = [{'question_id': i, 'answer': 'yes'} for i in (900, 901)]
  assert gqa.write_results(flags, made, str(tmp_path / 'r.json')) == {}
  assert json.loads((tmp_path / 'r.json').read_text())[0] == {
    'questionId': '900', 'prediction': 'yes'
  }  # fmt: skip


def test_ids_are_written_as_in_the_file(data, tmp_path):
  path = data / 'gqa' / 'gqa_all_qla_submission.json'
  loaders.edit(path, lambda rows: rows[0].update(q_id='00900'))
  flags = task_settings.GqaData(data_dir=str(data / 'gqa'), eval_split='test')
  source = mock.Mock(questions=gqa.files_of(flags).open)
  rows = {'row': np.array([1, 0]), 'label': np.array([0, 0]), 'probability': np.ones(2)}
  made = gqa.records(flags, source, rows)
  assert [row['question_id'] for row in made] == ['00900', 901]
  gqa.write_results(flags, made, str(tmp_path / 'r.json'))
  found = json.loads((tmp_path / 'r.json').read_text())
  assert [row['questionId'] for row in found] == ['00900', '901']


def test_a_questions_file_of_another_split_does_not_stop_a_prediction(tmp_path, capsys):
  (tmp_path / 'val.json').write_text('{"7": {}}')
  flags = task_settings.GqaData(
    data_dir=str(DATA), eval_split='test-dev', questions_file=str(tmp_path / 'val.json')
  )
  made = [{'question_id': i, 'answer': 'no'} for i in (900, 901)]
  assert gqa.write_results(flags, made, str(tmp_path / 'r.json')) == {'accuracy': 0.5}
  assert 'val.json has no question of' in capsys.readouterr().out


@pytest.mark.slow
def test_train_and_test_dev(tiny, tmp_path, capsys):
  answers = {900: 'no', 901: 'red'}
  details = {
    str(i): {
      'answer': answer, 'isBalanced': True, 'entailed': [],
      'types': {'structural': 'query', 'semantic': 'attr', 'detailed': 'attr'},
    }
    for i, answer in answers.items()
  }  # fmt: skip
  (tmp_path / 'details.json').write_text(json.dumps(details))
  more = ('--do_train', '--num_train_epochs=1', '--do_test_dev', '--loss_type=xe',
          f'--questions_file={tmp_path}/details.json')  # fmt: skip
  call(tiny, tmp_path / 'gqa', *more)
  (line,) = (tmp_path / 'gqa' / 'eval' / 'results.jsonl').read_text().splitlines()
  assert json.loads(line)['step'] == 2 and {'accuracy', 'gqa_open'} <= set(json.loads(line))
  out = capsys.readouterr().out
  assert 'Predictions for test-dev: accuracy ' in out
  assert 'Results of test-dev, in the form of a submission: ' in out
  rows = json.loads((tmp_path / 'gqa' / 'test-dev_results.json').read_text())
  assert [row['questionId'] for row in rows] == ['900', '901']


@pytest.mark.parametrize(
  'more, message',
  [
    (['--eval_data_type=all'], 'gqa_all_qla_val.json does not exist'),
    (['--loss_type=bce'], 'Choose one of kl, xe'),
    (['--spatial_dim=6'], '--spatial_dim is a flag of the official script only'),
    (['--questions_file=/nowhere.json'], '--questions_file=/nowhere.json does not exist'),
    (['--choices_file=/nowhere.json'], '--choices_file=/nowhere.json does not exist'),
    ([f'--choices_file={__file__}'], f'--choices_file={__file__} needs --questions_file'),
    (['--eval_split=test'], '--eval_split=test has no answers'),
  ],
)
def test_bad_input_is_one_clear_line(tiny, tmp_path, more, message):
  with pytest.raises((ValueError, OSError)) as error:
    call(tiny, tmp_path / 'model', *more)
  assert message in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
  'mode, content, message',
  [
    ('--do_train', '[', 'details.json cannot be read as JSON'),
    ('--do_train', '{"7": {}}', 'details.json lacks 2 of the 2 questions of'),
    ('--do_eval', '{"7": {}}', "gqa_bal_qla_val.json (first: '900'); give GQA's own file of this"),
    ('--mode=predict', '{"900": {}}', "details.json lacks 1 of the 2 questions of"),
    ('--do_eval', '{"900": {}, "901": {}}', "details.json, key '900': expected isBalanced, answer"),
  ],
)
def test_a_wrong_questions_file_is_named_before_the_first_step(
  tiny, tmp_path, capsys, mode, content, message
):
  (tmp_path / 'details.json').write_text(content)
  with pytest.raises((ValueError, OSError)) as error:
    call(tiny, tmp_path / 'model', mode, f'--questions_file={tmp_path}/details.json')
  assert message in str(error.value) and '\n' not in str(error.value)
  assert ' parameters' not in capsys.readouterr().out  # There is no model yet.

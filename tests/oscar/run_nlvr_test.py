"""`python -m oscar.run_nlvr` on official files, in both forms; official losses and gradients."""

import json

import numpy as np
import pytest
import tensorflow as tf

from oscar import checkpoint_names as names
from oscar import losses, run_nlvr, task_settings
from oscar.tasks import nlvr2
from tests import script_jobs
from tests.oscar import golden_models, loaders
from tests.oscar.datasets.nlvr2_files_test import sentences

DATA = loaders.DATA / 'nlvr2'
INPUTS = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')
NO_DROPOUT = {'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0}
HEADS = {
  'nlvr2_pair_linear': {'classifier': 'linear'},
  'nlvr2_pair_mlp2': {'classifier': 'mlp', 'cls_hidden_scale': 2},
  'nlvr2_pair_mlp3': {'classifier': 'mlp', 'cls_hidden_scale': 3},
}


@pytest.mark.parametrize('variant', HEADS)
def test_losses_and_gradients_are_the_official_ones(variant):
  z = golden_models.load('task_heads.npz')
  batch = golden_models.inputs(z, *INPUTS, prefix='nlvr2/')
  model = golden_models.build('nlvr2', **NO_DROPOUT, **HEADS[variant])
  tasks = [nlvr2.nlvr2_task(task_settings.Nlvr2Data(loss_type=kind)) for kind in ('xe', 'kl')]
  with tf.GradientTape() as tape:
    outputs = model(batch)
    batch['labels'] = z['nlvr2/labels']
    found = [losses.mean(task.losses['statement_loss'](outputs, batch, 0)) for task in tasks]
  np.testing.assert_allclose(outputs['logits'], z[f'nlvr2/{variant}/logits'], atol=1e-4)
  np.testing.assert_allclose(found, [z[f'nlvr2/{variant}/loss']] * 2, rtol=1e-5)
  norms = golden_models.load('task_heads_grad_norms.json')[f'nlvr2/{variant}']
  gradients = tape.gradient(found[0], [v.value for v in model.trainable_variables])
  for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
    expected, _ = norms[names.torch_name(variable.path)]
    norm = np.linalg.norm(tf.convert_to_tensor(gradient))
    np.testing.assert_allclose(norm, expected, rtol=1e-4, atol=1e-6, err_msg=variable.path)


def call(tiny, model_dir, *more, data=DATA):
  script_jobs.in_process(
    run_nlvr.SCRIPT,
    f'--data_dir={data}', f'--config={tiny}/config.json', f'--vocab_file={tiny}',
    f'--output_dir={model_dir}', '--max_seq_length=20', '--max_img_seq_length=3',
    '--data_label_type=all', '--eval_data_type=all', '--per_gpu_train_batch_size=2',
    '--strategy=one_device', *more,
  )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('more', [('--use_pair', '--classifier=mlp'), ('--use_label_seq',)])
def test_train_and_test(tiny, tmp_path, more, capsys):
  files = ','.join(sentences(tmp_path, split) for split in ('dev', 'test1'))
  tested = ['--do_test', f'--sentences_file={files}'] if '--use_pair' in more else []
  call(tiny, tmp_path / 'm', '--do_train', '--num_train_epochs=1', *tested, *more)
  (line,) = (tmp_path / 'm' / 'eval' / 'results.jsonl').read_text().splitlines()
  assert json.loads(line)['step'] == 2 and {'accuracy', 'consistency'} <= set(json.loads(line))
  if '--use_pair' in more:
    out, results = capsys.readouterr().out, tmp_path / 'm' / 'test1_results.csv'
    assert 'Predictions for test1: accuracy ' in out
    assert f'Results of test1, in the form of a submission: {results}' in out
    lines = results.read_text().splitlines()
    assert [line.split(',')[0] for line in lines] == ['test1-7-0-0', 'test1-7-1-0']
    assert {line.split(',')[1] for line in lines} <= {'True', 'False'}


def test_results_without_identifiers_have_no_submission(tmp_path, capsys):
  flags = task_settings.Nlvr2Data(
    data_dir=str(DATA), data_label_type='all', eval_data_type='all', eval_split='test1'
  )
  made = [{'row': row, 'identifier': None, 'prediction': row == 1} for row in (0, 1)]
  path = tmp_path / 'test1_results.csv'
  found = nlvr2.write_results(flags, made, str(path))
  assert found == {'accuracy': 1.0, 'consistency': 1.0}  # The labels are 0 and 1.
  assert not path.exists() and 'No submission file' in capsys.readouterr().out
  with pytest.raises(ValueError, match='nlvr2_test1.json: 2 statements, but 1 predictions'):
    nlvr2.write_results(flags, made[:1], str(path))


@pytest.mark.parametrize(
  'more, message',
  [
    (['--eval_data_type=bal'], 'nlvr2_balanced_dev.json does not exist'),
    (['--num_choice=3'], 'Unknown value of --num_choice 3'),
    (['--optim=Adamax'], "Unknown value of --optim 'Adamax'"),
    (['--use_layernorm'], '--use_layernorm is a flag of the official script only'),
    (['--eval_split=test2'], "Unknown NLVR2 split 'test2'"),
    (['--sentences_file=/no.json'], '--sentences_file=/no.json does not exist; give an existing'),
  ],
)
def test_bad_input_is_one_clear_line(tiny, tmp_path, more, message):
  with pytest.raises((ValueError, OSError)) as error:
    call(tiny, tmp_path / 'model', *more)
  assert message in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('split, lacking', [('dev', 'test1'), ('test1', 'dev')])
def test_a_lacking_sentences_file_is_named_before_the_first_step(
  tiny, tmp_path, capsys, split, lacking
):
  given = ['--do_train', '--do_test', f'--sentences_file={sentences(tmp_path, split)}']
  with pytest.raises(ValueError, match=f'{split}.json line 1: .*nlvr2_{lacking}.json .*; add the'):
    call(tiny, tmp_path / 'model', *given)
  assert ' parameters' not in capsys.readouterr().out  # There is no model yet.

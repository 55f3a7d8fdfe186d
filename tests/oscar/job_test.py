"""Models and trainers from settings; the official fine-tuning runs through the trainer."""
import dataclasses
import pathlib

import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import checkpoint_names as names
from oscar import checkpoints, job, losses, script_settings
from tests import bert_folder
from tests.oscar import golden_models
from tests.oscar.golden_models import GOLDENS
from tpu_utils.trainer import Task

INPUTS = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')
MODES = golden_models.load('optimizer.json')
NO_DROPOUT = {'hidden_dropout_prob': 0.0, 'attention_probs_dropout_prob': 0.0}
VOCAB = str(GOLDENS / 'vocab' / 'vocab.txt')


def test_a_missing_checkpoint_is_reported(tmp_path):
  prefix = tmp_path / 'bert_model.ckpt'
  settings = script_settings.ModelConfig(init_checkpoint=str(prefix))
  message = '--init_checkpoint=.*bert_model.ckpt: no file, no folder'
  with pytest.raises(FileNotFoundError, match=message):
    job.check_checkpoint(settings)
  (tmp_path / 'bert_model.ckpt.index').touch()
  job.check_checkpoint(settings)
  job.check_checkpoint(script_settings.ModelConfig())


def optimization_settings(settings):
  return script_settings.OptimizationConfig(
    learning_rate=settings['lr'],
    warmup_steps=settings['warmup_steps'],
    weight_decay=settings['wd'],
    adam_epsilon=settings['eps'],
    max_grad_norm=settings['clip'],
    schedule_order='optimizer_first' if settings['order'] == 'opt_first' else 'scheduler_first',
  )


def classification_task():
  def loss(outputs, batch, step):
    del step
    return losses.classification(outputs['logits'], batch['targets'], 'bce')

  return Task(losses={'bce': loss})


def steps_of(z, count):
  for number in range(1, count + 1):
    prefix = f'step{number}/'
    yield golden_models.inputs(z, *INPUTS, 'targets', prefix=prefix)


@pytest.mark.slow
@pytest.mark.parametrize('mode', MODES)
def test_the_trainer_equals_the_official_run(mode):
  z, run = golden_models.load('optimizer.npz'), MODES[mode]
  settings = optimization_settings(run['settings'])
  if 'constant' in mode:
    settings = dataclasses.replace(settings, scheduler='constant')
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  with strategy.scope():
    model = golden_models.build(
      'vqa', num_labels=7, classifier='mlp', cls_hidden_scale=3, **NO_DROPOUT
    )
  trainer = job.make_trainer(
    strategy, model, classification_task(), settings, run['settings']['T']
  )
  batches = list(steps_of(z, len(run['steps'])))
  dataset = tf.data.Dataset.from_tensor_slices(
    {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
  )
  iterator = trainer.train_iterator(lambda context: dataset)
  for number, expected in enumerate(run['steps'], start=1):
    logs = trainer.train(iterator, 1)
    np.testing.assert_allclose(logs['learning_rate'], expected['lr_used'], rtol=1e-6)
    np.testing.assert_allclose(logs['loss'], expected['loss'], rtol=1e-5)
    np.testing.assert_allclose(logs['gradient_norm'], expected['grad_norm_before_clip'], rtol=1e-4)
    if f'{mode}/after{number}/bert.pooler.dense.bias' in z:
      for variable in model.trainable_variables:
        compare(variable, z[f'{mode}/after{number}/{names.torch_name(variable.path)}'])


def compare(variable, expected):
  # Its true gradient is zero, so Adam makes steps of full size from rounding noise.
  if 'attention_self_key/bias' in variable.path:
    return
  value = variable.numpy().astype('float64')
  value = value.T if variable.path.endswith('kernel') else value
  found = [value.mean(), value.std(), np.linalg.norm(value), *value.ravel()[:8]]
  np.testing.assert_allclose(found, expected, atol=2e-6, rtol=0, err_msg=variable.path)


# ---- vocabulary and configuration


@pytest.fixture
def checkpoint(tmp_path):
  """An export of the golden pre-training model."""
  folder = str(tmp_path / 'checkpoint')
  tokenizer = oscar.Tokenizer(VOCAB, do_lower_case=False)
  checkpoints.save(golden_models.build('pretrain'), tokenizer, folder)
  return folder


def test_the_vocabulary_comes_from_the_checkpoint_or_the_data(checkpoint, tmp_path):
  with_checkpoint = script_settings.ModelConfig(init_checkpoint=f'{checkpoint}/model.safetensors')
  assert not job.open_tokenizer(with_checkpoint, '').do_lower_case
  lower = dataclasses.replace(with_checkpoint, do_lower_case=True)
  assert job.open_tokenizer(lower, '').do_lower_case
  with_data = job.open_tokenizer(script_settings.ModelConfig(), str(GOLDENS / 'vocab'))
  assert with_data.do_lower_case and len(with_data) == 400
  no_file = 'No vocabulary: .* has no tokenizer.json or vocab.txt; .*--vocab_file'
  with pytest.raises(ValueError, match=no_file):
    job.open_tokenizer(script_settings.ModelConfig(), str(tmp_path))


def test_the_vocabulary_of_a_folder_of_today(tmp_path):
  bert_folder.write_tokenizer(tmp_path, lowercase=False)
  for place in (tmp_path, tmp_path / 'tokenizer.json'):
    found = job.open_tokenizer(script_settings.ModelConfig(vocab_file=str(place)), '')
    assert len(found) == 400 and not found.do_lower_case
  found = job.open_tokenizer(script_settings.ModelConfig(init_checkpoint=str(tmp_path)), '')
  assert not found.do_lower_case


def test_build_config_follows_the_flags(checkpoint):
  tokenizer = oscar.Tokenizer(VOCAB)
  settings = script_settings.ModelConfig
  config = job.build_config(settings(config='tiny'), tokenizer)
  assert (config.vocab_size, config.hidden_size) == (400, 128)
  config = job.build_config(
    settings(init_checkpoint=checkpoint, drop_out=0.3), tokenizer, num_contrast_classes=3
  )
  assert config == oscar.OscarConfig(
    **golden_models.CONFIG, hidden_dropout_prob=0.3, num_contrast_classes=3
  )
  with pytest.raises(ValueError, match='config.*file.* folder'):
    job.build_config(settings(config='huge'), tokenizer)


def test_a_vocabulary_larger_than_the_checkpoints_is_refused(checkpoint, tmp_path):
  path = tmp_path / 'vocab.txt'
  path.write_text(pathlib.Path(VOCAB).read_text() + 'more\n')
  with pytest.raises(ValueError, match='401 pieces, the model 400'):
    job.build_config(
      script_settings.ModelConfig(init_checkpoint=checkpoint), oscar.Tokenizer(str(path))
    )


def test_two_contrast_classes_load_into_three_only_with_the_flag(checkpoint, capsys):
  settings = script_settings.ModelConfig(init_checkpoint=checkpoint)
  config = job.build_config(settings, oscar.Tokenizer(VOCAB), num_contrast_classes=3)
  with pytest.raises(ValueError, match='cls.seq_relationship.weight'):
    job.build_model(config, 'pretrain', settings)
  job.build_model(config, 'pretrain', dataclasses.replace(settings, fresh_head=True))
  assert 'cls_seq_relationship/kernel' in capsys.readouterr().out

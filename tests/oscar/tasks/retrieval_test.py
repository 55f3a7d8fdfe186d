"""Retrieval through the trainer: official logits, losses and steps; scores, ranks, resuming."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import (
  job,
  losses,
  retrieval_settings,
  run_retrieval,
  script_settings,
  task_settings,
)
from oscar.tasks import pair_scores, retrieval
from tests.oscar import golden_models, loaders
from tests.oscar.tasks.vqa_test import INPUTS, NO_DROPOUT, compare
from tpu_utils.trainer import Task


def parts(**flags):
  data = retrieval_settings.RetrievalData(**flags)
  task = retrieval.retrieval_task(data)
  return task.losses['pair_loss'], task.metrics['pair_accuracy'], retrieval._config(data)


@pytest.mark.parametrize(
  'variant, mask, num_labels',
  [('retrieval', 'vqa/attention_mask', 2), ('retrieval', 'retrieval/mask3d', 2),
   ('retrieval_regression', 'vqa/attention_mask', 1)],
  ids=['two_labels', 'mask3d', 'one_label'],
)  # fmt: skip
def test_logits_losses_and_scores_are_the_official_ones(variant, mask, num_labels):
  z = golden_models.load('task_heads.npz')
  loss, accuracy, config = parts(num_labels=num_labels)
  model = golden_models.build('retrieval', **NO_DROPOUT, **config)
  batch = golden_models.inputs(z, *INPUTS, prefix='vqa/')
  batch |= {'attention_mask': z[mask], 'labels': z['retrieval/labels'].ravel()}
  outputs = model({name: batch[name] for name in INPUTS})
  kind = 'mask3d_' if '3d' in mask else ''
  np.testing.assert_allclose(outputs['logits'], z[f'{variant}/{kind}logits'], atol=1e-4)
  found = losses.mean(loss(outputs, batch, 0))
  np.testing.assert_allclose(found, z[f'{variant}/{kind}loss'], rtol=1e-5)
  scores = pair_scores.scores_of(outputs['logits'])
  if variant == 'retrieval' and not kind:
    np.testing.assert_allclose(scores, z['retrieval/score'], atol=1e-5)
  if num_labels == 1:
    np.testing.assert_array_equal(scores, outputs['logits'][:, 0])
  right, count = accuracy(outputs, batch, 0)
  logits = z[f'{variant}/{kind}logits']
  judged = logits.argmax(1) if num_labels == 2 else logits[:, 0] >= 0
  assert right == (judged == batch['labels']).sum() and count == len(batch['labels'])


def test_rows_of_weight_zero_do_not_count():
  _, accuracy, _ = parts(num_labels=1)
  outputs = {'logits': tf.constant([[0.5], [-0.1], [0.0], [3.0]])}
  batch = {'labels': tf.constant([1, 0, 1, 0]), 'weights': tf.constant([1.0, 1.0, 1.0, 0.0])}
  assert [float(x) for x in accuracy(outputs, batch, 0)] == [3.0, 3.0]


@pytest.mark.slow
def test_six_steps_with_the_flags_of_the_script_are_the_official_ones():
  """The official steps are of a model with seven labels; retrieval's is of the same class."""
  mode = 'warmup2_official'
  z, run = golden_models.load('optimizer.npz'), golden_models.load('optimizer.json')[mode]
  wanted = run['settings']
  resolved = run_retrieval.SCRIPT.resolve(
    {
      'data_dir': 'x', 'model_dir': 'y', 'learning_rate': wanted['lr'],
      'warmup_steps': wanted['warmup_steps'],
    }
  )  # fmt: skip
  flags = resolved.get(task_settings.OptimizationConfig)
  assert flags.weight_decay == wanted['wd'] and flags.max_grad_norm == wanted['clip']
  fields = [field.name for field in dataclasses.fields(script_settings.OptimizationConfig)]
  optimization = script_settings.OptimizationConfig(**{f: getattr(flags, f) for f in fields})
  strategy = tf.distribute.OneDeviceStrategy('CPU:0')
  with strategy.scope():
    model = golden_models.build(
      'retrieval', num_labels=7, classifier='mlp', cls_hidden_scale=3, **NO_DROPOUT
    )

  def loss(outputs, batch, step):
    del step
    return losses.classification(outputs['logits'], batch['targets'], 'bce')

  trainer = job.make_trainer(strategy, model, Task({'loss_': loss}), optimization, wanted['T'])
  batches = [
    golden_models.inputs(z, *INPUTS, 'targets', prefix=f'step{number}/') for number in range(1, 7)
  ]
  columns = {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}
  dataset = tf.data.Dataset.from_tensor_slices(columns)
  iterator = trainer.train_iterator(lambda context: dataset)
  for number, expected in enumerate(run['steps'], start=1):
    logs = trainer.train(iterator, 1)
    np.testing.assert_allclose(logs['learning_rate'], expected['lr_used'], rtol=1e-6)
    np.testing.assert_allclose(logs['loss'], expected['loss'], rtol=1e-5)
    if number == 6:
      for variable in model.trainable_variables:
        name = golden_models.names.torch_name(variable.path)
        compare(variable, z[f'{mode}/after{number}/{name}'])


@pytest.mark.parametrize(
  'flags, name',
  [
    ({'data_dir': 'x/coco_ir/'}, 'test.results'),
    ({'data_dir': 'x/coco_ir', 'add_od_labels': True}, 'test.wlabelsvg.results'),
    (
      {'data_dir': 'flickr', 'eval_img_keys_file': 'test_img_keys_1k.tsv', 'eval_folds': 5},
      'flickr.test.test_img_keys_1k.5folds.results',
    ),
    (
      {'data_dir': 'coco_ir', 'eval_caption_index_file': 'top20.pt', 'num_eval_images': 3},
      'test.top20.first3.results',
    ),
  ],
)
def test_names_of_scores(flags, name):
  data = retrieval_settings.RetrievalData(eval_split='test', **flags)
  assert retrieval.results_name(data) == name


@pytest.mark.slow
def test_without_tags_and_regions_all_images_score_alike(tokenizer, tiny):
  config = oscar.OscarConfig.from_json(tiny / 'config.json')
  model = oscar.build_model(config, 'retrieval', num_labels=2)
  trainer = types.SimpleNamespace(model=model, strategy=None)
  for masked in (False, True):
    data = retrieval_settings.RetrievalData(
      data_dir=str(loaders.DATA / 'coco_ir'), eval_split='minival', cross_image_eval=True,
      num_captions_per_img_val=2, max_seq_length=20, max_img_seq_length=3, eval_batch_size=8,
      mask_regions=masked,
    )  # fmt: skip
    ranking = retrieval.Ranking(data, retrieval.files_of(data), tokenizer)
    scores = ranking.rows(trainer, 0, len(ranking.candidates.image_ids))
    assert np.allclose(scores, scores[:1], rtol=0, atol=1e-7) == masked

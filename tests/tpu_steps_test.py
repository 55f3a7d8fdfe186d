"""The steps of all three papers under a `TPUStrategy`, without a TPU: traced, with XLA's kernels.

`CASES` is the list of everything that is traced. In TensorFlow's TPU build XLA's kernels are those
for TPUs, in the ordinary one those for CPUs.
"""
import collections
import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

import efficientnet
import oscar
import resnext
from oscar import decoding, retrieval_settings, script_settings, task_settings
from oscar import job as oscar_job
from oscar.decoding.constrained import machine
from oscar.decoding.constrained import search as constrained
from oscar.tasks import captioning, gqa, nlvr2, pretrain, retrieval, vqa
from tests.tpu_utils import simulated_tpu
from tpu_utils import batch_norm, config
from tpu_utils.image_jobs import train
from tpu_utils.trainer import Trainer

CORE_BATCH = 4  # Examples a core.


@dataclasses.dataclass(frozen=True)
class Case:
  """Steps of a model with a recipe.

  Attributes:
    make: function(strategy) -> (trainer, batch of a core).
    update: operation that updates a variable in the training step; None for no training step.
    sends: {operation: least number} of others that the training step must have for its recipe.
    steps: other steps to trace: 'eval', 'predict'.
    predicts: operations that the prediction must have.
    unused: trainable variables that the loss does not depend on.
  """

  make: Callable
  update: str | None
  sends: dict[str, int] = dataclasses.field(default_factory=dict)
  steps: tuple[str, ...] = ('eval',)
  predicts: tuple[str, ...] = ()
  unused: int = 0


# ---- image classifiers


def _efficientnet(name='efficientnet-b0', **overrides):
  sizes = {'width_coefficient': 0.25, 'depth_coefficient': 0.25, **overrides}
  return functools.partial(
    efficientnet.build_model, name, num_classes=5, image_size=32, **sizes
  )


def _resnext(name='resnext-11-4x8d'):
  return functools.partial(resnext.build_model, name, num_classes=5, image_size=32)


def _classifier(
  build_model, replicas_per_group=None, dtype_policy=None, transposed=False, **optimization
):
  """Returns the `make` of a classifier; `optimization` are flags."""

  def make(strategy):
    with strategy.scope():
      model = build_model(dtype_policy=dtype_policy)
    batch_size = CORE_BATCH * simulated_tpu.CORES
    data = config.DataConfig(
      train_batch_size=batch_size,
      num_train_images=10 * batch_size,
      num_label_classes=5,
      transpose_input=transposed,
    )
    trainer = train.make_trainer(
      strategy, model, data, config.OptimizationConfig(**optimization), 100
    )
    if replicas_per_group:
      batch_norm.set_replicas_per_group(model, replicas_per_group)
    shape = [32, 32, 3, CORE_BATCH] if transposed else [CORE_BATCH, 32, 32, 3]
    images = np.zeros(shape, np.float32)
    return trainer, {'images': images, 'labels': np.eye(5, dtype=np.float32)[:CORE_BATCH]}

  return make


# ---- OSCAR

TEXT, REGIONS, MASKED, LABELS, VOCABULARY = 8, 3, 2, 5, 40
CAPTION = 5  # Tokens of a caption; the other ones of the text are tags.


def _oscar(task, learn, entries, **settings):
  """Returns the `make` of an OSCAR task.

  Args:
    task: name of the model.
    learn: function(model) -> `Task`.
    entries: {name: array} of a core's batch besides the model's inputs.
    **settings: flags of the optimizer, and 'model': a dict of the model's.
  """
  model_settings = settings.pop('model', {})

  def make(strategy):
    with strategy.scope():
      model = oscar.build_model(
        oscar.OscarConfig(
          vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
          intermediate_size=32, max_position_embeddings=40, img_feature_dim=14,
        ),
        task,
        **model_settings,
      )  # fmt: skip
    if 'dropout_rate' in entries:
      model.takes_dropout_rate = True
    flags = script_settings.OptimizationConfig(**settings)
    trainer = oscar_job.make_trainer(strategy, model, learn(model), flags, 100)
    return trainer, _oscar_inputs(model) | entries

  return make


def _oscar_inputs(model):
  pair = (2,) if model.pairs else ()
  attention = [TEXT + REGIONS] * (2 if model.task == 'captioning' else 1)
  batch = {
    'input_ids': np.full([CORE_BATCH, *pair, TEXT], 7, np.int32),
    'token_type_ids': np.zeros([CORE_BATCH, *pair, TEXT], np.int32),
    'attention_mask': np.ones([CORE_BATCH, *pair, *attention], np.int32),
    'img_feats': np.ones([CORE_BATCH, *pair, REGIONS, 14], np.float32),
  }
  if 'masked_positions' in model.input:
    batch['masked_positions'] = np.ones([CORE_BATCH, MASKED], np.int32)
  return batch


def _rows(shape=(), dtype=np.int32):
  return np.ones([CORE_BATCH, *shape], dtype)


def _captions(**settings):
  """Returns the `make` of captioning that writes captions with these settings of decoding."""
  ids = {'bos_token_id': 2, 'eos_token_id': 3, 'pad_token_id': 0, 'mask_token_id': 4}
  words = settings.pop('constraints', None)
  settings |= {'max_gen_length': CAPTION, 'od_labels_start_posid': CAPTION}
  how = decoding.GenerationConfig(**ids, **settings)

  def generate(model, batch):
    if words is None:
      return decoding.generate(model, batch, how, seed=[1, 2])
    machines = machine.stack([machine.build(words)] * CORE_BATCH)
    return constrained.generate(model, batch, machines, how)

  return _oscar(
    'captioning',
    lambda model: captioning.captioning_task(model, generate, label_smoothing=0.1),
    {'masked_ids': _rows([MASKED]), 'row': _rows()},
  )


def _pretraining(**settings):
  entries = {'masked_lm_labels': _rows([MASKED]), 'next_sentence_label': _rows()}
  return _oscar('pretrain', lambda model: pretrain.pretrain_task(), entries, **settings)


ANSWERS = {'labels': _rows(), 'targets': _rows([LABELS], np.float32), 'row': _rows()}
ANSWERING = {'model': {'num_labels': LABELS}}
PAIRS = {'labels': _rows(), 'row': _rows()}
LOOP = ('While',)  # A caption's words come one after another.

CASES = {
  # EfficientNet. RMSProp, moving averages, drop connect and dropout are the official recipe.
  'efficientnet, official recipe': Case(
    _classifier(_efficientnet(depth_coefficient=0.5)),  # Blocks with a skip drop it.
    'ResourceApplyRMSProp',
    {'AssignSubVariableOp': 60, 'StatelessRandomUniformV2': 2},
  ),
  'efficientnet, clipping and accumulation in bfloat16': Case(
    _classifier(
      _efficientnet(), dtype_policy='mixed_bfloat16', transposed=True,
      gradient_clip_norm=1.0, gradient_accumulation_steps=2,
    ),
    'ResourceApplyRMSProp',
    {'SoftmaxCrossEntropyWithLogits': 2},
  ),  # fmt: skip
  'efficientnet, LARS and batch norm of groups': Case(
    _classifier(_efficientnet(), replicas_per_group=2, optimizer='lars', lr_schedule='poly'),
    'ResourceApplyMomentum',
    {'CrossReplicaSum': 40},
  ),
  'efficientnet, CondConv': Case(
    _classifier(_efficientnet('efficientnet-condconv-b0-4e'), moving_average_decay=0.0),
    'ResourceApplyRMSProp',
    {'Sigmoid': 3},
  ),
  'efficientnet, lite': Case(
    _classifier(_efficientnet('efficientnet-lite0'), lr_schedule='cosine', optimizer='sgd'),
    'ResourceApplyGradientDescent',
    {'Relu6': 5},
  ),
  # ResNeXt.
  'resnext, Nesterov momentum, schedule in steps': Case(
    _classifier(
      _resnext(), optimizer='momentum', nesterov=True, lr_schedule='step', decay_batch_norm=True,
      moving_average_decay=0.0, label_smoothing=0.0,
    ),
    'ResourceApplyMomentum',
  ),  # fmt: skip
  'resnext, bfloat16': Case(
    _classifier(_resnext(), dtype_policy='mixed_bfloat16', optimizer='momentum'),
    'ResourceApplyMomentum',
    {'AssignSubVariableOp': 20},
  ),
  # OSCAR. AdamW, clipping of the global norm and a linear schedule are the official recipe.
  'oscar, pretraining of masked positions': Case(
    _pretraining(max_grad_norm=10.0), 'ResourceApplyAdam', {'GatherV2': 1}
  ),
  'oscar, pretraining, accumulation, clipping of each part': Case(
    _pretraining(max_grad_norm=10.0, gradient_accumulation_steps=2, clip_each_part=True),
    'ResourceApplyAdam',
    {'CrossReplicaSum': 40},
  ),
  'oscar, pretraining in bfloat16': Case(
    _pretraining(model={'dtype_policy': 'mixed_bfloat16'}), 'ResourceApplyAdam'
  ),
  'oscar, VQA': Case(
    _oscar('vqa', lambda model: vqa.vqa_task(task_settings.VqaData()), ANSWERS, **ANSWERING),
    'ResourceApplyAdam',
    steps=('eval', 'predict'),
  ),
  'oscar, VQA with changing loss and dropout': Case(
    _oscar(
      'vqa',
      lambda model: vqa.vqa_task(_with_epochs(task_settings.VqaData(adjust_loss=True))),
      ANSWERS | {'dropout_rate': _rows(dtype=np.float32)},
      **ANSWERING,
    ),
    'ResourceApplyAdam',
  ),
  'oscar, GQA': Case(
    _oscar('gqa', lambda model: gqa.gqa_task(task_settings.GqaData()), PAIRS, **ANSWERING),
    'ResourceApplyAdam',
    steps=('eval', 'predict'),
  ),
  'oscar, NLVR2': Case(
    _oscar(
      'nlvr2',
      lambda model: nlvr2.nlvr2_task(task_settings.Nlvr2Data()),
      PAIRS,
      model={'num_labels': 2, 'use_pair': True},
    ),
    'ResourceApplyAdam',
    steps=('eval', 'predict'),
  ),
  'oscar, retrieval': Case(
    _oscar(
      'retrieval',
      lambda model: retrieval.retrieval_task(retrieval_settings.RetrievalData()),
      PAIRS,
      model={'num_labels': 2},
    ),
    'ResourceApplyAdam',
  ),
  'oscar, captioning, greedy': Case(
    _captions(), 'ResourceApplyAdam', steps=('predict',), predicts=LOOP, unused=2,  # The pooler.
  ),
  'oscar, captions of beams': Case(
    _captions(num_beams=3, num_keep_best=2, repetition_penalty=1.5, length_penalty=0.8),
    None, steps=('predict',), predicts=LOOP,
  ),
  'oscar, captions drawn at random': Case(
    _captions(do_sample=True, top_k=5, top_p=0.9, num_return_sequences=2),
    None, steps=('predict',), predicts=LOOP,
  ),
  'oscar, captions of beams with constraints': Case(
    _captions(num_beams=3, constraints=[((5,), (6,)), ((7, 8),)]),
    None, steps=('predict',), predicts=LOOP,
  ),
}  # fmt: skip
# One of each kind is traced in every run of the tests, the other ones by `pytest -m long`.
QUICK = (
  'efficientnet, official recipe', 'resnext, Nesterov momentum, schedule in steps',
  'oscar, pretraining of masked positions', 'oscar, VQA', 'oscar, captioning, greedy',
  'oscar, captions of beams',
)  # fmt: skip


def _with_epochs(data):
  object.__setattr__(data, 'steps_per_epoch', 3)
  return data


@pytest.fixture(scope='module')
def tpu_strategy():
  return simulated_tpu.make_strategy()


def _params():
  assert set(QUICK) <= set(CASES)
  slow, long = [pytest.mark.slow], [pytest.mark.slow, pytest.mark.long]
  return [
    pytest.param(case, id=name, marks=slow if name in QUICK else long)
    for name, case in CASES.items()
  ]


@pytest.mark.parametrize('case', _params())
def test_steps_trace_for_a_tpu(case, tpu_strategy, monkeypatch):
  monkeypatch.setattr(Trainer, '_spread_seeds', lambda self: None)  # It would run on the TPU.
  trainer, batch = case.make(tpu_strategy)
  dataset = tf.data.Dataset.from_tensors(batch).repeat()
  iterator = trainer.train_iterator(lambda context: dataset)
  number = tf.constant(3, tf.int64)
  if case.update:
    operations = simulated_tpu.trace(trainer, Trainer._train_loop, iterator, number, number)
    _check_training(case, trainer, operations)
  batches = next(iterator)
  if 'eval' in case.steps:
    operations = simulated_tpu.trace(trainer, Trainer._eval_batch, batches, number)
    simulated_tpu.check_compilable(operations)
  if 'predict' in case.steps:
    operations = simulated_tpu.trace(trainer, Trainer._predict_batch, batches)
    simulated_tpu.check_compilable(operations)
    assert set(case.predicts) <= {op.type for op in operations}


def _check_training(case, trainer, operations):
  """Checks that every variable is updated by a gradient that is summed over the cores."""
  simulated_tpu.check_compilable(operations)
  counts = collections.Counter(op.type for op in operations)
  short = {name: counts[name] for name, least in case.sends.items() if counts[name] < least}
  assert not short, 'fewer than the recipe needs'
  updates = [op for op in operations if op.type == case.update]
  assert len(updates) == len(trainer.model.trainable_variables) - case.unused
  place = 3 if case.update == 'ResourceApplyMomentum' else -1
  for op in updates:
    assert 'CrossReplicaSum' in {a.type for a in simulated_tpu.ancestors(op.inputs[place].op)}, op

"""Prints every table of the paper and of the official README beside our numbers.

    python -m resnext.paper_tables --list
    python -m resnext.paper_tables --tables='Table 1;Table 2'
    python -m resnext.paper_tables --output_dir=tables      # Markdown and CSV
    python -m resnext.paper_tables --checkpoint_dir=CKPTS --data_dir=DATA --output_dir=out

Layers, widths, parameters, multiply-adds and settings are computed by the code that trains and
evaluates, in less than a minute. The last command also evaluates errors: of the checkpoints
CKPTS/resnext-50-32x4d, CKPTS/cifar10/resnext-29-8x64d, ... (--list names them; missing ones are
left out) on the images in DATA, DATA/cifar10, ..., as `python -m resnext.eval_ckpt_main` does.
Results are kept in out/results.jsonl, so the same command resumes; --results=FILE shows those of
another run.
Where CKPTS/resnet-50 and CKPTS/resnext-50-32x4d are folders of jobs of `python -m resnext.main`,
their training curves are drawn, too (Figure 5).
"""
from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from typing import Any

from resnext import capacity, network_params, published
from tpu_utils import curves
from tpu_utils.command_line import paper_script
from tpu_utils.image_jobs import paper_evaluations
from tpu_utils.paper_table import Evaluation, Measured, Plan

# Evaluations on other data or networks: folder of the checkpoints -> folder of the data.
_DATA = {'cifar10': 'cifar10', 'cifar100': 'cifar100', 'imagenet5k': 'imagenet5k'}
_WITHOUT_SHORTCUTS, _AT_320 = 'without_shortcuts', 'at_320'
_CONV_STAGES = ('conv2', 'conv3', 'conv4', 'conv5')
_FIGURE_5 = {'resnet-50': 'ResNet-50', 'resnext-50-32x4d': 'ResNeXt-50 (32x4d)'}


# ---- Evaluation


def evaluation_flags(name: str) -> dict[str, Any]:
  """Returns the flags of `resnext.eval_ckpt_main` for an evaluation, without paths."""
  folder, _, model = name.rpartition('/')
  flags: dict[str, Any] = {'model_name': model, 'runmode': 'imagenet', 'num_images': -1}
  if folder == 'cifar100':
    flags |= {'normalization': folder, 'num_label_classes': 100}
  if folder == 'imagenet5k':
    flags['num_label_classes'] = 5000
  if folder == _WITHOUT_SHORTCUTS:
    flags['residual'] = False
  if folder == _AT_320:
    flags['input_image_size'] = 320
  return flags


EVALUATIONS = paper_evaluations.Evaluations(
  'resnext.eval_ckpt_main',
  evaluation_flags,
  lambda accuracy: 100 * (1 - accuracy),
  ('top1_error', 'top5_error'),
)


def _errors(**names: tuple[str, str]) -> Callable[[Mapping], dict[str, Evaluation]]:
  """Returns a function(row) -> {column: `Evaluation`}; `names` is {column: (folder, metric)}."""

  def evaluations(row):
    model = published.model_name(row)
    if model is None:
      return {}
    return {
      column: EVALUATIONS.planned(os.path.join(folder, model), metric)
      for column, (folder, metric) in names.items()
    }

  return evaluations


def _data(name):
  return _DATA.get(name.rpartition('/')[0], '')


# ---- Counts


@functools.cache
def _counts(name, num_classes=None):
  from resnext import resnext_builder
  from tpu_utils import profile

  return profile.count(functools.partial(resnext_builder.build_model, name, num_classes))


def _template(row):
  """Describes a stage of ResNet-50 and of ResNeXt-50 (32x4d) as built."""
  columns = {'ResNet-50': 'resnet-50', 'ResNeXt-50 32x4d': 'resnext-50-32x4d'}
  stage = row['stage']
  computed: dict[str, Any] = {column: _stage_text(name, stage) for column, name in columns.items()}
  computed['output'] = '{0}x{0}'.format(_sizes()[stage])
  blocks = network_params.from_name('resnext-50-32x4d').stage_blocks
  computed['blocks'] = blocks[_CONV_STAGES.index(stage)] if stage in _CONV_STAGES else 1
  return computed


def _stage_text(name, stage):
  params = network_params.from_name(name)
  if stage == 'conv1':
    return f'7x7, {params.stem_width}, stride 2'
  if stage == 'head':
    return f'global average pool, {params.num_classes}-d fc, softmax'
  number = _CONV_STAGES.index(stage)
  block = network_params.network_blocks(params)[number][0]
  width = block.cardinality * block.path_width
  paths = f',C={block.cardinality}' if block.cardinality > 1 else ''
  text = f'[1x1,{width}; 3x3,{width}{paths}; 1x1,{block.filters}]'
  return f'3x3 max pool stride 2; {text}' if number == 0 else text


@functools.cache
def _sizes():
  """Returns {stage: pixels a side of its output} of ResNeXt-50."""
  from resnext import resnext_builder

  endpoints = {
    'conv1': 'reduction_1', 'conv2': 'layer1', 'conv3': 'layer2', 'conv4': 'layer3',
    'conv5': 'layer4',
  }  # fmt: skip
  outputs = resnext_builder.feature_extractor('resnext-50-32x4d', [*endpoints.values()]).output
  return {stage: outputs[name].shape[1] for stage, name in endpoints.items()} | {'head': 1}


def _totals(row):
  counts = _counts(published.model_name(row))
  return {
    'params_M': counts.parameters / 1e6,
    'flops_B': counts.multiply_adds / 1e9,
    'gflops': counts.multiply_adds / 1e9,
    'params_exact': counts.parameters,
    'macs_exact': counts.multiply_adds,
  }


def _width(row):
  cardinality = row['cardinality']
  width = capacity.equal_capacity_width(cardinality)
  return {
    'd': width,
    'group_conv_width': cardinality * width,
    'template_params': capacity.block_parameters(cardinality, width),
  }


def _complexity(row):
  """Returns the multiply-adds in multiples of ResNet-101's, to whole numbers as printed."""
  ratio = _counts(published.model_name(row)).multiply_adds / _counts('resnet-101').multiply_adds
  return {'complexity': ratio}


def _cifar_size(row):
  name = published.model_name(row)
  if name is None:
    return {}
  counts = {classes: _counts(name, classes).parameters for classes in (10, 100)}
  return {
    'params_M': counts[10] / 1e6, 'params_exact_c10': counts[10], 'params_exact_c100': counts[100]
  }  # fmt: skip


# ---- Settings


def _tested(path):
  return Measured(None, f'checked by {path}')


def _same(text, *conditions):
  """Returns a printed text if what it says holds in our code, else 'otherwise'."""
  return text if all(conditions) else 'otherwise'


def _training_settings(row):
  from resnext.recipes import RECIPES

  flags = RECIPES['imagenet'].settings
  params = network_params.from_name('resnext-50-32x4d')
  blocks = network_params.network_blocks(params)
  text = row['value']
  epochs = flags['lr_step_epochs'] == '30,60,90' and flags['lr_decay_factor'] == 0.1
  strides = [block[0].strides for block in blocks] == [1, 2, 2, 2]
  values = {
    'optimizer': _same(text, flags['optimizer'] == 'momentum'),
    'batch': flags['train_batch_size'],
    'lr': flags['base_learning_rate'] * flags['train_batch_size'] / 256,
    'lr schedule': _same(text, flags['lr_schedule'] == 'step', epochs),
    'weight_decay': flags['weight_decay'],
    'train crop': _tested('tests/tpu_utils/images/torch_augmentation_test.py'),
    'shortcut': _same(text, params.shortcut_type == 'B'),
    'stride': _same(text, strides),
    'test': _tested('tests/tpu_utils/images/preprocessing_test.py'),
  }
  return {'value': values[row['item']]} if row['item'] in values else {}


def _code_defaults(row):
  from resnext.recipes import RECIPES

  flags, cifar = RECIPES['imagenet'].settings, RECIPES['cifar_torch'].settings
  text = row['value']

  def numbers(values):
    return ' '.join(map(str, values))

  def shares(values):
    return ' '.join(f'{value / 255:.3f}' for value in values)

  mean, stddev = network_params.NORMALIZATIONS['imagenet']
  cifar_mean, cifar_stddev = network_params.NORMALIZATIONS['cifar10']
  schedule = _same(text, cifar['lr_step_epochs'] == '147,222')
  epochs = flags['train_steps'] * flags['train_batch_size'] / 1_281_167
  of_initialization = _tested('tests/resnext/resnext_builder_test.py')
  values = {
    'LR': flags['base_learning_rate'] * flags['train_batch_size'] / 256,
    'nesterov': flags['nesterov'],
    'weightDecay': flags['weight_decay'],
    'weight decay scope': _same(text, flags['decay_batch_norm']),
    'nEpochs imagenet': round(epochs),
    'nEpochs cifar': round(cifar['train_steps'] * cifar['train_batch_size'] / 50_000),
    'cifar schedule': schedule,
    'conv init': of_initialization,
    'bn init': of_initialization,
    'fc init': of_initialization,
    'imagenet train augmentation': _tested('tests/tpu_utils/images/torch_augmentation_test.py'),
    'cifar train augmentation': _tested('tests/tpu_utils/images/torch_augmentation_test.py'),
    'imagenet mean': shares(mean),
    'imagenet std': shares(stddev),
    'cifar10 mean': numbers(cifar_mean),
    'cifar10 std': numbers(cifar_stddev),
    'width D': _tested('tests/resnext/network_params_test.py'),
    **_batch_norm(),
  }
  return {'value': values[row['item']]} if row['item'] in values else {}


@functools.cache
def _batch_norm():
  """Reads batch norm's epsilon and momentum, and that convolutions have no bias, off a network."""
  import keras

  from resnext import resnext_builder
  from tpu_utils import batch_norm

  model = resnext_builder.build_model('resnext-11-2x8d', width=8, stem_width=8)
  layers = list(model._flatten_layers())
  norm = next(layer for layer in layers if isinstance(layer, batch_norm.BatchNormalization))
  convolutions = [layer for layer in layers if isinstance(layer, keras.layers.Conv2D)]
  without = convolutions and not any(layer.use_bias for layer in convolutions)
  return {
    'bn eps': norm.epsilon,
    'bn momentum': round(1 - norm.momentum, 6),  # Torch's is that of the new value.
    'conv bias': 'none' if without else 'some',
  }


def _appendix(row):
  from resnext.recipes import RECIPES

  flags = RECIPES['cifar'].settings
  values = {
    'cifar batch': flags['train_batch_size'],
    'cifar weight_decay': flags['weight_decay'],
    'cifar lr': flags['base_learning_rate'] * flags['train_batch_size'] / 256,
    'cifar epochs': round(flags['train_steps'] * flags['train_batch_size'] / 50_000),
    'cifar lr drops at epochs': flags['lr_step_epochs'].replace(',', ', '),
    'cifar crop': _tested('tests/tpu_utils/images/torch_augmentation_test.py'),
  }
  return {'value': values[row['item']]} if row['item'] in values else {}


# ---- Plans

_IMAGENET = _errors(top1_error=('', 'top1_error'), top5_error=('', 'top5_error'))
_NO_DETECTOR = 'There is no object detector in this project.'
PLANS = {
  'Table 1': Plan(('stage',), _template),
  'Table 1 (totals)': Plan(
    ('model',), _totals,
    notes=('ResNet-50 has 25.557 million parameters; the print cuts to 25.5.',),
  ),  # fmt: skip
  'Table 2': Plan(('cardinality',), _width),
  'Table 3': Plan(('model', 'setting'), evaluations=_IMAGENET),
  'Table 4': Plan(
    ('model', 'setting'), _complexity, _IMAGENET,
    ('Complexity: multiply-adds in multiples of ResNet-101; ResNet-200 here has the blocks of '
     'arXiv 1603.05027 without their pre-activation, which costs the same.',),
  ),  # fmt: skip
  'Residual ablation (Sec. 5.1)': Plan(
    ('model', 'setting'),
    evaluations=_errors(
      **{'with': ('', 'top1_error'), 'without': (_WITHOUT_SHORTCUTS, 'top1_error')}
    ),
    notes=('For training without shortcuts: python -m resnext.main --noresidual',),
  ),
  'Training cost (Sec. 5.1)': Plan(
    ('model',),
    notes=('For seconds on your machine: python -m resnext.benchmark',),
  ),
  'Table 5': Plan(
    ('model',),
    evaluations=_errors(
      top1_224=('', 'top1_error'),
      top5_224=('', 'top5_error'),
      top1_320_or_299=(_AT_320, 'top1_error'),
      top5_320_or_299=(_AT_320, 'top5_error'),
    ),
  ),
  'Table 6': Plan(
    ('model', 'setting'),
    evaluations=_errors(top1_5k=('imagenet5k', 'top1_error'), top5_5k=('imagenet5k', 'top5_error')),
    notes=(
      "1K-way errors of a 5K-way network need its outputs for ImageNet-1K's classes alone, which "
      'the evaluation does not select. The authors published no list of the 5,000 classes.',
    ),
  ),
  'Table 7': Plan(
    ('model',),
    _cifar_size,
    _errors(cifar10=('cifar10', 'top1_error'), cifar100=('cifar100', 'top1_error')),
    ('ResNeXt-29 (16x64d) has 68.155 million parameters for CIFAR-10; the print cuts to 68.1.',),
  ),
  'Table 8': Plan(('model', 'setting'), notes=(_NO_DETECTOR,)),
  'README error rates': Plan(
    ('model',), _totals, _IMAGENET,
    ('Multiply-adds: the README rounds ResNeXt-50 to 4.1, the paper (Table 1) to 4.2, as we count; '
     'its 7.8 and 15.6 for the 101-layer networks are neither our 8.0 and 15.5 nor twice 4.2.',),
  ),  # fmt: skip
  'Training settings ImageNet': Plan(
    ('item',), _training_settings, notes=('Ours are the settings of --recipe=imagenet.',)
  ),
  'Official code defaults': Plan(
    ('item',), _code_defaults,
    notes=('Ours are the settings of --recipe=imagenet and, for CIFAR, --recipe=cifar_torch; the '
           'batch of 32 in opts.lua is for one GPU.',),
  ),  # fmt: skip
  'CIFAR / COCO settings (appendix)': Plan(
    ('item',), _appendix,
    notes=('Ours are the settings of --recipe=cifar.', _NO_DETECTOR),
  ),
}  # fmt: skip


# ---- Figure 5


def _figure_5(lines, checkpoint_dir):
  """Draws the errors of ResNet-50 and ResNeXt-50 jobs by step; None without their curves."""
  del lines
  found = {}
  for name in _FIGURE_5 if checkpoint_dir else ():
    folder = os.path.join(checkpoint_dir, name)
    for kind, where in (('training', folder), ('validation', os.path.join(folder, 'eval'))):
      points = curves.read(where).get('top_1_accuracy')
      if points:
        found[name, kind] = sorted(points.items())
  if not found:
    return None
  from matplotlib.figure import Figure

  figure = Figure(figsize=(8, 5), layout='constrained')
  axes = figure.subplots()
  for (name, kind), points in found.items():
    steps, accuracies = zip(*points, strict=True)
    axes.plot(
      steps, [100 * (1 - value) for value in accuracies],
      '-' if kind == 'validation' else '--',
      color=f'C{list(_FIGURE_5).index(name)}', label=f'{_FIGURE_5[name]}, {kind}',
    )  # fmt: skip
  for number, name in enumerate(_FIGURE_5):
    axes.axhline(published.errors()[name], color=f'C{number}', lw=0.7, ls=':')
  axes.set(xlabel='step', ylabel='top-1 error, %', title="Figure 5; dotted: the paper's errors")
  axes.grid(alpha=0.3)
  axes.legend(fontsize='small')
  return figure


TABLES = paper_script.Tables(
  published.PAPER, PLANS, EVALUATIONS.evaluate, _data, {'figure_5.png': _figure_5}
)
SCRIPT = TABLES.script(__doc__, 'resnext.paper_tables')


if __name__ == '__main__':
  SCRIPT.main()

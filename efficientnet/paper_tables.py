"""Prints every table of the paper and of the official READMEs beside our numbers.

    python -m efficientnet.paper_tables --list
    python -m efficientnet.paper_tables --tables='Table 1;Table 2'
    python -m efficientnet.paper_tables --output_dir=tables     # Markdown, CSV and Figures 1, 3, 8
    python -m efficientnet.paper_tables --checkpoint_dir=CKPTS --data_dir=IMAGENET --output_dir=out

Parameters, multiply-adds, resolutions, stages and settings are computed by the code that trains and
evaluates, in about a minute. The last command also evaluates accuracies: of the checkpoints
CKPTS/efficientnet-b0, CKPTS/advprop/efficientnet-b0, ... (--list names them; missing ones are left
out) on IMAGENET, as `python -m efficientnet.eval_ckpt_main` does. Results are kept in
out/results.jsonl, so the same command resumes; --results=FILE shows those of another run.
"""
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from efficientnet import paper_figures, published
from tpu_utils.command_line import paper_script
from tpu_utils.image_jobs import paper_evaluations
from tpu_utils.paper_table import Measured, Plan

_RECIPES = {  # Recipe in print -> folder of its checkpoints.
  published.BASELINE: 'baseline',
  published.AUTOAUGMENT: 'autoaugment',
  published.RANDAUGMENT: 'randaugment',
  published.ADVPROP: 'advprop',
  published.NOISY_STUDENT: 'noisy_student',
}
_DATASETS = {  # Data set in print -> folder below --checkpoint_dir and --data_dir.
  'CIFAR-10': 'cifar10',
  'CIFAR-100': 'cifar100',
  'Birdsnap': 'birdsnap',
  'Stanford Cars': 'cars',
  'Flowers': 'flowers',
  'FGVC Aircraft': 'aircraft',
  'Oxford-IIIT Pets': 'pets',
  'Food-101': 'food101',
}
_L2_SMALL = 'efficientnet-l2-475'  # L2 at 475 pixels.


# ---- Evaluation


def evaluation_flags(name: str) -> dict[str, Any]:
  """Returns the flags of `efficientnet.eval_ckpt_main` for an evaluation, without paths."""
  folder, _, model = name.rpartition('/')
  flags: dict[str, Any] = {'model_name': model, 'runmode': 'imagenet', 'num_images': -1}
  if model == _L2_SMALL:
    flags |= {'model_name': 'efficientnet-l2', 'input_image_size': 475}
  if folder == _RECIPES[published.ADVPROP]:
    flags['advprop_preprocessing'] = True
  if _data(name):
    classes = published.PAPER['Table 6'].column('classes', by='dataset')
    flags['num_label_classes'] = classes[{v: k for k, v in _DATASETS.items()}[folder]]
  return flags


EVALUATIONS = paper_evaluations.Evaluations(
  'efficientnet.eval_ckpt_main',
  evaluation_flags,
  lambda accuracy: 100 * accuracy,
  ('top1', 'top5'),
)


def _data(name):
  folder = name.rpartition('/')[0]
  return folder if folder in _DATASETS.values() else ''


def _own_model(row, column='model'):
  """Returns our name of an EfficientNet in print, or None for another model."""
  name = row.get(column, '')
  return name.lower() if name.startswith('EfficientNet-') else None


def _accuracies_of(model_of: Callable, **metrics: str) -> Callable[[Mapping], dict]:
  """Returns a function(row) -> {column: `Evaluation`} of the row's model, if it is ours."""

  def evaluations(row):
    model = model_of(row)
    if model is None:
      return {}
    return {column: EVALUATIONS.planned(model, metric) for column, metric in metrics.items()}

  return evaluations


def _transfer(row):
  model = _own_model(row, 'our_model')
  return {'our_acc': EVALUATIONS.planned(f'{_DATASETS[row["dataset"]]}/{model}')}


def _baseline(row):
  return {'top1': EVALUATIONS.planned('efficientnet-b0')} if row['model'] == 'baseline B0' else {}


def _checkpoints(row):
  return {
    column: EVALUATIONS.planned(f'{_RECIPES[row["recipe"]]}/efficientnet-{column.lower()}')
    for column in row
    if column != 'recipe'
  }


# ---- Counts


@functools.cache
def _counts(model_name):
  from efficientnet import model_builder_factory
  from tpu_utils import profile

  return profile.count(functools.partial(model_builder_factory.build_model, model_name))


@functools.cache
def _parameters_without_classifier(model_name):
  from efficientnet import model_builder_factory
  from tpu_utils import profile

  build = functools.partial(model_builder_factory.build_model, model_name, include_top=False)
  return profile.count(build).parameters


@functools.cache
def _scaled_counts(base, depth, width, resolution):
  from efficientnet import compound_scaling, scaling_bases

  size = scaling_bases.get_preprocess_spec(base).image_size
  return scaling_bases.count(
    base,
    image_size=compound_scaling.scaled_resolution(size, resolution),
    depth_coefficient=float(depth),
    width_coefficient=float(width),
  )


def _table_1(row):
  """Reads the stages of B0 off its network."""
  number = row['stage']
  sizes, channels, blocks = _stages()
  computed = {'resolution': sizes[number - 1], 'channels': channels[number], 'layers': 1}
  if number == 1:
    return {**computed, 'operator': 'Conv3x3'}
  if number == len(sizes):
    return {**computed, 'operator': 'Conv1x1 & Pooling & FC'}
  stage = blocks[number - 2]
  kernel = f'k{stage.kernel_size}x{stage.kernel_size}'
  operator = f'MBConv{stage.expand_ratio}, {kernel}'
  return {**computed, 'operator': operator, 'layers': stage.num_repeat}


@functools.cache
def _stages():
  """Returns (sizes after each stage, from the image on; channels likewise; stages of B0)."""
  from efficientnet import efficientnet_builder, model_builder_factory

  name = 'efficientnet-b0'
  stages, _ = efficientnet_builder.FAMILY.get_model_params(name)
  ends, last = [], -1
  for stage in stages:
    last += stage.num_repeat
    ends.append(f'block_{last}')
  endpoints = ['stem', *ends, 'head_1x1']
  outputs = model_builder_factory.feature_extractor(name, endpoints).output
  shapes = {endpoint: tensor.shape for endpoint, tensor in outputs.items()}
  size = model_builder_factory.get_model_input_size(name)
  return (
    [size, *(shapes[endpoint][1] for endpoint in endpoints[:-1])],
    [3, *(shapes[endpoint][3] for endpoint in endpoints)],
    stages,
  )


def _size(row):
  """Counts an EfficientNet; for other networks only the ratio of their printed size to ours."""
  own = _own_model(row)
  if own is None and 'group' not in row:
    return {}
  counts = _counts(own or f'efficientnet-{row["group"].lower()}')
  millions, billions = counts.parameters / 1e6, counts.multiply_adds / 1e9
  if own is None:
    how = 'their printed number by our count'
    ratios = {'params_ratio': row['params_M'] / millions}
    if 'flops_B' in row:
      ratios['flops_ratio'] = row['flops_B'] / billions
    found = {name: Measured(ratio, how) for name, ratio in ratios.items() if name in row}
    if row['model'] == 'ResNet-50':
      own_counts = _scaled_counts('resnet-50', 1, 1, 1)
      found['params_M'] = own_counts.parameters / 1e6
      found['flops_B'] = own_counts.multiply_adds / 1e9
    return found
  return {'params_M': millions, 'flops_B': billions, 'params_ratio': 1, 'flops_ratio': 1}


_TABLE_3 = {'MobileNetV1': 'mobilenet-v1', 'MobileNetV2': 'mobilenet-v2', 'ResNet-50': 'resnet-50'}


def _scaled(row):
  """Counts a scaled baseline; where the print has no coefficients, Section 3.3's with phi = 2."""
  from efficientnet import compound_scaling

  base = _TABLE_3.get(row['model'], 'efficientnet-b0')
  factors = compound_scaling.scaling_coefficients(2)
  depth, width, resolution = (
    row.get(column, factor) for column, factor in zip('dwr', factors, strict=True)
  )
  return {'flops_B': _scaled_counts(base, depth, width, resolution).multiply_adds / 1e9}


def _transfer_size(row):
  if 'our_params_M' not in row:
    return {}
  millions = _parameters_without_classifier(_own_model(row, 'our_model')) / 1e6
  ratio = Measured(row['their_params_M'] / millions, 'their printed number by our count')
  return {'our_params_M': millions, 'params_ratio': ratio}


def _target(row):
  del row
  return {'search_target_flops_M': _counts('efficientnet-b0').multiply_adds / 1e6}


def _family(name_of):
  """Returns a function(row) -> size and cost in millions of the model `name_of(row)`."""

  def compute(row):
    counts = _counts(name_of(row))
    return {'params_M': counts.parameters / 1e6, 'madds_M': counts.multiply_adds / 1e6}

  return compute


# ---- Settings


def _coefficients(name_of):
  """Returns a function(row) -> the coefficients of the model `name_of(row)`."""

  def compute(row):
    from efficientnet import model_builder_factory

    name = name_of(row)
    builder = model_builder_factory.get_model_builder(name)
    scale = builder.scale(name)
    return {
      'width': scale.width_coefficient,
      'depth': scale.depth_coefficient,
      'resolution': scale.resolution,
      'dropout': scale.dropout_rate,
      'experts': scale.condconv_num_experts,
      'mean': builder.global_params.mean_rgb[0],
      'stddev': builder.global_params.stddev_rgb[0],
    }

  return compute


def _training(row):
  """Returns the settings of `--recipe=paper_v1`."""
  del row
  from efficientnet import efficientnet_builder
  from efficientnet.recipes import RECIPES
  from tpu_utils import optimizers

  flags = RECIPES['paper_v1'].settings
  rate = flags['base_learning_rate'] * flags['train_batch_size'] / 256
  params = efficientnet_builder.FAMILY.global_params
  scales = efficientnet_builder.FAMILY.scales
  return {
    'optimizer': type(optimizers.build_optimizer(flags['optimizer'])).__name__,
    'rms_decay': optimizers.RMSProp().decay,
    'momentum': flags['momentum'],
    'bn_momentum': params.batch_norm_momentum,
    'weight_decay': flags['weight_decay'],
    'initial_lr': rate,
    'lr_decay_factor': flags['lr_decay_factor'],
    'lr_decay_every_epochs': flags['lr_decay_epoch'],
    'drop_connect': round(1 - flags['survival_prob'], 6),
    'dropout_B0': scales['efficientnet-b0'].dropout_rate,
    'dropout_B7': scales['efficientnet-b7'].dropout_rate,
    'augmentation': {'autoaugment': 'fixed AutoAugment'}.get(flags['augment_name']),
    'activation': params.relu_fn,
  }


def _defaults(row):
  """Returns the defaults of our flags."""
  from efficientnet import main

  flags = main.SCRIPT.resolve({'data_dir': 'DATA'}).as_dict()
  epochs = flags['train_steps'] * flags['train_batch_size'] / flags['num_train_images']
  flags |= {
    'approx_epochs': epochs, 'base_learning_rate_per_256': flags['base_learning_rate'],
    'data_format': 'channels_last',
  }  # fmt: skip
  value = flags.get(row['flag'])
  return {} if value is None else {'value': value}


def _tested(path):
  return Measured(None, f'checked by {path}')


def _optimizer(row):
  from tpu_utils import optimizers

  default = optimizers.RMSProp()
  values = {
    'rmsprop decay': default.decay,
    'rmsprop momentum': default.momentum,
    'rmsprop epsilon': default.epsilon,
  }
  return {'value': values.get(row['item'], _tested('tests/tpu_utils/schedules_test.py'))}


def _preprocessing(row):
  from tpu_utils.images import spec

  if row['item'] == 'crop_fraction':
    return {'value': spec.CROP_FRACTION}
  return {'value': _tested('tests/tpu_utils/images/preprocessing_test.py')}


# ---- Plans

_FLOPS_NOTES = (
  'We count every convolution and dense layer as computed: SAME padding, squeeze-and-excitation, '
  'stem, head and classifier included. B4 is then 4.394 billion multiply-adds (print: 4.2), B5 '
  '10.27 (9.9), B7 37.75 (37). Without the convolutions of stem and head these three are 4.23, '
  '9.96 and 37.00, near the print, but B0 to B3 are then 0.355, 0.648, 0.939 and 1.744, and the '
  'print (0.39, 0.70, 1.0, 1.8) has them included: no single rule gives all eight.',
  'B2 has 9.110 million trainable parameters (print: 9.2). With the moving statistics of batch '
  'norm it has 9.178; but B1 would then have 7.856, and is printed as 7.8, without them.',
)
_RATIO_NOTE = (
  'Ratios of other models are their printed sizes by our counts, so they differ from the print '
  'where that divided by rounded numbers or, for B4 and B5, by its own multiply-adds.'
)
_SCALED_NOTE = (
  'Resolution is scaled to even numbers of pixels, filters to multiples of 8, and layers are '
  'rounded up, as in the official code; MobileNets and ResNet-50 have the same rules here. Rows '
  'without printed coefficients are scaled by 1.2^2, 1.1^2, 1.15^2.'
)
_TABLE_2 = Plan(
  ('model', 'group'),
  _size,
  _accuracies_of(_own_model, top1='top1', top5='top5'),
  (*_FLOPS_NOTES, _RATIO_NOTE),
)
PLANS = {
  'Table 1': Plan(('stage',), _table_1),
  published.EARLIER: _TABLE_2,
  published.LATER: _TABLE_2,
  'Figure 1 (later version)': Plan(
    ('model',), _size, _accuracies_of(_own_model, top1='top1'), _FLOPS_NOTES[1:]
  ),
  'Table 3': Plan(
    ('model', 'setting', 'd', 'w', 'r'), _scaled,
    notes=(
      _SCALED_NOTE,
      'ResNet-50 with 4 times the depth has 14.6 billion multiply-adds here and 16.2 in print, '
      'with twice the width 16.1 and 14.7. The two seem to be exchanged in print.',
      'The other differences are at most 0.4 billion; the print does not give the pixels, layers '
      'and filters that it counted.',
    ),
  ),  # fmt: skip
  'Table 4': Plan(
    ('pair', 'model'),
    evaluations=_accuracies_of(_own_model, top1='top1'),
    notes=('For latencies on your machine: python -m efficientnet.benchmark --compare=inference',),
  ),
  'Table 5': Plan(
    ('dataset', 'vs', 'their_model', 'our_model'),
    _transfer_size,
    _transfer,
    (
      'Our sizes are without the classifier, which is how most printed ones come out (B0 4.01, B5 '
      '28.3, B6 40.7, B7 63.8 million). B3 has 10.70 and B4 17.55 million then: the print cuts '
      'their decimals off. Ratios: the print divides by rounded sizes; 5.6 for Oxford-IIIT Pets '
      'does not follow from its own 58 and 17 million, which give 3.4.',
    ),
  ),
  'Table 6': Plan(
    ('dataset',),
    notes=('Facts of the data sets; jobs print the sizes of the data that they read.',),
  ),
  'Table 7': Plan(
    ('model', 'd', 'w', 'r'),
    _scaled,
    _baseline,
    (
      _SCALED_NOTE,
      'Scaled in one dimension to 4 times the cost of B0, 0.386 billion, ours have 1.575 (depth), '
      '1.450 (width) and 1.538 (resolution), near 4 * 0.386 = 1.543; the print has 1.8, 1.8, 1.9.',
    ),
  ),
  'Section 3.3-4: compound scaling': Plan(
    (), _target,
    notes=(
      'The target is that of the search; the network found, B0, has fewer multiply-adds. For '
      'alpha, beta and gamma on your data: python -m efficientnet.compound_scaling',
    ),
  ),
  'Section 5.2 training (earlier version)': Plan(
    (), _training, notes=('Ours are the settings of --recipe=paper_v1.',)
  ),
  'Official coefficients': Plan(
    ('model',), _coefficients(lambda row: f'efficientnet-{row["model"]}')
  ),
  published.CHECKPOINTS: Plan(('recipe',), evaluations=_checkpoints),
  'Official Lite table': Plan(
    ('model',),
    _family(lambda row: f'efficientnet-{row["model"]}'),
    _accuracies_of(lambda row: f'efficientnet-{row["model"]}', top1_fp32='top1'),
    (
      'We count 3 to 6 % fewer multiply-adds than the print, for every model; parameters agree. '
      'The 4.6 million multiply-adds of batch norm in Lite0 are a fifth of the difference of 21.8; '
      'we found no rule that gives the printed numbers.',
      'For latencies and 8-bit accuracies: python -m efficientnet.export_model --tflite_path=...',
    ),
  ),
  'Official Lite coefficients': Plan(
    ('model',), _coefficients(lambda row: f'efficientnet-{row["model"]}')
  ),
  'Official EdgeTPU table': Plan(
    ('model',),
    evaluations=_accuracies_of(
      lambda row: f'efficientnet-edgetpu-{row["model"]}', top1_float='top1'
    ),
  ),
  'Official EdgeTPU coefficients': Plan(
    ('model',), _coefficients(lambda row: f'efficientnet-edgetpu-{row["model"]}')
  ),
  'Official CondConv table': Plan(
    ('model', 'experts'),
    _family(lambda row: _own_model(row) or f'efficientnet-{row["model"].lower()}'),
    _accuracies_of(
      lambda row: _own_model(row) or f'efficientnet-{row["model"].lower()}', top1='top1'
    ),
    (
      'The printed multiply-adds are ours plus the 5.45 million additions of batch norm and '
      'shortcuts (B0 391.3, 4 experts 402.0, 8 experts 412.7); 700 for B1 is rounded.',
    ),
  ),
  'Official CondConv coefficients': Plan(
    ('model',), _coefficients(lambda row: f'efficientnet-condconv-{row["model"]}')
  ),
  'Official training defaults': Plan(
    ('flag',), _defaults,
    notes=('num_replicas: the number of replicas is that of the machine, so there is no flag.',),
  ),
  'Official optimizer details': Plan(('item',), _optimizer),
  'Official eval preprocessing': Plan(('item',), _preprocessing),
}


TABLES = paper_script.Tables(
  published.PAPER,
  PLANS,
  EVALUATIONS.evaluate,
  _data,
  paper_figures.FIGURES,
)
SCRIPT = TABLES.script(__doc__, 'efficientnet.paper_tables')


if __name__ == '__main__':
  SCRIPT.main()

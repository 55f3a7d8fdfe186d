"""The paper's tables: plans, counts, evaluations; every difference from the print is explained."""
import pytest

from resnext import capacity, eval_ckpt_main, models, network_params, paper_tables, published
from tests import script_jobs
from tests.resnext import golden
from tpu_utils import profile

TABLES = paper_tables.TABLES
DIFFERING = {'Table 1 (totals)', 'Table 7', 'README error rates'}


@pytest.fixture
def golden_counts(monkeypatch):
  """Takes the counts from the goldens, so that no network is built."""
  rows = golden.read_json('counts_imagenet.json')['rows']
  counts = {
    (row['depth'], row['cardinality'], row['baseWidth']): profile.Counts(
      row['params'], 0, row['macs_total']
    )
    for row in rows
  }
  depths = {blocks: depth for depth, blocks in network_params._IMAGENET_STAGES.items()}

  def count(name, num_classes=None):
    params = network_params.from_name(name)
    return counts[depths[params.stage_blocks], params.cardinality, params.base_width]

  monkeypatch.setattr(paper_tables, '_counts', count)


def differing(lines):
  return [(line.label, line.column) for line in lines if line.as_printed is False]


def test_every_table_has_a_plan():
  assert list(paper_tables.PLANS) == list(published.PAPER.tables) and len(paper_tables.PLANS) == 15


def test_no_other_module_stores_published_numbers():
  assert models.PAPER_ERRORS['resnext-50-32x4d'] == 22.2
  assert models.PAPER_ERRORS['resnet-101-1x100d'] == 21.3
  assert models.PAPER_ERRORS['resnext-29-16x64d'] == 3.58
  assert len(models.PAPER_ERRORS) == 16
  assert capacity.PAPER_TABLE_2[32] == (4, 128) and len(capacity.PAPER_TABLE_2) == 5


@pytest.mark.parametrize(
  'row, name',
  [
    ({'model': 'ResNeXt-50', 'setting': '32x4d'}, 'resnext-50-32x4d'),
    ({'model': 'ResNet-101', 'setting': '1x64d'}, 'resnet-101'),
    ({'model': 'ResNet-101 wider', 'setting': '1x100d'}, 'resnet-101-1x100d'),
    ({'model': 'ResNet-50 1x64d'}, 'resnet-50'),
    ({'model': 'ResNet-200'}, 'resnet-200'),
    ({'model': 'ResNeXt-29 8x64d'}, 'resnext-29-8x64d'),
    ({'model': 'Wide ResNet'}, None),
    ({'model': 'Inception-v3'}, None),
    ({'model': 'Inception-ResNet-v2'}, None),
  ],
)
def test_names_of_networks(row, name):
  assert published.model_name(row) == name


@pytest.mark.parametrize('table_id', ['Table 1', 'Table 2', 'Table 4'])
def test_structure_is_the_printed_one(golden_counts, table_id):
  lines = TABLES.compare(table_id)
  assert differing(lines) == []
  computed = [line for line in lines if not line.column.endswith('_error')]
  assert computed and all(line.measured is not None for line in computed)


def test_totals(golden_counts):
  assert differing(TABLES.compare('Table 1 (totals)')) == [('ResNet-50', 'params_M')]
  assert differing(TABLES.compare('README error rates')) == [
    ('ResNeXt-50 32x4d', 'gflops'), ('ResNeXt-101 32x4d', 'gflops'),
    ('ResNeXt-101 64x4d', 'gflops'),
  ]  # fmt: skip


@pytest.mark.parametrize(
  'table_id, missing',
  [
    ('Training settings ImageNet', {'gpus'}),
    (
      'Official code defaults',
      {'momentum', 'dampening', 'batchSize default', 'imagenet val', 'cifar command'},
    ),
    (
      'CIFAR / COCO settings (appendix)',
      {'cifar gpus', 'cifar momentum', 'rpn', 'fast r-cnn', 'detection weight_decay',
       'detection momentum', 'features'},
    ),
  ],
)  # fmt: skip
def test_settings_are_the_printed_ones(table_id, missing):
  lines = TABLES.compare(table_id)
  assert differing(lines) == []
  assert {line.label for line in lines if line.measured is None} == missing
  for line in lines:
    if line.measured and line.measured.value is None:
      assert (script_jobs.ROOT / line.measured.how.removeprefix('checked by ')).exists()


def test_evaluations_have_flags_of_the_evaluation():
  wanted = TABLES.evaluations(paper_tables.PLANS)
  assert {
    'resnext-50-32x4d', 'without_shortcuts/resnet-50', 'cifar100/resnext-29-8x64d',
    'imagenet5k/resnext-101-32x4d', 'at_320/resnext-101-64x4d',
  } <= set(wanted)  # fmt: skip
  for name in wanted:
    flags, words = eval_ckpt_main.SCRIPT.parse(
      [f'--{flag}={value}' for flag, value in paper_tables.evaluation_flags(name).items()]
    )
    assert not words
    eval_ckpt_main.SCRIPT.resolve(flags)
    network_params.from_name(flags['model_name'])
  assert paper_tables.evaluation_flags('without_shortcuts/resnet-50')['residual'] is False
  assert paper_tables._data('cifar10/resnext-29-8x64d') == 'cifar10'
  assert paper_tables._data('at_320/resnet-200') == ''


def test_figure_5_draws_the_curves_of_jobs(tmp_path):
  import tensorflow as tf

  assert paper_tables._figure_5({}, '') is None
  assert paper_tables._figure_5({}, str(tmp_path)) is None
  with tf.summary.create_file_writer(str(tmp_path / 'resnet-50' / 'eval')).as_default():
    for step in (1, 2):
      tf.summary.scalar('top_1_accuracy', step / 4, step)
  (axes,) = paper_tables._figure_5({}, str(tmp_path)).axes
  line = axes.lines[0]
  assert line.get_label() == 'ResNet-50, validation'
  assert list(line.get_ydata()) == [75.0, 50.0]


@pytest.mark.slow
@pytest.mark.long  # Builds ten networks.
def test_every_difference_from_the_print_is_explained():
  compared = paper_tables.SCRIPT.call([])
  found = {table_id for table_id, lines in compared.items() if differing(lines)}
  assert found == DIFFERING
  assert all(paper_tables.PLANS[table_id].notes for table_id in found)

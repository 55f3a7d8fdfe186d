"""The paper's tables: plans, counts, evaluations; every difference from the print is explained."""
import json

import numpy as np
import pytest

from efficientnet import (
  compound_scaling,
  eval_ckpt_main,
  models,
  network_params,
  paper_figures,
  paper_tables,
  published,
)
from efficientnet import efficientnet_builder as builder
from tests import script_jobs
from tests.efficientnet import golden
from tpu_utils import profile

TABLES = paper_tables.TABLES
# Tables in which some of our values differ from the print.
DIFFERING = {
  published.EARLIER, published.LATER, 'Table 3', 'Table 5', 'Table 7',
  'Section 3.3-4: compound scaling', 'Official Lite table', 'Official CondConv table',
}  # fmt: skip


@pytest.fixture
def golden_counts(monkeypatch):
  """Takes the counts from the goldens, so that no network is built."""
  counts = golden.read_json('counts.json')

  def count(name):
    found = counts[name]
    return profile.Counts(
      found['trainable_parameters'], found['non_trainable'], found['multiply_adds']
    )

  monkeypatch.setattr(paper_tables, '_counts', count)
  return counts


def cells(table_id):
  return {(line.label, line.column): line for line in TABLES.compare(table_id)}


def test_every_table_has_a_plan():
  assert list(paper_tables.PLANS) == list(published.PAPER.tables) and len(paper_tables.PLANS) == 22


def test_no_other_module_stores_published_numbers():
  """They are read from the tables; values of the paper here are spot checks."""
  assert compound_scaling.PAPER['efficientnet-b0']['compound', 2] == (1.8, 81.1)
  assert compound_scaling.PAPER['mobilenet-v1']['baseline', 0] == (0.6, 70.6)
  assert sum(map(len, compound_scaling.PAPER.values())) == 19
  assert models.PUBLISHED['efficientnet-b0'] == (77.1, 'arXiv 1905.11946v5, Table 2')
  assert models.PUBLISHED['efficientnet-b8'][0] == 85.5
  assert models.PUBLISHED['efficientnet-condconv-b0-8e-depth'][0] == 79.5
  assert (compound_scaling.PAPER_ALPHA, compound_scaling.PAPER_GAMMA) == (1.2, 1.15)


@pytest.mark.parametrize(
  'table_id',
  [
    table_id
    for table_id in paper_tables.PLANS
    if 'coefficients' in table_id or table_id.startswith(('Section 5', 'Official t'))
  ],
)
def test_settings_are_the_printed_ones(table_id):
  lines = TABLES.compare(table_id)
  assert [line for line in lines if line.as_printed is False] == []
  missing = [line.label for line in lines if line.measured is None]
  assert missing == (['num_replicas'] if 'training' in table_id and 'Off' in table_id else [])


def test_facts_that_tests_check_name_files_that_exist():
  for table_id in ('Official optimizer details', 'Official eval preprocessing'):
    for line in TABLES.compare(table_id):
      if line.measured.value is None:
        assert (script_jobs.ROOT / line.measured.how.removeprefix('checked by ')).exists()


@pytest.mark.parametrize('name', ['lite', 'condconv', 'later'])
def test_counts(golden_counts, name, monkeypatch):
  if name == 'later':
    monkeypatch.setattr(
      paper_tables, '_scaled_counts', lambda *_: profile.Counts(25557032, 0, 4089184256)
    )
    found = cells(published.LATER)
    b4 = found['EfficientNet-B4, B4', 'flops_B']
    assert b4.measured.value == golden_counts['efficientnet-b4']['multiply_adds'] / 1e9
    assert b4.cells()[3:6] == ['4.394', '+0.194', 'no']
    assert found['EfficientNet-B2, B2', 'params_M'].cells()[3:6] == ['9.110', '-0.090', 'no']
    assert found['EfficientNet-B0, B0', 'params_M'].as_printed
    ratio = found['GPipe, B7', 'params_ratio']
    assert ratio.as_printed and ratio.measured.value == pytest.approx(557 / 66.34796)
  elif name == 'lite':
    found = {column: line for (_, column), line in cells('Official Lite table').items()}
    assert found['params_M'].as_printed and not found['madds_M'].as_printed
  else:
    golden_counts['efficientnet-condconv-b0-8e-depth'] = golden_counts['efficientnet-b0']
    found = cells('Official CondConv table')
    assert found['CondConv-B0-4e, experts 4', 'params_M'].as_printed
    # As the note says: the print includes B0's additions.
    additions = golden_counts['efficientnet-b0']['float_ops_by_type']['AddV2'] / 1e6
    for (label, column), line in found.items():
      if column == 'madds_M' and label.split(',')[0] in (
        'EfficientNet-B0', 'CondConv-B0-4e', 'CondConv-B0-8e',
      ):  # fmt: skip
        assert round(line.measured.value + additions) == line.paper.value


def test_the_notes_numbers_for_b0_to_b7(golden_counts):
  """Multiply-adds without the convolutions of stem and head; B1 and B2 with moving statistics."""
  (note, statistics) = paper_tables._FLOPS_NOTES
  without = {}
  for number in range(8):
    name = f'efficientnet-b{number}'
    stages, params = builder.FAMILY.get_model_params(name)
    blocks = network_params.scale_blocks(stages, params)
    pixels = -(-builder.FAMILY.scale(name).resolution // 2)
    stem = pixels**2 * 27 * network_params.round_filters(32, params)
    for block in blocks:
      pixels = -(-pixels // block.strides[0])
    head = pixels**2 * blocks[-1].output_filters * network_params.round_filters(1280, params)
    without[number] = (golden_counts[name]['multiply_adds'] - stem - head) / 1e9
  assert [f'{without[n]:.3f}' for n in range(4)] == ['0.355', '0.648', '0.939', '1.744']
  assert [f'{without[n]:.2f}' for n in (4, 5, 7)] == ['4.23', '9.96', '37.00']
  assert '0.355, 0.648, 0.939 and 1.744' in note and '4.23, 9.96 and 37.00' in note
  for number, text in ((2, '9.178'), (1, '7.856')):
    counts = golden_counts[f'efficientnet-b{number}']
    assert f'{(counts["trainable_parameters"] + counts["non_trainable"]) / 1e6:.3f}' == text
    assert text in statistics


def test_evaluations_have_flags_of_the_evaluation():
  wanted = TABLES.evaluations(paper_tables.PLANS)
  assert {'efficientnet-b0', 'advprop/efficientnet-b8', 'cifar10/efficientnet-b0'} <= set(wanted)
  for name in wanted:
    flags, words = eval_ckpt_main.SCRIPT.parse(
      [f'--{flag}={value}' for flag, value in paper_tables.evaluation_flags(name).items()]
    )
    assert not words
    eval_ckpt_main.SCRIPT.resolve(flags)
    assert flags['model_name'] in models.PUBLISHED
    assert flags.get('advprop_preprocessing', False) is name.startswith('advprop/')
  small = paper_tables.evaluation_flags('noisy_student/efficientnet-l2-475')
  assert (small['model_name'], small['input_image_size']) == ('efficientnet-l2', 475)
  assert paper_tables._data('cifar10/efficientnet-b0') == 'cifar10'
  assert paper_tables._data('advprop/efficientnet-b0') == ''


@pytest.mark.slow
@pytest.mark.long  # B0 at its full size is saved, loaded and compiled.
def test_evaluates_a_checkpoint(tmp_path, capsys):
  """B0 with the classes of the data, on an image folder."""
  import keras

  from efficientnet import build_model

  folder = tmp_path / 'data' / 'cifar10' / 'validation'
  for number in range(10):
    (folder / f'class{number}').mkdir(parents=True)
    pixels = np.full((32, 32, 3), 20 * number, np.uint8)
    keras.utils.save_img(folder / f'class{number}' / 'image.png', pixels)
  checkpoint = tmp_path / 'ckpts' / 'cifar10' / 'efficientnet-b0.weights.h5'
  checkpoint.parent.mkdir(parents=True)
  build_model('efficientnet-b0', num_classes=10).save_weights(checkpoint)
  compared = paper_tables.SCRIPT.call([
    '--nocompute', '--tables=Table 5', f'--checkpoint_dir={tmp_path}/ckpts',
    f'--data_dir={tmp_path}/data', f'--output_dir={tmp_path}/out',
  ])  # fmt: skip
  (line,) = (line for line in compared['Table 5'] if line.measured is not None)
  assert line.row['dataset'] == 'CIFAR-10' and line.column == 'our_acc'
  assert 0 <= line.measured.value <= 100
  (row,) = map(json.loads, (tmp_path / 'out' / 'results.jsonl').read_text().splitlines())
  assert row['evaluation'] == 'cifar10/efficientnet-b0' and set(row['values']) == {'top1', 'top5'}
  assert f'--ckpt_dir={checkpoint}' in row['command'] and row['command'] in line.measured.how


def test_figures(golden_counts, tmp_path):
  figure_1 = {'Figure 1 (later version)': TABLES.compare('Figure 1 (later version)')}
  assert paper_figures.figure_1(figure_1, '') is not None
  scaled = {'Table 7': TABLES.compare('Table 7', compute=False)}
  assert len(paper_figures.figure_3(scaled, '').axes) == 3
  assert paper_figures.figure_8(scaled, '') is not None
  assert all(draw({}, '') is None for draw in TABLES.draw.values())


@pytest.mark.slow
@pytest.mark.long  # Builds twenty networks.
def test_every_difference_from_the_print_is_explained():
  compared = paper_tables.SCRIPT.call([])
  differing = {
    table_id for table_id, lines in compared.items() if any(x.as_printed is False for x in lines)
  }
  assert differing == DIFFERING
  assert all(paper_tables.PLANS[table_id].notes for table_id in differing)

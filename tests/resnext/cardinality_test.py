"""The experiment on cardinality: the networks it compares, and a small complete run."""
import pytest

from resnext import cardinality
from tests import script_jobs
from tests.resnext import golden
from tests.tpu_utils.images import mnist_files

pytestmark = pytest.mark.slow

# Takes seconds: networks with one block in each stage, a few steps each.
QUICK = (
  '--recipe=digits', '--model_name=resnet-11', '--width=16', '--stem_width=8',
  '--train_batch_size=16',
  '--input_image_size=8', '--train_steps=3', '--steps_per_eval=3', '--iterations_per_loop=3',
  '--eval_batch_size=355', '--runs=1',
)  # fmt: skip


def run(*arguments):
  return script_jobs.in_process(cardinality.SCRIPT, *arguments)


def test_the_networks_of_table_3():
  for depth in (50, 101):
    names = cardinality.equal_names(f'resnet-{depth}', [1, 2, 4, 8, 32])
    settings = ['2x40d', '4x24d', '8x14d', '32x4d']
    assert list(names.values()) == [f'resnet-{depth}', *(f'resnext-{depth}-{s}' for s in settings)]


def test_the_networks_of_table_4():
  assert cardinality.doubled_names('resnet-101', 32) == {
    'deeper': 'resnet-200',
    'wider': 'resnet-101-1x100d',
    '2 paths': 'resnext-101-2x64d',
    '64 paths': 'resnext-101-64x4d',
  }


def test_deeper_networks_for_cifar_have_9n_plus_2_layers():
  assert cardinality.doubled_names('resnet-29', 8)['deeper'] == 'resnet-56'
  names = cardinality.doubled_names('resnet-38', 8, {'stem': 'cifar'})
  assert names['deeper'] == 'resnet-74'  # 8 * 9 + 2
  assert cardinality.doubled_names('resnet-50', 8, {'stem': 'imagenet'})['deeper'] == 'resnet-101'


def test_a_dry_run_prints_the_papers_numbers(capsys):
  assert run('--data_dir=fake', '--model_name=resnet-101', '--dry_run') == {}
  lines = [line.split() for line in capsys.readouterr().out.splitlines()]
  rows = {cells[1]: cells for cells in lines if len(cells) == 8}
  reference = {
    f'{row["cardinality"]}x{row["baseWidth"]}d': row
    for row in golden.read_json('counts_imagenet.json')['rows']
    if row['depth'] == 101
  }
  errors = {'2x40d': '21.7', '4x24d': '21.4', '8x14d': '21.3', '32x4d': '21.2'}
  for setting, error in errors.items():
    _, _, parameters, multiply_adds, _, measured, _, paper = rows[f'resnext-101-{setting}']
    assert parameters == f'{reference[setting]["params"] / 1e6:.1f}M'
    assert multiply_adds == f'{reference[setting]["macs_total"] / 1e9:.2f}G'
    assert (measured, paper) == ('-', error)


def test_the_papers_errors_are_shown_only_for_the_papers_networks():
  def networks(**given):
    return cardinality.Networks(cardinality.SCRIPT.resolve({'data_dir': 'x', **given}))

  assert networks().paper_error('resnext-50-32x4d') == 22.2
  assert networks().paper_error('resnext-50-64x4d') is None
  assert networks(width=32).paper_error('resnext-50-32x4d') is None
  assert networks(input_image_size=160).paper_error('resnext-50-32x4d') is None
  assert networks(num_label_classes=10).paper_error('resnext-50-32x4d') is None


def test_recipes_are_those_of_resnext_main_with_plain_networks():
  def settings(**given):
    resolved = cardinality.SCRIPT.resolve(given).as_dict()
    return [resolved[name] for name in ('model_name', 'weight_decay', 'archive_ckpt')]

  assert settings(data_dir='x') == ['resnet-50', 1e-4, False]
  assert settings(data_dir='x', recipe='cifar') == ['resnet-29', 5e-4, False]
  assert settings(recipe='digits')[0] == 'resnet-11'


def test_fashion_mnist_has_networks_of_equal_cost(tmp_path, capsys):
  folder = mnist_files.write(tmp_path / 'data')
  assert run(f'--fashion_mnist_dir={folder}', '--dry_run') == {}
  lines = [line.split() for line in capsys.readouterr().out.splitlines()]
  relative = {cells[1]: float(cells[4]) for cells in lines if len(cells) == 8 and cells[0] != 'C'}
  names = ['resnet-11', 'resnext-11-2x40d', 'resnext-11-4x24d', 'resnext-11-8x14d']
  assert list(relative) == names and all(0.95 < cost < 1.1 for cost in relative.values())


def test_words_about_table_3():
  networks = cardinality.Networks(cardinality.SCRIPT.resolve({'data_dir': 'x', 'doubled': False,
                                                              'cardinalities': '1,2'}))  # fmt: skip
  errors = {'resnet-50': (20.0, 20.2), 'resnext-50-2x40d': (19.0, 19.2)}
  scores = {
    name: cardinality.experiment.Score(sum(own) / 2, 0.1, 1.0, 2, own)
    for name, own in errors.items()
  }
  assert networks.verdicts(scores) == [
    'C = 2 against the plain network of the same cost: error -1.00 (clearly better).'
  ]
  (axes,) = networks.figure(scores).axes  # Without Table 4.
  assert axes.get_title().endswith('(Table 3)')


@pytest.mark.long
def test_a_small_experiment(tmp_path, capsys):
  arguments = (f'--model_dir={tmp_path}', *QUICK, '--cardinalities=1,2', '--nodoubled')
  scores = run(*arguments)
  assert set(scores) == {'resnet-11', 'resnext-11-2x40d'}
  out = capsys.readouterr().out
  assert f'{scores["resnext-11-2x40d"].error:.2f}' in out
  assert 'Table 4' not in out
  assert 'C = 2 against the plain network of the same cost: error' in out
  assert (tmp_path / 'cardinality.txt').read_text().strip() in out
  assert (tmp_path / 'cardinality.png').read_bytes().startswith(b'\x89PNG')
  # An extended experiment trains only the new network.
  extended = run(*arguments[:-2], '--cardinalities=1,2,4', '--nodoubled')
  assert extended['resnet-11'] == scores['resnet-11']
  assert '[1 of 1 networks to train]' in capsys.readouterr().out


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--cardinalities=2,4'], '--cardinalities=2,4 must begin with 1'),
    (['--cardinalities=1'], '--cardinalities=1 must begin with 1, the plain network, and list'),
    (['--cardinalities=1,x'], '--cardinalities=1,x must be whole numbers'),
    (['--model_name=resnext-29-8x64d'], 'has 8 paths; the experiment starts from a plain network'),
    (['--model_name=resnet-50d'], 'has a deep stem; the experiment starts from a plain network'),
    (['--cardinality=8'], '--cardinality is varied by the experiment'),
    (['--cardinalities=1,4096'], '4096 paths of one channel'),
  ],
)
def test_bad_input_is_one_clear_line(arguments, message):
  with pytest.raises(ValueError, match=message) as error:
    run(*arguments)
  assert '\n' not in str(error.value)


def test_help_is_quick():
  code, out, used = script_jobs.user_seconds('-m', 'resnext.cardinality', '--help')
  assert code == 0
  assert '--cardinalities=1,2,4,8,32' in out
  assert used < 2.0


def test_mistakes_are_found_before_tensorflow_is_imported():
  with pytest.raises(ValueError, match='--mode=eval: an experiment trains and evaluates'):
    cardinality.SCRIPT.check(cardinality.SCRIPT.resolve({'mode': 'eval'}))
  with pytest.raises(ValueError, match="Unknown model 'resnot-50'"):
    cardinality.SCRIPT.check(cardinality.SCRIPT.resolve({'model_name': 'resnot-50'}))

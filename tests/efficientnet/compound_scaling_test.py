"""Compound scaling: the arithmetic with the paper's numbers, the tables, and a small search."""
import json
import types

import pytest

from efficientnet import compound_scaling, scaling_bases
from efficientnet.compound_scaling import Coefficients
from tests import script_jobs

# A few seconds: the smallest networks, a few steps each.
QUICK = (
  '--recipe=digits', '--model_name=mobilenet-v1', '--width_coefficient=0.1',
  '--depth_coefficient=0.1',
  '--input_image_size=8', '--train_batch_size=16', '--train_steps=2', '--steps_per_eval=2',
  '--iterations_per_loop=2', '--eval_batch_size=355',
)  # fmt: skip
PAPERS = ('--alpha=1.2', '--beta=1.1', '--gamma=1.15')


def run(*arguments):
  return script_jobs.in_process(compound_scaling.SCRIPT, *arguments)


def rows(text):
  """Returns {(how, phi): words of the row} of the printed tables; later rows replace equal ones."""
  words = [line.split() for line in text.splitlines()]
  return {(w[0], w[1]): w for w in words if len(w) == 13}


def test_the_papers_coefficients():
  """Section 3.3: 1.2, 1.1, 1.15; Table 7 prints them for phi = 2 as d = 1.4, w = 1.2, r = 1.3."""
  assert compound_scaling.scaling_coefficients(1) == (1.2, 1.1, 1.15)
  assert compound_scaling.scaling_coefficients(0) == (1, 1, 1)
  assert [round(c, 1) for c in compound_scaling.scaling_coefficients(2)] == [1.4, 1.2, 1.3]
  assert compound_scaling.scaling_coefficients(3, 2, 1, 1) == (8, 1, 1)
  assert round(compound_scaling.relative_cost(compound_scaling.scaling_coefficients(1)), 2) == 1.92


def test_cost_doubles_with_each_step_of_one_dimension():
  assert compound_scaling.single_dimension('depth', 2) == (4, 1, 1)  # Tables 3 and 7.
  assert compound_scaling.single_dimension('width', 2) == (1, 2, 1)
  assert compound_scaling.single_dimension('resolution', 2) == (1, 1, 2)
  for dimension in compound_scaling.DIMENSIONS:
    for phi in (0.5, 1, 3):
      scaled = compound_scaling.single_dimension(dimension, phi)
      assert compound_scaling.relative_cost(scaled) == pytest.approx(2**phi)
  with pytest.raises(ValueError, match="Unknown dimension 'widht': did you mean width"):
    compound_scaling.single_dimension('widht', 1)


def test_the_grid_has_all_triples_that_double_the_cost():
  triples = compound_scaling.grid(0.05, 0.1)
  assert (1.2, 1.1, 1.15) in triples
  assert (2.0, 1.0, 1.0) in triples
  assert len(triples) == len(set(triples)) == 111
  assert all(abs(a * b**2 * c**2 - 2) <= 0.1 + 1e-9 for a, b, c in triples)
  assert all(min(triple) >= 1 for triple in triples)
  assert set(compound_scaling.grid(0.1, 0.05)) < set(compound_scaling.grid(0.1, 0.1)) < set(triples)
  with pytest.raises(ValueError, match='in steps of 0.3 .* within 0.01 of 2; take smaller steps'):
    compound_scaling.grid(0.3, 0.01)
  with pytest.raises(ValueError, match='step=0 must be positive'):
    compound_scaling.grid(0)


def test_resolutions_are_even():
  assert compound_scaling.scaled_resolution(224, 1.15) == 258
  assert compound_scaling.scaled_resolution(224, 1.0) == 224
  assert compound_scaling.scaled_resolution(1, 1) == 2


def rows_of(**hows):
  """Returns (rows with phi 2 of {how: errors of two seeds}, their scores) and a baseline."""
  made, scores = [], {}
  for number, (how, errors) in enumerate(hows.items()):
    trial = compound_scaling.Trial(how, {}, 1, 10 * (1 + number))
    made.append(compound_scaling.Row(how, 2 * bool(number), Coefficients(1, 1, 1), trial))
    scores[how] = compound_scaling.experiment.Score(sum(errors) / 2, 0.1, 1.0, 2, errors)
  return made, scores


def test_words_about_the_ways_to_scale():
  longer = compound_scaling.longer(2)
  rows_made, scores = rows_of(
    baseline=(30.0, 30.2), depth=(28.0, 28.2), **{longer: (25.0, 25.2)}, compound=(24.0, 24.2)
  )
  deeper, deeper_longer, convergence = compound_scaling.verdicts(rows_made, scores)
  assert deeper == (
    'phi = 2: compound (4.00 times the cost of the baseline) against depth (2.00 times): error '
    '-4.00 (clearly better).'
  )
  assert 'against depth, 2x steps (3.00 times): error -1.00 (clearly better).' in deeper_longer
  assert 'depth, 2x steps against its own shorter training: error -3.00 (clearly' in convergence


def test_depth_gets_more_steps_on_fashion_mnist(tmp_path, monkeypatch):
  counts = types.SimpleNamespace(parameters=1, multiply_adds=2)
  monkeypatch.setattr(scaling_bases, 'count', lambda *_, **__: counts)
  resolved = compound_scaling.SCRIPT.resolve({'fashion_mnist_dir': str(tmp_path)})
  config = resolved.get(compound_scaling.ScalingConfig)
  family = compound_scaling.Baseline(resolved).step_2(config, config.chosen)
  steps = resolved.as_dict()['train_steps']
  assert [(row.how, row.phi, row.trial.flags.get('train_steps', steps)) for row in family] == [
    ('baseline', 0, steps), ('depth', 2, steps), ('depth, 2x steps', 2, 2 * steps),
    ('width', 2, steps), ('resolution', 2, steps), ('compound', 2, steps),
  ]  # fmt: skip
  assert len({row.trial.name for row in family}) == 6 and config.runs == 3


def test_rows_are_sorted_by_error_then_cross_entropy():
  trials = {name: compound_scaling.Trial(name, {}, 1, 1) for name in 'abc'}
  coefficients = Coefficients(1, 1, 1)
  unsorted = [compound_scaling.Row('compound', 1, coefficients, trials[name]) for name in 'abc']
  scores = {
    name: compound_scaling.experiment.Score(error, 0.0, loss, 1)
    for name, error, loss in (('a', 3.0, 0.1), ('b', 2.0, 0.3), ('c', 2.0, 0.2))
  }
  ranked = compound_scaling.by_accuracy(unsorted, scores)
  assert [row.trial.name for row in ranked] == ['c', 'b', 'a']


@pytest.mark.slow
@pytest.mark.parametrize(
  ('base', 'baseline', 'width'),
  # Table 3's multiply-adds of MobileNets; at w = 2, B0's and ResNet-50's differ from the paper's.
  [
    ('mobilenet-v1', 0.6, 2.2),
    ('mobilenet-v2', 0.3, 1.1),
    ('efficientnet-b0', 0.4, None),
    ('resnet-50', 4.1, None),
  ],
)
def test_a_dry_run_prints_the_papers_numbers_next_to_ours(capsys, base, baseline, width):
  assert run('--data_dir=fake', f'--model_name={base}', '--dry_run', *PAPERS) == (1.2, 1.1, 1.15)
  found = rows(capsys.readouterr().out)
  assert len(found) == 9

  def billions(text):
    return float(text[:-1]) / {'G': 1, 'M': 1000}[text[-1]]

  for key, printed in ((('baseline', '0'), baseline), (('width', '2'), width)):
    if printed:
      assert round(billions(found[key][8]), 1) == printed
      assert found[key][11] == f'{printed}G'
  assert found['compound', '2'][12] == str(compound_scaling.PAPER[base]['compound', 2][1])


@pytest.mark.slow
def test_the_papers_accuracy_is_printed_only_for_its_networks(capsys):
  run('--data_dir=fake', '--dry_run', '--alpha=1.4', '--beta=1.1', '--gamma=1.1')
  found = rows(capsys.readouterr().out)
  assert found['width', '2'][12] == '78.9'
  assert found['compound', '2'][12] == '-'
  few = ('--phis=1', '--nosingle_dimensions')
  run('--data_dir=fake', '--dry_run', '--width_coefficient=0.5', *few, *PAPERS)
  assert {row[12] for row in rows(capsys.readouterr().out).values()} == {'-'}


@pytest.mark.slow
@pytest.mark.long
def test_a_small_search(tmp_path, capsys):
  search = ('--grid_step=0.4', '--phis=1', '--nosingle_dimensions')
  arguments = (f'--model_dir={tmp_path}', *QUICK, *search)
  chosen = run(*arguments)
  out = capsys.readouterr().out
  assert 'alpha = {:g}, beta = {:g}, gamma = {:g}'.format(*chosen) in out
  lines = [json.loads(line) for line in (tmp_path / 'results.jsonl').read_text().splitlines()]
  searched = compound_scaling.grid(0.4, 0.05)
  first = lines[: len(searched)]
  best = max(first, key=lambda line: (line['top_1_accuracy'], -line['cross_entropy']))
  depth, width = 0.1 * chosen[0], 0.1 * chosen[1]
  pixels = compound_scaling.scaled_resolution(8, chosen[2])
  assert best['network'] == f'mobilenet-v1-w{width:.4g}-d{depth:.4g}-{pixels}px'
  assert f'{100 * best["top_1_accuracy"]:.2f}' in out
  assert (tmp_path / 'compound_scaling.txt').read_text().strip() in out
  assert (tmp_path / 'compound_scaling.png').read_bytes().startswith(b'\x89PNG')
  # The network for phi = 1 is the one that the search chose, so it is not trained again.
  assert len({line['network'] for line in lines}) == len(lines)
  assert run(*arguments) == chosen
  assert 'networks to train' not in capsys.readouterr().out


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (['--model_name=mobilenet-v3'], "Unknown model_name 'mobilenet-v3': did you mean mobilenet-v"),
    (['--alpha=1.2'], '--alpha, --beta and --gamma go together'),
    (['--phis=1,x'], '--phis=1,x must be positive numbers'),
    (['--phis=0'], '--phis=0 must be positive numbers'),
    (['--grid_step=0'], 'step=0.0 must be positive'),
    (['--alpha=0.9'], '--alpha=0.9 must be at least 1'),
  ],
)
def test_wrong_input_gives_a_one_line_error(tmp_path, arguments, message):
  with pytest.raises(ValueError, match=message) as error:
    run(f'--model_dir={tmp_path}', *arguments)
  assert '\n' not in str(error.value)


def test_help_is_quick():
  code, out, used = script_jobs.user_seconds('-m', 'efficientnet.compound_scaling', '--help')
  assert code == 0
  assert '--phis=1,2' in out
  assert used < 2.0


def test_mistakes_are_found_before_tensorflow_is_imported():
  with pytest.raises(ValueError, match='--mode=eval: an experiment trains and evaluates'):
    compound_scaling.SCRIPT.check(compound_scaling.SCRIPT.resolve({'mode': 'eval'}))

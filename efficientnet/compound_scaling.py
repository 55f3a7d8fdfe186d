r"""Searches alpha, beta and gamma of compound scaling, then scales the family (Section 3.3).

  python -m efficientnet.compound_scaling
      On Fashion-MNIST where Debian's package dataset-fashion-mnist is installed (another folder:
      --fashion_mnist_dir): a small B0 scaled to about three times its cost, by the paper's
      coefficients and in a single dimension, three seeds each, depth also with twice the steps;
      twenty to twenty-five minutes on two cores. Otherwise STEP 1 and 2 on the embedded digits,
      which are too few to tell networks apart.

  python -m efficientnet.compound_scaling --quick
      Two steps for each of a few networks: tries the command, measures nothing.

  python -m efficientnet.compound_scaling --model_name=resnet-50 --data_dir=... --model_dir=...
      On your data, from another baseline.

  python -m efficientnet.compound_scaling --data_dir=fake --dry_run \
    --alpha=1.2 --beta=1.1 --gamma=1.15
      Parameters and multiply-adds of B0 scaled by the paper's coefficients, without training.

STEP 1 scales the baseline once (phi = 1) by each triple of a grid for which alpha * beta^2 *
gamma^2 is near 2 (alpha scales depth, beta width and gamma resolution), trains these networks and
selects the most accurate. STEP 2 scales the baseline by alpha^phi, beta^phi, gamma^phi, and for
comparison in a single dimension to the same cost (Figures 3 and 8, Tables 3 and 7).

The flags are those of `efficientnet.main`, which trains each network; those for the network and
--input_image_size define the baseline. A stopped search resumes when the same command is given
again.
Tables, a plot and a line for each network (results.jsonl) are written to --model_dir.
"""
from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from efficientnet import main as training
from efficientnet import published
from efficientnet.recipes import RECIPES as TRAINING_RECIPES
from tpu_utils import config
from tpu_utils.command_line import settings
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import experiment, script
from tpu_utils.image_jobs.experiment import Trial
from tpu_utils.names import check_name
from tpu_utils.text_table import text_table

if TYPE_CHECKING:
  from matplotlib.figure import Figure

# Equation 3: increasing phi by 1 doubles the cost.
COST_OF_A_STEP = 2.0
# Section 3.3, STEP 1, for B0.
_SECTION_3_3 = published.PAPER['Section 3.3-4: compound scaling'].values()[0]
PAPER_ALPHA, PAPER_BETA, PAPER_GAMMA = (_SECTION_3_3[n] for n in ('alpha', 'beta', 'gamma'))
DIMENSIONS = ('depth', 'width', 'resolution')


class Coefficients(NamedTuple):
  """Factors by which a baseline is scaled."""

  depth: float
  width: float
  resolution: float


def scaling_coefficients(
  phi: float, alpha: float = PAPER_ALPHA, beta: float = PAPER_BETA, gamma: float = PAPER_GAMMA
) -> Coefficients:
  """Returns the factors of compound scaling, (alpha^phi, beta^phi, gamma^phi) (Equation 3)."""
  return Coefficients(alpha**phi, beta**phi, gamma**phi)


def single_dimension(dimension: str, phi: float) -> Coefficients:
  """Returns the factors that scale only depth, width or resolution to 2^phi times the cost.

  The cost is proportional to depth, and to the square of width and of resolution.

  Raises:
    ValueError: an unknown dimension.
  """
  check_name('dimension', dimension, DIMENSIONS)
  factor = COST_OF_A_STEP**phi
  return Coefficients(1.0, 1.0, 1.0)._replace(
    **{dimension: factor if dimension == 'depth' else factor**0.5}
  )


def relative_cost(coefficients: Coefficients) -> float:
  """Returns the ratio of multiply-adds to the baseline's, apart from rounding."""
  return coefficients.depth * coefficients.width**2 * coefficients.resolution**2


def grid(step: float = 0.1, tolerance: float = 0.1) -> list[tuple[float, float, float]]:
  """Returns the (alpha, beta, gamma) that STEP 1 tries.

  Args:
    step: difference between values of a coefficient; the first is 1.
    tolerance: largest distance of alpha * beta^2 * gamma^2 from 2.

  Returns:
    List of triples, ascending. With steps of 0.05 the paper's is among them.

  Raises:
    ValueError: there is no triple, or a step or tolerance is out of range.
  """
  if not step > 0 or not 0 <= tolerance < 1:
    raise ValueError(f'step={step} must be positive, and tolerance={tolerance} from 0 to below 1.')
  most = COST_OF_A_STEP + tolerance

  def values(largest):
    return [round(1 + i * step, 6) for i in range(int((largest - 1) / step + 1e-6) + 1)]

  triples = [
    triple
    for triple in itertools.product(values(most), values(most**0.5), values(most**0.5))
    if abs(relative_cost(Coefficients(*triple)) - COST_OF_A_STEP) <= tolerance + 1e-9
  ]
  if not triples:
    raise ValueError(
      f'No alpha, beta, gamma in steps of {step} have alpha * beta^2 * gamma^2 within {tolerance} '
      'of 2; take smaller steps or a larger tolerance.'
    )
  return triples


def scaled_resolution(pixels: int, coefficient: float) -> int:
  """Scales a number of pixels a side and rounds it to the nearest even number."""
  return max(2, 2 * round(pixels * coefficient / 2))


@dataclasses.dataclass(frozen=True)
class ScalingConfig(experiment.ExperimentConfig):
  """Grid and scaling of the search."""

  grid_step: float = setting(0.1, 'STEP 1: step between values of alpha, beta and gamma.')
  grid_tolerance: float = setting(
    0.1, 'STEP 1: largest distance of alpha * beta^2 * gamma^2 from 2.', at_least=0
  )
  alpha: float = setting(
    None, 'Depth coefficient; with --beta and --gamma, STEP 1 is skipped.', type=float, at_least=1
  )
  beta: float = setting(None, 'Width coefficient.', type=float, at_least=1)
  gamma: float = setting(None, 'Resolution coefficient.', type=float, at_least=1)
  phis: str = setting('1,2', 'STEP 2: numbers of doublings of the cost, separated by commas.')
  single_dimensions: bool = setting(True, 'STEP 2: also scale only depth, width or resolution.')
  depth_steps: int = setting(
    1,
    'STEP 2: with --single_dimensions, also train the deeper networks for so many times the steps, '
    'as they learn more slowly; 1 does not.',
    at_least=1,
  )

  def __post_init__(self):
    super().__post_init__()
    given = [value is not None for value in (self.alpha, self.beta, self.gamma)]
    if any(given) and not all(given):
      raise ValueError(
        '--alpha, --beta and --gamma go together: give all three, or none for a search.'
      )
    self.phi_list()

  def phi_list(self) -> list[float]:
    """Returns the values of `phis`.

    Raises:
      ValueError: they are not positive numbers separated by commas.
    """
    try:
      phis = [float(text) for text in self.phis.split(',')]
    except ValueError:
      phis = []
    if not phis or min(phis) <= 0:
      raise ValueError(f'--phis={self.phis} must be positive numbers, separated by commas.')
    return phis

  @property
  def chosen(self) -> tuple[float, float, float] | None:
    """(alpha, beta, gamma) if they are given, or None for a search."""
    return None if self.alpha is None else (self.alpha, self.beta, self.gamma)


_DIGITS = {
  'model_dir': 'runs/compound-scaling',
  # Few filters on many pixels: with fewer pixels, rounding would determine a resolution's cost.
  'width_coefficient': 0.25,
  'input_image_size': 64,
  'train_steps': 110,
  'steps_per_eval': 110,
  'grid_tolerance': 0.05,
}
_FASHION = {
  'model_dir': 'runs/compound-scaling-fashion',
  'input_image_size': 40,
  'crop_rule': 'whole',
  'width_coefficient': 0.35,
  'depth_coefficient': 0.5,
  'dropout_rate': 0.0,
  'survival_prob': 1.0,
  'train_batch_size': 32,
  'eval_batch_size': 250,
  'train_steps': 300,
  'steps_per_eval': 300,
  'iterations_per_loop': 50,
  'base_learning_rate': 0.032,
  'lr_warmup_epochs': 0.02,
  'alpha': PAPER_ALPHA,
  'beta': PAPER_BETA,
  'gamma': PAPER_GAMMA,
  'phis': '2',
  'depth_steps': 2,
  'runs': 3,
}
RECIPES = experiment.own_recipes(
  TRAINING_RECIPES,
  'efficientnet.compound_scaling',
  {'imagenet': {}, 'transfer': {}, 'digits': _DIGITS, experiment.FASHION: _FASHION},
)


def _published() -> dict[str, dict[tuple[str, float], tuple[float, float]]]:
  """Returns the results of Tables 3 and 7, see `PAPER`."""
  found: dict[str, dict[tuple[str, float], tuple[float, float]]] = {}
  rows = [
    (row['model'].lower(), row['setting'], row) for row in published.PAPER['Table 3'].values()
  ]
  rows += [
    ('efficientnet-b0', row['model'].removesuffix(' B0'), row)
    for row in published.PAPER['Table 7'].values()
  ]
  for model, how, row in rows:
    base = model.replace('mobilenetv', 'mobilenet-v')
    phi = 0 if how == 'baseline' else 2  # Four times the baseline's cost.
    found.setdefault(base, {})[how, phi] = row['flops_B'], row['top1']
  return found


# {baseline: {(how, phi): (multiply-adds in billions, top-1 accuracy in %)}}.
PAPER: Mapping[str, Mapping[tuple[str, float], tuple[float, float]]] = _published()


@dataclasses.dataclass(frozen=True)
class ModelConfig(training.ModelConfig):
  """Baseline and its overrides."""

  model_name: str = setting(
    'efficientnet-b0', 'The baseline: an EfficientNet, mobilenet-v1, mobilenet-v2 or resnet-50.'
  )


def resolve_model(model: ModelConfig) -> script.ModelSpec:
  """Returns the baseline for the settings.

  Raises:
    ValueError: an unknown baseline or a value out of range.
  """
  from efficientnet import scaling_bases

  params = scaling_bases.get_params(model.model_name, model.overrides())
  return script.ModelSpec(
    build_model=scaling_bases.build_model,
    spec=scaling_bases.get_preprocess_spec(model.model_name),
    identity=('width_coefficient', 'depth_coefficient', 'input_image_size'),
    run_info={'global_params': dataclasses.asdict(params)},
  )


TRAINING = script.Training(
  (ModelConfig, ScalingConfig), resolve_model, experiment.augmentation, exports_digits=False
)


@dataclasses.dataclass(frozen=True)
class Row:
  """Network in the tables.

  Attributes:
    how: 'baseline', 'compound', one of `DIMENSIONS`, or `DEPTH` with more steps.
    phi: number of doublings of the cost.
    coefficients: factors by which the baseline is scaled.
    trial: the `Trial` that trains the network.
  """

  how: str
  phi: float
  coefficients: Coefficients
  trial: Trial


class Baseline:
  """Network that is scaled.

  Args:
    resolved: the settings of the experiment.

  Raises:
    ValueError: an unknown baseline or a value out of range.
  """

  def __init__(self, resolved: settings.Resolved):
    from efficientnet import scaling_bases

    self._model = resolved.get(ModelConfig)
    self.name = self._model.model_name
    params = scaling_bases.get_params(self.name, self._model.overrides())
    native = scaling_bases.get_preprocess_spec(self.name).image_size
    self._pixels = self._model.input_image_size or native
    self._depth, self._width = params.depth_coefficient or 1.0, params.width_coefficient or 1.0
    self._steps = resolved.get(config.JobConfig).train_steps
    self._num_classes = resolved.get(config.DataConfig).num_label_classes
    # The paper has results only for these.
    self._is_papers = (self._depth, self._width, self._pixels) == (1.0, 1.0, native)

  def row(self, how: str, phi: float, coefficients: Coefficients, steps: int = 1) -> Row:
    """Scales the baseline by `Coefficients`, to train for `steps` times the steps; see `Row`."""
    from efficientnet import scaling_bases

    depth, width, resolution = coefficients
    pixels = scaled_resolution(self._pixels, resolution)
    scaled = {
      'width_coefficient': round(self._width * width, 4),
      'depth_coefficient': round(self._depth * depth, 4),
    }
    overrides = {**self._model.overrides(), **scaled, 'num_classes': self._num_classes}
    size = scaling_bases.count(self.name, image_size=pixels, **overrides)
    name = '{}-w{width_coefficient:g}-d{depth_coefficient:g}-{}px'.format(
      self.name, pixels, **scaled
    )
    flags = {**scaled, 'input_image_size': pixels}
    if steps > 1:
      name += f'-{steps}x-steps'
      flags |= dict.fromkeys(('train_steps', 'steps_per_eval'), steps * self._steps)
    trial = Trial(name, flags, size.parameters, size.multiply_adds)
    return Row(how, phi, coefficients, trial)

  def paper(
    self, row: Row, alpha_beta_gamma: tuple[float, float, float] | None
  ) -> tuple[float, float] | None:
    """Returns the paper's (multiply-adds in billions, top-1 accuracy in %) or None."""
    ours = (PAPER_ALPHA, PAPER_BETA, PAPER_GAMMA)
    if not self._is_papers or (row.how == 'compound' and alpha_beta_gamma != ours):
      return None
    return PAPER.get(self.name, {}).get((row.how, row.phi))

  def step_1(self, config: ScalingConfig) -> list[Row]:
    """Returns a `Row` for each triple of the grid.

    Raises:
      ValueError: as `grid`.
    """
    triples = grid(config.grid_step, config.grid_tolerance)
    return [self.row('compound', 1, Coefficients(*triple)) for triple in triples]

  def step_2(
    self, config: ScalingConfig, alpha_beta_gamma: tuple[float, float, float]
  ) -> list[Row]:
    """Returns a `Row` for the baseline, for each single dimension, and for compound scaling."""
    rows = [self.row('baseline', 0, Coefficients(1.0, 1.0, 1.0))]
    for how in (*(DIMENSIONS if config.single_dimensions else ()), 'compound'):
      for phi in config.phi_list():
        scaled = (
          scaling_coefficients(phi, *alpha_beta_gamma)
          if how == 'compound'
          else single_dimension(how, phi)
        )
        rows.append(self.row(how, phi, scaled))
        if how == 'depth' and config.depth_steps > 1:
          rows.append(self.row(longer(config.depth_steps), phi, scaled, config.depth_steps))
    return rows


def longer(steps: int) -> str:
  """Returns the name of depth scaling that is trained for `steps` times the steps."""
  return f'depth, {steps}x steps'


def verdicts(family: Sequence[Row], scores: Mapping[str, experiment.Score]) -> list[str]:
  """Says for each phi how compound scaling differs from the other ways.

  Args:
    family: STEP 2's rows.
    scores: {trial's name: `experiment.Score`}.
  """
  baseline = next(row for row in family if not row.phi).trial.multiply_adds
  by_key = {(row.how, row.phi): row for row in family}
  said = []
  for phi in dict.fromkeys(row.phi for row in family if row.phi):
    own = by_key['compound', phi]
    for row in (row for row in family if row.phi == phi and row is not own):
      change = scores[own.trial.name].against(scores[row.trial.name])
      costs = [f'{r.trial.multiply_adds / baseline:.2f}' for r in (own, row)]
      said.append(
        f'phi = {phi:g}: compound ({costs[0]} times the cost of the baseline) against {row.how} '
        f'({costs[1]} times): error {change}.'
      )
      if row.how not in (*DIMENSIONS, 'compound'):
        change = scores[row.trial.name].against(scores[by_key['depth', phi].trial.name])
        said.append(
          f'phi = {phi:g}: {row.how} against its own shorter training: error {change}; where '
          'longer is better, the deeper network had not had the steps that it needs.'
        )
  return said


def by_accuracy(rows: Sequence[Row], scores: Mapping[str, experiment.Score]) -> list[Row]:
  """Sorts rows, the most accurate network first; equal ones by cross-entropy."""

  def rank(row):
    score = scores[row.trial.name]
    return score.error, score.cross_entropy

  return sorted(rows, key=rank)


def table(
  rows: Sequence[Row],
  scores: Mapping[str, experiment.Score],
  baseline: Baseline,
  alpha_beta_gamma: tuple[float, float, float] | None = None,
) -> str:
  """Formats rows with their scores and the paper's results.

  Args:
    rows: lines of the table.
    scores: {trial's name: `experiment.Score`}; empty before training.
    baseline: the `Baseline`.
    alpha_beta_gamma: coefficients of the rows with compound scaling, if they are known.
  """
  header = [
    'scaled', 'phi', 'depth', 'width', 'resolution', 'pixels', 'cost',
    'parameters', 'multiply-adds', 'top-1 %', 'cross-entropy', 'paper: multiply-adds', 'top-1 %',
  ]  # fmt: skip
  lines = []
  for row in rows:
    score = scores.get(row.trial.name)
    paper = baseline.paper(row, alpha_beta_gamma)
    lines.append([
      row.how, f'{row.phi:g}', *(f'{c:.4g}' for c in row.coefficients),
      row.trial.flags['input_image_size'], f'{relative_cost(row.coefficients):.2f}',
      experiment.count(row.trial.parameters), experiment.count(row.trial.multiply_adds),
      *((score.accuracy_text, f'{score.cross_entropy:.4f}') if score else ('-', '-')),
      *((f'{paper[0]}G', paper[1]) if paper else ('-', '-')),
    ])  # fmt: skip
  return text_table(header, lines)


def figure(
  searched: Sequence[Row], family: Sequence[Row], scores: Mapping[str, experiment.Score]
) -> Figure:
  """Plots accuracy against multiply-adds and parameters (Figure 8).

  Args:
    searched: STEP 1's rows, drawn as dots.
    family: STEP 2's rows, drawn as lines.
    scores: {trial's name: `experiment.Score`}.
  """
  from matplotlib.figure import Figure

  plot = Figure(figsize=(11, 4.2), layout='constrained')
  runs = next(iter(scores.values())).runs
  for axes, size in zip(plot.subplots(1, 2), ('multiply_adds', 'parameters'), strict=True):

    def line(rows, size=size):
      points = []
      for row in rows:
        score = scores[row.trial.name]
        points.append((getattr(row.trial, size) / 1e6, 100 - score.error, score.deviation))
      return zip(*sorted(points), strict=True)

    if searched:
      axes.errorbar(*line(searched), fmt='.', color='lightgrey', label='STEP 1')
    for how in dict.fromkeys(row.how for row in family if row.phi):
      rows = [row for row in family if row.how in (how, 'baseline')]
      axes.errorbar(*line(rows), fmt='o-', ms=4, capsize=3, label=how)
    axes.set(xlabel=f'{size.replace("_", "-")}, millions', ylabel='top-1 accuracy, %')
    axes.grid(alpha=0.3)
    axes.legend(fontsize='small')
  if runs > 1:
    plot.suptitle(f'Mean and standard deviation of {runs} seeds', fontsize='medium')
  return plot


def run(resolved: settings.Resolved) -> tuple[float, float, float]:
  """Runs search and scaling, prints the tables, and returns (alpha, beta, gamma).

  Raises:
    ValueError: as `grid`, or a wrong setting.
  """
  trials = experiment.Experiment(resolved, TRAINING)
  options = trials.config
  baseline = Baseline(trials.resolved)
  searched, scores = [], {}
  chosen = options.chosen
  if chosen is None:
    searched = baseline.step_1(options)
    if not options.dry_run:
      scores = trials.scores([row.trial for row in searched])
      searched = by_accuracy(searched, scores)
      chosen = tuple(searched[0].coefficients)
    print(f'\nSTEP 1: {baseline.name} scaled once, phi = 1\n{table(searched, scores, baseline)}')
  if chosen is None:
    chosen = (PAPER_ALPHA, PAPER_BETA, PAPER_GAMMA)
    print("\nNothing was trained, so the paper's coefficients are used.")
  print('\nalpha = {:g}, beta = {:g}, gamma = {:g}'.format(*chosen))
  family = baseline.step_2(options, chosen)
  if not options.dry_run:
    scores |= trials.scores([row.trial for row in family])
  text = f'STEP 2: {baseline.name} scaled by phi\n{table(family, scores, baseline, chosen)}'
  if options.dry_run:
    print(f'\n{text}')
    return chosen
  text = '\n'.join([text, '', *verdicts(family, scores), experiment.budget(trials.resolved)])
  text += experiment.quick_remark(options.quick)
  trials.save(text, figure(searched, family, scores), 'compound_scaling')
  return chosen


SCRIPT = experiment.miniature(
  TRAINING.script(
    __doc__,
    'efficientnet.compound_scaling',
    RECIPES,
    run=run,
    own_check=experiment.check,
    defaults={'archive_ckpt': False, 'keep_checkpoint_max': 1},
  ),
  quick={'phis': '1', 'grid_step': 0.4, 'single_dimensions': False},
)


if __name__ == '__main__':
  SCRIPT.main()

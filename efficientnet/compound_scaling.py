"""Compound scaling as the paper tells it (Section 3.3): search alpha, beta, gamma, then scale the family.

  python -m efficientnet.compound_scaling
      On the embedded handwritten digits: sixteen small networks, about ten minutes on two cores.

  python -m efficientnet.compound_scaling --model_name=resnet-50 --data_dir=... --model_dir=...
      On your data, from another baseline.

  python -m efficientnet.compound_scaling --data_dir=fake --dry_run --alpha=1.2 --beta=1.1 --gamma=1.15
      What the paper's coefficients make of B0: parameters and multiply-adds, without training.

STEP 1 trains the baseline made larger once (phi = 1) in every way of a grid with alpha * beta^2 * gamma^2 near 2, where
depth is scaled by alpha, width by beta and resolution by gamma, and takes the most accurate. STEP 2 scales
the baseline by alpha^phi, beta^phi, gamma^phi, and for comparison in one dimension alone to the same cost
(Figures 3 and 8, Tables 3 and 7). Each network is trained as by `efficientnet.main`, whose flags these are;
those of the network and --input_image_size make the baseline. A stopped search goes on where it stopped
when the same command is given again.
"""
import dataclasses
import itertools
from typing import NamedTuple

from efficientnet import main as training
from efficientnet.recipes import RECIPES as TRAINING_RECIPES
from tpu_utils import config
from tpu_utils.command_line import settings
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import experiment, script
from tpu_utils.image_jobs.experiment import Trial
from tpu_utils.names import check_name
from tpu_utils.text_table import text_table

# Equation 3: a step of phi doubles the cost.
COST_OF_A_STEP = 2.0
# Section 3.3, STEP 1, for B0.
PAPER_ALPHA, PAPER_BETA, PAPER_GAMMA = 1.2, 1.1, 1.15
DIMENSIONS = ('depth', 'width', 'resolution')


# The arithmetic.


class Coefficients(NamedTuple):
  """By how much a baseline is scaled."""

  depth: float
  width: float
  resolution: float


def scaling_coefficients(phi, alpha=PAPER_ALPHA, beta=PAPER_BETA, gamma=PAPER_GAMMA):
  """`Coefficients` of compound scaling: (alpha^phi, beta^phi, gamma^phi) (Equation 3)."""
  return Coefficients(alpha**phi, beta**phi, gamma**phi)


def single_dimension(dimension, phi):
  """`Coefficients` that scale depth, width or resolution alone to 2^phi times the cost.

  The cost is proportional to depth, and to the square of width and of resolution.

  Raises:
    ValueError: an unknown dimension.
  """
  check_name('dimension', dimension, DIMENSIONS)
  factor = COST_OF_A_STEP**phi
  return Coefficients(1.0, 1.0, 1.0)._replace(
    **{dimension: factor if dimension == 'depth' else factor**0.5}
  )


def relative_cost(coefficients):
  """Multiply-adds of a network scaled by `Coefficients` over its baseline's, but for rounding."""
  return coefficients.depth * coefficients.width**2 * coefficients.resolution**2


def grid(step=0.1, tolerance=0.1):
  """The (alpha, beta, gamma) that STEP 1 tries.

  Args:
    step: between the values of each, which begin with 1.
    tolerance: how far alpha * beta^2 * gamma^2 may be from 2.

  Returns:
    list of triples, ascending. Steps of 0.05 hold the paper's.

  Raises:
    ValueError: no triple, or a step or tolerance out of range.
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
      f'No alpha, beta, gamma in steps of {step} have alpha * beta^2 * gamma^2 within {tolerance} of 2; '
      'take smaller steps or a larger tolerance.'
    )
  return triples


def scaled_resolution(pixels, coefficient):
  """The nearest even number of pixels a side."""
  return max(2, 2 * round(pixels * coefficient / 2))


# The experiment.


@dataclasses.dataclass(frozen=True)
class ScalingConfig(experiment.ExperimentConfig):
  """Which search."""

  grid_step: float = setting(0.1, 'STEP 1: between the values of alpha, beta and gamma.')
  grid_tolerance: float = setting(0.1, 'STEP 1: how far alpha * beta^2 * gamma^2 may be from 2.', at_least=0)
  alpha: float = setting(None, 'Depth coefficient; given with --beta and --gamma, STEP 1 is left out.', type=float, at_least=1)
  beta: float = setting(None, 'Width coefficient.', type=float, at_least=1)
  gamma: float = setting(None, 'Resolution coefficient.', type=float, at_least=1)
  phis: str = setting('1,2', 'STEP 2: by how many doublings of the cost the baseline is scaled.')
  single_dimensions: bool = setting(True, 'STEP 2: also scale depth, width and resolution alone.')

  def __post_init__(self):
    super().__post_init__()
    given = [value is not None for value in (self.alpha, self.beta, self.gamma)]
    if any(given) and not all(given):
      raise ValueError('--alpha, --beta and --gamma go together: give all three, or none for a search.')
    self.phi_list()

  def phi_list(self):
    try:
      phis = [float(text) for text in self.phis.split(',')]
    except ValueError:
      phis = []
    if not phis or min(phis) <= 0:
      raise ValueError(f'--phis={self.phis} must be positive numbers, separated by commas.')
    return phis

  @property
  def chosen(self):
    """(alpha, beta, gamma) if they are not to be searched, else None."""
    return None if self.alpha is None else (self.alpha, self.beta, self.gamma)


_DIGITS = {
  'model_dir': 'runs/compound-scaling',
  # Few filters on many pixels: with fewer pixels rounding alone would decide what a resolution costs.
  'width_coefficient': 0.25,
  'input_image_size': 64,
  'train_steps': 110,
  'steps_per_eval': 110,
  'grid_tolerance': 0.05,
}
RECIPES = experiment.own_recipes(
  TRAINING_RECIPES, 'efficientnet.compound_scaling', {'imagenet': {}, 'transfer': {}, 'digits': _DIGITS}
)
# Tables 3 and 7: {baseline: {(how, phi): (multiply-adds in billions, top-1 accuracy)}}.
PAPER = {
  'efficientnet-b0': {
    ('baseline', 0): (0.4, 76.3), ('depth', 2): (1.8, 79.0), ('width', 2): (1.8, 78.9),
    ('resolution', 2): (1.9, 79.1), ('compound', 2): (1.8, 81.1),
  },
  'mobilenet-v1': {
    ('baseline', 0): (0.6, 70.6), ('width', 2): (2.2, 74.2), ('resolution', 2): (2.2, 72.7),
    ('compound', 2): (2.3, 75.6),
  },
  'mobilenet-v2': {
    ('baseline', 0): (0.3, 72.0), ('depth', 2): (1.2, 76.8), ('width', 2): (1.1, 76.4),
    ('resolution', 2): (1.2, 74.8), ('compound', 2): (1.3, 77.4),
  },
  'resnet-50': {
    ('baseline', 0): (4.1, 76.0), ('depth', 2): (16.2, 78.1), ('width', 2): (14.7, 77.7),
    ('resolution', 2): (16.4, 77.5), ('compound', 2): (16.7, 78.8),
  },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ModelConfig(training.ModelConfig):
  """Which baseline."""

  model_name: str = setting(
    'efficientnet-b0', 'The baseline: an EfficientNet, mobilenet-v1, mobilenet-v2 or resnet-50.'
  )


def resolve_model(model: ModelConfig) -> script.ModelSpec:
  """Resolves a scaled baseline."""
  from efficientnet import scaling_bases

  params = scaling_bases.get_params(model.model_name, model.overrides())
  return script.ModelSpec(
    build_model=scaling_bases.build_model,
    spec=scaling_bases.get_preprocess_spec(model.model_name),
    identity=('width_coefficient', 'depth_coefficient', 'input_image_size'),
    run_info={'global_params': dataclasses.asdict(params)},
  )


TRAINING = script.Training(
  (ModelConfig, ScalingConfig), resolve_model, exports_digits=False
)


@dataclasses.dataclass(frozen=True)
class Row:
  """A network of the tables: how it is scaled and the `Trial` that trains it."""

  how: str
  phi: float
  coefficients: Coefficients
  trial: Trial


class Baseline:
  """The network that is scaled, from the settings of the experiment."""

  def __init__(self, resolved: settings.Resolved):
    from efficientnet import scaling_bases

    self._model = resolved.get(ModelConfig)
    self.name = self._model.model_name
    params = scaling_bases.get_params(self.name, self._model.overrides())
    native = scaling_bases.get_preprocess_spec(self.name).image_size
    self._pixels = self._model.input_image_size or native
    self._depth, self._width = params.depth_coefficient or 1.0, params.width_coefficient or 1.0
    self._num_classes = resolved.get(config.DataConfig).num_label_classes
    # Only of these does the paper say what scaling makes of them.
    self._is_papers = (self._depth, self._width, self._pixels) == (1.0, 1.0, native)

  def row(self, how, phi, coefficients):
    """The baseline scaled by `Coefficients`."""
    from efficientnet import scaling_bases

    depth, width, resolution = coefficients
    scaled = {
      'width_coefficient': round(self._width * width, 4),
      'depth_coefficient': round(self._depth * depth, 4),
      'input_image_size': scaled_resolution(self._pixels, resolution),
    }
    size = scaling_bases.count(
      self.name,
      image_size=scaled['input_image_size'],
      **{
        **self._model.overrides(),
        'width_coefficient': scaled['width_coefficient'],
        'depth_coefficient': scaled['depth_coefficient'],
        'num_classes': self._num_classes,
      },
    )
    name = f'{self.name}-w{{width_coefficient:g}}-d{{depth_coefficient:g}}-{{input_image_size}}px'.format(**scaled)
    trial = Trial(name, scaled, size.parameters, size.multiply_adds)
    return Row(how, phi, coefficients, trial)

  def paper(self, row, alpha_beta_gamma):
    """(multiply-adds in billions, top-1) of the paper, None where it has not trained this network."""
    ours = (PAPER_ALPHA, PAPER_BETA, PAPER_GAMMA)
    if not self._is_papers or (row.how == 'compound' and alpha_beta_gamma != ours):
      return None
    return PAPER.get(self.name, {}).get((row.how, row.phi))

  def step_1(self, config):
    """The baseline and a `Row` for each point of the grid."""
    triples = grid(config.grid_step, config.grid_tolerance)
    return [self.row('compound', 1, Coefficients(*triple)) for triple in triples]

  def step_2(self, config, alpha_beta_gamma):
    """The baseline, the family that the coefficients make of it, and what one dimension makes of it."""
    rows = [self.row('baseline', 0, Coefficients(1.0, 1.0, 1.0))]
    for how in (*(DIMENSIONS if config.single_dimensions else ()), 'compound'):
      for phi in config.phi_list():
        scaled = (
          scaling_coefficients(phi, *alpha_beta_gamma)
          if how == 'compound'
          else single_dimension(how, phi)
        )
        rows.append(self.row(how, phi, scaled))
    return rows


def best(rows, scores):
  """The row of the most accurate network; of equal ones that of the smallest cross-entropy."""
  return min(rows, key=lambda row: (scores[row.trial.name].error, scores[row.trial.name].cross_entropy))


def table(rows, scores, baseline, alpha_beta_gamma=None):
  """Rows as text; `scores` is {trial's name: `experiment.Score`}, empty before training."""
  header = [
    'scaled', 'phi', 'depth', 'width', 'resolution', 'pixels', 'cost', 'parameters', 'multiply-adds',
    'top-1 %', 'cross-entropy', 'paper: multiply-adds', 'top-1 %',
  ]  # fmt: skip
  lines = []
  for row in rows:
    score = scores.get(row.trial.name)
    paper = baseline.paper(row, alpha_beta_gamma)
    lines.append([
      row.how, f'{row.phi:g}', *(f'{c:.4g}' for c in row.coefficients), row.trial.flags['input_image_size'],
      f'{relative_cost(row.coefficients):.2f}',
      experiment.count(row.trial.parameters), experiment.count(row.trial.multiply_adds),
      *((score.accuracy_text, f'{score.cross_entropy:.4f}') if score else ('-', '-')),
      *((f'{paper[0]}G', paper[1]) if paper else ('-', '-')),
    ])  # fmt: skip
  return text_table(header, lines)


def figure(searched, family, scores):
  """Accuracy against multiply-adds and against parameters (Figure 8), with the grid's networks as dots."""
  from matplotlib.figure import Figure

  plot = Figure(figsize=(11, 4.2))
  for axes, size in zip(plot.subplots(1, 2), ('multiply_adds', 'parameters'), strict=True):

    def line(rows, size=size):
      points = [(getattr(r.trial, size) / 1e6, 100 - scores[r.trial.name].error) for r in rows]
      return zip(*sorted(points), strict=True)

    if searched:
      axes.plot(*line(searched), '.', color='lightgrey', label='STEP 1')
    for how in dict.fromkeys(row.how for row in family if row.phi):
      axes.plot(*line([row for row in family if row.how in (how, 'baseline')]), 'o-', label=how)
    axes.set(xlabel=f'{size.replace("_", "-")}, millions', ylabel='top-1 accuracy, %')
    axes.legend(fontsize='small')
  return plot


def run(resolved: settings.Resolved) -> tuple[float, float, float]:
  """Runs the search and the scaling, prints the tables; returns (alpha, beta, gamma)."""
  trials = experiment.Experiment(resolved, TRAINING.run_job)
  options = trials.config
  baseline = Baseline(trials.resolved)
  searched, scores = [], {}
  chosen = options.chosen
  if chosen is None:
    searched = baseline.step_1(options)
    if not options.dry_run:
      scores = trials.scores([row.trial for row in searched])
      searched.sort(key=lambda row: (scores[row.trial.name].error, scores[row.trial.name].cross_entropy))
      chosen = tuple(best(searched, scores).coefficients)
    print(f'\nSTEP 1: {baseline.name} scaled once, phi = 1\n{table(searched, scores, baseline)}')
  if chosen is None:
    chosen = (PAPER_ALPHA, PAPER_BETA, PAPER_GAMMA)
    print('\nNothing was trained to choose from; the paper\'s coefficients are taken.')
  print('\nalpha = {:g}, beta = {:g}, gamma = {:g}'.format(*chosen))
  family = baseline.step_2(options, chosen)
  if not options.dry_run:
    scores |= trials.scores([row.trial for row in family])
  print(f'\nSTEP 2: {baseline.name} scaled by phi\n{table(family, scores, baseline, chosen)}')
  if not options.dry_run:
    experiment.save_figure(figure(searched, family, scores), trials.path('compound_scaling.png'))
    print(f'\nResults: {trials.path("results.jsonl")}; plot: {trials.path("compound_scaling.png")}')
  return chosen


SCRIPT = TRAINING.script(
  __doc__,
  'efficientnet.compound_scaling',
  RECIPES,
  run=run,
  defaults={'archive_ckpt': False, 'keep_checkpoint_max': 1},
)


if __name__ == '__main__':
  SCRIPT.main()

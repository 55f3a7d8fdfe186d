"""The paper's experiments on cardinality: error by number of paths, depth and width (Tables 3, 4).

  python -m resnext.cardinality
      On Fashion-MNIST where Debian's package dataset-fashion-mnist is installed (another folder:
      --fashion_mnist_dir): 1, 2, 4 and 8 paths at equal cost, small networks, each trained with
      three seeds; half an hour on one core. Otherwise on the embedded digits, which are too
      few to tell networks apart.

  python -m resnext.cardinality --recipe=fashion_mnist --dataset=cifar10 --model_dir=runs/cifar
      The same networks on CIFAR-10 as TensorFlow Datasets prepared it.

  python -m resnext.cardinality --quick
      Two steps for two networks: tries the command, measures nothing.

  python -m resnext.cardinality --model_name=resnet-50 --data_dir=DATA --model_dir=RUN --tpu=local
      On ImageNet; prints the paper's errors next to the measured ones.

  python -m resnext.cardinality --model_name=resnet-101 --data_dir=fake --dry_run
      Lists the networks with their parameters and multiply-adds, and trains none.

Table 3: networks with 1, 2, 4, ... paths in each block, at the cost of the plain ResNet
--model_name (see `resnext.capacity`). Table 4: networks of twice that cost that are deeper, are
wider, or have more paths. Takes the flags of `resnext.main`, which trains each network. The same
command resumes a stopped experiment.
"""
import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from resnext import capacity, models, network_params, recipes
from resnext import main as training
from tpu_utils import config
from tpu_utils.command_line.settings import Resolved, setting
from tpu_utils.image_jobs import experiment, script
from tpu_utils.image_jobs.experiment import Trial
from tpu_utils.text_table import text_table

if TYPE_CHECKING:
  from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class CardinalityConfig(experiment.ExperimentConfig):
  """Networks to compare."""

  cardinalities: str = setting('1,2,4,8,32', 'Numbers of paths, separated by commas; 1 first.')
  doubled: bool = setting(
    True, 'Also train networks of twice the cost: deeper, wider, more paths (Table 4).'
  )

  def __post_init__(self):
    super().__post_init__()
    if self.cardinality_list()[0] != 1 or len(self.cardinality_list()) < 2:
      raise ValueError(
        f'--cardinalities={self.cardinalities} must begin with 1, the plain network, and list at '
        'least one more.'
      )

  def cardinality_list(self) -> list[int]:
    """Returns the numbers in `cardinalities`.

    Raises:
      ValueError: one is not a positive whole number.
    """
    return capacity.CapacityConfig(cardinalities=self.cardinalities).cardinality_list()


_DIGITS = {
  'model_dir': 'runs/resnext-cardinality',
  'model_name': 'resnet-11',
  # Five epochs: after ten, all cardinalities make only one or two mistakes in 355 images.
  'train_steps': 110,
  'steps_per_eval': 110,
  'base_learning_rate': 0.05,  # At 0.2 the deeper networks learn too slowly.
  'lr_step_epochs': '4',
  'runs': 3,
}
_FASHION = {
  'model_dir': 'runs/resnext-cardinality-fashion',
  'model_name': 'resnet-11',
  'input_image_size': 28,
  'crop_rule': 'whole',
  'width': 16,
  'stem_width': 16,
  'eval_batch_size': 250,
  'train_steps': 500,
  'steps_per_eval': 500,
  'iterations_per_loop': 50,
  'base_learning_rate': 0.4,
  'lr_schedule': 'cosine',
  'weight_decay': 1e-4,
  'cardinalities': '1,2,4,8',
  'doubled': False,
  'runs': 3,
}
RECIPES = experiment.own_recipes(
  recipes.RECIPES,
  'resnext.cardinality',
  {
    'imagenet': {'model_name': 'resnet-50'},
    'cifar': {'model_name': 'resnet-29'},
    'transfer': {},
    'digits': _DIGITS,
    experiment.FASHION: _FASHION,
  },
)
TRAINING = script.Training(
  (training.ModelConfig, CardinalityConfig),
  training.resolve_model,
  lambda resolved: experiment.augmentation(resolved) or training.augmentation(resolved),
  exports_digits=False,
)


# Names of the networks to compare.


def equal_names(baseline: str, cardinalities: Iterable[int]) -> dict[int, str]:
  """Returns {C: name of the network with C paths at the cost of `baseline`} (Table 3).

  Raises:
    ValueError: `baseline` is not a plain ResNet, or a cardinality is too large for its cost.
  """
  depth, width = _plain(baseline)
  return {
    c: _name(depth, c, capacity.equal_capacity_width(c, baseline_width=width))
    for c in cardinalities
  }


def doubled_names(
  baseline: str, cardinality: int, overrides: Mapping[str, Any] | None = None
) -> dict[str, str]:
  """Names the networks of Table 4, which cost about twice as much as `baseline`.

  Args:
    baseline: name of a plain ResNet.
    cardinality: number of paths to double.
    overrides: {field: value} to change in every network, as for `network_params.from_name`.

  Returns:
    {'deeper', 'wider' or 'C paths': name of the network}.

  Raises:
    ValueError: as `equal_names`.
  """
  depth, width = _plain(baseline)
  wider = capacity.equal_capacity_width(1, baseline_width=width, times=2)
  return {
    'deeper': _name(_doubled_depth(baseline, overrides), 1, width),
    # In steps of 4: for 64 the nearest width is 99, and the paper takes 100.
    'wider': _name(depth, 1, 4 * round(wider / 4)),
    **{
      f'{c} paths': _name(depth, c, capacity.equal_capacity_width(c, baseline_width=width, times=2))
      for c in (2, 2 * cardinality)
    },
  }


def _plain(baseline):
  """Returns (depth, width) of a plain ResNet."""
  params = network_params.from_name(baseline)
  if params.cardinality != 1:
    raise ValueError(
      f'--model_name={baseline} has {params.cardinality} paths; the experiment starts from a plain '
      'network, such as resnet-50.'
    )
  if params.stem == 'deep':
    raise ValueError(
      f'--model_name={baseline} has a deep stem; the experiment starts from a plain network, such '
      'as resnet-50.'
    )
  return int(baseline.split('-')[1]), params.base_width


def _name(depth, cardinality, width):
  if cardinality > 1:
    return f'resnext-{depth}-{cardinality}x{width}d'
  return f'resnet-{depth}' if width == 64 else f'resnet-{depth}-1x{width}d'


def _doubled_depth(baseline, overrides):
  """Returns the depth that comes nearest to twice the baseline's multiply-adds."""
  depth, width = _plain(baseline)
  is_cifar = network_params.from_name(baseline, overrides).stem == 'cifar'
  depths = range(depth + 9, 3 * depth, 9) if is_cifar else (101, 152, 200)
  goal = 2 * _count(baseline, overrides).multiply_adds
  return min(depths, key=lambda d: abs(_count(_name(d, 1, width), overrides).multiply_adds - goal))


def _count(name, overrides, image_size=None):
  """Returns the `profile.Counts` of a network."""
  return _count_once(name, image_size, tuple(sorted((overrides or {}).items())))


@functools.cache
def _count_once(name, image_size, overrides):
  from resnext import resnext_builder
  from tpu_utils import profile

  return profile.count(
    lambda: resnext_builder.build_model(name, image_size=image_size, **dict(overrides))
  )


# The experiment.


def check(resolved: Resolved) -> None:
  """Checks the settings of the experiment, without TensorFlow.

  Raises:
    ValueError: the experiment cannot start from this network; see also `experiment.check`.
  """
  experiment.check(resolved)
  model = resolved.get(training.ModelConfig)
  for name in ('cardinality', 'base_width'):
    if getattr(model, name) is not None:
      raise ValueError(
        f'--{name} is varied by the experiment; leave it out, and choose --cardinalities.'
      )
  equal_names(model.model_name, resolved.get(CardinalityConfig).cardinality_list())


class Networks:
  """Networks of an experiment, and tables and a plot of their scores.

  Args:
    resolved: settings of the script, with the facts of the data.

  Attributes:
    equal: {cardinality: name} of the networks of Table 3.
    doubled: {row of Table 4: name}.

  Raises:
    ValueError: the experiment cannot start from these settings.
  """

  def __init__(self, resolved: Resolved):
    options, model = resolved.get(CardinalityConfig), resolved.get(training.ModelConfig)
    num_classes = resolved.get(config.DataConfig).num_label_classes
    self._overrides = {**model.overrides(), 'num_classes': num_classes}
    self._image_size = model.input_image_size
    self.equal = equal_names(model.model_name, options.cardinality_list())
    most = max(self.equal)
    self.doubled = {'plain': self.equal[1], f'{most} paths, same cost': self.equal[most]}
    if options.doubled:
      self.doubled |= doubled_names(model.model_name, most, self._overrides)

  def trials(self) -> list[Trial]:
    """Returns one `Trial` for each network."""
    names = dict.fromkeys([*self.equal.values(), *self.doubled.values()])
    sizes = {name: self._size(name) for name in names}
    return [
      Trial(name, {'model_name': name}, size.parameters, size.multiply_adds)
      for name, size in sizes.items()
    ]

  def _size(self, name):
    return _count(name, self._overrides, self._image_size)

  def paper_error(self, name: str) -> float | None:
    """Returns the paper's top-1 error in percent; None if it has none for this network and data."""
    own, papers = network_params.from_name(name, self._overrides), network_params.from_name(name)
    same = own == papers and self._image_size in (None, papers.image_size)
    return models.PAPER_ERRORS.get(name) if same else None

  def text(self, scores: Mapping[str, experiment.Score]) -> str:
    """Formats the two tables; `scores` is {name of the network: score}, empty before training."""
    parts = [
      'Error against cardinality at the same cost (Table 3)',
      self._table('C', self.equal, scores),
    ]
    if len(self.doubled) > 2:
      parts += [
        '\nTwice the cost: deeper, wider, more paths (Table 4)',
        self._table('variant', self.doubled, scores),
      ]
    return '\n'.join(parts)

  def _table(self, first_column, names, scores):
    baseline = self._size(self.equal[1]).multiply_adds
    header = [
      first_column, 'network', 'parameters', 'multiply-adds', 'relative', 'top-1 error %',
      'cross-entropy', 'paper',
    ]  # fmt: skip
    rows = []
    for key, name in names.items():
      size, score = self._size(name), scores.get(name)
      rows.append([
        key,
        name,
        experiment.count(size.parameters),
        experiment.count(size.multiply_adds),
        f'{size.multiply_adds / baseline:.2f}',
        *((score.error_text, f'{score.cross_entropy:.4f}') if score else ('-', '-')),
        self.paper_error(name) or '-',
      ])
    return text_table(header, rows)

  def verdicts(self, scores: Mapping[str, experiment.Score]) -> list[str]:
    """Says how the error of each network of Table 3 differs from the plain one's."""
    plain = scores[self.equal[1]]
    return [
      f'C = {c} against the plain network of the same cost: error '
      f'{scores[name].against(plain)}.'
      for c, name in self.equal.items()
      if c > 1
    ]

  def figure(self, scores: Mapping[str, experiment.Score]) -> 'Figure':
    """Plots error against cardinality, and against cost."""
    from matplotlib.figure import Figure

    has_doubled = len(self.doubled) > 2
    figure = Figure(figsize=(11 if has_doubled else 5.5, 4.2), layout='constrained')
    left, *others = figure.subplots(1, 1 + has_doubled, squeeze=False)[0]
    cardinalities = list(self.equal)
    measured = [scores[name] for name in self.equal.values()]
    runs = measured[0].runs
    left.errorbar(
      cardinalities,
      [s.error for s in measured],
      [s.deviation for s in measured],
      marker='o',
      capsize=3,
      label=f'mean and standard deviation of {runs} seeds' if runs > 1 else 'measured',
    )
    for c, score in zip(cardinalities, measured, strict=True):
      left.plot([c] * len(score.errors), score.errors, '.', color='grey', ms=3)
    papers = {c: self.paper_error(name) for c, name in self.equal.items()}
    if all(papers.values()):
      left.plot(cardinalities, list(papers.values()), 's--', color='grey', label='paper')
    left.set_xscale('log', base=2)
    left.set_xticks(cardinalities, [str(c) for c in cardinalities])
    left.set(xlabel='cardinality C', ylabel='top-1 error, %', title='The same cost (Table 3)')
    left.legend()
    for right in others:
      for key, name in self.doubled.items():
        cost, score = self._size(name).multiply_adds / 1e6, scores[name]
        right.errorbar(cost, score.error, score.deviation, marker='o', label=f'{key}: {name}')
      right.set(
        xlabel='multiply-adds, millions', ylabel='top-1 error, %', title='Twice the cost (Table 4)'
      )
      right.legend(fontsize='small')
    return figure


def run(resolved: Resolved) -> dict[str, experiment.Score]:
  """Runs the experiment and prints its tables.

  Returns:
    {name of the network: score}; empty with --dry_run.
  """
  trials = experiment.Experiment(resolved, TRAINING)
  networks = Networks(trials.resolved)
  if trials.config.dry_run:
    print(networks.text({}))
    return {}
  scores = trials.scores(networks.trials())
  text = '\n'.join([
    networks.text(scores), '', *networks.verdicts(scores), experiment.budget(trials.resolved)
  ]) + experiment.quick_remark(trials.config.quick)  # fmt: skip
  trials.save(text, networks.figure(scores), 'cardinality')
  return scores


SCRIPT = experiment.miniature(
  TRAINING.script(
    __doc__,
    'resnext.cardinality',
    RECIPES,
    run=run,
    own_check=check,
    defaults={'archive_ckpt': False, 'keep_checkpoint_max': 1},
  ),
  quick={'cardinalities': '1,2', 'doubled': False},
)


if __name__ == '__main__':
  SCRIPT.main()

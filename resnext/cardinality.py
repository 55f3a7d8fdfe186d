"""The paper's experiments on cardinality: error against the number of paths, deeper and wider networks.

  python -m resnext.cardinality
      On the embedded handwritten digits: nine small networks, three times each; about ten minutes on two cores.

  python -m resnext.cardinality --model_name=resnet-50 --data_dir=gs://bucket/imagenet --model_dir=... --tpu=local
      Tables 3 and 4 of the paper, with its values beside the measured ones.

  python -m resnext.cardinality --model_name=resnet-101 --data_dir=fake --dry_run
      What would be trained: parameters and multiply-adds.

Table 3: networks of 1, 2, 4, ... paths a block, which all cost what the plain ResNet --model_name costs
(`resnext.capacity`). Table 4: networks that cost twice as much because they are deeper, wider, or have more
paths. Each is trained by `resnext.main`, whose flags these are. A stopped experiment goes on where it
stopped when the same command is given again.
"""
import dataclasses
import functools

from resnext import capacity, models, network_params, recipes
from resnext import main as training
from tpu_utils import config
from tpu_utils.command_line.settings import Resolved, setting
from tpu_utils.image_jobs import experiment, script
from tpu_utils.image_jobs.experiment import Trial
from tpu_utils.text_table import text_table


@dataclasses.dataclass(frozen=True)
class CardinalityConfig(experiment.ExperimentConfig):
  """Which experiment."""

  cardinalities: str = setting('1,2,4,8,32', 'Numbers of paths, separated by commas, from 1 on.')
  doubled: bool = setting(True, 'Also train what costs twice as much: deeper, wider, more paths (Table 4).')

  def __post_init__(self):
    super().__post_init__()
    if self.cardinality_list()[0] != 1 or len(self.cardinality_list()) < 2:
      raise ValueError(f'--cardinalities={self.cardinalities} must begin with 1, the plain network, and go on.')

  def cardinality_list(self):
    return capacity.CapacityConfig(cardinalities=self.cardinalities).cardinality_list()


_DIGITS = {
  'model_dir': 'runs/resnext-cardinality',
  'model_name': 'resnet-11',
  # Five epochs, three times: after ten, networks of any cardinality make one or two mistakes in 355 images.
  'train_steps': 110,
  'steps_per_eval': 110,
  'base_learning_rate': 0.05,  # At 0.2 the deeper networks do not learn in so short a time.
  'lr_step_epochs': '4',
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
  },
)
TRAINING = script.Training(
  (training.ModelConfig, CardinalityConfig),
  training.resolve_model,
  training.augmentation,
  exports_digits=False,
)


# Which networks.


def equal_names(baseline, cardinalities):
  """{C: name of the network of C paths that costs what `baseline`, a plain ResNet, costs} (Table 3)."""
  depth, width = _plain(baseline)
  return {c: _name(depth, c, capacity.equal_capacity_width(c, baseline_width=width)) for c in cardinalities}


def doubled_names(baseline, cardinality, overrides=None):
  """{how: name of the network} of those of Table 4 that cost about twice what `baseline` costs.

  Args:
    baseline: name of a plain ResNet.
    cardinality: the number of paths of which there are to be twice as many.
    overrides: what else differs from the named networks, as for `network_params.from_name`.
  """
  depth, width = _plain(baseline)
  wider = capacity.equal_capacity_width(1, baseline_width=width, times=2)
  return {
    'deeper': _name(_doubled_depth(baseline, overrides), 1, width),
    'wider': _name(depth, 1, 4 * round(wider / 4)),  # 99 is nearer to twice 64; the paper takes 100.
    **{
      f'{c} paths': _name(depth, c, capacity.equal_capacity_width(c, baseline_width=width, times=2))
      for c in (2, 2 * cardinality)
    },
  }


def _plain(baseline):
  params = network_params.from_name(baseline)
  if params.cardinality != 1:
    raise ValueError(
      f'--model_name={baseline} has {params.cardinality} paths; the experiment starts from a plain network, '
      'such as resnet-50.'
    )
  return int(baseline.split('-')[1]), params.base_width


def _name(depth, cardinality, width):
  if cardinality > 1:
    return f'resnext-{depth}-{cardinality}x{width}d'
  return f'resnet-{depth}' if width == 64 else f'resnet-{depth}-1x{width}d'


def _doubled_depth(baseline, overrides):
  """The depth whose multiply-adds are nearest to twice the baseline's, of those that have names."""
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

  return profile.count(lambda: resnext_builder.build_model(name, image_size=image_size, **dict(overrides)))


# The experiment.


class Networks:
  """The networks of an experiment and their rows in the tables."""

  def __init__(self, resolved: Resolved):
    options, model = resolved.get(CardinalityConfig), resolved.get(training.ModelConfig)
    for name in ('cardinality', 'base_width'):
      if getattr(model, name) is not None:
        raise ValueError(f'--{name} is what the experiment varies; leave it out, and see --cardinalities.')
    num_classes = resolved.get(config.DataConfig).num_label_classes
    self._overrides = {**model.overrides(), 'num_classes': num_classes}
    self._image_size = model.input_image_size
    self.equal = equal_names(model.model_name, options.cardinality_list())
    most = max(self.equal)
    self.doubled = {'plain': self.equal[1], f'{most} paths, as costly': self.equal[most]}
    if options.doubled:
      self.doubled |= doubled_names(model.model_name, most, self._overrides)

  def trials(self):
    """A `Trial` for each."""
    names = dict.fromkeys([*self.equal.values(), *self.doubled.values()])
    sizes = {name: self._size(name) for name in names}
    return [Trial(name, {'model_name': name}, s.parameters, s.multiply_adds) for name, s in sizes.items()]

  def _size(self, name):
    return _count(name, self._overrides, self._image_size)

  def paper_error(self, name):
    """The paper's top-1 error in percent, None where it has not trained this network on such images."""
    own, papers = network_params.from_name(name, self._overrides), network_params.from_name(name)
    same = own == papers and self._image_size in (None, papers.image_size)
    return models.PAPER_ERRORS.get(name) if same else None

  def text(self, scores):
    """The two tables; `scores` is {name: `experiment.Score`}, empty before training."""
    parts = ['Error against cardinality at the same cost (Table 3)', self._table('C', self.equal, scores)]
    if len(self.doubled) > 2:
      parts += ['\nTwice the cost: deeper, wider, more paths (Table 4)', self._table('', self.doubled, scores)]
    return '\n'.join(parts)

  def _table(self, first, names, scores):
    baseline = self._size(self.equal[1]).multiply_adds
    header = [
      first or 'what', 'network', 'parameters', 'multiply-adds', 'relative', 'top-1 error %', 'cross-entropy', 'paper',
    ]  # fmt: skip
    rows = []
    for key, name in names.items():
      size, score = self._size(name), scores.get(name)
      rows.append([
        key, name, experiment.count(size.parameters), experiment.count(size.multiply_adds),
        f'{size.multiply_adds / baseline:.2f}',
        *((score.error_text, f'{score.cross_entropy:.4f}') if score else ('-', '-')),
        self.paper_error(name) or '-',
      ])  # fmt: skip
    return text_table(header, rows)

  def figure(self, scores):
    """Error against cardinality, and against cost."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2))
    left, right = figure.subplots(1, 2)
    cardinalities = list(self.equal)
    measured = [scores[name] for name in self.equal.values()]
    left.errorbar(
      cardinalities, [s.error for s in measured], [s.deviation for s in measured], marker='o', label='measured'
    )
    papers = {c: self.paper_error(name) for c, name in self.equal.items()}
    if all(papers.values()):
      left.plot(cardinalities, list(papers.values()), 's--', color='grey', label='paper')
    left.set_xscale('log', base=2)
    left.set_xticks(cardinalities, [str(c) for c in cardinalities])
    left.set(xlabel='cardinality C', ylabel='top-1 error, %', title='The same cost (Table 3)')
    left.legend()
    for key, name in self.doubled.items():
      cost = self._size(name).multiply_adds / 1e6
      right.errorbar(cost, scores[name].error, scores[name].deviation, marker='o', label=f'{key}: {name}')
    right.set(xlabel='multiply-adds, millions', ylabel='top-1 error, %', title='Twice the cost (Table 4)')
    right.legend(fontsize='small')
    return figure


def run(resolved: Resolved) -> dict[str, experiment.Score]:
  """Runs the experiment and prints its tables; returns {network: `experiment.Score`}."""
  trials = experiment.Experiment(resolved, TRAINING.run_job)
  networks = Networks(trials.resolved)
  if trials.config.dry_run:
    print(networks.text({}))
    return {}
  scores = trials.scores(networks.trials())
  print(f'\n{networks.text(scores)}')
  experiment.save_figure(networks.figure(scores), trials.path('cardinality.png'))
  print(f'\nResults: {trials.path("results.jsonl")}; plot: {trials.path("cardinality.png")}')
  return scores


SCRIPT = TRAINING.script(
  __doc__,
  'resnext.cardinality',
  RECIPES,
  run=run,
  defaults={'archive_ckpt': False, 'keep_checkpoint_max': 1},
)


if __name__ == '__main__':
  SCRIPT.main()

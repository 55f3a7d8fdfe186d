"""Turns compiled steps into a report: memory, traffic, the bound that they set, and advice."""
import collections
import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tpu_utils.preflight.compiling import Compiled
from tpu_utils.preflight.topology import Topology
from tpu_utils.text_table import text_table

_LANES = 128  # Values in a row of the vector unit: the batch of convolutions, or channels.
_MIB, _GIB = 2**20, 2**30
_TOP = 12  # Layers in the table.
_UPDATES = 'optimizer, moving averages'
_OTHER = 'loss, metrics, other'
_UNKNOWN = (
  'Collectives are modelled, not compiled: a ring over all links, not hidden behind computation.',
  'The bound is what memory and arithmetic allow; the step itself takes longer.',
  'Nothing ran: time of the input pipeline, of the host and of infeed is not in it.',
  "TensorFlow's own TPU lowering may differ from the lowering for XLA that was compiled here.",
)


@dataclasses.dataclass(frozen=True)
class Step:
  """A step that was compiled.

  Attributes:
    name: 'train', 'eval', or 'rollout', which samples from the model before a training step.
    compiled: the result.
    batch_per_core: its examples.
    gradient_bytes: what its all-reduce of gradients moves; 0 for none.
    concerns: see `lowering.concerns`.
  """

  name: str
  compiled: Compiled
  batch_per_core: int
  gradient_bytes: int = 0
  concerns: Sequence[str] = ()

  def fits(self, topology: Topology) -> bool:
    """Returns whether it compiled and its memory is there."""
    return not self.compiled.error and self.compiled.memory <= topology.hbm_bytes

  def seconds(self, topology: Topology) -> tuple[float, float, float]:
    """Returns the least seconds for the memory's traffic, arithmetic and (modelled) collectives."""
    return (
      self.compiled.hbm_bytes / topology.hbm_bytes_per_s,
      self.compiled.flops / topology.flops_per_s,
      topology.all_reduce_s(self.gradient_bytes),
    )


def as_json(
  steps: Sequence[Step], topology: Topology, layers: Collection[str], versions: Mapping[str, str]
) -> dict[str, Any]:
  """Returns the report as a JSON-able dict; sizes in bytes, per core.

  Args:
    steps: the steps.
    topology: where they would run.
    layers: names of the model's layers.
    versions: of the compiler.
  """
  return {
    'topology': topology.name,
    'cores': topology.cores,
    'hbm_bytes_per_core': topology.hbm_bytes,
    'compiler': dict(versions),
    'fits': all(step.fits(topology) for step in steps),
    'steps': {step.name: _step_json(step, topology, layers) for step in steps},
    'advice': advice(steps, topology),
    'unknown': [*_UNKNOWN],
  }


def _step_json(step, topology, layers):
  compiled = step.compiled
  if compiled.error:
    return {
      'batch_per_core': step.batch_per_core,
      'fits': False,
      'needed': compiled.needed,
      'error': compiled.error,
    }
  memory_s, arithmetic_s, collective_s = step.seconds(topology)
  bound = max(memory_s, arithmetic_s)
  per_layer = by_layer(compiled.by_operation, layers)
  return {
    'batch_per_core': step.batch_per_core,
    'fits': step.fits(topology),
    'memory': {
      name: getattr(compiled, name) for name in ('arguments', 'temporaries', 'code', 'outputs')
    },
    'multiply_adds': compiled.flops / 2,
    'hbm_bytes': compiled.hbm_bytes,
    'hbm_bytes_per_example': compiled.hbm_bytes / step.batch_per_core,
    'seconds': {'hbm': memory_s, 'arithmetic': arithmetic_s, 'collectives': collective_s},
    'bound_by': 'HBM' if memory_s >= arithmetic_s else 'arithmetic',
    'examples_per_s': topology.cores * step.batch_per_core / bound if bound else None,
    'layers': dict(per_layer.most_common(50)),
    'loops_counted_once': compiled.open_loops,
    'concerns': [*step.concerns],
  }


def advice(steps: Sequence[Step], topology: Topology) -> list[str]:
  """Returns what the compiled steps suggest."""
  lines = []
  train = next((step for step in steps if step.name == 'train'), None)
  if train is not None and train.batch_per_core % _LANES:
    near = max(_LANES, round(train.batch_per_core / _LANES) * _LANES)
    lines.append(
      f'{train.batch_per_core} examples per core are no multiple of {_LANES}, the lanes of the '
      'vector unit: convolutions with few channels are padded. Try '
      f'--train_batch_size={near * topology.cores}.'
    )
  for step in steps:
    compiled = step.compiled
    if not step.fits(topology):
      lines.append(
        f'The {step.name} step does not fit: --find_batch_size finds a batch that does; '
        '--gradient_accumulation_steps splits the batch.'
      )
    elif compiled.memory > 0.9 * topology.hbm_bytes:
      lines.append(
        f'The {step.name} step leaves under 10 % of the memory for the runtime and the next batch.'
      )
    if step.concerns:
      lines.append(f'In the {step.name} step: {", ".join(step.concerns)}.')
    if compiled.open_loops:
      lines.append(
        f'{compiled.open_loops} loops of the {step.name} step end by a condition on data; their '
        'traffic is counted for one round.'
      )
  return lines


def by_layer(operations: Mapping[str, int], layers: Collection[str]) -> collections.Counter:
  """Returns {layer: bytes} of traffic, with forward pass and gradient together.

  Args:
    operations: {name of TensorFlow's operation: bytes}.
    layers: names of the model's layers; the model's own name first.
  """
  known: set[str] = {*layers}
  totals: collections.Counter = collections.Counter()
  for name, size in operations.items():
    totals[_layer(name, known)] += size
  return totals


def _layer(name, known):
  parts = [
    part if part in known else re.sub(r'_\d+$', '', part)
    for part in name.removeprefix('gradient_tape/').split('/')[:-1]
  ]
  place = [part for part in parts if part in known]
  if len(place) > 1:
    return '/'.join(place[1:])
  if re.match(r'(Assign|.*/Assign)', name):
    return _UPDATES
  return place[0] if place else _OTHER


def text(content: Mapping[str, Any], unit: str) -> str:
  """Formats a report for a terminal.

  Args:
    content: from `as_json`.
    unit: plural noun for examples.
  """
  gib = content['hbm_bytes_per_core'] / _GIB
  lines = [f'{content["topology"]}: {content["cores"]} cores, {gib:.1f} GiB of HBM each. Per core:']
  rows = [_row(name, step, content) for name, step in content['steps'].items()]
  header = (
    'step', unit, 'arguments MiB', 'temporaries', 'code', 'of HBM', 'G multiply-adds', 'HBM MB',
    f'MB/{unit[:-1]}', 'bound ms', 'bound by', f'{unit}/s, all cores',
  )  # fmt: skip
  lines += ['', text_table(header, [row for row in rows if row])]
  for name, step in content['steps'].items():
    if step.get('error'):
      lines += ['', f'The {name} step does not compile: {step["error"]}']
    else:
      lines += ['', *_details(name, step)]
  for title in ('advice', 'unknown'):
    if content[title]:
      lines += ['', f'{title.capitalize()}:', *(f'- {line}' for line in content[title])]
  return '\n'.join(lines)


def _row(name, step, content):
  if step.get('error'):
    return None
  memory, seconds = step['memory'], step['seconds']
  return (
    name,
    step['batch_per_core'],
    *(f'{memory[part] / _MIB:,.0f}' for part in ('arguments', 'temporaries', 'code')),
    f'{sum(memory.values()) / content["hbm_bytes_per_core"]:.0%}',
    f'{step["multiply_adds"] / 1e9:,.2f}',
    f'{step["hbm_bytes"] / 1e6:,.0f}',
    f'{step["hbm_bytes_per_example"] / 1e6:,.2f}',
    f'{1e3 * max(seconds["hbm"], seconds["arithmetic"]):.2f}',
    step['bound_by'],
    f'{step["examples_per_s"] or 0:,.0f}',
  )


def _details(name, step):
  total = step['hbm_bytes'] or 1
  shown = [*step['layers'].items()][:_TOP]
  rows = [(layer, f'{size / 1e6:,.1f}', f'{size / total:.1%}') for layer, size in shown]
  table = text_table((f'most traffic in {name}', 'MB', 'share'), rows)
  collectives = step['seconds']['collectives']
  note = f'Collectives of {name}, modelled: {1e3 * collectives:.2f} ms.'
  return [table, *([note] if collectives else [])]

"""Compares the compiled training step with that of the same network from Keras' own layers.

Both have this project's trainer, recipe and input, so that they differ in the network alone.
"""
from collections.abc import Mapping
from typing import Any

from tpu_utils.preflight import report
from tpu_utils.preflight.topology import Topology
from tpu_utils.text_table import text_table

PEERS = ('', 'keras')  # Values of --compare.
OURS, PEER = 'ours', 'keras'
_ROWS = (
  # Name of the row, unit of its numbers, their number of decimals.
  ('HBM MB per {}', 1e6, 2),
  ('arguments MiB', 2**20, 0),
  ('temporaries MiB', 2**20, 0),
  ('code MiB', 2**20, 0),
  ('G multiply-adds', 1e9, 1),
  ('bound, {}s/s of all cores', 1, 0),
)


def as_json(ours: report.Step, peer: report.Step, topology: Topology) -> dict[str, Any]:
  """Returns the comparison as a JSON-able dict.

  Args:
    ours: the training step of this project's network.
    peer: that of the network from Keras' layers.
    topology: what both were compiled for.

  Returns:
    {'batch_per_core', 'ours' and 'keras': {'fits', 'error' or 'values': numbers as in the table},
    'hbm_bytes_ratio': ours / keras, or None if one did not compile}.
  """
  both = {OURS: ours, PEER: peer}
  sizes = [step.compiled.hbm_bytes for step in both.values()]
  compared = all(not step.compiled.error for step in both.values()) and sizes[1]
  return {
    'batch_per_core': ours.batch_per_core,
    **{name: _side(step, topology) for name, step in both.items()},
    'hbm_bytes_ratio': sizes[0] / sizes[1] if compared else None,
  }


def _side(step, topology):
  compiled = step.compiled
  if compiled.error:
    return {'fits': False, 'error': compiled.error, 'needed': compiled.needed}
  memory_s, arithmetic_s, _ = step.seconds(topology)
  bound = max(memory_s, arithmetic_s)
  values = (
    compiled.hbm_bytes / step.batch_per_core, compiled.arguments, compiled.temporaries,
    compiled.code, compiled.flops / 2,
    topology.cores * step.batch_per_core / bound if bound else 0,
  )  # fmt: skip
  return {'fits': step.fits(topology), 'values': list(values)}


def text(comparison: Mapping[str, Any], unit: str) -> str:
  """Formats a comparison as a table for a terminal.

  Args:
    comparison: from `as_json`.
    unit: plural noun for examples.
  """
  sides = [comparison[OURS], comparison[PEER]]
  failed = [name for name in (OURS, PEER) if 'error' in comparison[name]]
  if failed:
    return '\n'.join(
      f'The training step of {name} does not compile: {comparison[name]["error"]}'
      for name in failed
    )
  rows = [
    (name.format(unit[:-1]), *(f'{side["values"][i] / scale:,.{decimals}f}' for side in sides),
     _ratio(*(side['values'][i] for side in sides)))
    for i, (name, scale, decimals) in enumerate(_ROWS)
  ]  # fmt: skip
  header = (f'train, {comparison["batch_per_core"]} {unit} per core', 'ours', 'Keras', 'ratio')
  return text_table(header, rows)


def _ratio(ours, peer):
  return f'{ours / peer:.3f}' if peer else ''

"""Times Keras models on JAX against torch on whatever device JAX finds: `--backend=jax`.

Each library runs in processes of its own. First all compile, `--compile_at_once` at a time; then
contestants of one model and type take turns, and each row is printed and written when it is there.
`suite` is a paper's part: its models, its programs and its peers.

Programs get one JSON argument: `work` ('time', 'check', or 'eager' and 'compiled' for the peer's),
`model`, `batch_size`, `dtype`, `image_size` and `goldens`.
"""
import dataclasses
import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from tpu_utils import files, text_table
from tpu_utils.benchmarking import contest, roofline
from tpu_utils.benchmarking.peer_process import PeerProcess, prepare
from tpu_utils.command_line import settings
from tpu_utils.command_line.settings import setting
from tpu_utils.names import check_name

OURS = 'ours (Keras on JAX)'
KINDS = ('forward', 'training step')
DTYPES = ('bfloat16', 'float32')
_ROUND_SECONDS = 0.3  # Of a turn, so that waiting for the device's queue does not count.
_MOST_STEPS = 100
_ANSWER_SECONDS = 300.0  # Most time for the steps of a turn.
# {kind of program: {its contestants: arguments of `torch_timing.works`}} of image classifiers.
_IMAGE_VARIANTS = {
  'compiled': {'compiled, channels last': {'channels_last': True, 'compiled': True}},
  'eager': {'eager, channels last': {'channels_last': True}, 'eager': {}},
}
_COLUMNS = (
  'model', 'work', 'type', 'contestant', 'batch', 'ms', 'per second', 'times ours', 'MiB',
  'of dense peak', 'of measured product', 'of measured copy',
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DeviceConfig(settings.Checked):
  """The benchmark on JAX (--backend=jax)."""

  backend: str = setting(
    'tensorflow',
    'tensorflow: this benchmark as its other flags say. jax: forward pass and training step of '
    "Keras' JAX backend on the device that JAX finds, against torch, by the flags below, "
    '--rounds and --image_size. Needs jax and optax, and no TensorFlow.',
    choices=('tensorflow', 'jax'),
  )
  models: str = setting(
    None,
    "Models with their batch sizes, as 'NAME:SIZE,NAME:SIZE'; the paper's if not given.",
    type=str,
  )
  dtypes: str = setting(
    'bfloat16,float32', 'Types: bfloat16 is mixed precision, float32 multiplies in TF32 on GPUs.'
  )
  torch_python: str = setting('', 'A Python that has torch and the peers; if not given, this one.')
  report_dir: str = setting(
    None, 'Folder for jax.json, jax.md and the logs of the programs; a temporary one if not given.',
    type=str,
  )  # fmt: skip
  compile_at_once: int = setting(
    1,
    'Programs that compile at the same time. More take less time in all, but disturb the trials by '
    'which the compilers choose kernels.',
    at_least=1,
  )
  ready_seconds: int = setting(
    1800, 'Most seconds for all compilation; what is not ready then is left out.', at_least=1
  )
  goldens: str = setting(
    'tests/goldens', 'Folder of the reference numbers; those of a clone of this project.'
  )

  def __post_init__(self):
    super().__post_init__()
    for dtype in self.dtypes.split(','):
      check_name('--dtypes', dtype, DTYPES)
    if self.backend == 'jax' and not files.is_folder(self.goldens):
      raise ValueError(
        f'--goldens={self.goldens} is not a folder; give tests/goldens of a clone of this project.'
      )


@dataclasses.dataclass(frozen=True)
class Suite:
  """A paper's part of the benchmark.

  Attributes:
    batch_sizes: {model: batch size}.
    image_sizes: {model: pixels a side}; empty if the models take no images.
    unit: what a batch consists of, such as 'images'.
    program: module of the program that serves our models.
    peer_program: module of the program that serves torch's.
    peer: the peer's name.
    variants: {kind of program: {its contestants: arguments of `torch_timing.works`}}, for the
      peer.
    notes: sentences for the report.
    default_models: the models to time if none is named; empty for all.
  """

  batch_sizes: Mapping[str, int]
  image_sizes: Mapping[str, int]
  unit: str
  program: str
  peer_program: str
  peer: str
  variants: Mapping[str, Mapping[str, Mapping[str, bool]]]
  notes: Sequence[str] = ()
  default_models: Sequence[str] = ()


def image_suite(
  package: str, models: Mapping[str, tuple[int, int]], notes: Sequence[str]
) -> Suite:
  """Returns the `Suite` of a package's image classifiers, with timm's networks as peers.

  Args:
    package: name of the package with the programs `benchmark_jax` and `benchmark_jax_peer`.
    models: {model: (batch size, pixels a side)}.
    notes: sentences for the report.
  """
  return Suite(
    batch_sizes={name: batch for name, (batch, _) in models.items()},
    image_sizes={name: size for name, (_, size) in models.items()},
    unit='images',
    program=f'{package}.benchmark_jax',
    peer_program=f'{package}.benchmark_jax_peer',
    peer='timm',
    variants=_IMAGE_VARIANTS,
    notes=notes,
  )


def chosen_models(config: DeviceConfig, suite: Suite) -> dict[str, int]:
  """Returns {model: batch size} of `--models`.

  Raises:
    ValueError: an unknown model, or no batch size.
  """
  if config.models is None:
    names = suite.default_models or suite.batch_sizes
    return {name: suite.batch_sizes[name] for name in names}
  chosen = {}
  for item in config.models.split(','):
    name, _, size = item.partition(':')
    check_name('--models', name, suite.batch_sizes)
    if not size.isdigit() or int(size) < 1:
      raise ValueError(f"--models={config.models}: expected 'NAME:SIZE', found {item!r}.")
    chosen[name] = int(size)
  return chosen


def run(
  config: DeviceConfig, suite: Suite, rounds: int, image_size: int | None = None
) -> dict[str, Any]:
  """Times the contestants, and prints and writes rows as they come.

  Args:
    config: the flags.
    suite: the paper's part.
    rounds: timed runs of each contestant.
    image_size: pixels a side for all models; None for their own.

  Returns:
    A JSON-able dict of `device`, `rates`, `values`, `rows` and `problems`.

  Raises:
    ValueError: a wrong model, or our own program or the one for the device's rates fails.
  """
  models = chosen_models(config, suite)
  with tempfile.TemporaryDirectory() as scratch:
    folder = config.report_dir or scratch
    os.makedirs(folder, exist_ok=True)
    groups = [
      _Group(config, suite, folder, model, batch, dtype, image_size)
      for model, batch in models.items()
      for dtype in config.dtypes.split(',')
    ]
    limits = _process('rates', 'tpu_utils.benchmarking.roofline', {}, folder)
    check = _process('values', suite.program, {'work': 'check', 'goldens': config.goldens}, folder)
    processes = [limits, check, *(group.ours for group in groups)]
    for kind in suite.variants:
      processes += [group.peers[kind] for group in groups]
    report: dict[str, Any] = {'device': machine(), 'rates': {}, 'values': [], 'rows': []}
    report['problems'] = []
    try:
      _say(f'{len(processes)} programs compile, {config.compile_at_once} at a time.')
      prepare(processes, config.compile_at_once, config.ready_seconds, _say)
      _measure_limits(limits, report)
      report['values'] = (check.facts or {}).get('values', [])
      _note_problem(check, report)
      print(_values_table(report['values']), flush=True)

      def save():
        if config.report_dir:
          _write(folder, report, suite)

      for group in groups:
        group.time(rounds, report, save)
        group.close()
    finally:
      for process in processes:
        process.close('' if process.facts is not None else 'stopped')
  print(markdown(report, suite), flush=True)
  return report


def _process(name, module, task, folder, python=''):
  """Returns the process of a program, with a log named after `name` in `folder`."""
  log = os.path.join(folder, re.sub(r'[^\w.]+', '-', name) + '.log')
  return PeerProcess(
    module, [json.dumps(task)], f'{log} says more', python, name=name, log=log,
    shares_cores=False, answer_seconds=_ANSWER_SECONDS,
  )  # fmt: skip


class _Group:
  """The contestants of one model in one type, which take turns."""

  def __init__(self, config, suite, folder, model, batch, dtype, image_size):
    self._suite, self.model, self.batch, self.dtype = suite, model, batch, dtype
    task = {
      'model': model,
      'batch_size': batch,
      'dtype': dtype,
      'image_size': image_size or suite.image_sizes.get(model),
    }
    name = f'{model} {dtype}'
    self.ours = _process(f'{name} jax', suite.program, task | {'work': 'time'}, folder)
    self.peers = {
      kind: _process(
        f'{name} {suite.peer} {kind}', suite.peer_program, task | {'work': kind}, folder,
        config.torch_python,
      )
      for kind in suite.variants
    }  # fmt: skip

  def time(self, rounds, report, save):
    """Adds the group's rows to the report; calls `save` whenever there are new ones."""
    for process in (self.ours, *self.peers.values()):
      _note_problem(process, report)
    for kind in KINDS:
      contestants = {OURS: (self.ours, kind)}
      for program, variants in self._suite.variants.items():
        for variant in variants:
          name = f'{self._suite.peer}, {variant}'
          contestants[name] = (self.peers[program], f'{variant}/{kind}')
      try:
        rows = self._time_kind(kind, contestants, rounds, report)
      except ValueError as error:  # One contestant failed after its first steps.
        report['problems'].append(str(error))
        continue
      report['rows'] += rows
      save()
      print(text_table.text_table(_COLUMNS, map(_cells, rows), (0, 1, 2, 3)), flush=True)

  def _time_kind(self, kind, contestants, rounds, report):
    costs = contest.take_turns(
      contestants,
      rounds,
      lambda name, error: report['problems'].append(str(error)),
      _ROUND_SECONDS,
      _MOST_STEPS,
    )
    return [self._row(kind, name, costs, report['rates']) for name in costs]

  def _row(self, kind, name, costs, rates):
    times = [cost.wall for cost in costs[name]]
    seconds = statistics.median(times)
    cost = costs[OURS][-1].numbers if OURS in costs else {}
    own = costs[name][-1].numbers
    row = {
      'model': self.model,
      'kind': kind,
      'dtype': self.dtype,
      'contestant': name,
      'batch_size': self.batch,
      'seconds': seconds,
      'rounds': times,
      'per_second': self.batch / seconds,
      'unit': self._suite.unit,
      'times_ours': contest.median_ratio(costs, name) if OURS in costs else None,
      'memory': own.get('memory'),
      'multiply_adds': cost.get('multiply_adds'),
      'bytes_accessed': own.get('bytes_accessed'),
    }
    return row | shares(row, rates)

  def close(self):
    """Ends the group's programs, which frees the device's memory."""
    for process in (self.ours, *self.peers.values()):
      process.close()


def shares(row: Mapping[str, Any], rates: Mapping[str, Any]) -> dict[str, float | None]:
  """Returns which shares of the device's limits a row reaches; None where something is unknown.

  Args:
    row: `multiply_adds` and `bytes_accessed` of a step, its `seconds` and `dtype`.
    rates: multiply-adds a second `peak/DTYPE` (data sheet) and `product/DTYPE` (measured), and
      bytes a second `copy` (measured).
  """

  def share(amount, rate):
    return amount / row['seconds'] / rate if amount and rate else None

  return {
    'share_of_peak': share(row['multiply_adds'], rates.get(f'peak/{row["dtype"]}')),
    'share_of_product': share(row['multiply_adds'], rates.get(f'product/{row["dtype"]}')),
    'share_of_copy': share(row['bytes_accessed'], rates.get('copy')),
  }


def machine() -> dict[str, Any]:
  """Describes the machine, with the GPU as nvidia-smi names it; '' without that program."""
  try:
    fields = 'name,driver_version,memory.total,power.limit,clocks.max.sm'
    command = ['nvidia-smi', f'--query-gpu={fields}', '--format=csv,noheader']
    smi = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout
  except (OSError, subprocess.SubprocessError):
    smi = ''
  return {'nvidia_smi': smi.strip(), 'cores': os.cpu_count(), 'python': platform.python_version()}


def _measure_limits(process, report):
  """Adds the device's description and rates; ValueError if the program failed."""
  if process.facts is None:
    raise ValueError(f'JAX could not be used: {process.problem}.')
  facts = process.facts
  report['device'] |= {k: facts[k] for k in ('device_kind', 'platform', 'jax', 'memory_limit')}
  rates = report['rates']
  for name in ('product/float32', 'product/bfloat16', 'copy'):
    process.measure(name)
    seconds = min(process.measure(name, 20).wall for _ in range(5))
    rates[name] = facts['bytes' if name == 'copy' else 'multiply_adds'] / seconds
  process.close()
  peaks = roofline.peaks(facts['device_kind'])
  if peaks:
    rates |= {'peak/float32': peaks.float32, 'peak/bfloat16': peaks.bfloat16}
    rates['peak/memory'] = peaks.memory
  _say(device_line(report))


def device_line(report: Mapping[str, Any]) -> str:
  """Returns a sentence about the device and its rates."""
  device, rates = report['device'], report['rates']
  line = f'{device["device_kind"]} ({device["platform"]}), JAX {device["jax"]}, {device["cores"]} '
  line += f'cores{", nvidia-smi: " + device["nvidia_smi"] if device["nvidia_smi"] else ""}. '
  line += 'Measured: ' + ', '.join(
    f'{dtype} product {rates[f"product/{dtype}"] / 1e12:.2f} tera multiply-adds/s'
    + (f' of {rates[f"peak/{dtype}"] / 1e12:.0f}' if f'peak/{dtype}' in rates else '')
    for dtype in DTYPES
  )
  line += f', copy {rates["copy"] / 1e9:.1f} GB/s'
  return line + (f' of {rates["peak/memory"] / 1e9:.0f}.' if 'peak/memory' in rates else '.')


def _note_problem(process, report):
  if process.problem:
    report['problems'].append(f'{process.name}: {process.problem}')


def markdown(report: Mapping[str, Any], suite: Suite) -> str:
  """Returns the report as Markdown."""
  lines = [device_line(report), '']
  lines += [f'- {note}' for note in (*_NOTES, *suite.notes)]
  lines += ['', _table(_COLUMNS, [_cells(row) for row in report['rows']])]
  lines += ['', _values_table(report['values'])]
  lines += [f'- {problem}' for problem in report['problems']]
  return '\n'.join(lines) + '\n'


_NOTES = (
  'float32 multiplies in TF32 on both sides; bfloat16 is mixed precision in training.',
  'Times: medians of rounds in which the contestants take turns; "times ours": median of ratios.',
  'Memory: of our compiled program, arguments and scratch space; for torch the peak allocated.',
  'Shares: multiply-adds of the model (training: three times the forward pass) by time, of the '
  "data sheet's dense peak and of a measured product; our program's memory traffic as XLA "
  'estimates it, of a measured copy.',
)


def _values_table(values):
  header = ('reference', 'setting', 'largest difference, in deviations', 'allowed', 'agrees')
  return _table(
    header,
    [
      (v['name'], v['setting'], f'{v["error"]:.1e}', f'{v["tolerance"]:.0e}', str(v['agrees']))
      for v in values
    ],
  )


def _table(header, rows):
  return contest.markdown(header, rows, left_columns=range(len(header)))


def _cells(row):
  def percent(share):
    return '-' if share is None else f'{100 * share:.1f} %'

  return (
    row['model'], row['kind'], row['dtype'], row['contestant'], row['batch_size'],
    f'{1000 * row["seconds"]:.2f}', f'{row["per_second"]:.1f} {row["unit"]}',
    '-' if row['times_ours'] is None else f'{row["times_ours"]:.2f}',
    '-' if row['memory'] is None else f'{row["memory"] / 2**20:.0f}',
    percent(row['share_of_peak']), percent(row['share_of_product']), percent(row['share_of_copy']),
  )  # fmt: skip


def _write(folder, report, suite):
  files.write_json(os.path.join(folder, 'jax.json'), report)
  files.write_text(os.path.join(folder, 'jax.md'), markdown(report, suite))


def _say(line):
  print(line, flush=True)

"""Counts the bytes of HBM that a compiled TPU program reads and writes.

Counted are the operands and results of the instructions of the entry computation, with the padding
of their tiles; what a fusion does inside stays on the chip. Buffers in on-chip memory have a memory
space in their layout, S(1) for the vector memory, and cost nothing. The compiler's own "bytes
accessed" includes them.

A loop counts its body as often as it runs, a conditional its most expensive branch.
"""
import collections
import dataclasses
import functools
import math
import re

_BITS = re.compile(r'[a-z]+?(\d+)')
_ARRAY = re.compile(r'([a-z]\w*)\[([\d,<=]*)\](?:\{([\d,]*)(?::([^}]*))?\})?')
_TILE = re.compile(r'\(([\d,*]+)\)')
_SPACE = re.compile(r'S\((\d+)\)')
_INSTRUCTION = re.compile(r'\s*(ROOT )?%?([\w.\-]+) = ')
_COMPUTATION = re.compile(r'(ENTRY )?%?([\w.\-]+) \(.*\{$')
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_TRIPS = re.compile(r'known_trip_count[^\d]*(\d+)')
_CALLED = re.compile(
  r'(calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)'
)
_BRANCHES = re.compile(r'branch_computations=\{([^}]*)\}')
_FREE = {
  'parameter', 'constant', 'tuple', 'get-tuple-element', 'bitcast', 'after-all', 'partition-id',
  'replica-id', 'opt-barrier', 'optimization-barrier', 'domain', 'add-dependency', 'iota',
}  # fmt: skip
_ARGUMENT = 'XLA_Args'  # TensorFlow's name of all arguments of a program.
_SLICES = ('dynamic-slice', 'slice', 'gather')


@dataclasses.dataclass(frozen=True)
class Instruction:
  """An instruction of a computation."""

  name: str
  shape: str
  opcode: str
  arguments: str  # The text between its parentheses.
  operands: tuple[str, ...]
  attributes: str
  is_root: bool

  @functools.cached_property
  def op_name(self) -> str:
    """The name of the operation that it comes from; empty if it has none."""
    found = _OP_NAME.search(self.attributes)
    return found[1] if found else ''

  @functools.cached_property
  def called(self) -> dict[str, str]:
    """{role: computation} of the computations that it calls."""
    return dict(_CALLED.findall(self.attributes))


@dataclasses.dataclass
class Traffic:
  """HBM traffic of a program.

  Attributes:
    bytes: read and written.
    by_operation: {op_name of the metadata: its part}; '' for instructions without one.
    open_loops: loops whose number of rounds the program does not tell; counted once.
  """

  bytes: int = 0
  by_operation: collections.Counter = dataclasses.field(default_factory=collections.Counter)
  open_loops: int = 0

  def add(self, other: 'Traffic', times: int = 1) -> None:
    """Adds another traffic, several times."""
    self.bytes += other.bytes * times
    for name, size in other.by_operation.items():
      self.by_operation[name] += size * times
    self.open_loops += other.open_loops


def hbm_bytes(shape: str) -> int:
  """Returns the bytes that a buffer takes in HBM; 0 for one in on-chip memory.

  Args:
    shape: as in HLO text, such as 'bf16[8,48]{1,0:T(8,128)(2,1)}', or a tuple of such shapes.
  """
  return sum(_array_bytes(*match.groups()) for match in _ARRAY.finditer(shape))


def _array_bytes(kind, sizes, order, layout):
  layout = layout or ''
  space = _SPACE.search(layout)
  if (space and space[1] != '0') or kind in ('token', 'opaque'):
    return 0
  sizes = [int(size.removeprefix('<=')) for size in sizes.split(',') if size]
  minor = [int(axis) for axis in order.split(',')] if order else [*reversed(range(len(sizes)))]
  tiles = [tile.split(',') for tile in _TILE.findall(layout.split('S(')[0].split('T', 1)[-1])]
  if tiles and 'T(' in layout and '*' not in tiles[0]:
    first = [int(size) for size in tiles[0]]
    padded = [sizes[axis] for axis in minor]  # From the innermost axis.
    padded += [1] * (len(first) - len(padded))
    for place, tile in enumerate(reversed(first)):
      padded[place] = -(-padded[place] // tile) * tile
    count = math.prod(padded)
  else:
    count = math.prod(sizes)
  bits = 8 if kind == 'pred' else int(_BITS.match(kind)[1])
  return -(-count * bits // 8)


def traffic(text: str) -> Traffic:
  """Counts the HBM traffic of a compiled program.

  Args:
    text: the optimized module, as XLA prints it.

  Raises:
    ValueError: it has no entry computation.
  """
  computations, entry = parse(text)
  if entry is None:
    raise ValueError('the program has no ENTRY computation, so it is no HLO module.')
  return _Counter(computations).count(entry)


def parse(text: str) -> tuple[dict[str, list[Instruction]], str | None]:
  """Parses a module.

  Returns:
    ({computation: its instructions}, name of the entry computation).
  """
  computations: dict[str, list[Instruction]] = {}
  entry, current = None, None
  for line in text.split('\n'):
    if current is None:
      found = _COMPUTATION.match(line)
      if found:
        current = computations.setdefault(found[2], [])
        entry = found[2] if found[1] else entry
    elif line.startswith('}'):
      current = None
    else:
      instruction = _instruction(line)
      if instruction:
        current.append(instruction)
  return computations, entry


def _instruction(line):
  found = _INSTRUCTION.match(line)
  if not found:
    return None
  rest = re.sub(r'/\*.*?\*/', '', line[found.end() :])
  end = _closing(rest, 0) + 1 if rest.startswith('(') else rest.index(' ')
  shape, rest = rest[:end], rest[end:].lstrip()
  start = rest.index('(')
  stop = _closing(rest, start)
  arguments = rest[start + 1 : stop]
  operands = tuple(re.findall(r'%([\w.\-]+)', arguments))
  return Instruction(
    found[2], shape, rest[:start], arguments, operands, rest[stop + 1 :], bool(found[1])
  )


def _closing(text, start):
  """Returns the index of the parenthesis that closes the one at `start`."""
  depth = 0
  for i in range(start, len(text)):
    depth += {'(': 1, ')': -1}.get(text[i], 0)
    if not depth:
      return i
  return len(text) - 1


class _Counter:

  def __init__(self, computations):
    self._computations = computations

  @functools.cache  # noqa: B019 - lives as long as one count.
  def count(self, name):
    total = Traffic()
    body = self._computations.get(name, [])
    shapes = {instruction.name: instruction.shape for instruction in body}
    origins = _origins(body)
    for instruction in body:
      self._add(total, instruction, shapes, origins)
    return total

  def _add(self, total, instruction, shapes, origins):
    opcode, called = instruction.opcode, instruction.called
    # What runs beside the rest is counted where it starts.
    if opcode in _FREE or opcode == 'async-update' or opcode.endswith('-done'):
      return
    if opcode == 'while':
      rounds = _TRIPS.search(instruction.attributes)
      total.open_loops += rounds is None
      total.add(self.count(called['body']), int(rounds[1]) if rounds else 1)
    elif opcode == 'conditional':
      names = re.findall(r'[\w.\-]+', ''.join(_BRANCHES.findall(instruction.attributes)))
      names += [called[key] for key in ('true_computation', 'false_computation') if key in called]
      total.add(max(map(self.count, names), key=lambda branch: branch.bytes))
    elif opcode in ('call', 'async-start') and self._calls_more(instruction):
      total.add(self.count(called.get('to_apply') or called['calls']))
    else:
      size = self._own_bytes(instruction, shapes)
      total.bytes += size
      total.by_operation[origins[instruction.name]] += size

  def _calls_more(self, instruction):
    called = instruction.called
    return (called.get('to_apply') or called.get('calls')) in self._computations

  def _own_bytes(self, instruction, shapes):
    opcode = instruction.opcode
    read = [hbm_bytes(shapes.get(name, '')) for name in instruction.operands]
    if opcode.endswith('-start'):
      return self._started(instruction, read)
    if opcode == 'dynamic-update-slice':  # In place: the rest of the buffer stays.
      return read[1] + min(read[1] or read[0], hbm_bytes(instruction.shape))
    if opcode in _SLICES:
      return min(read[0], hbm_bytes_anywhere(instruction.shape)) + hbm_bytes(instruction.shape)
    written = hbm_bytes(instruction.shape)
    if opcode == 'fusion' and instruction.called.get('calls') in self._computations:
      return self._fusion(self._computations[instruction.called['calls']], read, written)
    return sum(read) + written

  def _started(self, instruction, read):
    """Counts a transfer: its shape holds source, destination and a semaphore."""
    parts = [_text(part) for part in _ARRAY.findall(instruction.shape)]
    if instruction.opcode == 'copy-start':  # (destination, source, semaphore)
      return sum(read) + hbm_bytes(parts[0])
    if instruction.opcode == 'slice-start':  # ((sources), destination, semaphore)
      slices = parts[len(read) : -1]
      return min(sum(read), sum(map(hbm_bytes_anywhere, slices))) + sum(map(hbm_bytes, slices))
    # (operands, results, ...)
    return sum(read) + max(0, hbm_bytes(instruction.shape) - sum(read))

  def _fusion(self, body, read, written):
    """Counts a fusion; slices that it takes of a buffer, or puts into one, count as such."""
    by_name = {instruction.name: instruction for instruction in body}
    users = collections.defaultdict(list)
    for instruction in body:
      for operand in instruction.operands:
        users[operand].append(instruction)
    root = next((i for i in body if i.is_root), None)
    updated = None
    if root is not None and root.opcode == 'dynamic-update-slice':
      updated = root.operands[0]
      written = min(written, hbm_bytes_anywhere(by_name[root.operands[1]].shape))
    total = written
    parameters = {int(i.arguments): i for i in body if i.opcode == 'parameter'}
    for place, size in enumerate(read):
      parameter = parameters.get(place)
      if parameter is None or not size:
        total += size
      elif parameter.name == updated and len(users[parameter.name]) == 1:
        continue
      elif users[parameter.name] and all(
        user.opcode in _SLICES and user.operands[0] == parameter.name
        for user in users[parameter.name]
      ):
        total += min(size, sum(hbm_bytes_anywhere(u.shape) for u in users[parameter.name]))
      else:
        total += size
    return total


def _origins(body):
  """Returns {instruction: operation}; for transfers without one, that which uses or made the data.

  The compiler moves weights and results between HBM and the chip by such transfers.
  """
  origins = {i.name: '' if i.op_name == _ARGUMENT else i.op_name for i in body}
  for instruction in reversed(body):  # Users come later.
    for operand in instruction.operands:
      if not origins.get(operand, 'known'):
        origins[operand] = origins[instruction.name]
  for instruction in body:
    if not origins[instruction.name]:
      made = (origins.get(operand) for operand in instruction.operands)
      origins[instruction.name] = next(filter(None, made), '')
  return origins


def hbm_bytes_anywhere(shape: str) -> int:
  """Returns the bytes that a buffer would take in HBM, wherever it is."""
  return hbm_bytes(_SPACE.sub('', shape))


def _text(part):
  kind, sizes, order, layout = part
  return f'{kind}[{sizes}]{{{order}:{layout}}}'

"""State machines that follow which constraints a caption has met.

A main state is a set of constraints met; a constraint of several word pieces has a state for each
piece said in between, from which any other word leads back. Only states that a caption can reach
are kept, and of a state only the words that lead elsewhere than all others: four states for two
words, where the official machine is a dense array of 32 x 32 x 30,522 for every image.

Source: microsoft/Oscar, `FiniteStateMachineBuilder` of oscar/utils/cbs.py; nocaps, arXiv
1812.08658, figures 7 to 9.
"""
import dataclasses
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from oscar.tokenization import Tokenizer
from tpu_utils import files
from tpu_utils.reading import reading

MAX_PIECES = 4  # Longer constraints are cut, as officially.

# A constraint: for each of its word pieces the ids of the forms that count as it.
Pieces = Sequence[Sequence[int]]
# Main states are (constraints met as bits,), the others (bits, constraint, pieces said).
State = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Machine:
  """The states of one image's captions; the first one is the state of an empty caption.

  Attributes:
    states: the states, main states first, by their bits.
    others: for each state, the state to which all words lead but `exceptions`.
    exceptions: for each state, the ids that do not lead to `others`.
    moves: for each state, (id, state) pairs: where single words lead. A word may lead to several
      states at a time, and to `others` as well.
    given: number of constraints.
  """

  states: tuple[State, ...]
  others: tuple[int, ...]
  exceptions: tuple[tuple[int, ...], ...]
  moves: tuple[tuple[tuple[int, int], ...], ...]
  given: int

  @property
  def met(self) -> tuple[int, ...]:
    """Returns for each state the constraints met; -1 within a constraint, where no caption ends."""
    return tuple(s[0].bit_count() if len(s) == 1 else -1 for s in self.states)


def build(constraints: Sequence[Pieces]) -> Machine:
  """Builds the machine of an image's constraints.

  It has the transitions of the official machine, of which two may surprise. With several
  constraints unmet, the first pieces of all but the last one *also* leave a main state unchanged,
  so that a caption is followed both as one that met the constraint and as one that did not. And a
  piece that several constraints share leads to the states of each of them. Both make the machine
  non-deterministic; the search keeps a caption for each state.

  Args:
    constraints: their pieces; one with an empty piece can't be met.
  """
  found: dict[State, tuple[State, tuple[int, ...], list[tuple[int, State]]]] = {}
  waiting: list[State] = [(0,)]
  while waiting:
    state = waiting.pop()
    if state not in found:
      found[state] = _transitions(state, constraints)
      waiting += [target for _, target in found[state][2]]
  states = sorted(found, key=lambda state: (len(state), state))
  number = {state: i for i, state in enumerate(states)}
  rows = [found[state] for state in states]
  return Machine(
    tuple(states),
    tuple(number[others] for others, _, _ in rows),
    tuple(exceptions for _, exceptions, _ in rows),
    tuple(tuple((word, number[target]) for word, target in moves) for _, _, moves in rows),
    len(constraints),
  )


def _transitions(state, constraints):
  """Returns (state to which other words lead, ids that don't lead there, [(id, state)])."""
  bits = state[0]
  if len(state) > 1:
    _, constraint, said = state
    forms, target = _step(bits, constraint, said, constraints)
    return (bits,), forms, [(word, target) for word in forms]
  moves, exceptions = [], ()
  for constraint in range(len(constraints)):
    if not bits >> constraint & 1:
      forms, target = _step(bits, constraint, 0, constraints)
      moves += [(word, target) for word in forms]
      exceptions = forms  # Each constraint overwrites those of the ones before, see `build`.
  return (bits,), exceptions, moves


def _step(bits, constraint, said, constraints):
  """Returns the forms of the piece after `said` pieces of a constraint, and the state after it."""
  pieces = constraints[constraint][:MAX_PIECES]
  if not pieces:
    return (), (bits,)
  last = said + 1 == len(pieces)
  target = (bits | 1 << constraint,) if last else (bits, constraint, said + 1)
  return tuple(dict.fromkeys(pieces[said])), target


class Machines(NamedTuple):
  """The machines of a batch of B images as arrays, padded to S states.

  Attributes:
    others: int32 [B, S].
    exceptions: int32 [B, S, E]; -1 for none.
    words: int32 [B, S, M], the words of `moves`.
    targets: int32 [B, S, M], their states; -1 for none.
    met: int32 [B, S], constraints met; -1 where no caption ends.
    given: int32 [B].
  """

  others: np.ndarray
  exceptions: np.ndarray
  words: np.ndarray
  targets: np.ndarray
  met: np.ndarray
  given: np.ndarray


def stack(
  machines: Sequence[Machine], num_states: int | None = None, num_words: int | None = None
) -> Machines:
  """Returns machines as arrays.

  Args:
    machines: of the images of a batch.
    num_states: states to pad to, so that batches have few shapes; None for the most that one of
      the machines has. The search costs in proportion.
    num_words: entries of a state to pad to; None for the most that a state has.

  Raises:
    ValueError: a machine has more states or words.
  """
  most_states = max(len(machine.states) for machine in machines)
  most_words = max((len(x) for machine in machines for x in machine.moves), default=0)
  num_states = most_states if num_states is None else num_states
  num_words = most_words if num_words is None else num_words
  if most_states > num_states or most_words > num_words:
    raise ValueError(
      f'A machine has {most_states} states and up to {most_words} words of a state; expected at '
      f'most {num_states} and {num_words}.'
    )
  shape = (len(machines), num_states)
  others, met = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
  exceptions, words, targets = (np.full((*shape, num_words), -1, np.int32) for _ in range(3))
  for i, machine in enumerate(machines):
    count = len(machine.states)
    others[i, :count], met[i, :count] = machine.others, machine.met
    for state in range(count):
      ids, moves = machine.exceptions[state], machine.moves[state]
      exceptions[i, state, : len(ids)] = ids
      if moves:
        words[i, state, : len(moves)], targets[i, state, : len(moves)] = zip(*moves, strict=True)
  given = np.array([machine.given for machine in machines], np.int32)
  return Machines(others, exceptions, np.maximum(words, 0), targets, met, given)


class ConstraintWords:
  """The word pieces of classes, and the forms that count as a piece, from the official files.

  Args:
    constraint2tokens: the file of lines `word TAB piece,piece,...`.
    tokenforms: the file of lines `piece TAB form,form,...`.
    tokenizer: the model's tokenizer.

  Raises:
    OSError: a file cannot be read.
    ValueError: a line is not of this form.
  """

  def __init__(
    self,
    constraint2tokens: str | os.PathLike[str],
    tokenforms: str | os.PathLike[str],
    tokenizer: Tokenizer,
  ) -> None:
    self._pieces = _read_lists(constraint2tokens)
    self._forms = _read_lists(tokenforms)
    self._tokenizer = tokenizer

  def pieces(self, class_name: str) -> tuple[tuple[int, ...], ...]:
    """Returns for each of at most four word pieces of a class the ids of its forms.

    A word that the file lacks has the tokenizer's pieces (the official code fails). Forms that the
    vocabulary lacks are left out: officially [UNK] counts as them, and is then left out of the
    text. A piece without forms makes a constraint that can't be met.
    """
    pieces = self.texts(class_name)[:MAX_PIECES]
    return tuple(self._ids(self._forms.get(piece, [piece])) for piece in pieces)

  def texts(self, class_name: str) -> list[str]:
    """Returns all word pieces of a class as text, also those after the fourth."""
    pieces: list[str] = []
    for word in class_name.split():
      pieces += self._pieces.get(word) or self._tokenizer.tokenize(word)
    return pieces

  def unlisted(self, class_name: str) -> list[str]:
    """Returns the words of a class that the file of pieces lacks."""
    return [word for word in class_name.split() if word not in self._pieces]

  def _ids(self, forms):
    ids = self._tokenizer.convert_tokens_to_ids(forms)
    return tuple(dict.fromkeys(i for i in ids if i != self._tokenizer.unk_id))


def _read_lists(path):
  """Returns {word: [entries]} of a file of lines `word TAB entry,entry,...`."""
  lists = {}
  with reading(path, 'text of `word TAB entry,entry`'), files.open_text(path) as file:
    for number, line in enumerate(file):
      columns = line.strip().split('\t')
      if len(columns) < 2:
        raise ValueError(
          f'{path} row {number}: found {line.strip()!r:.80}, expected a word, a tab and entries '
          'between commas.'
        )
      lists[columns[0]] = columns[1].split(',')
  return lists

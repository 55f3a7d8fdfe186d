"""Machines have the transitions of the official dense ones; odd classes."""
import itertools

import numpy as np
import pytest

from oscar.decoding.constrained import machine
from tests.oscar import golden_models, loaders

FILES = loaders.DATA / 'coco_caption'
VOCABULARY, MAIN = 400, 8


@pytest.fixture(scope='module')
def words(tokenizer):
  return machine.ConstraintWords(
    FILES / 'cbs_constraint2tokens.tsv', FILES / 'cbs_tokenforms.tsv', tokenizer
  )


def official_numbers(constraints):
  """Returns {state: number in the official machine}, whose sub-states are numbered as built."""
  numbers = {(bits,): bits for bits in range(MAIN)}
  for i, pieces in enumerate(constraints):
    for bits in range(MAIN):
      if not bits >> i & 1:
        for said in range(1, len(pieces)):
          numbers[bits, i, said] = len(numbers)
  return numbers


def dense(made, constraints):
  """Returns {(official number, official number): ids that lead from one to the other}."""
  numbers = official_numbers(constraints)
  arrays = machine.stack([made])
  found = {}
  for i, state in enumerate(made.states):
    reached = np.zeros([len(made.states), VOCABULARY], bool)
    reached[arrays.others[0, i]] = True
    exceptions = arrays.exceptions[0, i]
    reached[arrays.others[0, i], exceptions[exceptions >= 0]] = False
    for word, target in zip(arrays.words[0, i], arrays.targets[0, i], strict=True):
      if target >= 0:
        reached[target, word] = True
    for target, ids in enumerate(reached):
      if ids.any():
        found[numbers[state], numbers[made.states[target]]] = set(np.flatnonzero(ids))
  return found


def assert_equal_to_official(names, file, words):
  constraints = [words.pieces(name) for name in names]
  made = machine.build(constraints)
  found = dense(made, constraints)
  official = golden_models.load(file)['fsm']
  numbers = official_numbers(constraints)
  reachable = [numbers[state] for state in made.states]
  assert len(reachable) < len(official)
  expected = {
    (i, j): set(np.flatnonzero(official[i, j]))
    for i, j in itertools.product(reachable, range(len(official)))
    if official[i, j].any()
  }
  assert found == expected
  return made


@pytest.mark.parametrize(
  ('names', 'states', 'file'),
  [
    (['fire hydrant'], 3, 'fsm_one_twoword.npz'),
    (['pizza', 'fire hydrant'], 6, 'fsm_two.npz'),
    (['dog', 'pizza', 'fire hydrant'], 12, 'fsm_three.npz'),
    (['pizza'], 2, 'fsm_image0.npz'),
    # Officially the order of classes is that of a set: here PYTHONHASHSEED=0.
    (['fire hydrant', 'dog', 'animal'], 12, 'fsm_image1.npz'),
    (['pizza', 'cake', 'dog'], 8, 'fsm_image2.npz'),
    ([], 1, 'fsm_image3.npz'),
  ],
)
def test_transitions_equal_the_official_ones(names, states, file, words):
  made = assert_equal_to_official(names, file, words)
  assert len(made.states) == states and made.given == len(names)
  counts = [bin(bits).count('1') for bits in range(2 ** len(names))]
  assert list(made.met) == counts + [-1] * (states - len(counts))


def test_constraints_that_share_a_piece_lead_to_both():
  fire_hydrant, fire_truck = ((5,), (6,)), ((5,), (7,))
  made = machine.build([fire_hydrant, fire_truck])
  assert made.states[:4] == ((0,), (1,), (2,), (3,))
  targets = {made.states[target] for word, target in made.moves[0] if word == 5}
  assert targets == {(0, 0, 1), (0, 1, 1)}
  assert made.exceptions[0] == (5,)


def test_words_of_the_files_and_others(words, tokenizer):
  def pieces(name):
    return [tokenizer.convert_ids_to_tokens(ids) for ids in words.pieces(name)]

  assert pieces('fire hydrant') == [['fire'], ['hydrant']]
  assert pieces('dog') == [['dog', 'cat']]
  assert pieces('skateboards') == [['skate'], ['##board'], ['##s']]
  assert pieces('truck') == [['truck']]  # Not in the file: the tokenizer's.
  assert words.pieces('龍') == ((),)  # Not in the vocabulary: can't be met.
  # More than four pieces are cut, as officially.
  assert pieces('dog pizza cake table fire') == [
    ['dog', 'cat'], ['pizza', 'sandwich'], ['cake'], ['table']
  ]  # fmt: skip


def test_a_constraint_that_cannot_be_met_has_no_states():
  made = machine.build([((5,),), ((),), ((6,), ())])
  assert made.given == 3 and {state[0] for state in made.states} == {0, 1}
  assert machine.build([()]).states == ((0,),)


def test_batches_are_padded():
  machines = [machine.build([]), machine.build([((5, 6),), ((7,),)])]
  arrays = machine.stack(machines, num_states=8, num_words=6)
  assert arrays.words.shape == arrays.targets.shape == (2, 8, 6)
  assert arrays.met.tolist() == [[0] + [-1] * 7, [0, 1, 1, 2] + [-1] * 4]
  assert (arrays.targets[0] == -1).all() and arrays.given.tolist() == [0, 2]
  with pytest.raises(ValueError, match='4 states and up to 3 words of a state; expected at most 2'):
    machine.stack(machines, num_states=2)


def test_pieces_as_text_and_words_that_the_file_lacks(words):
  assert words.texts('dog pizza cake table fire')[4:] == ['fire']
  assert words.unlisted('fire truck') == ['truck'] and words.unlisted('dog') == []


def test_a_line_without_tab_raises(tmp_path, tokenizer):
  path = tmp_path / 'forms.tsv'
  path.write_text('dog\tdog,dogs\ncat cats\n')
  with pytest.raises(ValueError, match=f"{path} row 1: found 'cat cats', expected a word, a tab"):
    machine.ConstraintWords(FILES / 'cbs_constraint2tokens.tsv', path, tokenizer)

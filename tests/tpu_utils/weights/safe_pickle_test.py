"""Plain pickles are read; no code in a pickle runs."""
import collections
import os
import pathlib
import pickle
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar.datasets import records
from tpu_utils.weights import safe_pickle

GOLDENS = pathlib.Path(__file__).parents[2] / 'goldens' / 'oscar'

PLAIN = st.recursive(
  st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
  lambda items: (
    st.lists(items, max_size=4)
    | st.dictionaries(st.text(max_size=4) | st.integers(), items, max_size=4)
    | st.tuples(items, items)
    | st.sets(st.integers(), max_size=3)
  ),
  max_leaves=12,
)


@given(value=PLAIN, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_round_trip(tmp_path_factory, value, protocol):
  path = tmp_path_factory.mktemp('pickle') / 'some.pkl'
  path.write_bytes(pickle.dumps(value, protocol))
  assert safe_pickle.load(path) == value


def test_containers_of_the_official_files(tmp_path):
  value = {
    'counts': collections.defaultdict(float, {('a', 'man'): 2.0}),
    'order': collections.OrderedDict(b=1, a=2),
    'number': 1.5,
  }
  (tmp_path / 'a.pkl').write_bytes(pickle.dumps(value, 2))
  read = safe_pickle.load(tmp_path / 'a.pkl')
  assert read == value and read['counts']['absent'] == 0.0


def test_official_label_files():
  folder = GOLDENS / 'dataset' / 'vqa' / 'cache'
  for name in ('trainval_ans2label', 'trainval_label2ans'):
    assert safe_pickle.load(folder / f'{name}.pkl') == records.read_json(folder / f'{name}.json')


class Runs:
  """An object that makes `pickle` run a function."""

  def __init__(self, function, *arguments):
    self.function, self.arguments = function, arguments

  def __reduce__(self):
    return self.function, self.arguments


@pytest.mark.parametrize(
  ('function', 'arguments', 'name'),
  [
    (os.system, ('touch {}',), 'system'),
    (eval, ("open('{}', 'w')",), 'eval'),
    (subprocess.getoutput, ('touch {}',), 'getoutput'),
    (getattr, (dict, 'fromkeys'), 'getattr'),
    (open, ('{}', 'w'), 'open'),
    (__import__, ('os',), '__import__'),
  ],
)
def test_no_code_runs(tmp_path, function, arguments, name):
  mark, path = tmp_path / 'mark', tmp_path / 'bad.pkl'
  arguments = [a.format(mark) if isinstance(a, str) else a for a in arguments]
  for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
    path.write_bytes(pickle.dumps({'a': [1, Runs(function, *arguments)]}, protocol))
    with pytest.raises(safe_pickle.UnsafePickleError, match=f'bad.pkl asks for .*{name}'):
      safe_pickle.load(path)
  assert not mark.exists()


@given(data=st.binary(max_size=40), start=st.booleans())
def test_random_bytes_give_a_value_or_a_value_error(tmp_path_factory, data, start):
  path = tmp_path_factory.mktemp('pickle') / 'some.pkl'
  path.write_bytes((b'\x80\x02' if start else b'') + data)
  try:
    safe_pickle.load(path)
  except ValueError as error:
    assert 'some.pkl' in str(error)


def test_damage_is_named(tmp_path):
  whole = pickle.dumps({str(i): i for i in range(50)}, 2)
  (tmp_path / 'cut.pkl').write_bytes(whole[:-40])
  with pytest.raises(ValueError, match='cut.pkl cannot be read as a pickle .*cut off'):
    safe_pickle.load(tmp_path / 'cut.pkl')
  with pytest.raises(FileNotFoundError, match='absent.pkl does not exist'):
    safe_pickle.load(tmp_path / 'absent.pkl')


@pytest.mark.parametrize('opcodes', [b'\x80\x02]r\xff\xff\xff\x7f.', b']p2147483647\n.'])
def test_a_huge_memo_index_is_refused(tmp_path, opcodes):
  """Python's unpickler would allocate memory for that many values."""
  (tmp_path / 'big.pkl').write_bytes(opcodes)
  message = r'big\.pkl cannot be read as a pickle .value 2147483647 after'
  with pytest.raises(ValueError, match=message):
    safe_pickle.load(tmp_path / 'big.pkl')

"""TSV rows by number: any content, with and without offsets, damaged anywhere."""

import gzip
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oscar.datasets import tsv

CELL = st.text(
  st.characters(blacklist_characters='\t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85', codec='utf-8')
)


def written(path, rows):
  with tsv.TsvWriter(path) as writer:
    for row in rows:
      writer.write(*row)
  return tsv.TsvFile(path)


@given(rows=st.lists(st.lists(CELL, min_size=1, max_size=4), max_size=12), indexed=st.booleans())
def test_round_trip(tmp_path_factory, rows, indexed):
  path = tmp_path_factory.mktemp('tsv') / 'some.tsv'
  file = written(path, rows)
  if not indexed:
    os.remove(tsv.lineidx_path(path))
    file = tsv.TsvFile(path)
  assert len(file) == len(rows)
  stripped = [[cell.encode().strip() for cell in row] for row in rows]
  assert list(file) == stripped
  for number, row in enumerate(stripped):
    assert file.key(number) == row[0].decode()
    assert file.text(number, len(row) - 1) == row[-1].decode()


@given(
  rows=st.lists(st.integers(0, 10**6), min_size=1, max_size=8),
  place=st.integers(0, 10**6),
  insert=st.binary(max_size=3),
  cut=st.integers(0, 3),
)
def test_a_changed_file_gives_its_lines_or_raises(tmp_path_factory, rows, place, insert, cut):
  """Stale offsets never give a row that is not a line of the file."""
  path = tmp_path_factory.mktemp('tsv') / 'some.tsv'
  written(path, [[f'key{i}', 'x' * (row % 50)] for i, row in enumerate(rows)])
  data = path.read_bytes()
  place %= len(data)
  path.write_bytes(data[:place] + insert + data[place + cut :])
  lines = [[cell.strip() for cell in line.split(b'\t')] for line in path.read_bytes().split(b'\n')]
  try:
    file = tsv.TsvFile(path)
  except ValueError as error:
    assert 'some' in str(error)
    return
  for number in range(len(file)):
    try:
      assert file[number] in lines
    except ValueError as error:
      assert 'some.tsv row' in str(error)


@given(content=st.binary(max_size=60))
def test_any_bytes_as_offsets(tmp_path_factory, content):
  path = tmp_path_factory.mktemp('tsv') / 'some.tsv'
  path.write_bytes(b'a\t1\nb\t2\n')
  path.with_suffix('.lineidx').write_bytes(content)
  try:
    file = tsv.TsvFile(path)
    rows = [row for row in file]
  except ValueError as error:
    assert 'some' in str(error)
  else:
    assert all(row in ([b'a', b'1'], [b'b', b'2']) for row in rows)


def test_offsets_of_another_file_raise(tmp_path):
  written(tmp_path / 'some.tsv', [['a', '1'], ['b', '22'], ['c', '3']])
  (tmp_path / 'some.lineidx').write_text('0\n4\n8\n')
  file = tsv.TsvFile(tmp_path / 'some.tsv')
  with pytest.raises(
    ValueError, match=r'some.tsv row 1: no row begins at byte 4 .*oscar.datasets.tsv'
  ):
    _ = file[1]
  subprocess.run([sys.executable, '-m', 'oscar.datasets.tsv', tmp_path / 'some.tsv'], check=True)
  assert tsv.TsvFile(tmp_path / 'some.tsv')[1] == [b'b', b'22']


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('0\nx\n', 'not a number'),
    ('0\n400\n', 'ascending'),
    ('4\n8\n', 'ascending'),
    ('', 'is empty'),
  ],
)
def test_wrong_offsets_raise(tmp_path, content, message):
  written(tmp_path / 'some.tsv', [['a', '1'], ['b', '2']])
  (tmp_path / 'some.lineidx').write_text(content)
  with pytest.raises(ValueError, match=f'some.lineidx.*{message}'):
    tsv.TsvFile(tmp_path / 'some.tsv')


def test_damaged_rows_raise(tmp_path):
  file = written(tmp_path / 'some.tsv', [['k', '{"a": 1'], [b'\xff\xfe', '1'], ['only']])
  with pytest.raises(ValueError, match="some.tsv row 0, key 'k': column 1 cannot be read as JSON"):
    file.json(0)
  with pytest.raises(ValueError, match='some.tsv row 1: not UTF-8'):
    file.key(1)
  with pytest.raises(ValueError, match='some.tsv row 2: 1 columns, expected at least 2'):
    file.text(2, 1)
  with pytest.raises(ValueError, match='has no row 3; it has 3'):
    _ = file[3]
  with pytest.raises(FileNotFoundError, match='other.tsv does not exist'):
    tsv.TsvFile(tmp_path / 'other.tsv')


def test_a_failed_writer_leaves_no_file(tmp_path):
  with (
    pytest.raises(ValueError, match='tab or a newline'),
    tsv.TsvWriter(tmp_path / 'a.tsv') as writer,
  ):
    writer.write('a', 'b')
    writer.write('a\tb')
  assert not list(tmp_path.iterdir())


def test_memory_stays_small(tmp_path):
  """Reads a file of 64 MB with memory for a few rows."""
  row = b'x' * (1 << 20)
  written(tmp_path / 'big.tsv', [[f'k{i}', row] for i in range(64)])
  tracemalloc.start()
  file = tsv.TsvFile(tmp_path / 'big.tsv')
  total = sum(len(columns[1]) for columns in file)
  assert [file.key(i) for i in range(len(file))] == [f'k{i}' for i in range(64)]
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert total == 64 << 20
  assert peak < 8 << 20


def test_offsets_can_be_given(tmp_path):
  written(tmp_path / 'some.tsv', [['a', '1'], ['b', '2']])
  assert tsv.TsvFile(tmp_path / 'some.tsv', np.array([0, 4]))[1] == [b'b', b'2']


@pytest.mark.parametrize('indexed', [False, True])
def test_a_byte_order_mark_is_passed_over(tmp_path, indexed):
  path = tmp_path / 'some.tsv'
  path.write_text('\ufeffkey\t{"a": 1}\nother\t{"b": 2}\n', encoding='utf-8')
  if indexed:
    tsv.write_lineidx(path)
    offsets = (tmp_path / 'some.lineidx').read_text()
    (tmp_path / 'some.lineidx').write_text('\ufeff' + offsets, encoding='utf-8')
  file = tsv.TsvFile(path)
  assert [file.key(row) for row in range(2)] == ['key', 'other']
  assert file[0] == [b'key', b'{"a": 1}'] and file.json(0) == {'a': 1}


def test_a_file_is_closed_even_when_modules_are_gone(tmp_path, monkeypatch):
  """As at the end of a program, where a reader may outlive them."""
  (tmp_path / 'some.tsv').write_text('a\n')
  file = tsv.TsvFile(tmp_path / 'some.tsv')
  handle = file._file
  monkeypatch.setattr(tsv, 'os', None)
  del file
  with pytest.raises(OSError, match='Bad file descriptor'):
    os.fstat(handle)


def test_deeply_nested_json_names_its_place(tmp_path):
  (tmp_path / 'some.tsv').write_text('key\t' + '[' * 5000)
  message = "some.tsv row 0, key 'key': column 1 cannot be read as JSON"
  with pytest.raises(ValueError, match=message):
    tsv.TsvFile(tmp_path / 'some.tsv').json(0)


def test_a_compressed_file_is_named_as_such(tmp_path):
  path = tmp_path / 'features.tsv'
  path.write_bytes(gzip.compress(b'1\t2\t3\n'))
  with pytest.raises(ValueError, match='features.tsv is compressed by gzip.*gunzip'):
    tsv.TsvFile(path)

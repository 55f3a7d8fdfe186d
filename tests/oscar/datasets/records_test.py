"""Small files are read by their ending; errors name the file."""

import json
import pickle

import pytest

from oscar.datasets import records


def test_plain_files_are_read_by_their_ending(tmp_path):
  (tmp_path / 'a.json').write_text('{"x": 1}')
  (tmp_path / 'b.pkl').write_bytes(pickle.dumps([1, 2]))
  assert records.read_plain(tmp_path / 'a.json') == {'x': 1}
  assert records.read_plain(tmp_path / 'b.pkl') == [1, 2]
  assert records.read_plain(tmp_path / 'a.pkl') == {'x': 1}  # Reads a.json instead.
  with pytest.raises(ValueError, match=r'c.txt: expected a file that ends in one of \.json'):
    records.read_plain(tmp_path / 'c.txt')
  with pytest.raises(FileNotFoundError, match='c.pkl does not exist'):
    records.read_plain(tmp_path / 'c.pkl')


def test_a_list_of_other_values_raises(tmp_path):
  (tmp_path / 'a.json').write_text('{"a": 1}')
  with pytest.raises(ValueError, match='a.json: expected a JSON list of objects, found dict'):
    records.read_json_list(tmp_path / 'a.json')


@pytest.mark.parametrize(
  ('value', 'kind', 'message'),
  [
    ('"5"', int, "'n' is '5', expected a whole number"),
    ('true', int, "'n' is True"),
    ('"x"', float, 'expected a number'),
    ('{}', list, 'expected a list'),
    ('null', str, 'expected text'),
  ],
)
def test_a_field_of_another_type_raises(value, kind, message):
  with pytest.raises(ValueError, match=f'f.json row 3: .*{message}'):
    records.field(json.loads(f'{{"n": {value}}}'), 'n', kind, 'f.json row 3')


def test_fields():
  assert records.field({'n': 5}, 'n', float, '') == 5
  with pytest.raises(ValueError, match=r"here: 'm' is missing; it has \['n'\]"):
    records.field({'n': 5}, 'm', int, 'here')


def test_tags_keep_order_and_repeats():
  objects = [{'class': 'dog'}, {'class': 'fire hydrant'}, {'class': 'dog'}]
  assert records.tags(objects, 'here') == 'dog fire hydrant dog'


@pytest.mark.parametrize('name', ['a.json', 'a.yaml'])
def test_deeply_nested_files_are_refused(tmp_path, name):
  (tmp_path / name).write_text('[' * 700)
  read = records.read_json if name == 'a.json' else records.read_yaml
  with pytest.raises(ValueError, match=f'{name} cannot be read as') as error:
    read(tmp_path / name)
  assert '\n' not in str(error.value)


def test_a_row_that_is_no_object_is_named(tmp_path):
  (tmp_path / 'a.json').write_text('[{}, [1]]')
  with pytest.raises(ValueError, match=r'a.json row 1: expected an object, found \[1\]'):
    records.read_json_list(tmp_path / 'a.json')


def test_errors_name_the_file_that_is_read(tmp_path):
  (tmp_path / 'a.json').write_text('{"x": 1}')
  assert records.plain_path(tmp_path / 'a.pt') == str(tmp_path / 'a.json')
  assert records.plain_path(tmp_path / 'b.pt') == str(tmp_path / 'b.pt')

"""Tests ImageNet's labels map and reading of other ones."""
import json

import pytest

from tpu_utils.images import class_names


def test_imagenet():
  names = class_names.imagenet()
  assert len(names) == 1000
  assert (names[0], names[285], names[967]) == ('tench, Tinca tinca', 'Egyptian cat', 'espresso')


def test_another_labels_map(tmp_path):
  path = tmp_path / 'labels.txt'
  for mark in ('', '\ufeff'):
    path.write_text(mark + '{"1": "dog", "0": "cat"}', encoding='utf-8')
    assert class_names.read(path, 2) == ['cat', 'dog']


@pytest.mark.parametrize(
  ('content', 'message'),
  [
    ('{"0": "cat"', 'cannot be read as JSON'),
    ('["cat", "dog"]', 'holds a list; expected {"0"'),
    ('{"0": "cat"}', 'names 1 classes, without 1, and the model has 2'),
    ('{"1": "cat", "2": "dog"}', 'names 2 classes, without 0, and the model has 2'),
    (json.dumps({str(i): 'x' for i in range(1000)}), 'names 1000 classes, and the model has 2'),
  ],
)
def test_labels_maps_that_do_not_fit(tmp_path, content, message):
  path = tmp_path / 'labels.txt'
  path.write_text(content)
  with pytest.raises(ValueError, match=message) as error:
    class_names.read(path, 2)
  assert '\n' not in str(error.value)


def test_no_such_file(tmp_path):
  with pytest.raises(FileNotFoundError, match='none.txt: no such file; --labels_map_file'):
    class_names.read(tmp_path / 'none.txt', 2)


def test_wordnet_numbers_of_imagenets_classes_become_words():
  numbers = class_names.wordnet_ids()
  assert len(numbers) == 1000 and numbers == sorted(numbers)
  assert class_names.in_words(numbers) == class_names.imagenet()
  church = ['cassette player', 'church, church building']
  assert class_names.in_words(['n02979186', 'n03028079']) == church
  mixed = ['n02979186', 'my cat']
  assert class_names.in_words(mixed) == mixed


@pytest.mark.parametrize(
  'name, line, picture',
  [
    ('tench, Tinca tinca', 'tench, Tinca tinca', 'tench'),
    ('cat, black', 'cat, black', 'cat, black'),
    ('tab\there', 'tab here', 'tab here'),
    ('line\r\nbreak', 'line break', 'line break'),
    ('naïve 猫', 'naïve 猫', 'naïve 猫'),
    ('$5 or $10', '$5 or $10', r'\$5 or \$10'),
  ],
  ids=['ImageNet', 'comma', 'tab', 'line break', 'non-ASCII', 'dollars'],
)
def test_names_as_they_are_shown(name, line, picture):
  assert class_names.on_one_line(name) == line
  assert class_names.for_picture(name) == picture

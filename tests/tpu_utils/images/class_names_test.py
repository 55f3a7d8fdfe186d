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

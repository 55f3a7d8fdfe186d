"""Tags that replace those of a data set."""

import pytest

from oscar.datasets import tags

OWN = {'1': 'cat', '2': 'dog dog', '3': '', '4': 'tree'}


def test_wrong_tags_are_those_of_another_image_and_each_is_used_once():
  found = tags.replaced('wrong', OWN)
  assert sorted(found.values()) == sorted(OWN.values()) and list(found) != []
  assert all(found[key] != OWN[key] for key in OWN)
  assert found == tags.replaced('wrong', dict(reversed(OWN.items())))  # Whatever the order.
  with pytest.raises(ValueError, match='needs two or more images'):
    tags.replaced('wrong', {'1': 'cat'})


def test_a_file_gives_the_tags_of_each_image(tmp_path):
  path = tmp_path / 'tags.tsv'
  tags.write(path, {**OWN, '5': 'unused'})
  assert tags.replaced(str(path), OWN) == OWN
  tags.check(str(path))
  with pytest.raises(ValueError, match=r'tags\.tsv: there is no line for image 7'):
    tags.replaced(str(path), {'1': 'cat', '7': 'dog'})


@pytest.mark.parametrize(
  'content, message',
  [('1 cat\n', 'line 1: expected the key of an image, a tab'),
   ('1\tcat\n2\tdog\n1\ttree\n', 'line 3: image 1 has tags already')],
)  # fmt: skip
def test_damaged_files_are_one_clear_line(tmp_path, content, message):
  path = tmp_path / 'tags.tsv'
  path.write_text(content)
  with pytest.raises(ValueError, match=message) as error:
    tags.read(path)
  assert '\n' not in str(error.value)


def test_only_wrong_tags_and_files_replace_anything():
  assert tags.chooser('given') is None and tags.chooser('none') is None
  assert tags.chooser('wrong')(OWN) == tags.replaced('wrong', OWN)
  # Rows of the same image get the same tags; without a chooser each row keeps its own.
  keys, own = ['1', '2', '1'], ['cat', 'dog', 'cat']
  assert tags.of_rows(None, keys, own) == own
  assert tags.of_rows(tags.chooser('wrong'), keys, own) == ['dog', 'cat', 'dog']
  with pytest.raises(ValueError, match='--tags=wrnog: expected given, none, wrong or a file'):
    tags.check('wrnog')

"""Names of a model's outputs: their number, the background, and the file in which they are kept."""
import json

import pytest

from tpu_utils.image_jobs import classes
from tpu_utils.images import class_names, digits

ODD = ['cat, black', 'tab\there', 'line\nbreak', 'naïve 猫']


def kept(folder, content):
  (folder / 'run.json').write_text(json.dumps({'starts': [{'flags': {}}]}))
  (folder / 'classes.json').write_text(content)
  return str(folder)


@pytest.mark.parametrize('path', ['', 'archive', 'archive/model.ckpt-3'])
def test_a_jobs_names_come_back_unchanged(tmp_path, path):
  (tmp_path / 'archive').mkdir()
  kept(tmp_path, json.dumps(classes.content(ODD)))
  assert classes.of_checkpoint(str(tmp_path / path), 4) == ODD


def test_a_classes_json_that_is_no_jobs_is_left_alone(tmp_path):
  (tmp_path / 'classes.json').write_text('["mine"]')
  assert classes.of_checkpoint(str(tmp_path), 4) is None


@pytest.mark.parametrize(
  'content, message',
  [
    ('{"class_names": ["a", "b"]}', 'classes.json names 2 classes, and the model has 4; give'),
    ('["a", "b", "c", "d"]', 'classes.json: expected {"class_names": '),
    ('{"class_names": [1, 2, 3, 4]}', 'classes.json: expected {"class_names": '),
    ('{"class_names"', 'classes.json: expected {"class_names": '),
    ('[' * 100_000, 'classes.json: expected {"class_names": '),
  ],
  ids=['count', 'list', 'numbers', 'cut off', 'nested'],
)
def test_a_damaged_file_is_an_error_of_one_line(tmp_path, content, message):
  with pytest.raises(ValueError, match=message) as error:
    classes.of_checkpoint(kept(tmp_path, content), 4)
  assert '\n' not in str(error.value)


def test_an_exports_names(tmp_path):
  (tmp_path / 'export.json').write_text('{"class_names": ["a", "b"]}')
  for path in (tmp_path, tmp_path / 'model.keras'):
    assert classes.of_checkpoint(str(path), 2) == ['a', 'b']
  (tmp_path / 'export.json').write_text('{"class_names": null}')
  assert classes.of_checkpoint(str(tmp_path), 2) is None
  for content, message in (('{', 'expected JSON'), ('{"class_names": ["a"]}', 'names 1 classes')):
    (tmp_path / 'export.json').write_text(content)
    with pytest.raises(ValueError, match=f'export.json.*{message}'):
      classes.of_checkpoint(str(tmp_path), 2)


def test_1001_outputs_begin_with_the_background():
  names = classes.of_data([f'c{n}' for n in range(1000)], 1001)
  assert names[:2] == ['background', 'c0'] and len(names) == 1001
  assert classes.has_background(1001) and classes.has_background(1001, names)
  assert classes.labels(names, 1001, background=True)[0] == 'c0'


def test_data_of_1001_classes_have_no_background():
  own = [f'c{n}' for n in range(1001)]
  assert classes.of_data(own, 1001) == own
  assert not classes.has_background(1001, own)


def test_outputs_beyond_the_classes_are_numbered():
  assert classes.of_data(['a', 'b'], 4) == ['a', 'b', 'class 2', 'class 3']
  few = classes.of_data(['a', 'b'], 1001)
  assert few[:4] == ['background', 'a', 'b', 'class 2'] and few[-1] == 'class 999'


def test_known_names_in_order_of_preference(tmp_path):
  job = kept(tmp_path, json.dumps(classes.content(['of', 'the', 'job'])))
  labels_map = tmp_path / 'map.json'
  labels_map.write_text('{"0": "x", "1": "y", "2": "z"}')
  data = ['a', 'b', 'c']
  own = ['d', 'e', 'f']
  sources = {'own': own, 'checkpoint': job, 'data_names': data}
  assert classes.known(3, labels_map_file=str(labels_map), **sources) == ['x', 'y', 'z']
  assert classes.known(3, **sources) == own
  assert classes.known(3, checkpoint=job, data_names=data) == ['of', 'the', 'job']
  assert classes.known(3, data_names=data) == data
  assert classes.known(10, is_digits=True) == list(digits.NAMES)


@pytest.mark.parametrize('num_outputs, first', [(1000, []), (1001, ['background'])])
def test_imagenets_names_are_said_to_be_assumed(num_outputs, first):
  lines = []
  names = classes.known(num_outputs, log=lines.append)
  assert names == first + class_names.imagenet()
  assert len(lines) == 1 and 'called as those of ImageNet' in lines[0]


def test_nothing_known(capsys):
  lines = []
  assert classes.known(3, log=lines.append) is None
  assert lines == ['Nothing names the 3 classes; --labels_map_file can.']
  assert classes.labels(None, 3, background=False) == ['class 0', 'class 1', 'class 2']


def test_wordnet_numbers_become_words_and_the_background_stays():
  numbers = [f'n{n}' for n in ('01440764', '02123045')]
  assert classes.known(2, own=numbers) == ['tench, Tinca tinca', 'tabby, tabby cat']
  full = classes.of_data(class_names.wordnet_ids(), 1001)
  assert classes.in_words(full) == ['background', *class_names.imagenet()]


def test_a_labels_map_of_another_number_is_refused(tmp_path):
  path = tmp_path / 'map.json'
  path.write_text('{"0": "x", "1": "y"}')
  with pytest.raises(ValueError, match='names 2 classes.* the model has 3') as error:
    classes.known(3, labels_map_file=str(path))
  assert '\n' not in str(error.value)
  assert classes.known(3, labels_map_file=str(path), background=True) == ['background', 'x', 'y']


def test_a_job_goes_on_only_with_the_classes_with_which_it_began(tmp_path):
  folder = kept(tmp_path, json.dumps(classes.content(ODD)))
  classes.check_same(folder, ODD)
  classes.check_same(str(tmp_path / 'new'), ODD)
  other = [*ODD[:2], 'zebra', ODD[3]]
  with pytest.raises(ValueError, match=r"output 2 was 'line\\nbreak', and the data call it 'zebr"):
    classes.check_same(folder, other)
  with pytest.raises(ValueError, match='learnt 4 classes, and the model now has 3'):
    classes.check_same(folder, ODD[:3])


@pytest.mark.parametrize('content', ['', '\0\0', '[]', '{"class_names": 3}'])
def test_a_damaged_file_does_not_stop_a_job(tmp_path, content, capsys):
  classes.check_same(kept(tmp_path, content), ODD)
  assert 'classes.json: expected {"class_names": ["name", ...]}, found' in capsys.readouterr().err

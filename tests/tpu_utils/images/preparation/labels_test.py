"""Tests the forms of label files, and the errors for wrong ones."""
import pytest

from tpu_utils.images.preparation import labels

NAMES = ['b_2.JPEG', 'a_1.JPEG', 'c_3.JPEG']
EXPECTED = {'a_1.JPEG': 'x', 'b_2.JPEG': 'y', 'c_3.JPEG': 'x'}


def read(tmp_path, text):
  path = tmp_path / 'labels.txt'
  path.write_bytes(text if isinstance(text, bytes) else text.encode())
  return labels.read(str(path), 'FOLDER', NAMES)


@pytest.mark.parametrize(
  'text',
  [
    'x\ny\nx\n',
    'x\r\ny\r\nx\r\n\r\n',
    'c_3.JPEG x\na_1.JPEG x\nb_2.JPEG y\n',
    'b_2 y\nc_3\tx\na_1 x',
    '\ufeffb_2 y\nc_3\tx\na_1 x',
    'ImageId,PredictionString\nc_3,x 85 1 499 272\na_1,x 1 2 3 4 x 5 6 7 8\nb_2,y 0 0 9 9\n',
  ],
)
def test_forms(tmp_path, text):
  assert read(tmp_path, text) == EXPECTED


@pytest.mark.parametrize(
  'text, message',
  [
    ('', 'is empty'),
    ('x\ny\n', 'has 2 labels for the 3 images of FOLDER'),
    (
      '490\n361\n171\n',
      r'numbers the classes \(490, ...\).*imagenet_2012_validation_synset_labels.txt',
    ),
    ('a_1 x\nb_2 y\n', 'has no label for c_3.JPEG and 0 more of the images of FOLDER'),
    ('a_1 x\nb_2 y\nc_3 x\nd_4 x', 'FOLDER lacks d_4 and 0 more'),
    ('a_1 x\nb_2\nc_3 x', "has a line without a class: 'b_2'"),
    (b'\xff\xfe\x80', 'is not a text file'),
  ],
)
def test_mistakes(tmp_path, text, message):
  with pytest.raises(ValueError, match=message) as error:
    read(tmp_path, text)
  assert str(error.value).count('\n') == 0 and 'labels.txt' in str(error.value)


def test_no_such_file():
  with pytest.raises(ValueError, match='--validation_labels=/no/where cannot be read'):
    labels.read('/no/where', 'FOLDER', NAMES)

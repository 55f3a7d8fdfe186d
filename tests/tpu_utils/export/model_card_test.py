"""Model cards: front matter, what is known and what is not, checksums."""
import hashlib
import json
import re

import yaml

from tpu_utils.export import model_card

CARD = model_card.ModelCard(
  title='net',
  task='image-classification',
  description='A net.',
  tags=('small: "net"',),
  details={'classes': 'a|b, <c>'},
  training={'data': 'photographs'},
  results={'top-1 accuracy': '97.20 %'},
  measured='On 355 images.',
  limits=('It errs.',),
)


def write(tmp_path, card=CARD):
  (tmp_path / 'variables').mkdir()
  (tmp_path / 'model.keras').write_bytes(b'weights')
  (tmp_path / 'variables' / 'index').write_bytes(b'')
  model_card.write(str(tmp_path), card)
  return (tmp_path / model_card.FILE).read_text(encoding='utf-8')


def test_front_matter_is_yaml_with_a_licence_to_fill_in(tmp_path):
  text = write(tmp_path)
  _, front, _ = text.split('---\n', 2)
  assert yaml.safe_load(front) == {
    'license': 'unknown', 'library_name': 'keras', 'pipeline_tag': 'image-classification',
    'tags': ['small: "net"'],
  }  # fmt: skip
  assert 'license: unknown  # Fill in' in front


def test_checksums_of_all_files(tmp_path):
  text = write(tmp_path)
  rows = dict(re.findall(r'^\| ([\w./]+) \| [\d,]+ \| `([0-9a-f]{64})` \|$', text, re.M))
  assert rows == {
    'model.keras': hashlib.sha256(b'weights').hexdigest(),
    'variables/index': hashlib.sha256(b'').hexdigest(),
  }
  model_card.write(str(tmp_path), CARD)  # Again: the card has no checksum of itself.
  assert (tmp_path / model_card.FILE).read_text(encoding='utf-8') == text


def test_what_is_known(tmp_path):
  text = write(tmp_path)
  for part in ('| data | photographs |', '| top-1 accuracy | 97.20 % |', 'On 355 images.',
               '- It errs.', 'a\\|b, &lt;c>', '## Licence'):  # fmt: skip
    assert part in text


def test_what_is_not_known_is_said(tmp_path):
  text = write(tmp_path, model_card.ModelCard('net', 'image-classification', 'A net.'))
  assert 'Not known' in text and 'Not measured here.' in text


def test_the_card_of_single_files(tmp_path):
  for name in ('x.int8.tflite', 'x.float32.tflite'):
    (tmp_path / name).write_bytes(b'')
  paths = [str(tmp_path / name) for name in ('x.int8.tflite', 'x.float32.tflite')]
  path = model_card.write_beside(str(tmp_path / 'x.tflite'), CARD, paths)
  assert path == str(tmp_path / 'x.model_card.md')
  assert (tmp_path / 'x.model_card.md').read_text().count('| 0 |') == 2


def test_the_record_of_a_job(tmp_path):
  assert model_card.job_record(None) is None and model_card.job_record(str(tmp_path)) is None
  start = {'flags': {'seed': 3}, 'strategy': 'OneDeviceStrategy, 1 replica'}
  (tmp_path / 'run.json').write_text(json.dumps({'starts': [start]}))
  record = model_card.job_record(str(tmp_path))
  assert (record.flags, record.step, record.results) == ({'seed': 3}, None, {})
  (tmp_path / 'archive').mkdir()
  (tmp_path / 'archive' / 'checkpoint').write_text('model_checkpoint_path: "model.ckpt-20"\n')
  (tmp_path / 'eval').mkdir()
  rows = [{'step': 20, 'top_1_accuracy': 0.5}, {'step': 30, 'top_1_accuracy': 0.4}]
  (tmp_path / 'eval' / 'results.jsonl').write_text('\n'.join(map(json.dumps, rows)) + '\n')
  for path in (tmp_path, tmp_path / 'archive'):
    assert model_card.job_record(str(path)).results == {'top_1_accuracy': 0.5}
  (tmp_path / 'run.json').write_text('{')
  assert model_card.job_record(str(tmp_path)) is None

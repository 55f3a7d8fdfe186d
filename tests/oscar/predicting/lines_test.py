"""Files of JSON lines: results in order, bad lines, and resuming at any byte."""

import base64
import json

import numpy as np
import pytest

import oscar
from oscar.predicting import lines
from tests.oscar.predicting import exports

RNG = np.random.default_rng(0)


def record(count=2):
  corners = np.sort(RNG.random((count, 2, 2)), axis=1).reshape(count, 4)
  parts = (RNG.random((count, 2048)), corners, corners[:, 2:] - corners[:, :2])
  content = np.concatenate(parts, 1).astype('<f4').tobytes()
  return {'features': base64.b64encode(content).decode(), 'num_boxes': count, 'tags': ['cat']}


@pytest.fixture(scope='module')
def predictor(tmp_path_factory):
  folder = tmp_path_factory.mktemp('vqa')
  exports.write(folder, 'vqa')
  return oscar.load(folder)


@pytest.fixture(scope='module')
def rows():
  return [{'id': f'q{i}', 'question': f'what colour is cat {i}?', **record()} for i in range(7)]


BAD = (
  ('[1, 2]', "it holds '[1, 2]', expected a JSON object"),
  ('{"question": "wha', 'it is no JSON'),
  ('{"qestion": "what?"}', "Unknown field 'qestion': did you mean question"),
  ('{"id": 5, "image": "a.png"}', "no 'question'; it has id, image"),
  ('{"question": "what?"}', 'image: expected one of image, image_id, features, found none'),
  ('{"question": "what?", "image": "a.png"}', 'image: a picture needs a detector'),
  ('{"question": "", "features": [[1]], "tags": ""}', 'image: regions are 1 numbers wide'),
)


def run(predictor, folder, content, batch_size=3, name='out.jsonl', **options):
  path = folder / 'in.jsonl'
  path.write_bytes(content)
  return lines.run(
    predictor, str(path), str(folder / name), batch_size, {'top_k': 2, **options}, {}
  )


def text_of(rows):
  return ''.join(f'{json.dumps(row)}\n' for row in rows).encode()


def read(folder, name='out.jsonl'):
  return [json.loads(line) for line in (folder / name).read_text().splitlines()]


def test_every_line_has_its_result(predictor, rows, tmp_path):
  counts = run(predictor, tmp_path, b'\xef\xbb\xbf' + text_of(rows))
  assert counts == lines.Counts(7, 0, 0)
  for number, (row, made) in enumerate(zip(rows, read(tmp_path), strict=True), 1):
    image = {name: row[name] for name in ('features', 'num_boxes', 'tags')}
    expected = predictor.answer(image, row['question'], top_k=2).as_json()
    assert (made.pop('line'), made.pop('id')) == (number, f'q{number - 1}')
    for one in (expected, made):
      one['top'] = [(top['answer'], round(top['probability'], 4)) for top in one['top']]
      one['probability'] = round(one['probability'], 4)
    assert made == expected


def test_captions_need_no_text(rows, tmp_path):
  exports.write(tmp_path / 'export', 'captioning')
  predictor = oscar.load(tmp_path / 'export')
  given = [{name: value for name, value in row.items() if name != 'question'} for row in rows[:2]]
  given.append(rows[2])
  lines_in = tmp_path / 'in.jsonl'
  lines_in.write_bytes(text_of(given))
  options = {'num_beams': 2, 'num_return_sequences': 2}
  counts = lines.run(predictor, str(lines_in), str(tmp_path / 'out.jsonl'), 3, options, {})
  assert counts == lines.Counts(3, 1, 0)
  *made, bad = read(tmp_path)
  assert [row['id'] for row in made] == ['q0', 'q1']
  assert all(row['captions'][0]['caption'] == row['caption'] for row in made)
  assert "Unknown field 'question'" in bad['error']


def test_bad_lines_are_named_and_counted_and_the_others_done(predictor, rows, tmp_path, capsys):
  content = text_of(rows[:2]) + b'\n' + b''.join(f'{line}\n'.encode() for line, _ in BAD)
  content += b'\xff\xfe\n' + text_of(rows[2:3])[:-1]  # The last without its end.
  counts = run(predictor, tmp_path, content)
  assert counts == lines.Counts(4 + len(BAD), 1 + len(BAD), 0)
  made, err = read(tmp_path), capsys.readouterr().err
  assert [row['line'] for row in made] == [1, 2, *range(4, 6 + len(BAD))]  # 3 is blank.
  assert [row.get('id') for row in made if 'error' not in row] == ['q0', 'q1', 'q2']
  for number, (_, message) in enumerate(BAD, 4):
    assert message in made[number - 2]['error']
    assert f'in.jsonl, line {number}: ' in err
  assert made[-2]['error'] == 'it is not UTF-8; expected JSON as UTF-8'
  assert made[5]['id'] == 5


def test_a_stopped_job_resumes_to_the_same_file(predictor, rows, tmp_path, monkeypatch):
  content = text_of(rows[:4]) + b'[]\n' + text_of(rows[4:])
  run(predictor, tmp_path, content)
  whole = (tmp_path / 'out.jsonl').read_bytes()
  ends = np.cumsum([len(line) for line in whole.splitlines(keepends=True)]).tolist()
  asked = []
  predict = type(predictor).predict
  monkeypatch.setattr(
    type(predictor), 'predict', lambda self, e, **o: asked.append(len(e)) or predict(self, e, **o)
  )
  for size, batches in ((0, [3, 2, 2]), (ends[0], [3, 2, 2]), (ends[2], [2, 2]),
                        (ends[2] + 5, [2, 2]), (ends[6] + 3, [2]), (ends[7], [])):  # fmt: skip
    (tmp_path / 'out.jsonl').write_bytes(whole[:size])
    asked.clear()
    counts = run(predictor, tmp_path, content)
    assert (tmp_path / 'out.jsonl').read_bytes() == whole
    assert asked == batches and counts.bad == 1
  assert counts.resumed == 8
  assert {path.name for path in tmp_path.iterdir()} == {
    'in.jsonl', 'out.jsonl', 'out.jsonl.job.json',
  }  # fmt: skip


def test_the_output_of_another_job_is_kept(predictor, rows, tmp_path):
  run(predictor, tmp_path, text_of(rows[:2]))
  before = (tmp_path / 'out.jsonl').read_bytes()
  with pytest.raises(ValueError, match='out.jsonl holds predictions of another job, with another '):
    run(predictor, tmp_path, text_of(rows[:3]))
  with pytest.raises(ValueError, match='another batch_size, top_k; give another --output'):
    run(predictor, tmp_path, text_of(rows[:2]), batch_size=2, top_k=1)
  assert (tmp_path / 'out.jsonl').read_bytes() == before
  (tmp_path / 'mine.jsonl').write_text('mine')
  with pytest.raises(ValueError, match='mine.jsonl exists, but not .*mine.jsonl.job.json'):
    run(predictor, tmp_path, text_of(rows[:2]), name='mine.jsonl')
  assert (tmp_path / 'mine.jsonl').read_text() == 'mine'


def test_nothing_to_predict_is_an_error(predictor, tmp_path):
  with pytest.raises(ValueError, match='in.jsonl has no lines; expected a JSON object on each'):
    run(predictor, tmp_path, b'\n\n')
  with pytest.raises(ValueError, match='none of its 2 lines can be predicted; line 1: it holds'):
    run(predictor, tmp_path, b'[]\n{}\n', name='bad.jsonl')
  assert len(read(tmp_path, 'bad.jsonl')) == 2


def test_lines_about_two_images(tmp_path):
  exports.write(tmp_path / 'export', 'nlvr2')
  predictor = oscar.load(tmp_path / 'export')
  left, right = record(), record(3)
  good = {'left': left, 'right': right, 'statement': 'both are red'}
  bad = [
    {'left': left, 'statement': 'one'},
    {'left': left, 'right': 5, 'statement': 'one'},
    {'left': left, 'right': {**right, 'featurse': 1}, 'statement': 'one'},
  ]
  (tmp_path / 'in.jsonl').write_bytes(text_of([good, *bad]))
  options = {'attention': True}
  counts = lines.run(
    predictor, f'{tmp_path}/in.jsonl', f'{tmp_path}/out.jsonl', 8, options, {}
  )
  assert counts == lines.Counts(4, 3, 0)
  made = read(tmp_path)
  expected = predictor.compare(left, right, 'both are red')
  assert made[0]['probability_true'] == pytest.approx(expected.probability_true, abs=1e-5)
  assert made[0]['prediction'] == expected.prediction
  assert [np.shape(a['weights'])[1] for a in made[0]['attention']] == [2, 3]
  assert made[0]['regions'] == ['features given'] * 2
  for row, message in zip(
    made[1:], ("'right' is None, expected the", "'right' is 5", "in right 'featurse'"), strict=True
  ):
    assert message in row['error']

"""`python -m oscar.predict`: one question, files of lines, and mistakes in flags."""

import functools
import json
import random

import keras
import pytest
from PIL import Image

from oscar import predict
from oscar.scenes import canvas, detector, graph
from tests import script_jobs
from tests.oscar import loaders
from tests.oscar.predicting import exports


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """A folder with exports, a detector with random weights, and two scenes."""
  folder = tmp_path_factory.mktemp('predict')
  exports.write(folder / 'vqa', 'vqa')
  exports.write(folder / 'nlvr2', 'nlvr2')
  exports.write(folder / 'pretrain', 'pretrain')
  keras.utils.set_random_seed(1)
  (folder / 'scenes').mkdir()
  detector.Detector().save(folder / 'scenes' / 'detector.weights.h5')
  (folder / 'scenes' / 'world.json').write_text('{}')
  inks = canvas.read_inks('val')
  for name in 'ab':
    scene = graph.sample(random.Random(name), name, inks)
    Image.fromarray(canvas.paint(scene, inks)).save(folder / f'{name}.png')
  return folder


@pytest.fixture(autouse=True, scope='module')
def load_once():
  """Opens each export with each detector once for all tests."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(predict, '_load', functools.lru_cache(predict._load))
    yield


def call(place, task, *flags):
  script_jobs.in_process(predict.SCRIPT, f'--export_dir={place}/{task}', *flags)


@pytest.mark.slow
def test_one_question_about_a_picture(place, capsys):
  question = 'what colour is the dog?'
  shared = (f'--detector={place}/scenes', f'--image={place}/a.png', f'--question={question}')
  call(place, 'vqa', *shared, '--top_k=2')
  first, second, origin, *notes = capsys.readouterr().out.splitlines()
  model, images, _ = predict.SCRIPT.resolve(
    {'export_dir': f'{place}/vqa', 'detector': f'{place}/scenes'}
  )
  expected = predict._load(model, images).answer(f'{place}/a.png', question)
  assert first.split() == [*expected.answer.split(), f'{expected.probability:.4f}']
  assert second.startswith(expected.top[1][0])
  assert origin == 'Regions of image: connected parts on a plain background'
  assert notes == [f'Note: {note}' for note in expected.notes]
  (place / 'boxes.json').write_text('[[0, 0, 80, 60]]')
  call(place, 'vqa', *shared, f'--boxes={place}/boxes.json', '--attention')
  out = capsys.readouterr().out.splitlines()
  assert 'Regions of image: boxes given' in out
  attention = json.loads(out[-1])
  assert attention['tokens'][0] == '[CLS]' and len(attention['weights'][0]) == 1


def test_one_statement_about_images_by_id(place, capsys):
  call(
    place, 'nlvr2', f'--features={loaders.DATA}/coco_ir', '--left=398288', '--right=398288',
    '--statement=both are red',
  )  # fmt: skip
  verdict, left, right, *_ = capsys.readouterr().out.splitlines()
  assert verdict.split()[0] in ('true', 'false')
  assert "features.tsv, image '398288'" in left and right.startswith('Regions of right: ')


def test_a_file_of_lines(place, tmp_path, capsys):
  rows = [{'image': f'{place}/{name}.png', 'question': 'is it red?'} for name in 'ab']
  rows.insert(1, {'image': f'{place}/none.png', 'question': 'is it red?'})
  (tmp_path / 'in.jsonl').write_text(''.join(f'{json.dumps(row)}\n' for row in rows))
  flags = (f'--detector={place}/scenes', f'--input={tmp_path}/in.jsonl',
           f'--output={tmp_path}/out.jsonl', '--top_k=1')  # fmt: skip
  call(place, 'vqa', *flags)
  captured = capsys.readouterr()
  assert f'{tmp_path}/out.jsonl: 3 lines, 1 of them bad\n' in captured.out
  assert 'in.jsonl, line 2: ' in captured.err and 'none.png: No such file' in captured.err
  made = [json.loads(line) for line in (tmp_path / 'out.jsonl').read_text().splitlines()]
  assert [row['line'] for row in made] == [1, 2, 3]
  assert made[0]['regions'] == 'connected parts on a plain background'
  assert len(made[2]['top']) == 1 and 'error' in made[1]
  predict._load.cache_clear()  # As in another process.
  call(place, 'vqa', *flags)
  assert '3 lines, 1 of them bad, 3 of them there before' in capsys.readouterr().out


@pytest.mark.parametrize(
  'task, flags, message',
  [
    ('vqa', [], 'Nothing to predict: give --input and --output, or --image and --question'),
    ('vqa', ['--input=a'], '--output is missing'),
    ('vqa', ['--input=none', '--output=b'], '--input=none is no file; expected JSON lines'),
    ('vqa', ['--input=a', '--output=./a'], '--output=./a is the input; give another file'),
    ('vqa', ['--input=a', '--output=no/b'], '--output=no/b: there is no folder no; create it'),
    ('vqa', ['--output=a', '--question=b'], '--output needs --input'),
    ('vqa', ['--input=a', '--output=b', '--image=c'], '--input does not go with --image'),
    ('vqa', ['--image=a.png', '--text=b'], '--question is missing: a model of vqa takes --image, '),
    ('vqa', ['--image=a', '--question=b', '--left=c'], '--left has no use: a model of vqa takes'),
    ('vqa', ['--image=a.png', '--question=b'], 'image: a picture needs a detector'),
    ('vqa', ['--image=a.png', '--question=b', '--settings=[1]'], '--settings=[1]: expected a JSON'),
    ('vqa', ['--image=a.png', '--question=b', '--detector=nothing'], "'nothing' is no folder"),
    ('vqa', ['--qestion=a'], "Unknown flag 'qestion': did you mean question"),
    ('vqa', ['--task=gqa', '--image=a', '--question=b'], "for the task 'vqa', not 'gqa'"),
    ('nothing', ['--image=a', '--question=b'], 'nothing does not exist'),
    ('pretrain', ['--image=a', '--question=b'], 'holds a model of pre-training'),
  ],
)
def test_mistakes_are_one_clear_line(place, task, flags, message):
  with pytest.raises((ValueError, OSError)) as error:
    call(place, task, *flags)
  assert message in str(error.value) and '\n' not in str(error.value)


def test_the_help_explains_the_lines():
  page = predict.SCRIPT.help_text()
  for text in ('{"image": "cat.png", "question": "what is it?"}', '"num_boxes": n', '--batch_size',
               'The exit code is 1 if nothing could be predicted'):  # fmt: skip
    assert text in page

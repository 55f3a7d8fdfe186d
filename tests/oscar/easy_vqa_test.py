"""easy-VQA in the official layout, on a few pictures in the layout of its package."""

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from oscar import easy_vqa, run_vqa, tokenization
from oscar.datasets import lite_features, vqa_files
from tests import script_jobs

ANSWERS = ['circle', 'red', 'yes', 'triangle', 'rectangle', 'blue', 'no']
# {split: [(shape, colour, box)]} of the pictures.
SHAPES = {
  'train': [
    ('circle', 'red', (10, 20, 40, 50)),
    ('triangle', 'blue', (5, 5, 35, 30)),
    ('rectangle', 'red', (30, 0, 60, 20)),
  ],
  'test': [('rectangle', 'blue', (20, 20, 30, 60)), ('circle', 'blue', (44, 44, 63, 63))],
}


class Mean:
  """A model for the features: the mean colour of a region."""

  image_size, labels = 8, ('thing',)

  def __call__(self, images):
    mean = np.asarray(images).mean(axis=(1, 2)) / 255
    return np.pad(mean, ((0, 0), (0, 2045))), np.ones((len(mean), 1), np.float32)


@pytest.fixture
def source(tmp_path):
  """A folder like that of the package."""
  folder = tmp_path / 'data'
  for split, shapes in SHAPES.items():
    (folder / split / 'images').mkdir(parents=True)
    rows = []
    for number, (shape, colour, box) in enumerate(shapes):
      picture = Image.new('RGB', (64, 64), (240, 235, 250))
      draw = ImageDraw.Draw(picture)
      x1, y1, x2, y2 = box
      if shape == 'triangle':
        draw.polygon([(x1, y2), (x2, y2), ((x1 + x2) / 2, y1)], fill=colour)
      else:
        (draw.ellipse if shape == 'circle' else draw.rectangle)(box, fill=colour)
      picture.save(folder / split / 'images' / f'{number}.png')
      rows += [
        ['what shape is in the image?', shape, number],
        ['what color is the shape?', colour, number],
        ['is there a red shape?', 'yes' if colour == 'red' else 'no', number],
      ]
    (folder / split / 'questions.json').write_text(json.dumps(rows))
  (folder / 'answers.txt').write_text('\n'.join(ANSWERS))
  return folder


def convert(source, folder):
  return easy_vqa.convert(str(folder), str(source), Mean(), log=lambda message: None)


def test_the_official_files_hold_the_questions_and_what_the_picture_shows(source, tmp_path):
  assert convert(source, tmp_path / 'vqa') == {
    'train': {'pictures': 3, 'questions': 9}, 'val': {'pictures': 2, 'questions': 6},
  }  # fmt: skip
  found = vqa_files.VqaFiles(str(tmp_path / 'vqa'), img_feat_format='tsv')
  for split, theirs in easy_vqa.SPLITS.items():
    loaded = found.open(split)
    assert loaded.answers == ANSWERS
    rows = json.loads((source / theirs / 'questions.json').read_text())
    asked = [(q.question, ANSWERS[q.answers[0]], q.scores) for q in loaded.questions]
    assert asked == [(question, answer, (1.0,)) for question, answer, _ in rows]
    assert [loaded.kinds[q.question_id] for q in loaded.questions[:3]] == [
      'shape', 'colour', 'yes_no'
    ]  # fmt: skip
    regions = found.open_regions(split)
    for number, (shape, colour, box) in enumerate(SHAPES[theirs]):
      question = loaded.questions[3 * number]
      assert question.tags == shape
      first, whole = regions[question.image_id]
      np.testing.assert_allclose(first[-6:-2] * 64, np.add(box, [0, 0, 1, 1]), atol=1)
      assert whole[-6:].tolist() == [0, 0, 1, 1, 1, 1]
      assert first[:3].argmax() == {'red': 0, 'blue': 2}[colour]
  ids = [q.question_id for split in easy_vqa.SPLITS for q in found.open(split).questions]
  assert len(set(ids)) == 15
  tokenizer = tokenization.Tokenizer(str(tmp_path / 'vqa' / 'vocab.txt'))
  assert tokenizer.tokenize('What color is the triangle?') == [
    'what', 'color', 'is', 'the', 'triangle', '?'
  ]  # fmt: skip


def test_tags_and_regions_do_not_depend_on_the_questions(source, tmp_path):
  """Also where a question says something wrong."""
  convert(source, tmp_path / 'true')
  for split in SHAPES:
    path = source / split / 'questions.json'
    rows = [[question, 'blue', image] for question, _, image in json.loads(path.read_text())]
    path.write_text(json.dumps(rows))
  convert(source, tmp_path / 'wrong')
  true, wrong = (
    [row['o'] for row in json.loads((tmp_path / name / 'train2014_qla.json').read_text())]
    for name in ('true', 'wrong')
  )
  assert true == wrong
  features = [tmp_path / name / 'features' / 'features.tsv' for name in ('true', 'wrong')]
  assert features[0].read_bytes() == features[1].read_bytes()


@pytest.mark.slow
def test_the_script_trains_on_it(source, tiny, tmp_path):
  convert(source, tmp_path / 'vqa')
  script_jobs.in_process(
    run_vqa.SCRIPT, '--recipe=easy_vqa', f'--data_dir={tmp_path}/vqa',
    f'--model_dir={tmp_path}/run', '--max_steps=2', '--train_batch_size=4', '--eval_batch_size=4',
    '--strategy=one_device', f'--config_name={tiny}/config.json', '--img_feature_dim=2054',
  )  # fmt: skip
  row = json.loads((tmp_path / 'run' / 'eval' / 'results.jsonl').read_text().splitlines()[-1])
  assert row['step'] == 2
  assert {'vqa_score', 'vqa_score_shape', 'vqa_score_colour', 'vqa_score_yes_no'} <= set(row)


def test_lite_features_have_the_official_width():
  model = lite_features.LiteFeatures(image_size=32, weights=None)
  appearance, probabilities = model(np.zeros((2, 32, 32, 3), np.float32))
  assert appearance.shape == (2, 2048) and probabilities.tolist() == [[1], [1]]
  assert appearance[:, :1280].any() and not appearance[:, 1280:].any()


def test_a_folder_with_other_files_is_kept(source, tmp_path):
  convert(source, tmp_path / 'vqa')
  convert(source, tmp_path / 'vqa')  # Replaces its own.
  (tmp_path / 'mine').mkdir()
  (tmp_path / 'mine' / 'a.txt').write_text('a')
  with pytest.raises(ValueError, match='mine'):
    convert(source, tmp_path / 'mine')
  assert (tmp_path / 'mine' / 'a.txt').exists()


def _damage(name, text):
  return lambda source: (source / name).write_text(text)


@pytest.mark.parametrize(
  'damage, message',
  [
    (_damage('train/questions.json', '[["what?", "red"]]'), 'row 0: .*expected .question, answer'),
    (_damage('train/questions.json', '[["what?", "pink", 0]]'), "row 0: 'pink' is not one of the"),
    (_damage('train/questions.json', '[["what?", "red", 7]]'), '7.png'),
    (_damage('train/questions.json', '{}'), 'expected a list of questions'),
    (_damage('train/questions.json', '[['), 'questions.json'),
    (_damage('answers.txt', 'red\nred\n'), 'expected different answers'),
    (_damage('train/images/0.png', 'x'), '0.png: its 1 bytes are no image'),
    (lambda s: Image.new('RGB', (64, 64)).save(s / 'train/images/0.png'), '0.png: nothing stands'),
    (lambda s: (s / 'answers.txt').unlink(), 'answers.txt does not exist'),
  ],
)
def test_damage_is_one_line_and_leaves_no_folder(source, tmp_path, damage, message):
  damage(source)
  with pytest.raises((ValueError, OSError), match=message) as error:
    convert(source, tmp_path / 'vqa')
  assert '\n' not in str(error.value)
  assert not (tmp_path / 'vqa').exists()


def test_the_script_says_what_is_missing(monkeypatch, tmp_path):
  monkeypatch.setattr(easy_vqa, 'MODULE', 'not_installed_at_all')
  for flags, message in (
    ([f'--output_dir={tmp_path}/vqa'], 'not installed: pip install easy-vqa'),
    ([], '--output_dir is missing'),
    (['--output_dir=gs://bucket/vqa'], '--output_dir=gs://bucket/vqa'),
    ([f'--output_dir={tmp_path}/vqa', '--source_dir=/not/there'], '/not/there'),
  ):
    with pytest.raises(ValueError, match=message):
      script_jobs.in_process(easy_vqa.SCRIPT, *flags)

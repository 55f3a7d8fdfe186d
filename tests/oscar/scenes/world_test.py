"""A world is built once and complete, and the readers of all tasks read it."""

import json
import os
import pathlib
import random

import numpy as np
import pytest
from PIL import Image

import oscar
from oscar.datasets import (
  builders,
  coco_caption,
  coco_retrieval,
  features,
  gqa,
  nlvr2,
  nocaps,
  pretrain_corpus,
  region_extraction,
  vqa,
)  # fmt: skip
from oscar.input import pretrain, pretrain_batch
from oscar.scenes import __main__ as command
from oscar.scenes import canvas, constraints, detector, gallery, graph, layouts, world
from oscar.tasks import nocaps as nocaps_task
from tests.oscar.scenes import reader
from tests.oscar.scenes.plain_detector import PlainDetector
from tpu_utils import claims

pytestmark = pytest.mark.slow

SMALL = {'num_train': 12, 'num_val': 6, 'detector_steps': 40, 'num_questions': 4}
TASKS = {'train': 12, 'val': 6}


@pytest.fixture(scope='module')
def small(tmp_path_factory):
  """A world with a detector trained for a few steps."""
  return world.build(tmp_path_factory.mktemp('worlds') / 'small', **SMALL)


@pytest.fixture
def no_training(monkeypatch):
  """Replaces training and TFRecord writing; returns the list of (seed, steps) of trainings."""
  asked = []

  def train(inks, seed, steps):
    asked.append((seed, steps))
    return PlainDetector()

  def prepare(self, *_):
    os.makedirs(self.data_dir, exist_ok=True)

  monkeypatch.setattr(detector, 'train', train)
  monkeypatch.setattr(world.World, 'prepare', prepare)
  return asked


def test_every_task_can_be_prepared_without_messages(small, caplog, capfd):
  capfd.readouterr()
  caplog.clear()
  for name in builders.BUILDERS:
    builder = small.prepare(name)
    splits = dict(TASKS)
    if name == 'nocaps':
      del splits['train']
    if name == 'coco_caption':
      splits['seen'] = builder.info.splits['seen'].num_examples
      assert 0 < splits['seen'] < 12
    if name == 'nlvr2':  # A record is a pair.
      splits = {split: builder.info.splits[split].num_examples for split in TASKS}
    assert {s: info.num_examples for s, info in builder.info.splits.items()} == splits, name
  assert not caplog.messages and capfd.readouterr().out == ''


def test_regions_are_in_the_official_order(small):
  """The six numbers after the appearance are the geometry of the digits' boxes."""
  for split in TASKS:
    folder = small.manual_dir('coco_caption')
    images = coco_caption.CocoCaption(os.path.join(folder, f'{split}.yaml'))
    for scene in small.scenes(split):
      regions = images.regions[scene.key]
      assert regions.shape == (len(scene.things), 2054)
      boxes = features.boxes(regions, graph.WIDTH, graph.HEIGHT)
      assert {tuple(box) for box in boxes.round().tolist()} == {t.box for t in scene.things}


def test_the_readers_agree(small):
  """The files of all tasks have the same images, regions and tags."""
  captions = coco_caption.CocoCaption(os.path.join(small.manual_dir('coco_caption'), 'val.yaml'))
  others = {
    'vqa': vqa.Vqa(small.manual_dir('vqa'), 'val'),
    'gqa': gqa.Gqa(small.manual_dir('gqa'), 'val'),
    'nlvr2': nlvr2.Nlvr2(small.manual_dir('nlvr2'), 'val'),
    'coco_retrieval': coco_retrieval.CocoRetrieval(
      small.manual_dir('coco_retrieval'), 'val', image_keys='val_img_keys.tsv'
    ),
    'nocaps': nocaps.NoCaps(os.path.join(small.manual_dir('nocaps'), 'val.yaml')),
  }
  for name, other in others.items():
    for key in captions.image_ids:
      np.testing.assert_array_equal(other.regions[key], captions.regions[key], name)
  for name in ('vqa', 'gqa'):
    for question in others[name].questions:
      assert question.tags == captions.tags(question.image_id)
  for statement in others['nlvr2'].statements:
    assert statement.tags == tuple(captions.tags(key) for key in statement.image_ids)
  scenes = {scene.key: scene for scene in small.scenes('val')}
  assert list(others['coco_retrieval'].captions) == captions.image_ids == list(scenes)
  for key, of_image in others['coco_retrieval'].captions.items():
    assert len(of_image) == 5
    assert all(reader.caption_is_true(caption, scenes[key]) for caption in of_image)


def test_texts_in_the_official_files_are_true(small):
  """The independent reader judges the texts as the official readers return them."""
  scenes = {scene.key: scene for split in TASKS for scene in small.scenes(split)}
  tokenizer = oscar.Tokenizer(small.vocab_file)
  for split in TASKS:
    for name, kind in (('vqa', vqa.Vqa), ('gqa', gqa.Gqa)):
      task = kind(small.manual_dir(name), split)
      assert len(task.questions) == 4 * TASKS[split]
      for question in task.questions:
        answers = {task.answers[label] for label in question.answers}
        assert answers <= reader.right_answers(question.question, scenes[question.image_id])
    for statement in nlvr2.Nlvr2(small.manual_dir('nlvr2'), split).statements:
      pair = [scenes[key] for key in statement.image_ids]
      assert reader.statement_is_true(statement.statement, *pair) == bool(statement.label)
    corpus = pretrain_corpus.PretrainCorpus(
      os.path.join(small.manual_dir('pretrain'), f'{split}.yaml')
    )
    documents = list(corpus.documents())
    assert len(documents) == 13 * TASKS[split]
    if split == 'train':
      words = [text for document in documents for text in (document.text_a, document.text_b)]
      assert not any(tokenizer.unk_id in tokenizer.encode(text) for text in words)
    for document in documents:
      scene = scenes[document.image_id.split('_')[-1]]
      if not document.is_question:
        assert reader.caption_is_true(document.text_a, scene)
        assert len(document.text_b.split()) == len(scene.things)
      else:
        assert set(document.text_b.split()) <= reader.right_answers(document.text_a, scene)


def test_raw_annotations_belong_to_the_questions(small):
  folder = pathlib.Path(small.manual_dir('vqa'))
  ids = []
  for split, name in (('train', vqa.SPLITS['train'][0]), ('val', vqa.SPLITS['val'][0])):
    rows = json.loads((folder / name).read_text())
    questions = json.loads(
      (folder / f'v2_OpenEnded_mscoco_{split}2014_questions.json').read_text()
    )['questions']
    annotations = json.loads((folder / f'v2_mscoco_{split}2014_annotations.json').read_text())
    for row, asked, answered in zip(rows, questions, annotations['annotations'], strict=True):
      assert row['q'] == asked['question']
      assert row['q_id'] == asked['question_id'] == answered['question_id']
      assert int(row['img_id']) == asked['image_id'] == answered['image_id']
      given = [answer['answer'] for answer in answered['answers']]
      assert len(given) == 10 and len(set(given)) == len(row['an'])
      scores = {min(10, 3 * given.count(answer)) / 10 for answer in set(given)}
      assert scores == set(row['s'])
      assert given.count(answered['multiple_choice_answer']) == max(map(given.count, given))
      ids.append(row['q_id'])
  assert len(set(ids)) == len(ids)


def test_the_split_seen_never_mentions_novel_digits(small):
  folder = small.manual_dir('coco_caption')
  seen = coco_caption.CocoCaption(os.path.join(folder, 'seen.yaml'))
  assert not {w for c in seen.captions for w in c.caption.split()} & set(constraints.NOVEL)


def test_the_constraint_files_fit_one_another(small):
  images = nocaps.NoCaps(os.path.join(small.manual_dir('nocaps'), 'val.yaml'))
  found = {name for key in images.image_ids for name in images.constraint_boxes(key).class_names}
  lines = open(images.files['cbs_constraint'], encoding='utf-8').read().split('\n')  # noqa: SIM115
  pieces = dict(line.split('\t') for line in lines if line)
  assert {word for name in found - {'wheel'} for word in name.split()} <= set(pieces)
  tokenizer = oscar.Tokenizer(small.vocab_file)
  forms = [line.split('\t')[1].split(',') for line in open(  # noqa: SIM115
    images.files['cbs_tokenforms'], encoding='utf-8'
  )]  # fmt: skip
  for form in [form.strip() for accepted in forms for form in accepted]:
    assert len(tokenizer.encode(form)) == 1 and tokenizer.encode(form) != [tokenizer.unk_id]
  info = json.loads(
    (pathlib.Path(small.manual_dir('nocaps')) / 'nocaps_val_image_info.json').read_text()
  )
  assert [row['open_images_id'] for row in info['images']] == images.image_ids
  scenes = {scene.key: scene for scene in small.scenes('val')}
  for row in info['images']:
    assert row['domain'] == constraints.domain(scenes[row['open_images_id']])


def test_constraints_of_the_scenes_need_no_note_but_one(small):
  """As `--recipe=nocaps_scenes` reads them, from the folder of captions."""
  yaml_file = os.path.join(small.manual_dir('coco_caption'), '../nocaps/val.yaml')
  split = nocaps_task.open_split(yaml_file, 2054, with_constraints=True)
  assert set(nocaps_task.annotations_of(yaml_file).ids) == set(split.image_ids) and split.captions
  tokenizer = oscar.Tokenizer(small.vocab_file)
  every, specific = (
    nocaps_task.open_constraints(split, tokenizer, 33, suppress_general)
    for suppress_general in (False, True)
  )
  general = lambda found: sum('number' in names or 'digit' in names for names in found.names)  # noqa: E731
  assert general(specific) < general(every)
  for found in (every, specific):
    assert 2 <= max(map(len, found.names)) <= 3  # What the detector finds depends on rounding.
    assert all('twice among their best' in note for note in found.notes)


def test_rows_have_their_kind_and_statements_a_group(small):
  for split, names in layouts.QUESTION_FILES.items():
    for task, name in names.items():
      path = pathlib.Path(small.manual_dir(task)).parent / name
      rows = json.loads(path.read_text())
      assert all(row['kind'].isidentifier() for row in rows)
      if task == 'nlvr2':
        groups = [row['identifier'].split('-')[1] for row in rows]
        assert groups == [str(number // 2) for number in range(4 * TASKS[split])]
  counted = small.count_kinds('val')
  assert sum(kind.count for kind in counted if kind.task == 'vqa') == 4 * TASKS['val']


def test_the_maker_makes_the_stored_scenes_again_and_more(small):
  maker = small.maker('val')
  [group] = maker.groups(TASKS['val'])
  assert [image.scene for image in group.images] == small.scenes('val')
  images = coco_caption.CocoCaption(os.path.join(small.manual_dir('coco_caption'), 'val.yaml'))
  for image in group.images:
    np.testing.assert_allclose(image.regions.features, images.regions[image.key], atol=1e-4)
  assert [c for i in group.images for c in i.captions] == [c.caption for c in images.captions]
  fresh = maker.group(1, size=2)
  assert not {image.key for image in fresh.images} & set(images.image_ids)


def test_the_vocabulary_has_all_words_of_the_captions(small):
  tokenizer = oscar.Tokenizer(small.vocab_file)
  for split in TASKS:
    path = os.path.join(small.manual_dir('coco_caption'), f'{split}.yaml')
    for caption in coco_caption.CocoCaption(path).captions:
      ids = tokenizer.encode(caption.caption)
      assert tokenizer.unk_id not in ids
      assert tokenizer.decode(ids) == caption.caption


def test_pretraining_reads_a_world(small):
  tokenizer = oscar.Tokenizer(small.vocab_file)
  options = pretrain_batch.PretrainOptions(
    max_seq_length=35, max_img_seq_length=6, texta_false_prob=0.25, textb_sample_mode=1
  )
  source = pretrain.PretrainInput(
    small.data_dir, tokenizer, options, train_batch_size=64, eval_batch_size=16
  )
  assert source.num_train_examples == 13 * 12 and source.num_eval_examples == 13 * 6
  batch = next(source.train_dataset().as_numpy_iterator())
  assert batch['img_feats'].shape == (64, 6, 2054)
  assert set(batch['next_sentence_label']) == {0, 1, 2}
  evaluated = list(source.eval_dataset().as_numpy_iterator())
  assert sum(part['weights'].sum() for part in evaluated) == 13 * 6


def test_stored_pictures_equal_painted_scenes(small):
  inks = canvas.read_inks('val')
  for scene in small.scenes('val'):
    stored = np.asarray(Image.open(small.image_file(scene.key)))
    np.testing.assert_array_equal(stored, canvas.paint(scene, inks))


def test_the_detector_has_learnt_and_can_be_loaded(small):
  """40 steps suffice for most colours; loaded weights give the features of the files."""
  trained = detector.Detector()
  trained.load(small.detector_weights)
  crops, labels = detector._crops(canvas.read_inks('val'), random.Random(1), 60)
  logits = trained.model.predict(crops.astype(np.float32), verbose=0)['colour']
  assert (logits.argmax(axis=1) == labels['colour'].argmax(axis=1)).mean() > 0.5
  scene = small.scenes('val')[0]
  picture = canvas.paint(scene, canvas.read_inks('val'))
  items = [('it', picture, [thing.box for thing in scene.things])]
  [detected] = region_extraction.extract(items, trained, trained.labels)
  images = coco_caption.CocoCaption(os.path.join(small.manual_dir('coco_caption'), 'val.yaml'))
  order = np.argsort(-detected.scores, kind='stable')
  np.testing.assert_allclose(detected.features[order], images.regions[scene.key], atol=1e-4)


def test_the_gallery_is_drawn(small, tmp_path):
  gallery.draw(small, 'val', str(tmp_path / 'some' / 'grid.png'), count=2)
  assert (tmp_path / 'some' / 'grid.png').stat().st_size > 10_000


# ---- built once


def tiny(folder, **changes):
  return world.build(folder, **{'num_train': 3, 'num_val': 2, **changes})


def test_a_world_is_built_once(tmp_path, no_training):
  folder = tmp_path / 'deep' / 'world'
  one = tiny(folder)
  two = tiny(folder)
  assert len(no_training) == 1 and one == two
  assert os.listdir(folder.parent) == ['world']  # No scratch folder is left.


def test_other_settings_or_code_rebuild_the_world(tmp_path, no_training, monkeypatch):
  tiny(tmp_path / 'world')
  said = []
  other = tiny(tmp_path / 'world', seed=1, log=said.append)
  assert said[0].endswith('has another world and is replaced: seed 0, asked for 1')
  assert [seed for seed, _ in no_training] == [0, 1]
  assert json.loads((tmp_path / 'world' / 'world.json').read_text())['settings']['seed'] == 1
  assert other.scenes('train')[0].key == '1000000'
  monkeypatch.setattr(world, '_code_version', lambda: 'other')
  tiny(tmp_path / 'world', seed=1)
  assert len(no_training) == 3
  assert os.listdir(tmp_path) == ['world']


@pytest.mark.parametrize('damage', ['cut off', 'garbled', 'half deleted'])
def test_a_damaged_world_is_rebuilt(tmp_path, no_training, damage):
  tiny(tmp_path / 'world')
  if damage == 'cut off':
    os.truncate(tmp_path / 'world' / 'world.json', 20)
  elif damage == 'garbled':
    (tmp_path / 'world' / 'world.json').write_text('[]')
  else:
    (tmp_path / 'world' / 'vocab.txt').unlink()
  tiny(tmp_path / 'world')
  assert len(no_training) == 2
  assert (tmp_path / 'world' / 'vocab.txt').exists()


def test_a_second_command_for_the_same_folder_is_refused(tmp_path, no_training):
  arguments = [f'--output_dir={tmp_path}/new/world', '--num_train=3', '--num_val=2', '--picture=']
  (tmp_path / 'new').mkdir()
  with claims.claimed('output_dir', f'{tmp_path}/new/world', beside=True):
    message = f'--output_dir=.*/world is in use by process {os.getpid()} on .* started .* ago'
    with pytest.raises(ValueError, match=message):
      command.SCRIPT.call(arguments)
  command.SCRIPT.call(arguments)
  assert os.listdir(tmp_path / 'new') == ['world']


def test_a_failed_build_leaves_no_folder(tmp_path, no_training, monkeypatch):
  monkeypatch.setattr(layouts, 'write', lambda *args: 1 / 0)
  with pytest.raises(ZeroDivisionError):
    tiny(tmp_path / 'world')
  assert os.listdir(tmp_path) == []


def test_a_folder_with_other_files_is_left_alone(tmp_path, no_training):
  (tmp_path / 'thesis.txt').write_text('years of work')
  other = "holds 'thesis.txt', which is not part of a world; choose a new"
  with pytest.raises(ValueError, match=other):
    tiny(tmp_path)
  with pytest.raises(ValueError, match='num_val=1: statements about pairs'):
    tiny(tmp_path / 'world', num_val=1)
  with pytest.raises(ValueError, match='num_val=800001: expected at most 800000'):
    tiny(tmp_path / 'world', num_val=800_001)
  with pytest.raises(ValueError, match='num_questions=21: expected 1 to 20'):
    tiny(tmp_path / 'world', num_questions=21)
  assert os.listdir(tmp_path) == ['thesis.txt'] and not no_training


def test_a_split_does_not_depend_on_the_size_of_the_other(tmp_path, no_training):
  small, large = (tiny(tmp_path / str(count), num_train=count) for count in (3, 5))
  for name in ('vqa/val2014_qla_mrcnn.json', 'nlvr2/nlvr2_dev.json', 'nocaps/val.cbs_box.tsv'):
    contents = [
      (pathlib.Path(made.directory) / 'official' / name).read_text() for made in (small, large)
    ]
    assert contents[0] == contents[1] or name.startswith('vqa')
  asked = [[row['q'] for row in json.loads(
    (pathlib.Path(made.manual_dir('vqa')) / 'val2014_qla_mrcnn.json').read_text()
  )] for made in (small, large)]  # fmt: skip
  assert asked[0] == asked[1]  # Labels count the answers of both splits.


def test_the_number_of_questions_is_an_option(tmp_path, no_training):
  made = tiny(tmp_path / 'world', num_questions=6)
  train = made.statistics['train']
  assert train['vqa_questions'] == train['gqa_questions'] == 18
  assert made.settings['num_questions'] == 6


def test_a_seed_gives_the_same_texts(tmp_path, no_training):
  texts = []
  for name, seed in (('one', 5), ('two', 5), ('three', 6)):
    made = tiny(tmp_path / name, seed=seed)
    files = [
      os.path.join(made.manual_dir('pretrain'), 'train.corpus.tsv'),
      os.path.join(made.manual_dir('nlvr2'), 'nlvr2_train.json'), made.vocab_file,
    ]  # fmt: skip
    texts.append([open(path, 'rb').read() for path in files])  # noqa: SIM115
  assert texts[0] == texts[1] != texts[2]

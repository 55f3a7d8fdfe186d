"""Predictors read texts, tags and regions as in training, and refuse other tasks' calls."""

import json
import pickle
import shutil

import numpy as np
import pytest

import oscar
from oscar import checkpoints, decoding
from oscar.datasets import coco_retrieval, gqa, nlvr2, region_files, vqa
from oscar.predicting import predictor as predictors
from tests.oscar import golden_models, loaders
from tests.oscar.predicting import exports

RNG = np.random.default_rng(0)
DATA = loaders.DATA


@pytest.fixture(scope='module')
def opened(tmp_path_factory):
  """Function(task, settings) -> predictor of a tiny export, made once."""
  made = {}

  def open_export(task, config=None, **settings):
    key = json.dumps([task, config, settings])
    if key not in made:
      folder = tmp_path_factory.mktemp(task)
      exports.write(folder, task, config=config, **settings)
      made[key] = oscar.load(folder)
    return made[key]

  return open_export


def regions(count=3):
  corners = np.sort(RNG.random((count, 2, 2)), axis=1).reshape(count, 4)
  size = corners[:, 2:] - corners[:, :2]
  return np.concatenate([RNG.random((count, 2048)), corners, size], 1).astype(np.float32)


def image(count=3, tags='cat dog'):
  return regions(count), tags


# ---- the same input as in training


def check_encoded(predictor, examples, official, of_pair=False):
  """Compares the model's inputs with official items; the padding of all rows may be cut."""
  words = predictors._words(predictor.tokenizer.encode_batch([e.text for e in examples]))
  made = {k: v.numpy() for k, v in predictor._encode(words, examples).inputs.items()}
  width, shown = made['input_ids'].shape[-1], made['img_feats'].shape[-2]
  length = loaders.LENGTH
  for row, (ids, mask, segments, feats) in enumerate(official):
    ids, mask, segments = map(np.asarray, (ids, mask, segments))
    np.testing.assert_array_equal(made['input_ids'][row], ids[..., :width])
    np.testing.assert_array_equal(made['token_type_ids'][row], segments[..., :width])
    if mask.ndim == 1 + of_pair:
      kept = np.concatenate([mask[..., :width], mask[..., length : length + shown]], -1)
      assert not mask[..., width:length].any() and not mask[..., length + shown :].any()
    else:
      kept = mask  # Masks with a row for each query are not cut.
    np.testing.assert_array_equal(made['attention_mask'][row], kept)
    assert not ids[..., width:].any()
    sums = made['img_feats'][row].sum(-1, dtype=np.float64)
    expected = np.reshape(feats[1], feats[0][:-1])[..., :shown]
    np.testing.assert_allclose(sums, expected, rtol=1e-5)


@pytest.mark.parametrize('name', ['vqa_text/val', 'vqa_text/test2015', 'vqa_text_a/train'])
def test_questions_are_read_as_by_the_official_loader(opened, name):
  task, split = name.split('/')
  source = vqa.Vqa(DATA / 'vqa', split)
  predictor = opened('vqa', task_name=task)
  examples = [
    predictor.example(q.question, (source.regions[q.image_id], q.tags)) for q in source.questions
  ]
  items = loaders.OUTPUTS[name]
  check_encoded(predictor, examples, [(*i[:3], i[5]) for i in items])


def test_gqa_is_read_as_by_the_official_loader(opened):
  source = gqa.Gqa(DATA / 'gqa', 'val')
  predictor = opened('gqa')
  examples = [
    predictor.example(q.question, {'features': source.regions[q.image_id], 'tags': q.tags})
    for q in source.questions
  ]
  items = loaders.OUTPUTS['gqa/val']
  check_encoded(predictor, examples, [(*i[:3], i[5]) for i in items])


@pytest.mark.parametrize('pair', [True, False])
@pytest.mark.parametrize('tags', [True, False])
def test_statements_are_read_as_by_the_official_loader(opened, pair, tags):
  source = nlvr2.Nlvr2(DATA / 'nlvr2', 'val')
  predictor = opened('nlvr2', use_pair=pair, use_label_seq=tags)
  examples = [
    predictor.example(
      s.statement,
      *((source.regions[key], of) for key, of in zip(s.image_ids, s.tags, strict=True)),
    )
    for s in source.statements
  ]
  items = loaders.OUTPUTS[f'nlvr2/val/use_pair={pair:d}/use_label_seq={tags:d}']
  official = [(i[0], i[1], i[2], i[4]) for i in items]
  check_encoded(predictor, examples, official, of_pair=pair)


@pytest.mark.parametrize('attention', ['CLR', 'CL', 'CR', 'LR'])
def test_captions_are_read_as_by_the_official_loader(opened, attention):
  predictor = opened('retrieval', att_mask_type=attention)
  source = coco_retrieval.CocoRetrieval(DATA / 'coco_ir', 'train')
  pairs = source.own_pairs(captions_per_image=2)
  items = loaders.OUTPUTS[f'retrieval/train/att={attention}/od=1']
  chosen = [pairs[item['index']] for item in items]
  examples = [
    predictor.example(
      source.captions[pair.caption_image_id][pair.caption_index],
      (source.regions[pair.image_id], source.tags(pair.image_id)),
    )
    for pair in chosen
  ]
  check_encoded(predictor, examples, [item['out'][:4] for item in items])


# ---- results


def padded_logits(predictor, example):
  """The logits of the model on padded inputs, without the predictor's own way."""
  words = predictors._words(predictor.tokenizer.encode_batch([example.text]))
  inputs = predictor._encode(words, [example]).inputs
  return predictor.model({k: v.numpy() for k, v in inputs.items()})['logits'].numpy()[0]


def test_answers_are_sorted_by_probability(opened):
  predictor = opened('vqa')
  given = image()
  answer = predictor.answer(given, 'what is on the mat?', top_k=3)
  logits = padded_logits(predictor, predictor.example('what is on the mat?', given))
  probabilities = np.exp(logits) / np.exp(logits).sum()
  order = np.argsort(-logits)
  assert [text for text, _ in answer.top] == [exports.ANSWERS[i] for i in order[:3]]
  np.testing.assert_allclose([p for _, p in answer.top], probabilities[order[:3]], rtol=1e-5)
  assert (answer.answer, answer.probability) == answer.top[0]
  assert answer.regions == ('features given',) and answer.notes == () == answer.attention
  assert len(predictor.answer(given, 'what?', top_k=100).top) == len(exports.ANSWERS)
  assert set(answer.as_json()) == {'answer', 'probability', 'top', 'regions'}


@pytest.mark.parametrize('more', [{'loss_type': 'bce'}, {'adjust_loss': True}], ids=str)
def test_models_trained_with_bce_have_independent_probabilities(opened, more):
  found = opened('vqa', **more).answer(image(), 'what?', top_k=7)
  logits = padded_logits(opened('vqa', **more), opened('vqa', **more).example('what?', image()))
  del logits  # Other regions; the sum tells a softmax.
  assert abs(sum(p for _, p in found.top) - 1) > 1e-3
  softmax = opened('vqa').answer(image(), 'what?', top_k=7)
  assert sum(p for _, p in softmax.top) == pytest.approx(1)


def test_scores_of_both_kinds_of_heads(opened):
  given = image()
  two = opened('retrieval')
  found = two.score(given, 'a cat on a mat')
  logits = padded_logits(two, two.example('a cat on a mat', given))
  expected = np.exp(logits[1]) / np.exp(logits).sum()
  assert found.probability == found.score == pytest.approx(expected, rel=1e-5)
  one = opened('retrieval', config={'num_labels': 1})
  values = [one.score(image(), 'a cat on a mat') for _ in range(8)]
  assert {v.probability for v in values if v.score > 1} <= {1.0}
  assert {v.probability for v in values if v.score < 0} <= {0.0}
  assert all(v.probability == v.score for v in values if 0 <= v.score <= 1)
  found = one.score(given, 'a cat')
  (logit,) = padded_logits(one, one.example('a cat', given))
  assert found.score == pytest.approx(float(logit), rel=1e-5)


@pytest.mark.parametrize('pair', [True, False])
def test_statements_are_true_or_false(opened, pair):
  predictor = opened('nlvr2', use_pair=pair)
  left, right = image(), image()
  found = predictor.compare(left, right, 'both are red')
  logits = padded_logits(predictor, predictor.example('both are red', left, right))
  true = np.exp(logits[1]) / np.exp(logits).sum()
  assert found.probability_true == pytest.approx(true, rel=1e-5)
  assert found.prediction == (true > 0.5)
  assert found.probability == pytest.approx(max(true, 1 - true), rel=1e-5)
  assert found.regions == ('features given',) * 2
  swapped = predictor.compare(right, left, 'both are red')
  assert swapped.probability_true != found.probability_true


def test_lists_give_the_results_of_their_items(opened):
  predictor = opened('vqa')
  pictures = [image(1), image(3), image(2), image(3)]
  questions = ['what?', 'what colour is the cat on the left of it?', 'is it red?', 'how many cats?']
  every = predictor.answer_all(pictures, questions, batch_size=3)
  for given, question, found in zip(pictures, questions, every, strict=True):
    one = predictor.answer(given, question)
    assert one.answer == found.answer
    assert one.probability == pytest.approx(found.probability, abs=1e-5)
  assert predictor.answer_all([], []) == []
  pair = opened('nlvr2')
  compared = pair.compare_all(pictures[:2], pictures[2:], questions[:2])
  assert compared[1].probability_true == pytest.approx(
    pair.compare(pictures[1], pictures[3], questions[1]).probability_true, abs=1e-5
  )
  scored = opened('retrieval').score_all(pictures, questions)
  assert len({found.score for found in scored}) == 4
  with pytest.raises(ValueError, match='equal lengths, found 4 questions, 1 images'):
    predictor.answer_all(pictures[:1], questions)
  with pytest.raises(ValueError, match='Example 1: question is empty'):
    predictor.answer_all(pictures[:2], ['what?', ' '])


@pytest.mark.slow
def test_captions_are_those_of_the_search(opened):
  predictor = opened('captioning')
  given = [image(1), image(3), image(5, tags='cat ' * 40)]
  found = predictor.caption_all(given, num_return_sequences=2, num_beams=3, batch_size=2)
  config = decoding.GenerationConfig.for_tokenizer(
    predictor.tokenizer, max_gen_length=8, num_beams=3, num_keep_best=2, od_labels_start_posid=12
  )
  examples = [predictor.example('', each) for each in given]
  inputs = predictor._inputs(examples, 8)
  # A caption, and as many tags as in training; here they begin after the longest caption of it.
  assert inputs['input_ids'].shape[1] == 8 + loaders.LENGTH - 12
  expected = decoding.generate(predictor.model, inputs, config)
  for one, ids, logprobs in zip(found, *map(np.asarray, expected.values()), strict=True):
    texts = [predictor.tokenizer.decode(row.tolist(), skip_special_tokens=True) for row in ids]
    assert [text for text, _ in one.captions] == texts
    np.testing.assert_allclose([c for _, c in one.captions], np.exp(logprobs), rtol=1e-4)
    assert (one.caption, one.confidence) == one.captions[0]
  assert found[2].notes == (
    'image: the first 3 of 5 regions are read, as in training (max_img_seq_length 3)',
  )
  assert set(found[0].as_json()) == {'caption', 'confidence', 'captions', 'regions'}
  assert found[0].text().splitlines()[0].endswith(found[0].caption)
  greedy = predictor.caption(given[0], num_beams=1, max_gen_length=4)
  assert len(greedy.captions) == 1 and 0 < greedy.confidence <= 1


@pytest.mark.parametrize(
  'options, message',
  [
    ({'num_return_sequences': 0}, 'num_return_sequences=0: expected at least 1'),
    ({'num_beams': 0}, 'num_beams=0: expected at least 1'),
    ({'max_gen_length': 1}, 'max_gen_length=1: expected at least 2'),
    ({'num_return_sequences': '3'}, "num_return_sequences='3': expected a whole number"),
    ({'max_gen_length': 8.0}, 'max_gen_length=8.0: expected a whole number'),
    ({'max_gen_length': 60}, 'position 67, the model embeds 64 .* lower max_gen_length'),
    ({'num_beams': 201}, 'num_beams=201: expected at most half of the 400 words'),
  ],
  ids=str,
)
def test_captions_that_cannot_be_written(opened, options, message):
  with pytest.raises(ValueError, match=message):
    opened('captioning').caption(image(), **options)


# ---- attention


@pytest.mark.parametrize('pair', [True, False])
def test_attention_of_words_to_regions(opened, pair):
  predictor = opened('nlvr2', config={'num_hidden_layers': 2}, use_pair=pair)
  given = (image(2), image(3), 'both are red')
  found = predictor.compare(*given, attention=True)
  assert found.probability == pytest.approx(predictor.compare(*given).probability, abs=1e-6)
  assert len(found.attention) == (2 if pair else 1)
  for attention, count in zip(found.attention, (2, 3) if pair else (5,), strict=False):
    tokens = len(attention.tokens)
    assert attention.tokens[0] == '[CLS]' and attention.tokens[-1] == '[SEP]'
    assert attention.tokens[1:4] == ('both', 'are', 'red')
    assert attention.raw.shape == (2, 2, tokens + count, tokens + count)
    # All that is attended to is there, as padding gets none.
    np.testing.assert_allclose(attention.raw.sum(-1), 1, atol=1e-5)
    expected = attention.raw[:, :, :tokens, tokens:].mean((0, 1))
    np.testing.assert_allclose(attention.weights, expected, rtol=1e-6)
  (first, *_) = found.as_json()['attention']
  assert np.shape(first['weights']) == (len(first['tokens']), 2 if pair else 5)


@pytest.mark.slow
@pytest.mark.parametrize('beams', [1, 3])
def test_attention_of_a_caption_is_that_of_the_steps_that_wrote_it(opened, beams):
  predictor = opened('captioning', config={'num_hidden_layers': 2})
  options = {'num_beams': beams, 'num_return_sequences': 1 if beams == 1 else 2}
  images = [image(2), image(5)]
  found = predictor.caption_all(images, attention=True, **options)
  assert [text for text, _ in found[0].captions] == [
    text for text, _ in predictor.caption(images[0], **options).captions
  ]
  inputs = predictor._inputs([predictor.example('', each) for each in images], 8)
  ids = predictor._search(predictor._config(**options))(inputs)[0].numpy()
  assert len(found[0].attention) == len(found[0].captions) == ids.shape[1]
  for row, one in enumerate(found):
    for caption, attention in zip(ids[row], one.attention, strict=True):
      count, regions = len(attention.tokens), (2, 3)[row]
      assert attention.tokens[-1] == '[SEP]' and attention.weights.shape == (count, regions)
      np.testing.assert_allclose(attention.raw.sum(-1), 1, atol=1e-5)
      # The last step as the official code runs it: the tokens before, [MASK], tags, regions.
      kept = [*range(count + 1), *range(8, inputs['attention_mask'].shape[1])]
      words = [place for place in kept if place < inputs['input_ids'].shape[1]]
      given = {k: v[row : row + 1].numpy() for k, v in inputs.items()}
      text = [*caption[:count], predictor.tokenizer.mask_id, *given['input_ids'][0, 8:]]
      outputs = predictor.model({
        'input_ids': np.array([text], np.int32),
        'token_type_ids': given['token_type_ids'][:, words],
        'attention_mask': given['attention_mask'][:, kept][:, :, kept],
        'img_feats': given['img_feats'],
        'position_ids': np.array([[p + 4 if p >= 8 else p for p in words]], np.int32),
      })
      layers = np.stack([np.asarray(layer)[0, :, count] for layer in outputs['attentions']])
      expected = layers[..., len(words) : len(words) + regions].mean((0, 1))
      np.testing.assert_allclose(attention.weights[-1], expected, atol=1e-5)


def test_a_model_trained_without_regions_gets_none(opened):
  hidden = opened('vqa', mask_regions=True)
  first, second = hidden.answer(image(2), 'what?'), hidden.answer(image(3), 'what?')
  np.testing.assert_allclose([p for _, p in first.top], [p for _, p in second.top], rtol=1e-5)
  assert first.notes == (
    'the regions are hidden from the model, as in its training (mask_regions)',
  )
  assert not np.allclose(opened('vqa').answer(image(2), 'what?').probability, first.probability)


def test_attention_is_that_of_the_model(opened):
  """With a mask in which captions do not attend to regions."""
  predictor = opened('retrieval', att_mask_type='CL')
  (attention,) = predictor.score(image(), 'a cat', attention=True).attention
  assert attention.weights.shape[1] == 3
  np.testing.assert_array_equal(attention.weights, 0)


# ---- what the model does not see


def test_what_is_left_out_is_said(opened):
  predictor = opened('vqa')
  found = predictor.answer(image(5), 'what ' * 40 + '\U0001f600')
  assert found.notes == (
    'question: the first 15 of 41 word pieces are read, as in training (max_seq_length 20)',
    'question: 1 of 41 word pieces are unknown to the vocabulary',
    'image: the first 3 of 5 regions are read, as in training (max_img_seq_length 3)',
  )
  assert found.as_json()['notes'] == list(found.notes)
  kept = predictor.answer(image(5), 'what ' * 15)
  assert len(kept.notes) == 1
  one = opened('nlvr2', use_pair=False).compare(image(5), image(4), 'a cat')
  assert one.notes == (
    'right: the first 1 of 4 regions are read, as in training (max_img_seq_length 3)',
  )


def test_boxes_of_another_convention_are_answered_with_a_note(opened):
  strange = RNG.standard_normal((2, 2054)).astype(np.float32)
  found = opened('vqa').answer((strange, 'cat'), 'what')
  (note,) = found.notes
  assert note.startswith('image: boxes unlike those of the training: region ')
  assert found.answer == found.top[0][0]


@pytest.mark.parametrize('task', ['vqa', 'gqa', 'nlvr2', 'retrieval'])
def test_semicolons_in_tags_are_read_as_in_the_training_of_the_task(opened, task):
  expected = 'cat dog' if task in ('vqa', 'gqa') else 'cat;dog'
  assert opened(task).read_image(image(1, 'cat;dog')).tags == expected


# ---- refusals


@pytest.mark.parametrize(
  'task, call, message',
  [
    ('vqa', 'compare', "compare.. needs a model of nlvr2, but .* was trained for the task 'vqa'; "
                       r'call \.answer\(image, question\)'),
    ('gqa', 'score', "of retrieval, but .* the task 'gqa'; call .answer"),
    ('retrieval', 'answer', r"of vqa or gqa, but .* 'retrieval'; call \.score\(image, text\)"),
    ('nlvr2', 'caption', r"of captioning, .* 'nlvr2'; call \.compare\(left, right, statement\)"),
    ('captioning', 'answer', r"of vqa or gqa, but .* 'captioning'; call \.caption\(image\)"),
  ],
)  # fmt: skip
def test_calls_of_another_task_are_refused(opened, task, call, message):
  predictor = opened(task)
  with pytest.raises(ValueError, match=message) as error:
    getattr(predictor, call)('cat.png', 'a', 'b')
  assert '\n' not in str(error.value)
  assert not hasattr(predictor, call)
  with pytest.raises(AttributeError, match="no attribute 'anwser'"):
    predictor.anwser  # noqa: B018


def test_checkpoints_without_a_predictor_are_refused(tmp_path):
  for task, message in (
    ('pretrain', 'holds a model of pre-training, .* python -m oscar.run_vqa --init_checkpoint='),
  ):
    exports.write(tmp_path / task, task)
    with pytest.raises(ValueError, match=message):
      oscar.load(tmp_path / task)
  golden = loaders.GOLDENS / 'checkpoint_captioning'
  with pytest.raises(ValueError, match="was trained for the task 'captioning', not 'vqa'"):
    oscar.load(golden, task='vqa')
  old = loaders.GOLDENS / 'checkpoint_pretrain_old_names'
  with pytest.raises(ValueError, match='holds a model of pre-training'):
    oscar.load(old / 'pytorch_model.bin')
  with pytest.raises(FileNotFoundError, match='nothing does not exist'):
    oscar.load(tmp_path / 'nothing')
  (tmp_path / 'empty').mkdir()
  with pytest.raises(FileNotFoundError, match='empty has no config.json; expected the folder of'):
    oscar.load(tmp_path / 'empty')


def test_an_official_folder_is_read_with_the_flags_of_its_training(tmp_path):
  """config.json names the task, training_args.bin the flags; the answers come from their file."""
  model = exports.write(tmp_path / 'own', 'vqa', loss_type='bce', task_name='vqa_text_a')
  flags = json.loads((tmp_path / 'own' / 'task.json').read_text())['settings']
  folder = tmp_path / 'official'
  shutil.copytree(tmp_path / 'own', folder)
  (folder / 'export.json').unlink()
  (folder / 'task.json').unlink()
  config = model.config.to_dict()
  (folder / 'config.json').write_text(json.dumps({**config, 'finetuning_task': None}))
  with pytest.raises(ValueError, match='does not say its task: config.json has no finetuning_task'):
    oscar.load(folder)
  with pytest.raises(ValueError, match='does not say max_seq_length, max_img_seq_length of its tr'):
    oscar.load(folder, task='vqa')
  (folder / 'config.json').write_text(json.dumps({**config, 'finetuning_task': 'vqa_text'}))
  (folder / 'training_args.bin').write_bytes(exports.as_training_args(flags))
  with pytest.raises(ValueError, match='does not hold the answers of its 7 labels; give answers='):
    oscar.load(folder)
  with pytest.raises(ValueError, match='answers has 2 answers, but the model of .* has 7 labels'):
    oscar.load(folder, answers=['yes', 'no'])
  with pytest.raises(ValueError, match="trained for the task 'vqa', not 'gqa'"):
    oscar.load(folder, task='gqa')
  answers = tmp_path / 'trainval_label2ans.pkl'
  answers.write_bytes(pickle.dumps(exports.ANSWERS, protocol=2))
  read = oscar.load(folder, answers=str(answers))
  own = oscar.load(tmp_path / 'own')
  assert read.settings == own.settings and read.settings.sigmoid and not read.settings.with_tags
  given = image()
  assert read.answer(given, 'what?') == own.answer(given, 'what?')
  answers.write_bytes(pickle.dumps({a: n for n, a in enumerate(exports.ANSWERS)}, protocol=2))
  assert oscar.load(folder, answers=str(answers)).answers == own.answers
  told = oscar.load(folder, answers=exports.ANSWERS, settings={'max_seq_length': 9})
  assert told.settings.max_seq_length == 9
  with pytest.raises(ValueError, match="max_seq_length is '9' in the settings"):
    oscar.load(folder, answers=exports.ANSWERS, settings={'max_seq_length': '9'})


def test_texts_are_lower_cased_as_in_training(tmp_path):
  model = exports.write(tmp_path / 'export', 'vqa')
  cased = oscar.Tokenizer(exports.VOCABULARY, do_lower_case=False)
  info = {'settings': exports.LENGTHS, 'answers': exports.ANSWERS}
  checkpoints.save(model, cased, str(tmp_path / 'cased'), task_info=info)
  for name, pieces in (('export', ('cat',)), ('cased', ('[UNK]',))):
    found = oscar.load(tmp_path / name).answer(image(), 'CAT', attention=True)
    assert found.attention[0].tokens[1:2] == pieces


def test_bad_input_is_one_clear_line(opened):
  predictor = opened('vqa')
  good = image()
  for given, question, message in (
    (good, '', 'question is empty; expected a text'),
    (good, None, 'question is None; expected a text'),
    ((good[0][:, :2048], 'cat'), 'a', 'image: regions are 2048 numbers wide, expected 2054'),
    (good[0], 'a', "image: the model reads tags, and there are none; give 'tags'"),
    ((good[0][:0], 'cat'), 'a', 'image: no regions'),
    ((good[0], [1]), 'a', r'image: the tags are \[1\], expected names'),
    (7, 'a', r'image: an array of shape \(\); expected \(regions, 2054\)'),
    ([[1, 2], [3]], 'a', 'image: list is no image; expected the path of a picture'),
    ('cat.png', 'a', 'image: a picture needs a detector'),
    ({'image_id': 3}, 'a', 'an image_id needs the folder of the feature files'),
    ({'featuers': good[0]}, 'a', "Unknown field in image 'featuers': did you mean features"),
    ({'tags': 'cat'}, 'a', 'image: expected one of image, image_id, features, found none'),
    ({'features': good[0], 'boxes': []}, 'a', "image: 'boxes' does not go with 'features'"),
    ({'features': 'AAAA'}, 'a', "image: base64 'features' need 'num_boxes'"),
    ({'features': 'AAAA', 'num_boxes': 1, 'tags': ''}, 'a', 'image: the features are 3 bytes'),
  ):
    with pytest.raises(ValueError, match=message) as error:
      predictor.answer(given, question)
    # The place is for lists.
    assert '\n' not in str(error.value) and 'Example' not in str(error.value)
  with pytest.raises(ValueError, match='top_k=0: expected at least 1'):
    predictor.answer(good, 'a', top_k=0)
  with pytest.raises(ValueError, match='batch_size=0'):
    predictor.answer_all([good], ['a'], batch_size=0)


def test_the_golden_vqa_model_answers_as_officially(tmp_path):
  """The classifier's logits, through an export and the whole predictor."""
  z = golden_models.load('task_heads.npz')
  model = golden_models.build('vqa', num_labels=7, classifier='mlp', cls_hidden_scale=3)
  info = {'settings': {'max_seq_length': 64, 'max_img_seq_length': 50}, 'answers': exports.ANSWERS}
  checkpoints.save(model, oscar.Tokenizer(exports.VOCABULARY), str(tmp_path), task_info=info)
  predictor = oscar.load(tmp_path)
  inputs = {name: z[f'vqa/{name}'] for name in ('input_ids', 'token_type_ids', 'img_feats')}
  inputs['attention_mask'] = z['vqa/attention_mask']
  logits, attentions = predictor._apply(
    {k: v.astype(np.float32 if v.dtype.kind == 'f' else np.int32) for k, v in inputs.items()}, True
  )
  np.testing.assert_allclose(logits, z['vqa/vqa_mlp3/logits'], atol=1e-4, rtol=0)
  assert len(attentions) == 3


def test_a_folder_of_feature_files_gives_images_by_id(tmp_path):
  exports.write(tmp_path / 'export', 'vqa')
  predictor = oscar.load(tmp_path / 'export', features=str(DATA / 'coco_ir'))
  source = region_files.RegionTsv(DATA / 'coco_ir' / 'features.tsv')
  labels = coco_retrieval.CocoRetrieval(DATA / 'coco_ir', 'train')
  key = labels.image_ids[0]
  found = predictor.answer({'image_id': int(key)}, 'what?')
  assert found.regions == (f"{DATA}/coco_ir/features.tsv, image '{key}'",)
  expected = predictor.answer((source[key], labels.tags(key)), 'what?')
  assert found.top == expected.top
  with pytest.raises(ValueError, match="features.tsv has no features of image 'none'"):
    predictor.answer({'image_id': 'none'}, 'what?')

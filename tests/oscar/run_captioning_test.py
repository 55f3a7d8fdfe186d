"""`python -m oscar.run_captioning` on official files: train, score, write captions, export."""

import json
import random
import re
import shutil

import numpy as np
import pytest

import oscar
from oscar import caption_settings, checkpoint_tasks, fine_tuning_job, run_captioning
from oscar.datasets import coco_caption
from oscar.metrics import cider
from oscar.scenes import canvas, captions, graph
from tests import script_jobs
from tests.oscar import loaders
from tests.oscar.predicting import exports
from tpu_utils import curves

DATA = loaders.DATA / 'coco_caption'
NAME = 'pred.coco_caption.test.beam2.max10.odlabels.best2'


def call(tiny, model_dir, *more, data=DATA):
  script_jobs.in_process(
    run_captioning.SCRIPT,
    f'--data_dir={data}', '--val_yaml=test.yaml', f'--config_name={tiny}/config.json',
    f'--tokenizer_name={tiny}', f'--output_dir={model_dir}', '--add_od_labels',
    '--max_seq_length=24', '--max_seq_a_length=14', '--max_gen_length=10', '--max_img_seq_length=3',
    '--per_gpu_train_batch_size=2', '--per_gpu_eval_batch_size=4', '--strategy=one_device', *more,
  )  # fmt: skip


@pytest.fixture(scope='module')
def finished(tiny, tmp_path_factory):
  """The model_dir of two epochs of training, with an export."""
  model_dir = tmp_path_factory.mktemp('captioning')
  more = ('--do_train', '--num_train_epochs=2', '--learning_rate=1e-2', '--label_smoothing=0.1',
          '--tie_weights', f'--export_dir={model_dir}/export')  # fmt: skip
  call(tiny, model_dir, *more)
  return model_dir


@pytest.mark.slow
def test_training_takes_the_official_number_of_steps_and_scores_each_epoch(finished):
  epoch = -(-len(json.loads((DATA / 'train_caption.json').read_text())) // 2)
  results = [json.loads(r) for r in (finished / 'eval' / 'results.jsonl').read_text().splitlines()]
  assert [r['step'] for r in results] == [epoch, 2 * epoch]
  assert set(results[0]) == {'step', 'CIDEr', 'ROUGE_L', *(f'Bleu_{n}' for n in range(1, 5))}
  flags = json.loads((finished / 'run.json').read_text())['starts'][0]['flags']
  assert flags['max_steps'] == 2 * epoch and flags['recipe'] == 'captioning'
  best = float((finished / 'best_objective.txt').read_text())
  assert best == pytest.approx(max(r['CIDEr'] for r in results), abs=1e-6)


SEARCH = ('--num_beams=2', '--num_keep_best=2')


@pytest.fixture(scope='module')
def written(finished):
  """[(image key, captions)] of the official file; the job's record gives lengths and flags."""
  script_jobs.in_process(
    run_captioning.SCRIPT, '--do_test', '--do_eval', f'--output_dir={finished}',
    '--strategy=one_device', *SEARCH,
  )  # fmt: skip
  return read(finished / f'{NAME}.tsv')


def read(path):
  lines = [line.split('\t') for line in path.read_text().splitlines()]
  return [(key, json.loads(made)) for key, made in lines]


@pytest.mark.slow
def test_captions_are_written_and_scored_as_officially(finished, written):
  keys = coco_caption.CocoCaption(DATA / 'test.yaml').image_ids
  assert [key for key, _ in written] == keys
  for _, made in written:
    confidences = [caption['conf'] for caption in made]
    assert len(made) == 2 and confidences == sorted(confidences, reverse=True)
    assert 0 < confidences[1] <= confidences[0] <= 1
  scores = json.loads((finished / f'{NAME}.eval.json').read_text())
  assert {'CIDEr', 'ROUGE_L', 'Bleu_4'} <= set(scores)
  lines = (finished / 'test_predictions.jsonl').read_text().splitlines()
  assert [json.loads(line)['image_id'] for line in lines] == keys


@pytest.mark.slow
def test_an_export_writes_the_same_captions(finished, written, tmp_path):
  """Lengths and tags come from task.json; captions lie beside the checkpoint, as officially."""
  export = tmp_path / 'export'
  shutil.copytree(finished / 'export', export)
  stored = checkpoint_tasks.settings_of(str(export))
  assert (stored['max_gen_length'], stored['add_od_labels'], stored['tie_weights']) == (
    10, True, True
  )  # fmt: skip
  script_jobs.in_process(
    run_captioning.SCRIPT, '--do_test', f'--eval_model_dir={export}', f'--data_dir={DATA}',
    '--strategy=one_device', *SEARCH,
  )  # fmt: skip
  found = read(export / f'{NAME}.tsv')
  assert [key for key, _ in found] == [key for key, _ in written]
  for (_, made), (_, expected) in zip(found, written, strict=True):
    assert [c['caption'] for c in made] == [c['caption'] for c in expected]
    np.testing.assert_allclose(
      [c['conf'] for c in made], [c['conf'] for c in expected], rtol=1e-4
    )
  predictor, split = oscar.load(export), coco_caption.CocoCaption(DATA / 'test.yaml')
  for key, expected in written:
    given = split.regions[key], split.tags(key)
    made = predictor.caption(given, num_return_sequences=2, num_beams=2).captions
    assert [text for text, _ in made] == [c['caption'] for c in expected]
    np.testing.assert_allclose(
      [confidence for _, confidence in made], [c['conf'] for c in expected], rtol=1e-4
    )


@pytest.mark.slow
def test_evaluation_alone_follows_the_record_of_the_job(finished):
  script_jobs.in_process(
    run_captioning.SCRIPT, '--mode=eval', f'--output_dir={finished}', '--eval_name=again',
    '--noarchive_ckpt', '--strategy=one_device',
  )  # fmt: skip
  again, first = (
    json.loads((finished / name / 'results.jsonl').read_text().splitlines()[-1])
    for name in ('eval_again', 'eval')
  )
  assert again == first


@pytest.mark.parametrize(
  'more, message',
  [
    (['--val_yaml=vla.yaml'], 'vla.yaml'),
    (['--add_od_labels=0', '--max_seq_length=12'], 'expected at least --max_seq_a_length=14'),
    (['--max_seq_length=12'], '--max_seq_length=12: expected more than --max_seq_a_length=14'),
    (['--max_gen_length=30'], 'Sequences reach position 39, the model embeds 32'),
    (['--num_keep_best=2'], 'num_keep_best=2 needs beam search'),
    (['--length_penalty=0'], 'length_penalty=0.0: expected a number above 0'),
    (['--scst'], '--scst needs --model_name_or_path'),
    (['--scst', '--sc_baseline_type=sample', '--sc_train_sample_n=1'], 'expected at least 2'),
    (['--scst', '--sc_baseline_type=sample', '--sc_beam_size=2'], 'has no effect with'),
    (['--scst', '--temperature=0'], 'temperature=0.0: expected a number above 0'),
    (
      ['--scst', f'--model_name_or_path={loaders.GOLDENS}/checkpoint_captioning',
       '--cider_cached_tokens=df.p'],
      '--cider_cached_tokens=df.p: there is no such file',
    ),
    (['--use_cbs', '--num_beams=2', '--num_keep_best=2'], '--num_keep_best=2 has no effect with'),
    (['--use_cbs', '--length_penalty=2'], '--length_penalty=2.0 has no effect with --use_cbs'),
    (['--recipe=captioning_base_scst'], '--scst needs --model_name_or_path'),
    (['--top_p=0.9'], '--top_p=0.9 has no effect: captions are searched, not drawn'),
    (['--num_labels=2'], 'no official code reads it'),
    (['--recipe=vqa_base'], 'another script'),
  ],
)
def test_bad_input_is_one_clear_line(tiny, tmp_path, more, message):
  with pytest.raises((ValueError, OSError)) as error:
    call(tiny, tmp_path / 'model', *more)
  assert message in str(error.value) and '\n' not in str(error.value)
  assert not list(tmp_path.glob('model/model.ckpt*'))


def test_a_split_without_captions_is_refused_before_training(tiny, tmp_path, data):
  path = data / 'coco_caption' / 'test.yaml'
  path.write_text('feature: test.feature.tsv\nlabel: test.label.tsv\n')
  with pytest.raises(ValueError, match="test.yaml: no 'caption', so that there is nothing to sco"):
    call(tiny, tmp_path / 'model', '--do_train', data=data / 'coco_caption')


IMAGES = ['316412', '215068', '179260', '127532']
DOMAINS = ['in-domain', 'near-domain', 'out-domain', 'in-domain']


def as_nocaps(folder, domains=DOMAINS, ids=(7, 8, 9, 11)):
  """Writes NoCaps' annotations with references, which its YAML file does not name."""
  captions = json.loads((folder / 'test_caption.json').read_text())
  id_of = dict(zip(IMAGES, ids, strict=True))
  content = {
    'images': [
      {'id': id_of[key], 'open_images_id': key, 'domain': domain}
      for key, domain in zip(IMAGES, domains, strict=True)
    ],
    'annotations': [
      {'image_id': id_of[row['image_id']], 'id': 0, 'caption': row['caption']} for row in captions
    ],
  }
  (folder / 'nocaps_test_4500_captions.json').write_text(json.dumps(content))
  lines = (folder / 'test.yaml').read_text().splitlines()
  lines = [line for line in lines if not line.startswith('caption:')]
  (folder / 'test.yaml').write_text('\n'.join(lines))
  shutil.move(folder, folder.parent / 'nocaps')
  return folder.parent / 'nocaps'


@pytest.mark.slow
def test_nocaps_end_to_end(finished, data, tmp_path, capsys):
  """The published command: constraints, scores by domain without references in the YAML file."""
  folder, export = as_nocaps(data / 'coco_caption'), tmp_path / 'export'
  shutil.copytree(finished / 'export', export)
  script_jobs.in_process(
    run_captioning.SCRIPT, '--recipe=nocaps_test', '--test_yaml=test.yaml', '--num_beams=2',
    f'--data_dir={folder}', f'--eval_model_dir={export}', '--max_gen_length=10',
    '--strategy=one_device',
  )  # fmt: skip
  out = capsys.readouterr().out
  name = 'pred.nocaps.test.beam2.max10.odlabels.cbs2'
  lines = [
    json.loads(line) for line in (export / 'test_predictions.jsonl').read_text().splitlines()
  ]
  assert [line['constraints'] for line in lines] == [
    ['pizza'], ['animal', 'dog', 'fire hydrant'], ['dog', 'pizza', 'cake'], []
  ]  # fmt: skip
  assert [line['constraints_asked'] for line in lines] == [1, 2, 2, 0]
  forms = {'pizza': ('pizza', 'sandwich'), 'dog': ('dog', 'cat')}
  for line in lines:
    words = line['captions'][0]['caption']
    said = sum(any(w in words for w in forms.get(c, (c,))) for c in line['constraints'])
    assert said >= line['constraints_met'] >= line['constraints_asked']
  assert '3 of 4 images have some; as many as asked for are met in 3, fewer in 0.' in out
  made = dict(read(export / f'{name}.tsv'))
  server = json.loads((export / f'{name}.server.json').read_text())
  assert server == [
    {'image_id': number, 'caption': made[key][0]['caption']}
    for number, key in zip((7, 8, 9, 11), IMAGES, strict=True)
  ]
  scores = json.loads((export / f'{name}.eval.json').read_text())
  assert {'CIDEr', 'CIDEr/in-domain', 'Bleu_4/near-domain', 'ROUGE_L/out-domain'} <= set(scores)
  assert re.search(r'near-domain +\d', out) and re.search(r'overall +\d', out)
  assert f"For NoCaps' server: {export}/{name}.server.json" in out


@pytest.mark.slow
def test_constraints_that_cannot_be_met_are_counted(finished, data, tmp_path, capsys):
  """Captions of one word meet one; a class of no file, long ones and incomplete ids are said."""
  folder, export = as_nocaps(data / 'coco_caption'), tmp_path / 'export'
  boxes = folder / 'test.cbs_box.tsv'
  boxes.write_text(boxes.read_text().replace('"Pizza"', '"Zebra dog cake table Food"'))
  info = folder / 'nocaps_test_4500_captions.json'
  loaders.edit(info, lambda c: c['images'].append({'id': 12, 'open_images_id': 'further'}))
  shutil.copytree(finished / 'export', export)
  script_jobs.in_process(
    run_captioning.SCRIPT, '--do_test', '--use_cbs', '--test_yaml=test.yaml', '--num_beams=2',
    f'--data_dir={folder}', f'--eval_model_dir={export}', '--max_gen_length=2',
    '--strategy=one_device',
  )  # fmt: skip
  out = capsys.readouterr().out
  lines = [
    json.loads(line) for line in (export / 'test_predictions.jsonl').read_text().splitlines()
  ]
  assert [line['constraints_met'] for line in lines[1:]] == [1, 1, 0]
  note = '1 of the 2 constraints asked for are met, the most that any caption found meets'
  assert lines[1]['note'] == lines[2]['note'] == note and 'note' not in lines[3]
  assert 'are met in 0, fewer in 3 (first: \'316412\')' in out
  assert "1 constraints have a word that the file lacks" in out
  assert "have more than 4 word pieces; the first 4 count" in out
  assert "do not fit into captions of 1 word piece, and can't be met" in out
  assert "No file for NoCaps' server: 1 of the 5 images" in out
  assert not list(export.glob('*.server.json'))


@pytest.mark.parametrize('task', ['pretrain', 'vqa'])
def test_checkpoints_that_never_learnt_to_caption_are_refused(tmp_path, task):
  exports.write(tmp_path / 'export', task)
  with pytest.raises(ValueError, match=f"was trained for the task '{task}', not 'captioning'"):
    script_jobs.in_process(
      run_captioning.SCRIPT, '--do_test', f'--eval_model_dir={tmp_path}/export',
      f'--data_dir={DATA}', '--strategy=one_device',
    )  # fmt: skip
  assert not list(tmp_path.rglob('pred.*'))


# ---- modes and restored flags


def resolved(**given):
  return run_captioning.SCRIPT.resolve(given)


def test_modes_of_the_official_flags():
  modes = lambda **given: run_captioning.fine_tuning.modes_of(given, run_captioning.SPEC)  # noqa: E731
  assert modes() == modes(do_train=True) == ['train_and_eval']
  assert modes(do_eval=True) == modes(do_test=True) == modes(do_test=True, do_eval=True)
  assert modes(do_test=True) == ['predict']
  assert modes(do_train=True, do_test=True) == ['train_and_eval', 'predict']


@pytest.mark.parametrize('recipe, evaluated', [('captioning_base', 5000), ('captioning', 7)])
def test_evaluations_come_where_the_official_script_saves(recipe, evaluated):
  job = resolved(data_dir='x', model_dir='y', recipe=recipe).get(run_captioning.SPEC.job)
  assert fine_tuning_job._steps_per_eval(job, 7) == evaluated


def test_flags_of_a_training_hold_at_test_time(tmp_path):
  settings = {
    'max_seq_length': 60, 'max_seq_a_length': 35, 'max_img_seq_length': 7, 'add_od_labels': True
  }  # fmt: skip
  checkpoint_tasks.write_settings(str(tmp_path), 'captioning', settings)
  given = {'recipe': 'captioning_test', 'data_dir': 'x', 'init_checkpoint': str(tmp_path)}
  values = resolved(**given).as_dict()
  assert {name: values[name] for name in settings} == settings
  assert (values['num_beams'], values['max_gen_length']) == (5, 20)
  assert values['tie_weights'] is None  # As its config.json says.
  assert values['model_dir'] == str(tmp_path)


def test_self_critical_training_stores_another_length():
  """Officially max_gen_length + (max_seq_length - max_seq_a_length): 20 + 70 - 40."""
  stored = {'scst': True, 'max_seq_length': 50, 'max_seq_a_length': 40, 'max_gen_length': 20}
  assert caption_settings.as_trained(stored)['max_seq_length'] == 70
  stored['scst'] = False
  assert caption_settings.as_trained(stored) == stored
  assert caption_settings.as_trained({**stored, 'add_od_labels': False})['max_seq_length'] == 40
  assert caption_settings.as_trained({'max_seq_length': 50}) == {}  # As officially.


@pytest.mark.slow
def test_the_search_is_not_restored_from_the_record_of_a_job(finished):
  values = resolved(recipe='captioning_test', model_dir=str(finished), data_dir='x').as_dict()
  assert (values['num_beams'], values['max_gen_length']) == (5, 10)
  assert values['add_od_labels'] is True


def test_nocaps_on_the_scenes_trains_without_novel_digits():
  values = resolved(use_cbs=True).as_dict()
  assert (values['recipe'], values['train_yaml']) == ('nocaps_scenes', 'seen.yaml')
  assert values['val_yaml'] == values['test_yaml'] == '../nocaps/val.yaml'
  assert values['suppress_general'] is True and values['model_dir'] == 'runs/nocaps-scenes'
  values = resolved(recipe='nocaps_scenes', do_test=True, use_cbs=False).as_dict()
  assert values['use_cbs'] is False and values['model_dir'] == 'runs/nocaps-scenes'


def test_the_published_recipe_of_nocaps(tmp_path):
  given = {'recipe': 'nocaps_test', 'data_dir': 'x', 'init_checkpoint': str(tmp_path)}
  values = resolved(**given).as_dict()
  assert values['use_cbs'] is True and values['suppress_general'] is False
  assert (values['num_beams'], values['min_constraints_to_satisfy']) == (5, 2)


def test_scenes_hold_every_caption():
  values = resolved().as_dict()
  assert (values['test_yaml'], values['model_dir']) == ('val.yaml', 'runs/captioning-scenes')
  assert values['add_od_labels'] is True and values['num_beams'] == 1
  inks = canvas.read_inks('val')
  for key in range(300):
    scene = graph.sample(random.Random(key), str(key), inks)
    texts = captions.captions(scene, random.Random(key))
    words = [len(re.findall(r'\w+|[^\w\s]', text)) for text in texts]
    # Each word is in the vocabulary; tags have one.
    assert max(words) + 2 <= values['max_gen_length'] == values['max_seq_a_length']
    assert len(scene.things) + 1 <= values['max_seq_length'] - values['max_seq_a_length']


# ---- self-critical training


@pytest.fixture(scope='module')
def learnt(tmp_path_factory):
  """An export of a captioner, whose flags self-critical training takes."""
  folder = tmp_path_factory.mktemp('learnt') / 'export'
  exports.write(
    folder, 'captioning', max_seq_length=24, max_seq_a_length=14, max_gen_length=10,
    max_img_seq_length=3, config={'hidden_dropout_prob': 0.1, 'img_feature_dim': 2054},
  )  # fmt: skip
  return folder


def train_critically(learnt, model_dir, *more):
  script_jobs.in_process(
    run_captioning.SCRIPT, f'--data_dir={DATA}', '--val_yaml=test.yaml', '--scst',
    f'--model_name_or_path={learnt}', f'--output_dir={model_dir}', '--max_gen_length=10',
    '--per_gpu_train_batch_size=2', '--per_gpu_eval_batch_size=4', '--strategy=one_device',
    '--sc_train_sample_n=3', '--learning_rate=1e-3', '--max_steps=4', '--steps_per_eval=2', *more,
  )  # fmt: skip


@pytest.fixture(scope='module')
def critical(learnt, tmp_path_factory):
  """The model_dir of four steps of self-critical training, with an export."""
  model_dir = tmp_path_factory.mktemp('critical')
  train_critically(learnt, model_dir, f'--export_dir={model_dir}/export')
  return model_dir


@pytest.mark.slow
def test_self_critical_training_reports_reward_and_ended_sentences(critical, learnt):
  lines = (critical / 'eval' / 'results.jsonl').read_text().splitlines()
  results = [json.loads(line) for line in lines]
  assert [result['step'] for result in results] == [2, 4]
  for result in results:
    assert {'CIDEr', 'ROUGE_L', 'Bleu_4', 'reward', 'ended'} <= set(result)
    assert 0 <= result['ended'] <= 1 and result['reward'] >= 0
  logged = curves.read(str(critical))
  assert {'scst_loss', 'reward', 'baseline', 'ended'} <= set(logged)
  flags = json.loads((critical / 'run.json').read_text())['starts'][0]['flags']
  # The lengths and tags are those of the export.
  expected = {'max_seq_length': 24, 'max_seq_a_length': 14, 'add_od_labels': True}
  assert {name: flags[name] for name in expected} == expected
  weights = script_jobs.values_at(critical, 4)
  before = oscar.load(learnt).model
  path = before.bert.layers[0].query.kernel.path
  assert not np.array_equal(weights[f'model/{path}'], before.bert.layers[0].query.kernel)


@pytest.mark.slow
def test_document_frequencies_are_kept_beside_the_model_and_can_be_given(critical):
  kept = cider.read(critical / caption_settings.FREQUENCIES_FILE)
  captions_of = json.loads((DATA / 'train_caption.json').read_text())
  assert kept.num_images == len({caption['image_id'] for caption in captions_of})
  assert kept.counts[('<eos>',)] == kept.num_images
  read = caption_settings.frequencies_file(
    'x', f'{critical}/{caption_settings.FREQUENCIES_FILE}'
  )
  assert cider.read(read) == kept
  assert caption_settings.frequencies_file(str(loaders.GOLDENS), 'cider_cached_tokens.p')


@pytest.mark.slow
def test_the_export_of_self_critical_training_writes_captions(critical):
  stored = checkpoint_tasks.settings_of(str(critical / 'export'))
  assert (stored['max_seq_length'], stored['max_gen_length']) == (24, 10)
  split = coco_caption.CocoCaption(DATA / 'test.yaml')
  key = split.image_ids[0]
  made = oscar.load(critical / 'export').caption((split.regions[key], split.tags(key))).captions
  assert isinstance(made[0][0], str)


@pytest.mark.slow
@pytest.mark.long
def test_a_resumed_self_critical_training_draws_the_same_captions(critical, learnt, tmp_path):
  resumed = tmp_path / 'resumed'
  shutil.copytree(critical, resumed)
  train_critically(learnt, resumed, '--resume_step=2')
  script_jobs.assert_same_bits(critical, resumed, 4)


@pytest.mark.slow
def test_a_folder_holds_one_kind_of_training(critical, learnt, tmp_path):
  with pytest.raises(ValueError, match=r'holds a job of self-critical training \(--scst\); give'):
    script_jobs.in_process(
      run_captioning.SCRIPT, f'--output_dir={critical}', f'--data_dir={DATA}', '--mode=train',
    )  # fmt: skip
  exports.write(tmp_path / 'pretrained', 'pretrain')
  with pytest.raises(ValueError, match='has not learnt to write captions: it is of pre-training'):
    train_critically(tmp_path / 'pretrained', tmp_path / 'model')


def test_the_flag_chooses_the_recipe_for_the_scenes():
  values = resolved(scst=True).as_dict()
  first = resolved().as_dict()
  assert values['recipe'] == 'captioning_scenes_scst'
  assert values['init_checkpoint'] == first['export_dir']
  assert values['model_dir'] != first['model_dir'] and values['max_gen_length'] == 33
  assert resolved(mode='predict', scst=True).as_dict()['export_dir'] is None
  with pytest.raises(ValueError, match='does not exist: run `python -m oscar.run_captioning` f'):
    run_captioning.SCRIPT.call(['--scst', '--init_checkpoint=runs/captioning-scenes/export'])


def test_published_recipes_train_self_critically():
  given = {'data_dir': 'x', 'model_dir': 'y', 'recipe': 'vinvl_captioning_base_scst'}
  values = resolved(**given).as_dict()
  names = ('scst', 'sc_train_sample_n', 'sc_baseline_type', 'sc_beam_size', 'cider_cached_tokens')
  expected = [True, 5, 'greedy', 1, 'coco-train-words.p']
  assert [values[name] for name in names] == expected

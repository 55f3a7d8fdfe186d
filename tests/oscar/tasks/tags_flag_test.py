"""`--tags`: the input of each task with the data's tags, none, wrong ones, and those of a file."""

import dataclasses
import importlib

import numpy as np
import pytest

import oscar
from oscar import caption_settings, retrieval_settings, task_settings
from oscar.datasets import tags
from tests.oscar import loaders

_DATA = loaders.DATA
_SIZES = {'max_seq_length': 20, 'max_img_seq_length': 3, 'train_batch_size': 4,
          'eval_batch_size': 4, 'train_split': 'train'}  # fmt: skip
TASKS = {
  'vqa': task_settings.VqaData(
    data_dir=str(_DATA / 'vqa'), data_label_type='mask', eval_split='val', **_SIZES
  ),
  'gqa': task_settings.GqaData(data_dir=str(_DATA / 'gqa'), eval_split='val', **_SIZES),
  'nlvr2': task_settings.Nlvr2Data(
    data_dir=str(_DATA / 'nlvr2'), data_label_type='all', eval_data_type='all', use_pair=True,
    use_label_seq=True, eval_split='val', **_SIZES,
  ),
  'retrieval': retrieval_settings.RetrievalData(
    data_dir=str(_DATA / 'coco_ir'), cross_image_eval=True, num_captions_per_img_val=2,
    num_captions_per_img_train=2, add_od_labels=True, eval_split='minival', **_SIZES,
  ),
  'captioning': caption_settings.CaptioningData(
    data_dir=str(_DATA / 'coco_caption'), add_od_labels=True, max_seq_a_length=10,
    max_gen_length=10, eval_split='test', **_SIZES,
  ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('task', list(TASKS))
def test_inputs_have_the_chosen_tags(task, tokenizer, tiny, tmp_path, monkeypatch):
  config = oscar.OscarConfig.from_json(tiny / 'config.json')
  implementation = importlib.import_module(f'oscar.tasks.{task}')

  def words(choice):
    data = task_settings.with_tags_flag(dataclasses.replace(TASKS[task], tags=choice))
    source = implementation.TASK.open_input(data, tokenizer, config, 0)
    found = [row.tolist() for batch in source.eval_dataset().as_numpy_iterator()
             for row in batch['input_ids']]  # fmt: skip
    return [[word for word in np.ravel(row) if word] for row in found]

  own = {}
  with monkeypatch.context() as patched:
    # In place of wrong tags: their own, which this notes down.
    patched.setattr(tags, 'replaced', lambda choice, given: own.update(given) or dict(given))
    unchanged = words('wrong')
  given, wrong, none = words('given'), words('wrong'), words('none')
  assert unchanged == given and len(own) > 1
  expected = tags.replaced('wrong', own)
  if any(expected[key] != own[key] for key in own):
    assert wrong != given
  assert all(len(less) <= len(more) for less, more in zip(none, given, strict=True))
  assert none != given
  tags.write(tmp_path / 'own.tsv', own)
  assert words(str(tmp_path / 'own.tsv')) == given


def test_images_are_ranked_with_the_chosen_tags(tokenizer):
  from oscar.tasks import retrieval

  def found(choice):
    data = task_settings.with_tags_flag(dataclasses.replace(TASKS['retrieval'], tags=choice))
    ranking = retrieval.Ranking(data, retrieval.files_of(data), tokenizer)
    return dict(zip(ranking.candidates.image_ids, ranking.image_tags(ranking.candidates.image_ids)
                    or (), strict=False))  # fmt: skip

  given = found('given')
  assert found('wrong') == tags.replaced('wrong', given) != given
  assert found('none') == {}


def test_an_export_remembers_that_its_model_reads_no_tags():
  def stored(choice, task):
    return task_settings.info(dataclasses.replace(TASKS[task], tags=choice))['settings']

  assert stored('none', 'gqa')['tags'] == 'none'
  assert 'tags' not in stored('given', 'gqa') and 'tags' not in stored('wrong', 'vqa')
  changed = task_settings.with_tags_flag(dataclasses.replace(TASKS['vqa'], tags='none'))
  assert changed.task_name == 'vqa_text_a'


def test_names_of_results_tell_the_tags():
  data = dataclasses.replace(TASKS['captioning'], tags='none', add_od_labels=False)
  name = caption_settings.results_name(data)
  assert name == 'pred.coco_caption.test.beam1.max10.no_tags.tsv'


@pytest.mark.parametrize(
  'values, message',
  [
    ({'tags': 'wrong', 'add_od_labels': False}, '--tags=wrong has no effect with --add_od_labels'),
    ({'tags': 'wrong', 'task_name': 'vqa_text_a'}, 'no effect with --task_name=vqa_text_a'),
    ({'tags': 'wrnog'}, 'expected given, none, wrong or a file'),
  ],
)
def test_tags_without_effect_are_refused(values, message):
  with pytest.raises(ValueError, match=message):
    task_settings.check_tags(values)


def test_no_tags_and_given_tags_are_always_possible():
  for choice in ('none', 'given'):
    task_settings.check_tags({'tags': choice, 'use_label_seq': False})

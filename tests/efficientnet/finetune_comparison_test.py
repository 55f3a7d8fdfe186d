"""The comparison of fine-tuning recipes: its pictures, its table, and how it resumes."""
import json
import sys

import keras
import numpy as np
import pytest

from efficientnet import finetune_comparison, finetune_keras
from tests.efficientnet import five_sets
from tests.tpu_utils.images import small_sets
from tpu_utils.images.sources import splitting

LINES = [
  {'set': name, 'recipe': recipe, 'seed': seed, 'top_1': top_1, 'processor_seconds': 60.0,
   'seconds': seconds}
  for name, recipe, seed, top_1, seconds in (
    ('a', 'finetune', 0, 0.5, 30), ('a', 'finetune', 1, 0.6, 90), ('b', 'timm', 0, 1.0, 30)
  )
]  # fmt: skip


def test_table_has_means_ranges_and_minutes():
  assert finetune_comparison.table(LINES).splitlines() == [
    '| set | finetune | timm |',
    '| --- | --- | --- |',
    '| a | 55.0 (50.0 to 60.0); 1.0 / 1.0 min | - |',
    '| b | - | 100.0; 1.0 / 0.5 min |',
  ]


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    ([], '--data_dirs is missing'),
    (['--data_dirs=x', '--recipes=tim'], "'tim'.*timm"),
    (['--data_dirs=x', '--seeds=1,b'], '--seeds=1,b must be whole numbers'),
    (['--data_dirs=/no/such/folder'], 'is not a folder'),
  ],
)
def test_wrong_settings(arguments, message):
  with pytest.raises(ValueError, match=message):
    finetune_comparison.SCRIPT.call(arguments)


def test_folders_are_divided_as_by_the_job(tmp_path):
  divided = small_sets.image_folder(tmp_path, {'train': 12, 'validation': 6})
  found = finetune_comparison.pictures_of(divided)
  assert {part: len(pictures) for part, pictures in found.items()} == {'train': 12, 'validation': 6}
  undivided = finetune_comparison.pictures_of(str(tmp_path / 'train'))
  held = {splitting.name_of(path) for path, _ in undivided['validation']}
  assert held == splitting.divide(found['train']).validation
  assert len(undivided['train']) == 12 - len(held)


def test_no_training_is_repeated(tmp_path, monkeypatch, capsys):
  trained = []

  def train(config, folder, recipe, seed):
    trained.append((recipe, seed))
    if len(trained) == 3:
      raise KeyboardInterrupt
    return {'top_1': 0.5, 'processor_seconds': 1.0, 'seconds': 1.0}

  monkeypatch.setattr(finetune_comparison, 'train', train)
  folder = small_sets.image_folder(tmp_path / 'ash', {'train': 6, 'validation': 3})
  command = [
    f'--data_dirs={folder}', '--recipes=finetune,keras', '--seeds=0,1',
    f'--output_dir={tmp_path}/out',
  ]  # fmt: skip
  with pytest.raises(KeyboardInterrupt):
    finetune_comparison.SCRIPT.call(command)
  finetune_comparison.SCRIPT.call(command)
  first = [('finetune', 0), ('keras', 0), ('finetune', 1)]
  assert trained == [*first, ('finetune', 1), ('keras', 1)]
  assert '| ash | 50.0 (50.0 to 50.0)' in capsys.readouterr().out


def test_failure_of_a_training_is_one_line():
  command = [sys.executable, '-c', 'raise SystemExit("first\\nlast")']
  with pytest.raises(ValueError, match='^The training by timm failed: last$'):
    finetune_comparison._run(command, 'timm')


def test_sets_have_equally_many_pictures_of_each_class(tmp_path):
  assert five_sets.write(five_sets.digits(), tmp_path) == {'train': 160, 'validation': 200}
  assert len(list(tmp_path.glob('train/*'))) == 10
  assert len(list(tmp_path.glob('validation/7/*.png'))) == 20


def test_guides_classifier_on_a_frozen_network(monkeypatch):
  monkeypatch.setattr('efficientnet.build_model', small_network)
  model = finetune_keras.build('small', 8, classes=3)
  assert [variable.path.split('/')[0] for variable in model.trainable_variables] == [
    'batch_normalization', 'batch_normalization', 'dense', 'dense'
  ]  # fmt: skip
  assert model.output_shape == (None, 3)


def small_network(name, image_size, **settings):
  assert settings == {'weights': 'pretrained', 'include_top': False, 'pooling': 'avg'}
  keras.utils.clear_session()
  images = keras.Input((image_size, image_size, 3))
  x = keras.layers.Conv2D(4, 3, name='conv')(images)
  x = keras.layers.BatchNormalization(name='bn')(x)
  return keras.Model(images, keras.layers.GlobalAveragePooling2D()(x), name=name)


@pytest.mark.slow
def test_guide_trains_the_last_layers_and_no_batch_norm_below(tmp_path, monkeypatch):
  monkeypatch.setattr('efficientnet.build_model', small_network)
  monkeypatch.setattr(finetune_keras, 'EPOCHS', (2, 1))
  models = []
  build = finetune_keras.build
  monkeypatch.setattr(finetune_keras, 'build', lambda *a: models.append(build(*a)) or models[0])
  folder = small_sets.image_folder(tmp_path / 'set', {'train': 12, 'validation': 6})
  job = {
    'pictures': finetune_comparison.pictures_of(folder), 'model_name': 'small', 'seed': 0,
    'image_size': 8, 'output': str(tmp_path / 'results.jsonl'),
  }  # fmt: skip
  (tmp_path / 'job.json').write_text(json.dumps(job))
  finetune_keras.main(str(tmp_path / 'job.json'))
  (line,) = map(json.loads, (tmp_path / 'results.jsonl').read_text().splitlines())
  assert 0 <= line['top_1_accuracy'] <= 1
  (model,) = models
  assert model.get_layer('conv').trainable and not model.get_layer('bn').trainable
  statistics = model.get_layer('bn').moving_mean.numpy()
  np.testing.assert_array_equal(statistics, np.zeros_like(statistics))

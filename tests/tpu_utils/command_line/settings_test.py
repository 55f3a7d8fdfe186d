"""Merging of flags, facts, presets and defaults into frozen dataclasses."""
import dataclasses

import pytest

from tpu_utils import config
from tpu_utils.command_line import settings
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import script


@dataclasses.dataclass(frozen=True)
class Cake(settings.Checked):
  """What to bake."""

  flavour: str = setting('plum', 'Its flavour.', choices=('plum', 'apple'))
  layers: int = setting(2, 'How many layers.', at_least=1, below=9)
  sugar: float = setting(None, 'Grams, if any.', type=float, at_least=0)
  iced: bool = setting(False, 'Whether iced.', aliases=('glazed',))


@dataclasses.dataclass(frozen=True)
class Oven(settings.Checked):
  """How to bake it."""

  degrees: int = setting(180, 'How hot.', at_least=50)


GROUPS = (Cake, Oven)


def test_instances_have_the_order_of_the_groups():
  cake, oven = settings.resolve(GROUPS, {})
  assert (cake, oven) == (Cake(), Oven())
  assert settings.resolve((Oven, Cake), {}) == (Oven(), Cake())


def test_the_user_wins_then_facts_presets_in_order_and_defaults():
  sources = {
    'flags': {'layers': 2},
    'facts': {'layers': 3, 'sugar': 1.5},
    'presets': [
      {'layers': 4, 'sugar': 2.5, 'flavour': 'apple'},
      {'layers': 5, 'sugar': 3.5, 'flavour': 'plum', 'iced': True},
    ],
  }
  resolved = settings.resolve(GROUPS, **sources)
  assert resolved == (Cake('apple', 2, 1.5, True), Oven())
  assert resolved.as_dict() == {
    'flavour': 'apple', 'layers': 2, 'sugar': 1.5, 'iced': True, 'degrees': 180,
  }  # fmt: skip


def test_none_counts_as_a_value():
  (cake,) = settings.resolve((Cake,), {}, [{'sugar': None}, {'sugar': 2.0}])
  assert cake.sugar is None


def test_an_instance_remembers_what_the_user_gave():
  # Given, though it equals the default.
  cake, oven = settings.resolve(GROUPS, {'layers': 2}, [{'flavour': 'apple'}], {'degrees': 200})
  assert (cake.given, oven.given) == ({'layers'}, set())
  assert cake == Cake('apple', 2) and 'given' not in repr(cake)
  assert 'given' not in dataclasses.asdict(cake)
  assert Cake(layers=3).given == set()  # Not made by `resolve`.


@pytest.mark.parametrize('source', ['flags', 'presets', 'facts'])
def test_an_unknown_name_is_refused_in_every_source(source):
  sources = {'flags': {}, 'presets': [], 'facts': {}}
  sources[source] = [{'layer': 1}] if source == 'presets' else {'layer': 1}
  with pytest.raises(ValueError, match="Unknown setting 'layer': did you mean layers"):
    settings.resolve(GROUPS, **sources)


@pytest.mark.parametrize(
  'given, message',
  [
    ({'flavour': 'aple'}, "--flavour 'aple': did you mean apple"),
    ({'layers': 0}, '--layers=0 must be at least 1'),
    ({'layers': 9}, '--layers=9 must be below 9'),
    ({'sugar': -1.0}, '--sugar=-1.0 must be at least 0'),
    ({'sugar': float('nan')}, '--sugar=nan must be a finite number'),
    ({'sugar': float('inf')}, '--sugar=inf must be a finite number'),
  ],
)
def test_values_out_of_range_name_the_flag(given, message):
  with pytest.raises(ValueError, match=message):
    settings.resolve(GROUPS, given)


def test_facts_can_be_added_later():
  before = settings.resolve(GROUPS, {'layers': 2}, [{'sugar': 5.0}])
  facts = {'layers': 7, 'sugar': 1.0, 'degrees': 180}
  assert before.changes(facts) == {'sugar': 1.0}  # layers is given, degrees as before.
  after = before.with_facts(facts)
  assert (after.get(Cake).layers, after.get(Cake).sugar) == (2, 1.0)
  assert before.get(Cake).sugar == 5.0
  assert after.with_facts({'degrees': 90}).facts == {**facts, 'degrees': 90}


def test_flags_can_be_added_later():
  before = settings.resolve(GROUPS, {'layers': 2}, [], {'degrees': 200})
  cake, oven = before.with_flags({'layers': 3, 'degrees': 90})
  assert (cake.layers, oven.degrees) == (3, 90) and oven.given == {'degrees'}


def test_the_text_of_a_preset_lists_the_values_that_it_changes():
  preset = {'layers': 4, 'flavour': 'apple', 'sugar': 1.0, 'degrees': 180}
  resolved = settings.Resolved(GROUPS, {'layers': 2}, [preset], origin='Baked as usual')
  assert resolved.preset_text() == 'Baked as usual, with\n  --flavour=apple --sugar=1.0'
  assert settings.resolve(GROUPS, {}, [preset]).preset_text() == ''


def test_the_recipe_is_recorded():
  assert settings.Resolved(GROUPS, {}, recipe='plain').with_facts({}).as_dict()['recipe'] == 'plain'
  assert 'recipe' not in settings.resolve(GROUPS, {}).as_dict()


def test_a_subset_has_only_the_named_settings():
  new = setting('plum', 'Its taste.', choices=('plum', 'apple'))
  subset = settings.subset(Cake, ('flavour', 'layers'), 'How it looks.', layers=None, flavour=new)
  (found,) = settings.resolve((subset,), {'flavour': 'apple'})
  assert (found.flavour, found.layers) == ('apple', None) and not hasattr(found, 'iced')
  page = settings.help_text('', [subset])
  assert page.splitlines()[2] == 'How it looks.'
  assert 'Its taste.' in page and 'Its flavour.' not in page
  with pytest.raises(ValueError, match='did you mean apple'):
    subset(flavour='aple')


def test_help_shows_default_meaning_and_choices():
  page = settings.help_text('Bakes.', [Cake], [{'flavour': 'apple'}])
  for part in (
    'Bakes.', 'What to bake.', '--flavour=apple', 'Its flavour. One of plum, apple.', '--sugar\n',
    '--iced=False, --glazed\n',
  ):  # fmt: skip
    assert part in page


# Name and default of every flag of the official main.py; None where the official default is None.
OFFICIAL_DEFAULTS = {
  'use_tpu': True, 'tpu_job_name': None, 'tpu': None, 'gcp_project': None, 'tpu_zone': None,
  'holdout_shards': None, 'eval_name': None, 'archive_ckpt': True, 'model_dir': None,
  'mode': 'train_and_eval', 'augment_name': None, 'randaug_num_layers': 2, 'randaug_magnitude': 10,
  'train_steps': 218949, 'train_batch_size': 2048, 'eval_batch_size': 64,
  'batch_norm_batch_size': 128, 'num_train_images': 1281167, 'num_eval_images': 50000,
  'steps_per_eval': 6255, 'eval_timeout': None,
  'skip_host_call': False, 'iterations_per_loop': 1251, 'num_parallel_calls': 64,
  'num_label_classes': 1000, 'transpose_input': True,
  'use_bfloat16': True, 'export_dir': None, 'export_to_tpu': False, 'base_learning_rate': 0.016,
  'lr_decay_epoch': 2.4, 'moving_average_decay': 0.9999, 'weight_decay': 1e-5,
  'label_smoothing': 0.1, 'mixup_alpha': 0.0, 'log_step_count_steps': 64, 'use_cache': False,
  'optimizer': 'rmsprop', 'lr_schedule': 'exponential',
  'lr_decay_factor': 0.97, 'lr_warmup_epochs': 5, 'lars_weight_decay': 1e-5, 'lars_epsilon': 0.0,
}  # fmt: skip


# Official flags that this project does not have.
DEAD = {
  'bigtable_project', 'bigtable_instance', 'bigtable_table', 'bigtable_train_prefix',
  'bigtable_eval_prefix', 'bigtable_column_family', 'bigtable_column_qualifier', 'data_format',
  'num_replicas',
}  # fmt: skip


def test_missing_official_flags_are_answered():
  assert set(script.ELSEWHERE) == DEAD


def test_the_official_flags_have_their_official_defaults():
  classes = (config.DataConfig, config.OptimizationConfig, config.JobConfig, config.HardwareConfig)
  ours = {field.name: field.default for c in classes for field in dataclasses.fields(c)}
  assert {name: ours.get(name, 'absent') for name in OFFICIAL_DEFAULTS} == OFFICIAL_DEFAULTS

"""Dataclasses as flags."""
import dataclasses

import pytest
from absl import flags

from tpu_utils import config
from tpu_utils.command_line import settings
from tpu_utils.command_line.settings import setting


@dataclasses.dataclass(frozen=True)
class Cake(settings.Checked):
  """What to bake."""

  flavour: str = setting('plum', 'Its flavour.', choices=('plum', 'apple'))
  layers: int = setting(2, 'How many layers.', at_least=1, below=9)
  sugar: float = setting(None, 'Grams, if any.', type=float, at_least=0)
  iced: bool = setting(False, 'Whether iced.', aliases=('glazed',))


@pytest.fixture
def values():
  """A fresh set of flags in place of the process's."""
  return flags.FlagValues()


def test_flags_give_the_dataclass(values):
  settings.define_flags(Cake, values, layers=3)
  values(['prog', '--flavour=apple', '--sugar=1.5', '--iced'])
  assert settings.from_flags(Cake, values) == Cake('apple', 3, 1.5, True)


def test_part_of_the_settings(values):
  new = setting('plum', 'Its taste.', choices=('plum', 'apple'))
  part = settings.part(Cake, ('flavour', 'layers'), 'How it looks.', layers=None, flavour=new)
  settings.define_flags(part, values)
  values(['prog', '--flavour=apple'])
  found = settings.from_flags(part, values)
  assert (found.flavour, found.layers) == ('apple', None) and not hasattr(found, 'iced')
  page = settings.help_text('', [part], values)
  assert page.splitlines()[2] == 'How it looks.' and 'Its taste.' in page and 'Its flavour.' not in page
  with pytest.raises(ValueError, match='did you mean apple'):
    part(flavour='aple')


def test_an_alias_is_the_flag(values):
  settings.define_flags(Cake, values)
  values(['prog', '--glazed'])
  assert settings.from_flags(Cake, values).iced
  assert not settings.apply_preset(values, {'iced': False})  # It counts as given.
  assert '--iced=False, --glazed\n' in settings.help_text('', [Cake], values)


@pytest.mark.parametrize(
  'argument, message',
  [
    ('--flavour=aple', 'did you mean apple'),
    ('--layers=0', '--layers=0 must be at least 1'),
    ('--layers=9', '--layers=9 must be below 9'),
    ('--sugar=-1', '--sugar=-1.0 must be at least 0'),
    ('--sugar=nan', '--sugar=nan must be at least 0'),
  ],
)
def test_values_out_of_range_name_the_flag(values, argument, message):
  settings.define_flags(Cake, values)
  values(['prog', argument])
  with pytest.raises(ValueError, match=message):
    settings.from_flags(Cake, values)


def test_a_preset_fills_what_the_user_left_out(values):
  settings.define_flags(Cake, values)
  values(['prog', '--layers=2'])  # Given, though it equals the default.
  assert settings.apply_preset(values, {'flavour': 'apple', 'layers': 5}) == {'flavour': 'apple'}
  assert settings.from_flags(Cake, values) == Cake('apple', 2)


def test_help_tells_default_meaning_and_choices(values):
  settings.define_flags(Cake, values, flavour='apple')
  page = settings.help_text('Bakes.', [Cake], values)
  for part in ('Bakes.', 'What to bake.', '--flavour=apple', 'Its flavour. One of plum, apple.', '--sugar\n'):
    assert part in page


# Name and default of every flag of the official main.py; None where the official default is None.
OFFICIAL_DEFAULTS = {
  'use_tpu': True, 'tpu_job_name': None, 'tpu': None, 'gcp_project': None, 'tpu_zone': None,
  'holdout_shards': None, 'eval_name': None, 'archive_ckpt': True, 'model_dir': None,
  'mode': 'train_and_eval', 'augment_name': None, 'randaug_num_layers': 2, 'randaug_magnitude': 10,
  'train_steps': 218949, 'train_batch_size': 2048, 'eval_batch_size': 64, 'batch_norm_batch_size': 128,
  'num_train_images': 1281167, 'num_eval_images': 50000, 'steps_per_eval': 6255, 'eval_timeout': None,
  'skip_host_call': False, 'iterations_per_loop': 1251, 'num_parallel_calls': 64,
  'bigtable_project': None, 'bigtable_instance': None, 'bigtable_table': 'imagenet',
  'bigtable_train_prefix': 'train_', 'bigtable_eval_prefix': 'validation_',
  'bigtable_column_family': 'tfexample', 'bigtable_column_qualifier': 'example',
  'data_format': 'channels_last', 'num_label_classes': 1000, 'transpose_input': True,
  'use_bfloat16': True, 'export_dir': None, 'export_to_tpu': False, 'base_learning_rate': 0.016,
  'lr_decay_epoch': 2.4, 'moving_average_decay': 0.9999, 'weight_decay': 1e-5, 'label_smoothing': 0.1,
  'mixup_alpha': 0.0, 'log_step_count_steps': 64, 'use_cache': False, 'use_async_checkpointing': False,
  'optimizer': 'rmsprop', 'lr_schedule': 'exponential', 'lr_decay_factor': 0.97, 'lr_warmup_epochs': 5,
  'lars_weight_decay': 1e-5, 'lars_epsilon': 0.0, 'num_replicas': 32,
}  # fmt: skip


def test_the_official_flags_have_their_official_defaults():
  classes = (config.DataConfig, config.OptimizationConfig, config.JobConfig, config.HardwareConfig)
  ours = {field.name: field.default for c in classes for field in dataclasses.fields(c)}
  assert {name: ours.get(name, 'absent') for name in OFFICIAL_DEFAULTS} == OFFICIAL_DEFAULTS


def test_flags_that_only_the_official_script_has(capsys):
  with pytest.raises(SystemExit):
    settings.parse_flags('', [], elsewhere={'do_train': 'leave it out'})(['prog', '--do_train'])
  assert capsys.readouterr().err == (
    'Error: --do_train is a flag of the official script only: leave it out.\n'
  )


def test_words_after_the_flags_where_the_script_takes_files():
  assert settings.parse_flags('', [], positional=True)(['prog', 'a.jpg', 'b.jpg'])[1:] == ['a.jpg', 'b.jpg']
  with pytest.raises(SystemExit):
    settings.parse_flags('', [])(['prog', 'a.jpg'])

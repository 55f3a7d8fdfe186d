"""Preflight of self-critical training: what draws captions, and the step that scores them."""

import pytest

import oscar
from oscar import caption_settings, job, script_settings
from oscar.tasks import captioning
from tests.oscar import loaders
from tpu_utils.preflight import checks, compiling, lowering, topology


class Compiler:
  """Stands in for the TPU compiler: keeps the modules."""

  topology = topology.Topology('v5e:1x1', 1)

  def __init__(self):
    self.texts = {}

  def compile(self, text, what):
    self.texts[what] = text
    return compiling.Compiled(arguments=1)


@pytest.mark.slow
@pytest.mark.long
def test_drawing_and_scoring_lower_for_a_tpu(tokenizer, tiny):
  data = caption_settings.CaptioningData(
    data_dir=str(loaders.DATA / 'coco_caption'), add_od_labels=True, max_seq_length=16,
    max_seq_a_length=10, max_gen_length=6, max_img_seq_length=3, scst=True, sc_train_sample_n=2,
    train_batch_size=2, eval_batch_size=2, train_split='train', eval_split='val',
  )  # fmt: skip
  config = oscar.OscarConfig.from_json(tiny / 'config.json', num_hidden_layers=1)
  strategy = lowering.tpu_like_strategy()
  with strategy.scope():
    model = oscar.build_model(config, 'captioning')
  source = captioning.TASK.open_input(data, tokenizer, config, 0)
  trainer = job.make_trainer(
    strategy, model, captioning.TASK.learn(data, source, model),
    script_settings.OptimizationConfig(), train_steps=10,
  )  # fmt: skip
  compiler = Compiler()
  run = checks.Preflight(compiler, trainer, source, 2, 2, 'images')
  (rollout,) = run.rollout_steps()
  train = run.train_step()
  assert rollout.fits(compiler.topology) and train.fits(compiler.topology)
  # Two searches, word by word, one of which draws; the training scores all words at once.
  drawing, scoring = (compiler.texts[f'the {name} step'] for name in ('rollout', 'train'))
  assert drawing.count('stablehlo.while') >= 2 and 'stablehlo.while' not in scoring
  assert 'tensor<2x2x5xi32>' in scoring or 'tensor<2x2x6xi32>' in scoring

r"""Pre-trains OSCAR: masked words, and whether texts and image belong together.

  python -m oscar.run_pretrain
      A small OSCAR on scenes of handwritten digits, made here: a few minutes on two cores.

  python -m oscar.run_pretrain --data_dir=prepared --model_dir=runs/oscar --init_checkpoint=bert-base-uncased \
      --texta_false_prob=0.25 --textb_sample_mode=1 --use_img_layernorm=1 --max_grad_norm=10
      Oscar+ base from BERT, on a corpus that `python -m oscar.datasets.prepare` prepared.

  python -m oscar.run_pretrain --mode=eval --data_dir=prepared --model_dir=runs/oscar
      Evaluates the checkpoints of another job as they appear.

A stopped job goes on where it stopped when the same command is given again.
"""
import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from oscar import script_settings
from oscar.recipes import RECIPES
from tpu_utils import config, files
from tpu_utils.command_line import job_flags, settings
from tpu_utils.command_line.recipes import Recipe
from tpu_utils.command_line.script import Choice, Script, named_origin
from tpu_utils.command_line.settings import setting


@dataclasses.dataclass(frozen=True)
class DataConfig(settings.Checked):
  """What it reads, and how texts are made wrong and words masked."""

  data_dir: str = setting(
    '',
    'Folder of a corpus that oscar.datasets.prepare prepared. Empty: scenes of handwritten digits, '
    'made once, with settings that learn them in a few minutes.',
  )
  train_split: str = setting('train', 'Split to train on, the name of its YAML file.')
  eval_split: str = setting('val', 'Split to evaluate on.')
  train_batch_size: int = setting(1024, 'Global batch size for training.', at_least=1)
  eval_batch_size: int = setting(64, 'Global batch size for evaluation.', at_least=1)
  max_seq_length: int = setting(35, 'Word pieces of an example, at most.', at_least=4)
  max_img_seq_length: int = setting(50, 'Regions of an image, at most.', at_least=1)
  use_b: int = setting(1, 'Whether the second text (tags, answers) is given.', choices=(0, 1))
  textb_sample_mode: int = setting(
    0,
    'A wrong second text is 0: either text of any document; 1: the second of any document; 2: the '
    'answers of any question.',
    choices=(0, 1, 2),
  )
  texta_false_prob: float = setting(
    0.0,
    'Share of examples with a wrong first text, up to 0.5; above 0 the contrast has three classes.',
    at_least=0,
  )
  mask_loss_for_unmatched: int = setting(
    1, 'Whether words of a wrong second text are masked.', choices=(0, 1)
  )


SCENES_DIR = 'runs/scenes'
SCENES = 'scenes'  # Name of the recipe without --data_dir.
GROUPS = (
  script_settings.ModelConfig,
  DataConfig,
  script_settings.OptimizationConfig,
  script_settings.JobConfig,
  config.HardwareConfig,
)
_ONE_CORPUS = 'put both data sets into one corpus'
_DEVICES = '--strategy chooses the devices'
_PREPARED = 'give it to oscar.datasets.prepare, which reads the official files'
# Flags of the official script that this one does not have, and what to do instead.
ELSEWHERE = {
  'bert_model': 'leave it out; there is no other kind of model',
  'cache_dir': 'leave it out; nothing is downloaded',
  'chunk_end_id': _PREPARED,
  'chunk_start_id': _PREPARED,
  'dataset_file': 'prepare the corpus (oscar.datasets.prepare), then name it by --data_dir and --train_split',
  'do_train': 'leave it out; --mode says what to do, and training is the default',
  'extra_dataset_file': _ONE_CORPUS,
  'extra_loss_weight': _ONE_CORPUS,
  'extra_textb_sample_mode': _ONE_CORPUS,
  'from_scratch': 'leave out --init_checkpoint and give --config',
  'gpu_ids': _DEVICES,
  'img_feature_type': 'leave it out; regions of a detector are the only kind',
  'local_rank': _DEVICES,
  'no_cuda': _DEVICES,
  'num_workers': 'leave it out; the input takes the cores that there are',
  'on_memory': 'leave it out; texts are held in memory, regions are streamed',
  'optim': 'leave it out; AdamW is the only optimizer, there too',
  'use_gtlabels': _PREPARED,
  'use_layernorm': 'leave it out, nothing reads it there; --use_img_layernorm is the one that counts',
}


_READING_MODES = ('eval', 'export', 'predict')


def check(resolved: settings.Resolved):
  """Checks the folders that the settings name, without TensorFlow.

  Raises:
    ValueError: one is missing.
  """
  if resolved.get(script_settings.JobConfig).model_dir is None:
    raise ValueError('--model_dir is missing: the folder for checkpoints and summaries.')
  files.check_folder('data_dir', resolved.get(DataConfig).data_dir)


def run(resolved: settings.Resolved):
  """Runs the job that the settings describe: training, evaluation or export."""
  model, data, optimization, job, hardware = resolved
  if resolved.origin:
    print(resolved.preset_text())

  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from oscar.tasks import pretrain

  if not data.data_dir:
    from oscar import scenes

    world = scenes.build(SCENES_DIR, log=print)
    data = dataclasses.replace(data, data_dir=world.data_dir)
    model = dataclasses.replace(model, vocab_file=model.vocab_file or world.vocab_file)
  pretrain.run(
    model, data, optimization, job, hardware, record={'flags': resolved.as_dict()}
  )


def _choose(given: Mapping[str, Any], recipe: Recipe | None) -> Choice:
  """Chooses the recipe by the data: without any, the scenes."""
  facts = _facts_of_job(given)
  origin = named_origin(recipe) if recipe else ''
  if not given.get('data_dir', facts.get('data_dir')):
    if recipe is not None and recipe.name != SCENES:
      raise ValueError(
        f'--recipe={recipe.name} needs --data_dir; without it, leave --recipe out to learn the scenes.'
      )
    if recipe is None:
      recipe, origin = RECIPES[SCENES], 'No --data_dir: scenes of handwritten digits'
  if recipe is None:
    return Choice(facts=facts)
  preset = recipe.settings
  if recipe.name == SCENES and given.get('mode') != 'eval':
    # The training that an evaluation follows exports; two would write over each other.
    model_dir = given.get('model_dir') or preset['model_dir']
    preset = {**preset, 'export_dir': os.path.join(model_dir, 'export')}
  return Choice(recipe, preset, origin, facts)


def _facts_of_job(given):
  """Returns settings from the record of a job, for modes that only read its checkpoints."""
  if given.get('mode') not in _READING_MODES or not given.get('model_dir'):
    return {}
  job = job_flags.of_checkpoint(given['model_dir']) or {}
  without = ('data_dir', 'train_split', 'eval_split') if given.get('data_dir') else ()
  # An evaluation ends with the last step of the training.
  steps = {'train_steps': job['train_steps']} if 'train_steps' in job else {}
  return {**job_flags.facts(job, GROUPS[:3], without), **steps}


SCRIPT = Script(
  __doc__,
  GROUPS,
  run,
  elsewhere=ELSEWHERE,
  defaults={'use_bfloat16': False},  # The official code is float32.
  module='oscar.run_pretrain',
  recipes=RECIPES,
  default_recipe='pretrain',
  choose=_choose,
  check=check,
)


if __name__ == '__main__':
  SCRIPT.main()

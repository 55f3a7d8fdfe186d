r"""Pre-trains OSCAR to predict masked words and whether texts and image belong together.

  python -m oscar.run_pretrain
      Trains a small OSCAR on generated scenes of handwritten digits: a few minutes on two cores.

  python -m oscar.run_pretrain --data_dir=prepared --model_dir=runs/oscar \
      --init_checkpoint=bert-base-uncased --texta_false_prob=0.25 --textb_sample_mode=1 \
      --use_img_layernorm=1 --max_grad_norm=10
      Trains Oscar+ base from BERT, on a corpus that `python -m oscar.datasets.prepare` prepared.

  python -m oscar.run_pretrain --mode=eval --data_dir=prepared --model_dir=runs/oscar
      Evaluates the checkpoints of another job as they appear.

The same command resumes a stopped job.
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
  """The corpus, its batches, and the choice of wrong texts and masked words."""

  data_dir: str = setting(
    '',
    'Folder of a corpus that oscar.datasets.prepare prepared. Empty: scenes of handwritten digits, '
    'generated once, with settings that learn them in a few minutes.',
  )
  train_split: str = setting('train', 'Split to train on, the name of its YAML file.')
  eval_split: str = setting('val', 'Split to evaluate on.')
  train_batch_size: int = setting(1024, 'Global batch size for training.', at_least=1)
  eval_batch_size: int = setting(64, 'Global batch size for evaluation.', at_least=1)
  max_seq_length: int = setting(35, 'Maximum word pieces of an example.', at_least=4)
  max_img_seq_length: int = setting(50, 'Maximum regions of an image.', at_least=1)
  use_b: int = setting(1, 'Whether the model gets the second text (tags, answers).', choices=(0, 1))
  textb_sample_mode: int = setting(
    0,
    'Source of a wrong second text. 0: either text of any document; 1: the second of any document; '
    '2: the answers of any question.',
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
_DEVICES = '--strategy selects the devices'
_PREPARED = 'give it to oscar.datasets.prepare, which reads the official files'
# {flag of the official script that this one lacks: advice}.
ELSEWHERE = {
  'bert_model': 'leave it out; all models are of this kind',
  'cache_dir': 'leave it out; nothing is downloaded',
  'chunk_end_id': _PREPARED,
  'chunk_start_id': _PREPARED,
  'dataset_file': (
    'prepare the corpus (oscar.datasets.prepare), then give --data_dir and --train_split'
  ),
  'do_train': 'leave it out; training is the default --mode',
  'extra_dataset_file': _ONE_CORPUS,
  'extra_loss_weight': _ONE_CORPUS,
  'extra_textb_sample_mode': _ONE_CORPUS,
  'from_scratch': 'leave out --init_checkpoint and give --config',
  'gpu_ids': _DEVICES,
  'img_feature_type': 'leave it out; only region features are supported',
  'local_rank': _DEVICES,
  'no_cuda': _DEVICES,
  'num_workers': 'leave it out; the input uses all cores',
  'on_memory': 'leave it out; texts are held in memory, regions are streamed',
  'optim': 'leave it out; AdamW is the only optimizer, as officially',
  'use_gtlabels': _PREPARED,
  'use_layernorm': 'leave it out, it has no effect officially; use --use_img_layernorm',
}

_READING_MODES = ('eval', 'export', 'predict')  # They only read checkpoints of a job.


def check(resolved: settings.Resolved) -> None:
  """Checks the folders that the settings name, without TensorFlow.

  Raises:
    ValueError: --model_dir is not given, or --data_dir does not exist.
  """
  files.check_folder('data_dir', resolved.get(DataConfig).data_dir)
  if not resolved.get(script_settings.JobConfig).model_dir:
    raise ValueError('--model_dir is missing: the folder for checkpoints and summaries.')


def run(resolved: settings.Resolved) -> None:
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
  run_info = {'flags': resolved.as_dict()}
  pretrain.run(
    model, data, optimization, job, hardware, run_info=run_info, given=resolved.flags
  )


def _choose(given: Mapping[str, Any], recipe: Recipe | None) -> Choice:
  """Chooses the recipe; without data that is `scenes`."""
  default_dir = None if given.get('data_dir') else RECIPES[SCENES].settings['model_dir']
  facts = _facts_of_job(given, given.get('model_dir') or default_dir)
  origin = named_origin(recipe) if recipe else ''
  if not given.get('data_dir', facts.get('data_dir')):
    if recipe is not None and recipe.name != SCENES:
      raise ValueError(
        f'--recipe={recipe.name} needs --data_dir; to train on the scenes, leave out --recipe.'
      )
    if recipe is None:
      recipe, origin = RECIPES[SCENES], 'No --data_dir: scenes of handwritten digits'
  if recipe is None:
    return Choice(facts=facts)
  preset = recipe.settings
  if recipe.name == SCENES and given.get('mode') != 'eval':
    # An evaluation does not export: it would overwrite the export of the training that it follows.
    model_dir = given.get('model_dir') or preset['model_dir']
    preset = {**preset, 'export_dir': os.path.join(str(model_dir), 'export')}
  return Choice(recipe, preset, origin, facts)


def _facts_of_job(given, model_dir):
  """Returns settings from the record of a job, in the modes that only read its checkpoints."""
  if given.get('mode') not in _READING_MODES or not model_dir:
    return {}
  job = job_flags.of_checkpoint(model_dir) or {}
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

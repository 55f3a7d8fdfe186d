r"""Fine-tunes OSCAR to write captions of images, and writes and scores them.

  python -m oscar.run_captioning
      Trains on generated scenes, from the export of `python -m oscar.run_pretrain`, and scores the
      captions of scenes not trained on.

  python -m oscar.run_captioning --recipe=captioning_base --model_name_or_path=oscar-base \
      --data_dir=datasets/coco_caption --output_dir=runs/captioning
      Trains on the official files with the published settings of cross-entropy. The best checkpoint
      by CIDEr is kept.

  python -m oscar.run_captioning --recipe=captioning_test --data_dir=datasets/coco_caption \
      --output_dir=runs/captioning
      Writes captions of the test split with the best checkpoint and beams of 5, in the official
      file pred.coco_caption.test.beam5.max20.odlabels.tsv with their confidences, and their scores
      (BLEU, ROUGE-L, CIDEr; METEOR and SPICE where Java is found) in the same name with .eval.json.
      With --eval_model_dir=FOLDER an official checkpoint or an export writes instead, with the
      lengths and flags of its training.

The same command resumes a stopped job.
"""
from oscar import caption_settings, fine_tuning, task_settings
from oscar.datasets import records
from oscar.decoding.config import GenerationConfig
from oscar.recipes import RECIPES
from tpu_utils import files


def _check(values, modes):
  recipe = RECIPES.get(values.get('recipe') or '')
  for flag in ('scst', 'use_cbs'):
    if recipe is not None and recipe.settings.get(flag):
      raise ValueError(f'--recipe={recipe.name}: {caption_settings.ELSEWHERE[flag]}.')
  # Raises for settings of the search that contradict each other.
  GenerationConfig(0, 0, 0, 0, **{name: values[name] for name in caption_settings.OF_GENERATION})
  if values['data_dir'] and {'eval', 'train_and_eval'} & {*modes}:
    _check_references(values)


def _check_references(values):
  """Checks that the evaluated split has captions, which would show only after the first epoch."""
  data = caption_settings.CaptioningData(
    **{name: values[name] for name in ('data_dir', 'train_yaml', 'val_yaml', 'test_yaml')}
  )
  path = caption_settings.yaml_of(data, values['eval_split'] or 'val')
  if files.is_file(path) and not records.read_yaml(path).get('caption'):
    raise ValueError(
      f"{path}: no 'caption', so that there is nothing to score captions by; use --mode=train, or "
      '--mode=predict, which writes captions.'
    )


SPEC = fine_tuning.FineTuning(
  task='captioning',
  module='oscar.run_captioning',
  data=caption_settings.CaptioningData,
  implementation='oscar.tasks.captioning',
  scenes='captioning_scenes',
  scenes_data='coco_caption',
  splits={'do_test': 'test'},
  unanswered=(),
  train_and_val=False,
  elsewhere=caption_settings.ELSEWHERE,
  results_name=caption_settings.results_name,
  results_are='Captions in the official format',
  model=task_settings.RetrievalModel,
  job=caption_settings.CaptioningJob,
  evaluates_tests=True,
  check=_check,
  as_trained=caption_settings.as_trained,
  of_the_config=('tie_weights',),
)
SCRIPT = fine_tuning.script(__doc__, SPEC, 'captioning')


if __name__ == '__main__':
  SCRIPT.main()

r"""Fine-tunes OSCAR to write captions of images, and writes and scores them.

  python -m oscar.run_captioning
      Trains on generated scenes, from the export of `python -m oscar.run_pretrain`, and scores the
      captions of scenes not trained on.

  python -m oscar.run_captioning --recipe=captioning_base --model_name_or_path=oscar-base \
      --data_dir=datasets/coco_caption --output_dir=runs/captioning
      Trains on the official files with the published settings of cross-entropy. The best checkpoint
      by CIDEr is kept.

  python -m oscar.run_captioning --scst
      Continues the first training by self-critical training: captions that the model draws become
      more probable if their CIDEr-D is above that of its best caption. Each evaluation reports
      CIDEr, the mean reward (CIDEr-D with the end of the sentence) and the share of captions that
      ended.

  python -m oscar.run_captioning --recipe=captioning_base_scst --data_dir=datasets/coco_caption \
      --model_name_or_path=runs/captioning/export --output_dir=runs/captioning-scst
      The same on the official files, from an export (--export_dir) of the training with
      cross-entropy or an official checkpoint.

  python -m oscar.run_captioning --recipe=captioning_test --data_dir=datasets/coco_caption \
      --output_dir=runs/captioning
      Writes captions of the test split with the best checkpoint and beams of 5, in the official
      file pred.coco_caption.test.beam5.max20.odlabels.tsv with their confidences, and their scores
      (BLEU, ROUGE-L, CIDEr; METEOR and SPICE where Java is found) in the same name with .eval.json.
      With --eval_model_dir=FOLDER an official checkpoint or an export writes instead, with the
      lengths and flags of its training.

  python -m oscar.run_captioning --recipe=nocaps_test --data_dir=datasets/nocaps \
      --eval_model_dir=runs/captioning/export
      NoCaps with constrained beam search: captions mention at least --min_constraints_to_satisfy of
      the objects in cbs_box, or as many as can be. Beside the captions it writes their scores in
      each domain (from nocaps_val_4500_captions.json in --data_dir, or the captions of val.yaml and
      the domains of nocaps_val_image_info.json) and the file for NoCaps' server, the same name with
      .server.json. val_predictions.jsonl has the constraints of each image and how many are met.

  python -m oscar.run_captioning --use_cbs
      The same on the scenes: trains on scenes without the digits six, eight and nine, and evaluates
      on scenes with them. Then --use_cbs --do_test writes the captions, and --recipe=nocaps_scenes
      --do_test --use_cbs=0 those of the plain search.

The same command resumes a stopped job.
"""
from oscar import caption_settings, checkpoint_tasks, fine_tuning, task_settings
from oscar.datasets import nocaps, records
from oscar.decoding.config import GenerationConfig
from oscar.recipes import RECIPES
from tpu_utils import files
from tpu_utils.command_line import job_flags

_TRAINING_MODES = ('train', 'train_and_eval')


def _check(values, modes):
  # Raises for settings of the search that contradict each other.
  GenerationConfig(0, 0, 0, 0, **{name: values[name] for name in caption_settings.OF_GENERATION})
  _check_drawing(values)
  if values['use_cbs']:
    _check_constrained(values)
  if {*_TRAINING_MODES} & {*modes}:
    _check_training(values)
  if values['data_dir'] and {'eval', 'train_and_eval'} & {*modes}:
    _check_references(values)


def _check_drawing(values):
  """Checks the flags of drawn captions."""
  drawing = {name: values[name] for name in caption_settings.OF_DRAWING}
  if not values['scst']:
    for name, value in drawing.items():
      if value != getattr(caption_settings.CaptioningData, name):
        raise ValueError(
          f'--{name}={value} has no effect: captions are searched, not drawn; only --scst draws '
          'them. Leave it out.'
        )
    return
  GenerationConfig(0, 0, 0, 0, do_sample=True, **drawing)
  if values['sc_baseline_type'] == 'sample' and values['sc_train_sample_n'] < 2:
    raise ValueError(
      f'--sc_train_sample_n={values["sc_train_sample_n"]}: with --sc_baseline_type=sample expected '
      'at least 2, as each caption is compared with the others.'
    )
  if values['sc_baseline_type'] == 'sample' and values['sc_beam_size'] > 1:
    raise ValueError(
      f'--sc_beam_size={values["sc_beam_size"]} has no effect with --sc_baseline_type=sample, '
      'which searches no captions; leave it out.'
    )


def _check_constrained(values):
  for name in ('num_keep_best', 'repetition_penalty', 'length_penalty'):
    if values[name] != 1:
      raise ValueError(
        f'--{name}={values[name]} has no effect with --use_cbs, which writes one caption, the most '
        'probable one per word that meets the constraints; leave it out.'
      )


def _check_training(values):
  """Checks that a training fits the checkpoint that it starts from and the folder's job."""
  job = job_flags.of_checkpoint(values['model_dir'])
  if job is not None and bool(job.get('scst')) != values['scst']:
    kinds = ('cross-entropy', 'self-critical training (--scst)')
    raise ValueError(
      f'--output_dir={values["model_dir"]} holds a job of {kinds[bool(job.get("scst"))]}; give '
      f'another folder for {kinds[values["scst"]]}.'
    )
  if not values['scst']:
    return
  start = values['init_checkpoint']
  if not start:
    raise ValueError(
      '--scst needs --model_name_or_path: the model that training with cross-entropy made.'
    )
  of_scenes = not values['data_dir'] and start == _SCST_SCENES['init_checkpoint']
  if of_scenes and not files.exists(start):
    raise ValueError(
      f'--init_checkpoint={start} does not exist: run `python -m oscar.run_captioning` first.'
    )
  if files.exists(start) and checkpoint_tasks.task_of(start) == 'pretrain':
    raise ValueError(
      f'--init_checkpoint={start} has not learnt to write captions: it is of pre-training. Train '
      'it without --scst first.'
    )
  caption_settings.frequencies_file(values['data_dir'], values['cider_cached_tokens'])


def _check_references(values):
  """Checks that the evaluated split has captions, which would show only after the first epoch."""
  data = caption_settings.CaptioningData(
    **{name: values[name] for name in ('data_dir', 'train_yaml', 'val_yaml', 'test_yaml')}
  )
  path = caption_settings.yaml_of(data, values['eval_split'] or 'val')
  if not files.is_file(path) or nocaps.annotations_path(path):
    return
  if not records.read_yaml(path).get('caption'):
    raise ValueError(
      f"{path}: no 'caption', so that there is nothing to score captions by; use --mode=train, or "
      '--mode=predict, which writes captions.'
    )


_SCST_SCENES = RECIPES['captioning_scenes_scst'].settings
SPEC = fine_tuning.FineTuning(
  task='captioning',
  module='oscar.run_captioning',
  data=caption_settings.CaptioningData,
  implementation='oscar.tasks.captioning',
  scenes='captioning_scenes',
  scenes_with={'scst': 'captioning_scenes_scst', 'use_cbs': 'nocaps_scenes'},
  scenes_data='coco_caption',
  splits={'do_test': 'test'},
  unanswered=(),
  train_and_val=False,
  elsewhere=caption_settings.ELSEWHERE,
  results_name=caption_settings.results_name,
  results_are='Captions in the official format',
  model=task_settings.EvaluatedModel,
  job=caption_settings.CaptioningJob,
  evaluates_tests=True,
  check=_check,
  as_trained=caption_settings.as_trained,
  of_the_config=('tie_weights',),
  continued=caption_settings.continued,
)
SCRIPT = fine_tuning.script(__doc__, SPEC, 'captioning')


if __name__ == '__main__':
  SCRIPT.main()

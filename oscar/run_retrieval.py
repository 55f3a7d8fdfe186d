r"""Fine-tunes OSCAR to match images and captions (retrieval), and ranks them.

  python -m oscar.run_retrieval
      Trains on generated scenes, from the export of `python -m oscar.run_pretrain`, and ranks all
      captions for 100 images and these images for each caption.

  python -m oscar.run_retrieval --recipe=retrieval_base --model_name_or_path=oscar-base \
      --data_dir=datasets/coco_ir --output_dir=runs/retrieval
      Trains on the official files with the published settings, re-ranking the minival candidates.

  python -m oscar.run_retrieval --recipe=retrieval_test_5k --data_dir=datasets/coco_ir \
      --output_dir=runs/retrieval
      Ranks the 5K test set with the best checkpoint, and its five folds of 1K. With
      --eval_model_dir=FOLDER an official checkpoint or an export scores instead, with the lengths
      and flags of its training. Scores are stored in chunks; started again, the rest is scored.

The same command resumes a stopped job.
"""
from oscar import fine_tuning, retrieval_settings, task_settings


def _can_evaluate(values):
  return bool(values.get('cross_image_eval') or values.get('eval_caption_index_file'))


def _check(values, modes):
  if values['cross_image_eval'] and values['eval_caption_index_file']:
    raise ValueError('--cross_image_eval and --eval_caption_index_file: choose one of them.')
  if not _can_evaluate(values) and {*modes} - {'train', 'export'}:
    raise ValueError(
      f'mode {modes[-1]} needs the pairs to rank: --cross_image_eval for all of them, or the '
      'candidates of --eval_caption_index_file=minival_caption_indexs_top20.pt.'
    )
  if values['eval_folds'] > 1 and not values['cross_image_eval']:
    raise ValueError(f'--eval_folds={values["eval_folds"]} needs --cross_image_eval.')


SPEC = fine_tuning.FineTuning(
  task='retrieval',
  module='oscar.run_retrieval',
  data=retrieval_settings.RetrievalData,
  implementation='oscar.tasks.retrieval',
  scenes='retrieval_scenes',
  scenes_data='coco_retrieval',
  splits={'do_test': 'test'},
  unanswered=(),
  train_and_val=False,
  elsewhere=retrieval_settings.ELSEWHERE,
  model=task_settings.EvaluatedModel,
  job=retrieval_settings.RetrievalJob,
  evaluates_tests=True,
  can_evaluate=_can_evaluate,
  check=_check,
)
SCRIPT = fine_tuning.script(__doc__, SPEC, 'retrieval')


if __name__ == '__main__':
  SCRIPT.main()

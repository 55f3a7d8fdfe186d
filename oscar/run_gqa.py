r"""Fine-tunes OSCAR to answer compositional questions about images (GQA), and answers them.

  python -m oscar.run_gqa
      Trains on generated scenes, from the export of `python -m oscar.run_pretrain`.

  python -m oscar.run_gqa --recipe=gqa_base --model_name_or_path=oscar-base \
      --data_dir=datasets/GQA --output_dir=runs/gqa
      Trains on the official files with the published settings.

  python -m oscar.run_gqa --do_test --data_dir=datasets/GQA --output_dir=runs/gqa
      Answers the test questions with the best checkpoint and writes the file for the test server,
      runs/gqa/test_results.json; --do_test_dev answers test-dev and prints its accuracy.

The same command resumes a stopped job.
"""
from oscar import fine_tuning, task_settings


def _check(values, modes):
  del modes
  if values['choices_file'] and not values['questions_file']:
    raise ValueError(
      f'--choices_file={values["choices_file"]} needs --questions_file, which says how questions '
      'are judged by their choices.'
    )


SPEC = fine_tuning.FineTuning(
  task='gqa',
  module='oscar.run_gqa',
  data=task_settings.GqaData,
  implementation='oscar.tasks.gqa',
  scenes='gqa_scenes',
  scenes_data='gqa',
  splits={'do_test': 'test', 'do_test_dev': 'test-dev'},
  unanswered=('test',),
  train_and_val=False,
  elsewhere=task_settings.GQA_ELSEWHERE,
  check=_check,
)
SCRIPT = fine_tuning.script(__doc__, SPEC, 'gqa')


if __name__ == '__main__':
  SCRIPT.main()

r"""Fine-tunes OSCAR to answer questions about images (VQA), and answers them.

  python -m oscar.run_vqa
      Trains on generated scenes, from the export of `python -m oscar.run_pretrain`.

  python -m oscar.run_vqa --recipe=vqa_base --model_name_or_path=oscar-base \
      --data_dir=datasets/vqa --output_dir=runs/vqa
      Trains on the official files with the published settings.

  python -m oscar.run_vqa --do_test --data_dir=datasets/vqa --output_dir=runs/vqa
      Answers the test questions with the best checkpoint and writes the file for the test server,
      runs/vqa/test2015_results.json. With --model_name_or_path=FOLDER an official checkpoint or
      an export answers instead, with the lengths and flags of its training.

The same command resumes a stopped job.
"""
from oscar import fine_tuning, task_settings

SPEC = fine_tuning.FineTuning(
  task='vqa',
  module='oscar.run_vqa',
  data=task_settings.VqaData,
  implementation='oscar.tasks.vqa',
  scenes='vqa_scenes',
  scenes_data='vqa',
  splits={'do_test': 'test2015', 'do_test_dev': 'test-dev2015'},
  unanswered=('test2015', 'test-dev2015'),
  train_and_val=True,
  elsewhere=task_settings.VQA_ELSEWHERE,
)
SCRIPT = fine_tuning.script(__doc__, SPEC, 'vqa')


if __name__ == '__main__':
  SCRIPT.main()

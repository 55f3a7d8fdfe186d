r"""Fine-tunes OSCAR to tell whether a statement about two images is true (NLVR2), and tests it.

  python -m oscar.run_nlvr
      Trains on generated scenes, from the export of `python -m oscar.run_pretrain`.

  python -m oscar.run_nlvr --recipe=nlvr2_base --model_name_or_path=oscar-base \
      --data_dir=datasets/nlvr2 --output_dir=runs/nlvr2
      Trains on the official files with the published settings, in pairs and without tags.

  python -m oscar.run_nlvr --do_test --data_dir=datasets/nlvr2 --output_dir=runs/nlvr2 \
      --sentences_file=test1.json
      Tests the best checkpoint on test1 and writes runs/nlvr2/test1_results.csv. A command that
      evaluates several splits takes a file for each: --sentences_file=dev.json,test1.json.

The same command resumes a stopped job.
"""
from oscar import fine_tuning, task_settings
from tpu_utils import files


def _check(values, modes):
  del modes
  for path in values['sentences_file'].split(','):
    files.check_file('sentences_file', path)


SPEC = fine_tuning.FineTuning(
  task='nlvr2',
  module='oscar.run_nlvr',
  data=task_settings.Nlvr2Data,
  implementation='oscar.tasks.nlvr2',
  scenes='nlvr2_scenes',
  scenes_data='nlvr2',
  splits={'do_test': 'test1'},
  unanswered=(),
  train_and_val=False,
  elsewhere=task_settings.NLVR2_ELSEWHERE,
  results='_results.csv',
  check=_check,
)
SCRIPT = fine_tuning.script(__doc__, SPEC, 'nlvr2')


if __name__ == '__main__':
  SCRIPT.main()

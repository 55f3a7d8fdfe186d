"""The commands in a report: those that exist, with the paths of the job."""
import shlex

from tpu_utils.image_jobs.reporting import commands


def texts(package, export_dir):
  return [c.text for c in commands.commands(package, 'runs/my job', export_dir)]


def test_paths_are_filled_in_and_quoted():
  found = texts('efficientnet', 'runs/my job/export')
  assert found[0] == "python -m efficientnet.eval_ckpt_main --ckpt_dir='runs/my job' photo.jpg"
  assert any('efficientnet.cam' in text for text in found)
  assert found[-1].startswith('import tensorflow') and "'runs/my job/export'" in found[-1]
  compile(found[-1], 'report', 'exec')
  assert all(shlex.split(text) for text in found[:-1])


def test_a_paper_without_maps_and_a_job_without_export():
  found = texts('resnext', None)
  assert not any('cam' in text for text in found)
  assert any('--output_saved_model_dir=exported' in text for text in found)
  assert "python -m resnext.predict --ckpt_dir='runs/my job' FOLDER --output=out.csv" in found


def test_without_a_saved_model_there_is_no_python_code():
  found = commands.commands('resnext', 'run', 'run/export', saved_model=False)
  assert {command.language for command in found} == {'sh'}


def test_without_scripts():
  assert texts('', None) == ["tensorboard --logdir='runs/my job'"]

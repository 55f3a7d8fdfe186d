"""Profiles of training steps: which steps, and what happens if they cannot be written."""
import tensorflow as tf

from tpu_utils import step_profile


def _record(folder, steps, first, loops):
  with step_profile.StepProfile(str(folder), steps, first) as profile:
    for step, count in loops:
      with profile.recording(step, count):
        tf.constant(1.0) + 1


def _traces(folder):
  return list(folder.glob('plugins/profile/*/*.xplane.pb'))


def test_the_steps_are_profiled(tmp_path, capsys):
  _record(tmp_path, (2, 5), 0, [(0, 2), (2, 2), (4, 1), (5, 3)])
  assert len(_traces(tmp_path)) == 1
  assert 'Profile of the steps 2 to 5' in capsys.readouterr().out


def test_a_profile_that_is_cut_short_is_written(tmp_path):
  _record(tmp_path, (2, 9), 3, [(3, 2)])
  assert len(_traces(tmp_path)) == 1


def test_steps_that_are_over_are_not_profiled(tmp_path, capsys):
  _record(tmp_path, (2, 5), 5, [(5, 2)])
  _record(tmp_path, None, 0, [(0, 2)])
  assert not _traces(tmp_path)
  assert 'No profile: --profile_steps=2,5, and training resumes at 5.' in capsys.readouterr().out


def test_a_profile_that_cannot_be_written_costs_no_step(tmp_path, monkeypatch, capsys):
  def refuse(_):
    raise tf.errors.AlreadyExistsError(None, None, 'Another profiler is running.')

  monkeypatch.setattr(tf.profiler.experimental, 'start', refuse)
  _record(tmp_path, (0, 5), 0, [(0, 2), (2, 3)])
  errors = capsys.readouterr().err.splitlines()
  assert len(errors) == 1 and 'Another profiler is running' in errors[0]

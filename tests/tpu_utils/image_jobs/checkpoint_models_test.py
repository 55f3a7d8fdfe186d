"""Which checkpoint of a job is taken."""
from efficientnet import main as training
from tests.efficientnet import lite_job
from tpu_utils.image_jobs import checkpoint_models


def load(directory):
  settings = training.ModelConfig(
    'efficientnet-lite0', width_coefficient=lite_job.FLAGS['width_coefficient'],
    depth_coefficient=lite_job.FLAGS['depth_coefficient'],
  )  # fmt: skip
  model_spec = training.resolve_model(settings)
  return checkpoint_models.load(model_spec, settings, lite_job.SPEC, str(directory), num_classes=10)


def test_the_best_checkpoint_of_a_job_is_taken(tmp_path, capsys):
  newest, best = lite_job.build_model(), lite_job.build_model()
  lite_job.write(newest, tmp_path / 'job')
  lite_job.write(best, tmp_path / 'job' / 'archive')
  loaded = load(tmp_path / 'job').get_layer('head_dense').kernel.numpy()
  assert (loaded == best.get_layer('head_dense').kernel.numpy()).all()
  assert (loaded != newest.get_layer('head_dense').kernel.numpy()).any()
  assert 'variables loaded' in capsys.readouterr().out

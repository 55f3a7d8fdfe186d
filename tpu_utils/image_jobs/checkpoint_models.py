"""A paper's model with the weights of a checkpoint, from what the flags say."""
from tpu_utils import checkpoints, weights
from tpu_utils.image_jobs import job_flags
from tpu_utils.image_jobs.image_script import PRETRAINED
from tpu_utils.images.spec import fitted


def flags_of_job(checkpoint):
  """{flag: value} of the job that wrote a checkpoint; None if it is not one of ours."""
  return None if checkpoint == PRETRAINED else job_flags.of_checkpoint(checkpoint)


def learnt_digits(job):
  """Whether a job, as `flags_of_job` gives it, learnt the embedded digits."""
  return job is not None and not job.get('data_dir') and not job.get('dataset')


def load(
  network, model_settings, spec, checkpoint, *, num_classes=None, advprop=False, source='auto', use_ema=True
):
  """Builds the model and loads its weights; prints what was loaded.

  Args:
    network: `image_script.Network`.
    model_settings: `image_script.ModelConfig`, of which the network was described.
    spec: `PreprocessSpec` of its images.
    checkpoint: what `weights.load` reads, 'pretrained', or the --model_dir of a job, of which the best checkpoint
      is taken.
    num_classes: None for the model's own.
    advprop: whether `spec` has AdvProp's scaling.
    source: see `weights.load`.
    use_ema: take the moving averages where the checkpoint has them.

  Returns:
    `keras.Model` from images to logits.

  Raises:
    ValueError, OSError: the checkpoint cannot be read or does not fit.
  """
  scaling = {'mean_rgb': spec.mean_rgb, 'stddev_rgb': spec.stddev_rgb} if advprop else {}
  model = network.build_model(
    model_settings.model_name,
    num_classes=num_classes,
    image_size=spec.image_size,
    weights=PRETRAINED if checkpoint == PRETRAINED else None,
    **model_settings.overrides(),
    **scaling,
  )
  if checkpoint != PRETRAINED:
    print(weights.load(model, checkpoints.best_of(checkpoint), source, use_ema))
  return model


def fitted_spec(spec, model_settings, data, is_digits):
  """The `PreprocessSpec` of a network, with what the flags ask for in place of its own.

  Args:
    spec: the network's own.
    model_settings: `image_script.ModelConfig`.
    data: flags with `crop_rule`, `interpolation` and `advprop`.
    is_digits: whether the images are the embedded digits, which are too small to lose a pixel.
  """
  return fitted(
    spec,
    image_size=model_settings.input_image_size,
    crop=data.crop_rule,
    interpolation=data.interpolation,
    advprop=data.advprop,
    is_digits=is_digits,
  )

"""A paper's model with the weights of a checkpoint, from settings."""
from tpu_utils import checkpoints, weights
from tpu_utils.image_jobs.image_script import PRETRAINED
from tpu_utils.images.spec import fitted


def load(
  model_spec, model_config, spec, checkpoint, *, num_classes=None, advprop=False, source='auto', use_ema=True
):
  """Builds the model and loads its weights; prints what was loaded.

  Args:
    model_spec: `image_script.ModelSpec`.
    model_config: `image_script.ModelConfig` that it was resolved from.
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
  model = model_spec.build_model(
    model_config.model_name,
    num_classes=num_classes,
    image_size=spec.image_size,
    weights=PRETRAINED if checkpoint == PRETRAINED else None,
    **model_config.overrides(),
    **scaling,
  )
  if checkpoint != PRETRAINED:
    print(weights.load(model, checkpoints.best_of(checkpoint), source, use_ema))
  return model


def fitted_spec(spec, model_config, data, is_digits):
  """Returns the `PreprocessSpec` of a network, with the given settings in place of its own.

  Args:
    spec: the network's own.
    model_config: `image_script.ModelConfig`.
    data: settings with `crop_rule`, `interpolation` and `advprop`.
    is_digits: whether the images are the embedded digits, which are too small to lose a pixel.
  """
  return fitted(
    spec,
    image_size=model_config.input_image_size,
    crop=data.crop_rule,
    interpolation=data.interpolation,
    advprop=data.advprop,
    is_digits=is_digits,
  )

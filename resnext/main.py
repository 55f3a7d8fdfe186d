"""Trains, evaluates and exports ResNeXts and ResNets.

  python -m resnext.main
      A small ResNeXt on the embedded handwritten digits: about two minutes on two cores.

  python -m resnext.main --data_dir=gs://BUCKET/imagenet --model_dir=gs://BUCKET/run --tpu=local
      ResNeXt-50 (32x4d) on ImageNet TFRecord shards on a TPU VM, as in the paper.

  python -m resnext.main --recipe=cifar --data_dir=DATA --model_dir=RUN
      ResNeXt-29 (8x64d) on CIFAR-10 TFRecord shards, as in the paper.

The same command resumes a stopped job.
"""
import dataclasses
from typing import Any

from resnext import network_params, recipes
from tpu_utils.command_line.settings import Resolved, setting
from tpu_utils.image_jobs import script
from tpu_utils.images.spec import Augmentation


@dataclasses.dataclass(frozen=True)
class ModelConfig(script.ModelConfig):
  """Network settings."""

  model_name: str = setting('resnext-50-32x4d', 'The model; a wrong name lists the nearest.')
  cardinality: int = setting(None, 'Paths of a block; overrides the name.', type=int, at_least=1)
  base_width: int = setting(None, 'Width of a path; overrides the name.', type=int, at_least=1)
  width: int = setting(None, 'Width of the first stage; the paper has 64.', type=int, at_least=1)
  stem_width: int = setting(None, 'Channels of the stem; the paper has 64.', type=int, at_least=1)
  block_form: str = setting(
    None,
    'Equivalent form of the blocks, as in Figure 3.',
    type=str,
    choices=network_params.BLOCK_FORMS,
  )
  shortcut_type: str = setting(
    None,
    'A: zeros for new channels; B: a 1x1 convolution where channels change; C: one in every block.',
    type=str,
    choices=network_params.SHORTCUT_TYPES,
  )
  preactivation: bool = setting(None, 'Batch norm and ReLU before the convolutions.', type=bool)
  residual: bool = setting(None, '--noresidual removes the shortcuts around blocks.', type=bool)
  normalization: str = setting(
    None,
    'Data set with whose mean and standard deviation images are normalised; by default that of the '
    'model: imagenet, or cifar10 for CIFAR networks.',
    type=str,
    choices=tuple(network_params.NORMALIZATIONS),
  )

  def overrides(self) -> dict[str, Any]:
    """Returns the settings that override the model's own, as fields of `NetworkParams`."""
    overrides = super().overrides()
    name = overrides.pop('normalization', None)
    if name is None:
      return overrides
    mean_rgb, stddev_rgb = network_params.NORMALIZATIONS[name]
    return {**overrides, 'mean_rgb': mean_rgb, 'stddev_rgb': stddev_rgb}


def resolve_model(model: ModelConfig) -> script.ModelSpec:
  """Resolves the network that the settings name.

  Raises:
    ValueError: an unknown name, or a value out of range.
  """
  params = network_params.from_name(model.model_name, model.overrides())
  # Imports TensorFlow, so only after the flags are checked.
  from resnext import resnext_builder
  from tpu_utils import export

  own = [field.name for field in dataclasses.fields(model) if field.name != 'model_name']
  return script.ModelSpec(
    build_model=resnext_builder.build_model,
    spec=resnext_builder.get_preprocess_spec(model.model_name, **model.overrides()),
    identity=tuple(name for name in own if name != 'input_image_size'),
    run_info={'network_params': dataclasses.asdict(params)},
    feature_extractor=resnext_builder.feature_extractor,
    # Keras' own Conv2D(groups=...) and BatchNormalization: keras.applications has no ResNeXt.
    build_peer=lambda *args, **kwargs: export.with_builtin_layers(
      resnext_builder.build_model(*args, **kwargs)
    ),
  )


def augmentation(resolved: Resolved) -> Augmentation | None:
  """Returns the augmentation of the recipe; None for the digits, which have their own."""
  flags = resolved.as_dict()
  if not (flags['data_dir'] or flags['dataset']):
    return None
  imagenet = recipes.AUGMENTATIONS['imagenet']
  return Augmentation(**recipes.AUGMENTATIONS.get(flags.get('recipe', ''), imagenet))


TRAINING = script.Training((ModelConfig,), resolve_model, augmentation, package='resnext')
SCRIPT = TRAINING.script(__doc__, 'resnext.main', recipes.RECIPES)


if __name__ == '__main__':
  SCRIPT.main()

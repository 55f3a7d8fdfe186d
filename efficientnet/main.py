"""Trains, evaluates and exports EfficientNets.

  python -m efficientnet.main
      A small EfficientNet on the embedded handwritten digits: about two minutes on two cores.

  python -m efficientnet.main --data_dir=gs://bucket/imagenet --model_dir=gs://bucket/b0 --tpu=local
      EfficientNet-B0 on ImageNet TFRecord shards on a TPU VM, with the official recipe.

  python -m efficientnet.main --model_name=efficientnet-lite0 --init_checkpoint=pretrained
      Fine-tunes ImageNet weights on the digits in three epochs, or with --data_dir on your images.

  python -m efficientnet.main --mode=eval --data_dir=... --model_dir=...
      Evaluates the checkpoints of another job as they appear.

A stopped job resumes when the same command is given again.
"""
import dataclasses

from efficientnet.recipes import RECIPES
from tpu_utils.command_line.settings import setting
from tpu_utils.image_jobs import script


@dataclasses.dataclass(frozen=True)
class ModelConfig(script.ModelConfig):
  """Model and its overrides."""

  model_name: str = setting('efficientnet-b0', 'The model; a wrong name lists the nearest.')
  width_coefficient: float = setting(None, 'Scales the number of channels.', type=float, at_least=0)
  depth_coefficient: float = setting(None, 'Scales the number of layers.', type=float, at_least=0)
  dropout_rate: float = setting(None, 'Dropout before the classifier.', type=float, at_least=0)
  survival_prob: float = setting(
    None,
    'Stochastic depth: probability that the last block survives; 0 turns it off.',
    type=float,
    at_least=0,
  )
  padding: str = setting(
    None,
    "symmetric: as in timm's efficientnet_* (without tf_), for their weights.",
    type=str,
    choices=('same', 'symmetric'),
  )
  batch_norm_momentum: float = setting(None, 'Momentum of the moving statistics.', type=float)
  batch_norm_epsilon: float = setting(None, 'Epsilon of batch norm.', type=float)


def resolve_model(model: ModelConfig) -> script.ModelSpec:
  """Returns the network for the settings.

  Raises:
    ValueError: an unknown model or a value out of range.
  """
  # TensorFlow is imported only now, so that --help and wrong flags are answered at once.
  from efficientnet import keras_peer, model_builder_factory, pretrained

  blocks_args, global_params = model_builder_factory.get_model_builder(
    model.model_name
  ).get_model_params(model.model_name, model.overrides())
  return script.ModelSpec(
    build_model=model_builder_factory.build_model,
    spec=model_builder_factory.get_preprocess_spec(model.model_name),
    identity=('width_coefficient', 'depth_coefficient', 'padding'),
    run_info={
      'global_params': dataclasses.asdict(global_params),
      'blocks_args': [dataclasses.asdict(block) for block in blocks_args],
    },
    find_pretrained=pretrained.find,
    feature_extractor=model_builder_factory.feature_extractor,
    build_peer=keras_peer.build_model,
  )


TRAINING = script.Training((ModelConfig,), resolve_model, package='efficientnet')
SCRIPT = TRAINING.script(__doc__, 'efficientnet.main', RECIPES)


if __name__ == '__main__':
  SCRIPT.main()

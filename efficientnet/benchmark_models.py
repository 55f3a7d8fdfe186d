"""Process in which `efficientnet.benchmark` times a Keras model: ours or keras.applications'.

Argument: a JSON dict of `model_name`, `application` (the class in keras.applications, or null for
our model), `image_size`, `batch_sizes` and `replicas` (null, or their number: to train on them).
"""
import json
import sys
from collections.abc import Sequence

from tpu_utils.command_line import helper_program

if __name__ == '__main__':
  helper_program.explain(__doc__)


def main(
  model_name: str,
  application: str | None,
  image_size: int,
  batch_sizes: Sequence[int],
  replicas: int | None = None,
) -> None:
  """Serves a model's inference and training until standard input ends."""
  import keras

  from efficientnet import model_builder_factory
  from tpu_utils.image_jobs.benchmarking import keras_process, replica_process

  def build():
    return model_builder_factory.build_model(model_name, image_size=image_size)

  if replicas:
    replica_process.serve(build, batch_sizes, replicas)
  elif application:
    shape = (image_size, image_size, 3)
    peer = getattr(keras.applications, application)
    model = peer(weights=None, input_shape=shape, classifier_activation=None)
    keras_process.serve(model, batch_sizes, ours=False)
  else:
    keras_process.serve(build(), batch_sizes, ours=True)


if __name__ == '__main__':
  main(**json.loads(sys.argv[1]))
